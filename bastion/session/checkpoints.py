"""Recordings that went quiet get their signature too (L3).

A session that goes on signs what it recorded when it writes its next block. For one that does not, somebody has to
look: every PERIOD seconds, a few signatures in one turn of the reactor, since each takes it 50 us.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bastion.session.gateway import Gateway
from bastion.session.session import Session

PERIOD: Final = 2.0
"""With what `Recorder.due` waits for: less than CHECKPOINT_SECONDS in all."""

AT_ONCE: Final = 40
"""Signatures in one turn of the reactor: 2 ms."""


class Checkpoints:
    """One per process: `start` it, and `stop` it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._timer: Any = None

    def start(self) -> None:
        """From now on."""
        self._timer = self._gateway.reactor.callLater(PERIOD, self._round)

    def stop(self) -> None:
        """Nothing fires after this."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _round(self) -> None:
        self._some(iter(list(self._gateway.live)))

    def _some(self, sessions: Iterator[Session]) -> None:
        signed = 0
        for session in sessions:
            signed += session.sign()
            if signed >= AT_ONCE:
                self._timer = self._gateway.reactor.callLater(0, self._some, sessions)
                return
        self.start()
