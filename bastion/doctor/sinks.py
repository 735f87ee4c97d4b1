"""Sinks of the audit log (L4): is each there, believed, and would it take lines; nothing is written there."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bastion.doctor.findings import Area, Finding, Level
from bastion.observe.labels import SinkReason
from bastion.sinks.destinations import destination_of
from bastion.sinks.fault import SinkFault
from bastion.sinks.section import Sink

SECONDS: Final = 10.0

_HINTS: Final = {
    SinkReason.TLS: "ca_file, and the name that its certificate must have",
    SinkReason.DENIED: "token_file, token_scheme, tenant",
    SinkReason.UNREACHABLE: "its address, and firewalls",
    SinkReason.UNCONFIRMED: "the gateway's user must be in the group systemd-journal, or confirm = false",
}


def examine_sink(name: str, sink: Sink, node: str) -> list[Finding]:
    """One of them."""
    try:
        destination_of(replace(sink, timeout=min(sink.timeout, SECONDS)), node).probe()
    except SinkFault as fault:
        hint = _HINTS.get(fault.reason)
        text = f"{fault.text} ({fault.reason})" + (f": {hint}" if hint else "")
        return [Finding(Area.SINKS, Level.FAIL, name, text)]
    return [Finding(Area.SINKS, Level.OK, name, f"{sink.place} answers")]
