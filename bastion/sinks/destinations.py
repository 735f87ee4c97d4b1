"""From a section to what delivers (L2)."""

from __future__ import annotations

from bastion import __version__
from bastion.sinks.http import Elastic, Http, Loki, Otlp
from bastion.sinks.journal import Journal
from bastion.sinks.section import Sink
from bastion.sinks.syslog import Syslog


def destination_of(sink: Sink, node: str) -> Http | Syslog | Journal:
    """`node` is what the gateway is called there."""
    match sink.kind:
        case "journald":
            return Journal(sink)
        case "syslog":
            return Syslog(sink, node)
        case "loki":
            return Loki(sink, node)
        case "elastic":
            return Elastic(sink, node)
        case _:
            return Otlp(sink, node, __version__)
