"""Sessions that went quiet are signed, a few at a time."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock

from bastion.session.checkpoints import AT_ONCE, PERIOD, Checkpoints
from bastion.session.gateway import Gateway


class Quiet:
    """Stands for a session of which something waits for a signature."""

    def __init__(self) -> None:
        self.waits = True

    def sign(self) -> bool:
        was, self.waits = self.waits, False
        return was


class Fake:
    def __init__(self, count: int) -> None:
        self.reactor = Clock()
        self.live: list[Any] = [Quiet() for _ in range(count)]


def test_all_are_signed_and_few_in_a_turn() -> None:
    gateway = Fake(AT_ONCE * 2 + 1)
    checkpoints = Checkpoints(cast(Gateway, gateway))
    checkpoints.start()
    left, step = [], checkpoints._some

    def turn(sessions: Any) -> None:
        step(sessions)
        left.append(sum(one.waits for one in gateway.live))

    checkpoints._some = turn  # type: ignore[method-assign]
    gateway.reactor.advance(PERIOD)
    assert left == [AT_ONCE + 1, 1, 0]
    gateway.live[0].waits = True
    gateway.reactor.advance(PERIOD)
    assert not gateway.live[0].waits
    checkpoints.stop()
    checkpoints.stop()
    assert gateway.reactor.getDelayedCalls() == []
