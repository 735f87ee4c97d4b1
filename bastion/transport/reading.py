"""Whether the connection below is read: back-pressure of one leg on the other, and what outweighs it.

Invariant: a peer that has sent KEXINIT is read until its NEWKEYS. It sends no data until then, and two legs that wait
for each other's exchange would wait for ever.
"""

from __future__ import annotations

from typing import Final

from bastion.clock import DelayedCall, Timers
from bastion.transport.byte_stream import ByteTransport

_UNWANTED: Final = 1
_RESTING: Final = 2
_HELD: Final = 4  # until a host key was judged
_EXCHANGING: Final = 8  # the peer has sent KEXINIT


class _Watch:
    """How long it has been read: seconds from `began`, less those of its pauses."""

    __slots__ = ("began", "paused", "paused_at")

    def __init__(self, now: float) -> None:
        self.began = self.paused_at = now  # a pause that is on counts from here
        self.paused = 0.0


class Reading:
    """One per connection. It is read unless its owner does not want it (`want`) or it rests."""

    __slots__ = ("_below", "_clock", "_rest", "_watch", "_why", "on")

    def __init__(self, clock: Timers) -> None:
        self._clock = clock
        self._below: ByteTransport | None = None
        self._why = 0  # for what reasons it is read or not
        self._rest: DelayedCall | None = None
        self._watch: _Watch | None = None
        self.on = True
        """Whether it is read now."""

    def attach(self, below: ByteTransport) -> None:
        """Begin: `below` is connected, and is read."""
        self._below = below

    def detach(self) -> None:
        """End: nobody is asked any more."""
        self._below = None
        self._stop_rest()

    def want(self, yes: bool) -> None:
        """Read or do not, for the other leg's sake."""
        self._apply(_UNWANTED, not yes)

    def hold(self, yes: bool) -> None:
        """Do not read, whatever else: what has come already may not be looked at."""
        self._apply(_HELD, yes)

    def peer_exchanges(self, yes: bool) -> None:
        """The peer has sent KEXINIT and owes NEWKEYS: read, whoever does not want it."""
        self._apply(_EXCHANGING, yes)

    def rest(self, seconds: float) -> None:
        """Do not read for so long."""
        if seconds > 0 and self._below is not None:
            self._stop_rest()
            self._rest = self._clock.callLater(seconds, self._rested)
            self._apply(_RESTING, True)

    def _rested(self) -> None:
        self._rest = None
        self._apply(_RESTING, False)

    def _stop_rest(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()

    def _apply(self, reason: int, holds: bool) -> None:
        why = self._why = self._why | reason if holds else self._why & ~reason
        below = self._below
        if below is None:
            return
        wanted = not why & (_UNWANTED | _RESTING) or why & _EXCHANGING
        on = bool(wanted and not why & _HELD)
        if on is self.on:
            return
        self.on = on
        watch = self._watch
        if on:
            if watch is not None:
                watch.paused += self._clock.seconds() - watch.paused_at
            below.resumeProducing()
        else:
            if watch is not None:
                watch.paused_at = self._clock.seconds()
            below.pauseProducing()

    # -- for a timer that a pause stops ------------------------------------------------------------------

    def watch(self, yes: bool) -> None:
        """Count from now on how long it is read, or count no more."""
        self._watch = _Watch(self._clock.seconds()) if yes else None

    @property
    def seconds_read(self) -> float:
        """Seconds since `watch` in which it was read."""
        watch, now = self._watch, self._clock.seconds()
        if watch is None:
            return 0.0
        return now - watch.began - watch.paused - (0.0 if self.on else now - watch.paused_at)
