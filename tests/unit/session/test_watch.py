"""The clocks of a session, with a clock of our own: what is said when, and what ends it."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from bastion.errors import EndReason
from bastion.session.ending import End
from bastion.session.watch import CALENDAR_LOOK, Watch, WatchLimits, in_words
from bastion.sides import Side


class FakeSession:
    """Notes what the clocks do to it; `stop` stands for the session's own ending."""

    session_id = "k3v2m5q7p2r4t6w8"

    def __init__(self) -> None:
        self.heard = [0, 0]
        self.moved = 0
        self.read = {Side.CLIENT: True, Side.TARGET: True}
        self.asked: list[Side] = []
        self.warned: list[str] = []
        self.ended: list[End] = []
        self.watch: Watch | None = None

    def is_read(self, side: Side) -> bool:
        return self.read[side]

    def ask_alive(self, side: Side) -> None:
        self.asked.append(side)

    def warn(self, text: str) -> None:
        self.warned.append(text.strip())

    def end(self, end: End) -> None:
        self.ended.append(end)
        assert self.watch is not None
        self.watch.stop()


def watched(**limits: float) -> tuple[FakeSession, Clock]:
    session, clock = FakeSession(), Clock()
    chosen = {"keepalive_interval": 0.0, **limits}
    session.watch = Watch(session, clock, WatchLimits(**chosen))  # type: ignore[arg-type]
    session.watch.start()
    return session, clock


def advance(clock: Clock, seconds: float, step: float = 0.5) -> None:
    clock.pump([step] * round(seconds / step))


def test_nothing_is_watched_without_limits() -> None:
    session, clock = watched()
    assert not clock.getDelayedCalls()
    assert not session.ended


def test_a_session_costs_one_timer_whatever_is_watched() -> None:
    _, clock = watched(keepalive_interval=60, idle=600, lasts=3600)
    assert len(clock.getDelayedCalls()) == 1


def test_the_longest_duration_is_announced_and_then_ends_the_session() -> None:
    session, clock = watched(lasts=20 * 60)
    advance(clock, 5 * 60)
    assert session.warned == ["bastion: this session ends in 15 min: its longest duration is 20 min"]
    advance(clock, 14 * 60)
    assert [line.split(":")[1] for line in session.warned] == [
        " this session ends in 15 min",
        " this session ends in 5 min",
        " this session ends in 1 min",
    ]
    assert not session.ended
    advance(clock, 60)
    (end,) = session.ended
    assert end.reason is EndReason.DURATION
    assert end.line == "bastion: the session has ended: its longest duration is 20 min (ref k3v2m5)"
    assert not clock.getDelayedCalls()


def test_a_short_duration_is_announced_only_where_there_is_time() -> None:
    session, clock = watched(lasts=90)
    advance(clock, 31)
    assert len(session.warned) == 1 and "ends in 1 min" in session.warned[0]
    advance(clock, 60)
    assert session.ended[0].reason is EndReason.DURATION


def test_an_expired_credential_has_its_own_reason_and_words() -> None:
    calendar = Clock()
    session, clock = watched(lasts=30, credential_left=lambda: 30 - calendar.seconds())
    for _ in range(31):
        calendar.advance(1)
        clock.advance(1)
    assert session.ended[0].reason is EndReason.GRANT_ENDED
    assert "certificate or key expires" in session.ended[0].line


def test_a_credential_that_a_set_clock_has_ended_ends_the_session() -> None:
    left = [7200.0]
    session, clock = watched(lasts=7200, credential_left=lambda: left[0])
    advance(clock, 60)
    assert not session.ended
    left[0] = -1.0
    advance(clock, CALENDAR_LOOK)
    assert session.ended[0].reason is EndReason.GRANT_ENDED


def test_a_clock_that_is_set_back_makes_no_session_longer() -> None:
    session, clock = watched(lasts=90, credential_left=lambda: 3600.0)
    advance(clock, 91)
    assert session.ended[0].reason is EndReason.GRANT_ENDED


def test_silence_is_announced_and_then_ends_the_session() -> None:
    session, clock = watched(idle=600)
    advance(clock, 541)
    assert session.warned == ["bastion: no data for 9 min: this session ends in 1 min"]
    advance(clock, 60)
    assert session.ended[0].reason is EndReason.IDLE
    assert "no data for 10 min" in session.ended[0].line


def test_data_either_way_puts_silence_off() -> None:
    session, clock = watched(idle=600)
    for _ in range(10):
        session.moved += 1
        advance(clock, 300)
    assert not session.ended and not session.warned
    advance(clock, 631)  # the last data counts as of the look after it, at most 30 s later
    assert session.ended[0].reason is EndReason.IDLE


def test_data_after_the_announcement_puts_silence_off_too() -> None:
    session, clock = watched(idle=600)
    advance(clock, 545)
    session.moved += 1
    advance(clock, 300)
    assert len(session.warned) == 1
    assert not session.ended


def test_keepalives_do_not_count_as_data() -> None:
    session, clock = watched(idle=120, keepalive_interval=10, keepalive_count=3)
    for _ in range(13):
        session.heard[0] += 1
        session.heard[1] += 1
        advance(clock, 10)
    assert session.ended[0].reason is EndReason.IDLE


@pytest.mark.parametrize("side", list(Side))
def test_a_leg_that_answers_nothing_ends_the_session(side: Side) -> None:
    session, clock = watched(keepalive_interval=60, keepalive_count=3)
    for _ in range(3):
        session.heard[side.other] += 1
        advance(clock, 60)
    assert session.asked == [side] * 3
    assert not session.ended
    session.heard[side.other] += 1
    advance(clock, 60)
    assert session.ended[0].reason is EndReason.KEEPALIVE
    assert ("client" if side is Side.CLIENT else "target") in session.ended[0].line
    assert "3 min" in session.ended[0].line


def test_one_answer_begins_the_count_again() -> None:
    session, clock = watched(keepalive_interval=60, keepalive_count=2)
    for minute in range(20):
        if minute % 2 == 0:
            session.heard[0] += 1
            session.heard[1] += 1
        advance(clock, 60)
    assert not session.ended
    assert session.asked


def test_a_leg_that_is_not_read_is_not_called_silent() -> None:
    session, clock = watched(keepalive_interval=60, keepalive_count=1)
    session.read[Side.TARGET] = False
    for _ in range(10):
        session.heard[0] += 1
        advance(clock, 60)
    assert not session.ended
    assert Side.TARGET not in session.asked


def test_stop_leaves_no_timer() -> None:
    session, clock = watched(keepalive_interval=60, idle=60, lasts=60)
    assert session.watch is not None
    session.watch.stop()
    assert not clock.getDelayedCalls()
    advance(clock, 200)
    assert not session.ended and not session.warned


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(43200, "12 h"), (5400, "90 min"), (60, "1 min"), (59.6, "1 min"), (90, "90 s"), (0.1, "1 s")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
