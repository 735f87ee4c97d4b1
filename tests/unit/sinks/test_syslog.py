"""RFC 5425 to a server that can be made ill; tests/interop/test_audit_sinks.py has rsyslog."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.observe.labels import SinkReason
from bastion.options.kinds import Address
from bastion.sinks.fault import SinkFault
from bastion.sinks.section import Sink
from bastion.sinks.shapes import syslog_message
from bastion.sinks.syslog import Syslog
from tests.support.net import LOOPBACK
from tests.support.pki import Authority
from tests.support.sinks import SyslogServer
from tests.unit.sinks.test_shapes import made


def test_lines_are_frames_and_a_probe_is_none(tmp_path: Path) -> None:
    pki = Authority(tmp_path)
    lines = [made(number, number=number) for number in range(3)]
    with SyslogServer(pki.issue(LOOPBACK)) as server:
        sink = Sink(
            kind="syslog", address=Address(LOOPBACK, server.port), ca_file=pki.certificate, facility="local3"
        )
        syslog = Syslog(sink, "gw1")
        syslog.probe()
        assert server.messages == []
        assert syslog.deliver(lines) == () and syslog.deliver(lines[:1]) == ()
        assert server.messages == [syslog_message(line, "gw1", 19) for line in [*lines, lines[0]]]


def test_without_tls_on_this_machine() -> None:
    with SyslogServer() as server:
        sink = Sink(kind="syslog", address=Address(LOOPBACK, server.port), tls=False)
        Syslog(sink, "gw1").deliver([made()])
        assert len(server.messages) == 1
        server.resets_after = 1
        with pytest.raises(SinkFault) as caught:
            Syslog(sink, "gw1").deliver([made()])
        assert caught.value.reason is SinkReason.CLOSED
