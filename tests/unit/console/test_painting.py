"""Who draws when: each at its own pace, one after the other, and never more than half of the time."""

from __future__ import annotations

from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.console.painting import PICTURE, Easel, Painter


class Studio:
    def __init__(self) -> None:
        self.timers, self.clock = Clock(), FixedClock()
        self.easel = Easel(self.timers, self.clock)
        self.drawn: list[str] = []
        self.cost, self.more = 0.0, set[str]()

    def painter(self, name: str) -> Painter:
        def work() -> bool:
            self.drawn.append(name)
            self.clock.advance(self.cost)
            return name in self.more

        return Painter(self.easel, work)


def test_the_first_piece_is_drawn_at_once_and_the_next_no_sooner_than_a_picture_later() -> None:
    studio = Studio()
    one = studio.painter("one")
    for _ in range(5):
        one.wants()
    studio.timers.advance(0)
    assert studio.drawn == ["one"]
    one.wants()
    one.wants()
    studio.timers.advance(PICTURE * 0.9)
    assert studio.drawn == ["one"]
    studio.timers.advance(PICTURE * 0.2)
    assert studio.drawn == ["one", "one"] and not studio.timers.getDelayedCalls()


def test_whoever_has_more_goes_on_by_himself_at_that_pace() -> None:
    studio = Studio()
    studio.more.add("one")
    studio.painter("one").wants()
    studio.timers.advance(0)
    for _ in range(10):
        studio.timers.advance(PICTURE)
    assert 10 <= len(studio.drawn) <= 11


def test_they_take_turns_and_rest_as_long_as_it_took() -> None:
    studio = Studio()
    studio.cost = 0.05
    for name in "abc":
        studio.painter(name).wants()
    studio.timers.advance(0)
    assert studio.drawn == ["a"]
    studio.timers.advance(0.04)
    assert studio.drawn == ["a"]
    studio.timers.advance(0.011)
    studio.timers.advance(0.051)
    assert studio.drawn == ["a", "b", "c"]


def test_nothing_is_drawn_after_the_end() -> None:
    studio = Studio()
    one, two = studio.painter("one"), studio.painter("two")
    one.wants()
    one.stop()
    two.wants()
    studio.timers.advance(0)
    two.wants()
    two.stop()
    one.wants()
    studio.timers.advance(10)
    assert studio.drawn == ["two"] and not studio.timers.getDelayedCalls()


def test_a_fault_of_one_does_not_stop_the_others() -> None:
    studio = Studio()

    def broken() -> bool:
        raise RuntimeError("odd")

    Painter(studio.easel, broken).wants()
    studio.painter("two").wants()
    try:
        studio.timers.advance(0)
    except RuntimeError:
        pass
    studio.timers.advance(0)
    assert studio.drawn == ["two"]
