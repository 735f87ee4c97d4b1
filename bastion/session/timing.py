"""How long the way into one session takes, as histograms: the gateway's own steps, all of it, and the first output.

Invariant: what a person took is in none of them. The time begins with the last proof, or the approval; a session in
which somebody was asked something on the way has its steps counted and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bastion.clock import Timers
from bastion.errors import Refused
from bastion.observe.exemplars import SessionMeters
from bastion.observe.families.opening import FIRST_OUTPUT_SECONDS, OPENING_SECONDS, OPENING_STEP_SECONDS
from bastion.observe.spans import CLIENT, INTERRUPTED


class OpeningTimes:
    """One per opening. `begin` when nobody is waited for any more, again after each answer; then `opened`."""

    __slots__ = ("_asked", "_began", "_clock", "_meters")

    def __init__(self, meters: SessionMeters, clock: Timers) -> None:
        self._meters, self._clock = meters, clock
        self._began = clock.seconds()
        self._asked = False

    def begin(self) -> None:
        """The last proof is there, or somebody's approval: from here on only machines take time."""
        self._began = self._clock.seconds()

    def asked(self) -> None:
        """A person was asked something, after that."""
        self._asked = True

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One of the gateway's own steps, refused or not."""
        began = self._clock.seconds()
        try:
            yield
        finally:
            self._meters.observe(OPENING_STEP_SECONDS, self._clock.seconds() - began, name)

    @contextmanager
    def dial(self) -> Iterator[None]:
        """The way to the target: its phases have histograms of their own, and in a trace stand within it."""
        trace, error = self._meters.trace, INTERRUPTED
        if trace is not None:
            trace.enter("dial", CLIENT)
        try:
            yield
            error = ""
        except Refused as refusal:
            error = refusal.reason
            raise
        finally:
            if trace is not None:
                trace.leave(error)

    def opened(self) -> None:
        """The session runs from this turn on."""
        if not self._asked:
            self._meters.observe(OPENING_SECONDS, self._clock.seconds() - self._began)

    def first_output(self) -> Callable[[], None] | None:
        """What is to be called when the target has said its first word: it holds nothing of the opening."""
        if self._asked:
            return None
        meters, clock, began = self._meters, self._clock, self._began
        return lambda: meters.observe(FIRST_OUTPUT_SECONDS, clock.seconds() - began)
