"""The end of a connection that has said its last word: what is queued is sent, what still comes is thrown away.

Closing a socket with unread input resets it, and the peer would lose the DISCONNECT that tells it why. So our side is
closed behind what is queued, the peer's is awaited, and both have an end: a peer that takes nothing, or says too
much, is aborted (C24).
"""

from __future__ import annotations

from bastion.clock import DelayedCall, Timers
from bastion.errors import LimitReason, ProtocolError, Reason, UpstreamReason
from bastion.transport.byte_stream import ByteTransport, abort, left_to_take
from bastion.transport.key_exchange import KeyExchange
from bastion.transport.settings import DISCONNECT_TEXT_LIMIT, LINGER, LINGER_INPUT, LINGER_LOOK
from bastion.transport.states import Role
from bastion.wire.data import Reader, byte, string, uint32
from bastion.wire.numbers import MSG_DISCONNECT


class Closing:
    """One lingering connection: aborted `LINGER` seconds after its peer last took something, `total` in all."""

    __slots__ = ("_below", "_clock", "_discarded", "_end", "_mark", "_timer", "_until")

    def __init__(self, below: ByteTransport, clock: Timers, total: float) -> None:
        now = clock.seconds()
        self._below = below
        self._clock = clock
        self._discarded = 0
        self._mark = left_to_take(below)  # bytes that the peer had still to take at the last look
        self._until, self._end = now + LINGER, now + total
        self._timer: DelayedCall | None = clock.callLater(LINGER_LOOK, self._look)

    def begin(self, reading: bool) -> None:
        """Close our side behind what is queued, and read on; `reading` tells whether it is read now."""
        below = self._below
        if not reading:
            below.resumeProducing()
        (getattr(below, "loseWriteConnection", None) or below.loseConnection)()

    def discard(self, size: int) -> None:
        """Input of `size` bytes came, and is not looked at."""
        self._discarded += size
        if self._discarded > LINGER_INPUT:
            self._abort()

    def stop(self) -> None:
        """The connection below is gone."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        """Is the peer still taking the last of what it was sent?"""
        self._timer = None
        now, left = self._clock.seconds(), left_to_take(self._below)
        if left < self._mark:
            self._mark, self._until = left, now + LINGER
        wait = min(self._until, self._end) - now
        if wait > 0.001:
            self._timer = self._clock.callLater(min(LINGER_LOOK, wait), self._look)
        else:
            self._abort()

    def _abort(self) -> None:
        self.stop()
        abort(self._below)


def goodbye(code: int, text: str) -> bytes:
    """Our DISCONNECT (RFC 4253 section 11.1): code, description in UTF-8, language tag."""
    return byte(MSG_DISCONNECT) + uint32(code) + string(text) + string(b"")


def read_goodbye(payload: bytes) -> tuple[int, str]:
    """The peer's: its code, and what is kept of its text. It says goodbye whatever is in it."""
    code, text = 0, ""
    try:
        body = Reader(payload, 1)
        code = body.uint32()
        text = body.string()[:DISCONNECT_TEXT_LIMIT].decode("utf-8", "replace")
    except ProtocolError:
        pass
    return code, text


def reason_of_failure(keys: KeyExchange) -> Reason:
    """Which metric a broken protocol counts for, by how far the connection had come."""
    if keys.count:
        return LimitReason.PROTOCOL_ERROR
    if keys.role is Role.SERVER:
        return LimitReason.HANDSHAKE_FAILED
    return UpstreamReason.KEX_FAILED if keys.peer_version else UpstreamReason.NOT_SSH


def reason_of_leaving(keys: KeyExchange) -> Reason | None:
    """The same for a peer that left."""
    return LimitReason.HANDSHAKE_FAILED if keys.role is Role.SERVER and not keys.count else None
