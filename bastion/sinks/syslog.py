"""Syslog over TLS (L2): RFC 5424 in the frames of RFC 5425. Blocks: call it in a thread.

The protocol has no word for "I have it". What there is: a connection that is closed in order is closed by the other
side when it has read all of it. So each delivery has a connection of its own, and counts when the server has ended that
in answer to our end. One that breaks, by a killed server or network, does not: its lines are sent again, with the same
ids. What a server has read and loses in its own memory nobody can know: docs/audit-sinks.md has what to set there.
"""

from __future__ import annotations

from collections.abc import Sequence

from bastion.sinks.lines import AuditLine
from bastion.sinks.link import PlainLink, TlsLink, Trust, connected
from bastion.sinks.section import FACILITIES, Sink
from bastion.sinks.shapes import syslog_frame


class Syslog:
    """A connection for each delivery."""

    def __init__(self, sink: Sink, node: str) -> None:
        assert sink.address is not None
        self._sink, self._node, self._address = sink, node, sink.address
        self._facility = FACILITIES[sink.facility]
        self._trust = Trust(sink)

    def deliver(self, lines: Sequence[AuditLine]) -> Sequence[int]:
        """None is ever refused. Raises SinkFault."""
        self._send(b"".join(syslog_frame(line, self._node, self._facility) for line in lines))
        return ()

    def probe(self) -> None:
        """A connection, and nothing on it. Raises SinkFault."""
        self._send(b"")

    def _send(self, data: bytes) -> None:
        context = self._trust.context() if self._sink.tls else None
        where = self._address.host, self._address.port, self._sink.timeout, self._sink.place
        with connected(*where) as opened:
            if context is None:
                link: PlainLink | TlsLink = PlainLink(opened)
            else:
                link = TlsLink(opened, context, self._sink.verified_name)
            if data:
                link.send(data)
            link.settle()
