"""So many at once, and so many a second."""

from __future__ import annotations

from twisted.internet.task import Clock

from bastion.control.rate import Rate


def test_so_many_at_once_and_so_many_a_second():
    clock = Clock()
    rate = Rate(clock, 2.0, 5.0)
    assert [rate.allows() for _ in range(6)] == [True] * 5 + [False]
    clock.advance(1.0)
    assert [rate.allows() for _ in range(3)] == [True, True, False]
    clock.advance(3600.0)
    assert not rate.allows(6) and rate.allows(5) and not rate.allows()
