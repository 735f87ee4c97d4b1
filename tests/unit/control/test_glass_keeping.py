"""Break-glass accounts opened and closed here, elsewhere, and before a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.control.asking import By, ControlError
from bastion.control.glass import Glass, GlassKept, KeepGlass, Kept, SetGlass
from bastion.control.glass_keeping import LONGEST, LOOK, SKEW, GlassKeeper
from bastion.control.hub import Hub
from bastion.errors import ControlReason
from bastion.observe.events import AuditEvent

SEC = By(1000, "sec")
GONE = ControlError(ControlReason.LINK_LOST, "gone")


class Office(Hub):
    """The hub of a gateway whose store says `kept`."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.timers = FixedClock(1000.0), Clock()
        self.lines: list[AuditEvent] = []
        self.kept: Kept | Exception = Kept(Glass())
        self.told: list[Glass] = []
        self.wrote: list[Kept] = []
        self.looks = 0
        self.keeper = GlassKeeper(self, self.clock, self.timers, self.lines.append)

    def ask(self, request, stream=None):  # type: ignore[no-untyped-def]
        assert isinstance(request, SetGlass)
        self.told.append(request.glass)
        return succeed(request.glass)

    def ask_any(self, request):  # type: ignore[no-untyped-def]
        if isinstance(request, KeepGlass):
            self.wrote.append(request.kept)
            return succeed(request.kept)
        assert isinstance(request, GlassKept)
        self.looks += 1
        return fail(self.kept) if isinstance(self.kept, Exception) else succeed(self.kept)

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.timers.advance(seconds)

    def events(self) -> list[str]:
        return [line.event for line in self.lines]


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.keeper.stop()
    assert made.timers.getDelayedCalls() == []


def test_what_is_opened_is_in_force_kept_and_written_down(office: Office) -> None:
    opened = Glass(1060.0, "INC-7", "sec (uid 1000)")
    assert office.keeper.open(SEC, "INC-7", 60.0).result == opened
    assert office.told == [opened] and office.wrote == [Kept(opened, 1000.0)]
    assert office.events() == ["break_glass_opened"] and office.keeper.glass == opened
    office.keeper.close(SEC)
    closed = Glass(opened_by="sec (uid 1000)")
    assert office.told[1:] == [closed] and office.wrote[1:] == [Kept(closed, 1000.001)]
    assert office.events() == ["break_glass_opened", "break_glass_closed"] and office.keeper.glass is None


def test_it_is_open_although_it_cannot_be_kept(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "ask_any", lambda request: fail(GONE))
    assert office.keeper.open(SEC, "INC-7", 60.0).result.until == 1060.0


def test_what_was_open_before_a_restart_is_open_after_it(office: Office) -> None:
    opened = Glass(1300.0, "INC-7", "sec (uid 1000)")
    office.kept = Kept(opened, 900.0)
    office.keeper.follow()
    assert office.told == [opened] and office.keeper.glass == opened
    assert office.events() == ["break_glass_followed"]
    office.later(LOOK)
    assert office.looks == 2 and len(office.told) == len(office.lines) == 1, "it is said once"


def test_what_another_gateway_says_is_followed(office: Office) -> None:
    office.keeper.follow()
    assert office.told == [] and office.events() == []
    office.kept = Kept(Glass(1600.0, "INC-7", "bob (uid 7)"), 1005.0)
    office.later(LOOK)
    assert [glass.until for glass in office.told] == [1600.0]
    office.kept = Kept(Glass(opened_by="bob (uid 7)"), 1015.0)
    office.later(LOOK)
    assert office.told[-1].until is None and office.keeper.glass is None
    assert office.events() == ["break_glass_followed"] * 2


def test_what_was_said_here_later_stands(office: Office) -> None:
    office.keeper.open(SEC, "INC-7", 600.0)
    office.kept = Kept(Glass(opened_by="bob (uid 7)"), 999.0)
    office.keeper.follow()
    assert len(office.told) == 1 and office.keeper.glass is not None


def test_while_the_store_is_away_what_is_known_lasts_its_time_and_no_longer(office: Office) -> None:
    office.kept = Kept(Glass(1300.0, "INC-7", "sec (uid 1000)"), 900.0)
    office.keeper.follow()
    office.kept = GONE
    office.later(299)
    assert office.keeper.glass is not None
    office.later(1)
    assert office.keeper.glass is None


@pytest.mark.parametrize("until", [999.0, 1000.0 + LONGEST + SKEW + 1, float("inf")])
def test_an_opening_that_is_over_or_longer_than_any_opens_nothing(office: Office, until: float) -> None:
    office.kept = Kept(Glass(until, "INC-7", "sec (uid 1000)"), 990.0)
    office.keeper.follow()
    assert office.told == [] and office.keeper.glass is None


def test_a_day_that_a_gateway_with_a_fast_clock_has_opened_is_a_day(office: Office) -> None:
    office.kept = Kept(Glass(1005.0 + LONGEST, "INC-7", "bob (uid 7)"), 1005.0)
    office.keeper.follow()
    assert [glass.until for glass in office.told] == [1000.0 + LONGEST] and office.keeper.glass is not None


def test_an_answer_after_the_end_is_nobodys(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    late: Deferred[Kept] = Deferred()
    monkeypatch.setattr(office, "ask_any", lambda request: late)
    office.keeper.follow()
    office.keeper.stop()
    late.callback(Kept(Glass(1300.0, "INC-7", "sec (uid 1000)"), 900.0))
    assert office.told == [] and office.timers.getDelayedCalls() == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, LONGEST + 1])
def test_not_for_ever(office: Office, seconds: float) -> None:
    with pytest.raises(ControlError):
        office.keeper.open(SEC, "x", seconds)
    with pytest.raises(ControlError):
        office.keeper.close(SEC)
    assert office.told == office.lines == []
