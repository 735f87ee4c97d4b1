"""Who takes nothing: how many, for how long in all, and what waits for them."""

from __future__ import annotations

from bastion.transport.stalls import Stalls


class Leg:
    def __init__(self, bytes: int) -> None:
        self.bytes = bytes

    def waiting(self) -> int:
        return self.bytes


def test_stalls_are_added_up_and_those_that_last_are_in_it() -> None:
    stalls, first, second = Stalls(), Leg(100), Leg(20)
    stalls.begin(first.waiting, 10.0)
    stalls.begin(second.waiting, 11.0)
    assert (len(stalls), stalls.waiting(), stalls.seconds(12.0)) == (2, 120, 3.0)
    stalls.end(first.waiting, 12.0)
    assert (len(stalls), stalls.waiting(), stalls.seconds(13.0)) == (1, 20, 4.0)
    stalls.end(second.waiting, 13.0)
    assert (len(stalls), stalls.waiting(), stalls.seconds(99.0)) == (0, 0, 4.0)


def test_what_has_not_begun_has_nothing_to_end() -> None:
    stalls = Stalls()
    stalls.end(Leg(1).waiting, 5.0)
    assert (len(stalls), stalls.seconds(9.0)) == (0, 0.0)
