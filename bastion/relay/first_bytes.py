"""Is it SSH? Looks at the first bytes of both directions of one stream, and lets nothing of an SSH banner out.

RFC 4253 section 4.2: each side of an SSH connection begins with `SSH-`; only a server may send other lines first,
so one of the two always gives it away. A direction's first bytes are held while they could become `SSH-`, at most
three of them, and only until the other direction has begun with something else: then it is no SSH, and what
beginning has is passed as it comes (PostgreSQL answers a request for TLS with one single `S`). A side that speaks
first, says no more than `S`, `SS` or `SSH` and waits is kept waiting.

Nothing here sees SSH that is wrapped in something else.
"""

from __future__ import annotations

from enum import Enum

from bastion.sides import Side

BANNER = b"SSH-"


class Look(Enum):
    """What is to be done with the bytes that were looked at."""

    PASS = "pass"  # they go on, after what was held of this direction
    HOLD = "hold"  # they are held: nothing goes on
    SSH = "ssh"  # it is SSH, and nothing of it went on


class FirstBytes:
    """The first bytes of one stream. `decided[side]`: that direction has begun with something that is not SSH."""

    __slots__ = ("_begin", "_held", "decided")

    def __init__(self) -> None:
        self._begin = [b"", b""]  # by Side: what has come, while it is a beginning of the banner
        self._held = [b"", b""]
        self.decided = [False, False]

    def look(self, side: Side, data: bytes | memoryview) -> Look:
        """The next bytes from `side`. Call `release` after PASS, for either side."""
        if self.decided[side] or not data:
            return Look.PASS
        begin = self._begin[side] + bytes(data[: len(BANNER) - len(self._begin[side])])
        if begin == BANNER:
            return Look.SSH
        if not BANNER.startswith(begin):
            self.decided[side] = True
            return Look.PASS
        self._begin[side] = begin
        if self.decided[side.other]:
            return Look.PASS
        self._held[side] += bytes(data)
        return Look.HOLD

    def release(self, side: Side) -> bytes:
        """What was held of `side`, when it may go on: its direction, or the other, is no SSH."""
        if not any(self.decided):
            return b""
        return self.end(side)

    def end(self, side: Side) -> bytes:
        """What was held of `side`, which sends no more: so short a stream is no SSH."""
        held, self._held[side] = self._held[side], b""
        return held

    @property
    def over(self) -> bool:
        """Both directions are decided: nobody needs to look any more."""
        return all(self.decided)
