"""How the first key exchange with a client ended, as a word of a closed set and as the fields of an audit line (L3).

A port that is looked at (connect and close, a browser, a health check) is a number, not a line. A client that meant
to speak SSH and could not gets a line with what both sides offered, so that nobody has to ask for its `-vvv`. The
names are the peer's own words: only what KEXINIT may hold (printable ASCII without blanks, 64 bytes each) comes
this far, at most MOST_NAMES of a list; a line has 10 KiB at most and is paid for by the log's ration.
"""

from __future__ import annotations

from typing import Final

from bastion.errors import HandshakeResult
from bastion.observe.events.logins import HandshakeFailed, Offers
from bastion.transport.settings import CloseReason
from bastion.transport.transport import Transport
from bastion.wire.kexinit import Mismatch
from bastion.wire.numbers import Disconnect
from bastion.wire.printable import printable

MOST_NAMES: Final = 32
"""Names of one list in one line; OpenSSH offers up to 40 host key algorithms with everything on, others below 20."""

COUNTED_ONLY: Final = frozenset((HandshakeResult.OK, HandshakeResult.SILENT, HandshakeResult.NO_VERSION))
"""What is no line in the audit log: a probe every four seconds would be 21,600 of them a day."""


def result_of(transport: Transport, reason: CloseReason) -> HandshakeResult:
    """How the handshake of a connection that has closed went."""
    if transport.keys.count:
        return HandshakeResult.OK
    if not transport.bytes_received:
        return HandshakeResult.SILENT
    if not transport.keys.peer_version:
        return HandshakeResult.NO_VERSION
    if reason.code == Disconnect.KEY_EXCHANGE_FAILED and transport.keys.mismatches:
        return HandshakeResult.NO_COMMON
    return HandshakeResult.FAILED


def line_of(
    transport: Transport, result: HandshakeResult, reason: CloseReason, target: str = ""
) -> HandshakeFailed:
    """The client's software, what happened, and where nothing is common both offers; `target` of an inner one."""
    nothing_common = None
    if result is HandshakeResult.NO_COMMON:
        nothing_common = tuple(_offers(found) for found in transport.keys.mismatches)
    return HandshakeFailed(
        target=target,
        reason=result,
        software=printable(transport.keys.peer_version.decode("ascii", "replace"), 255),
        by=reason.by,
        text=printable(reason.text),
        nothing_common=nothing_common,
    )


def _offers(found: Mismatch) -> Offers:
    return {"list": found.what, "client": _cut(found.offered), "gateway": _cut(found.ours)}


def _cut(names: tuple[str, ...]) -> list[str]:
    left = len(names) - MOST_NAMES
    return [*names[:MOST_NAMES], f"and {left} more"] if left > 0 else list(names)
