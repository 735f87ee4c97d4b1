"""The desk: locks are kept and put in force, and whatever acts is written down."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.auth.throttle import Penalties, PenaltyLimits
from bastion.clock import FixedClock
from bastion.control.account_id import NO_ANSWER, AccountId, IdAsked
from bastion.control.asking import By, ControlError, Ended, Node
from bastion.control.desk import MOST_IDS, Desk
from bastion.control.glass import CloseGlass, Glass, OpenGlass, SetGlass
from bastion.control.lock_keeping import EXPIRY_LOOK, ID_AGAIN, LOAD_AGAIN, LOOKUP
from bastion.control.node import Kill, LiveAsked, Selection
from bastion.control.orders import (
    AddLock,
    ClearPenalties,
    Enrolment,
    EnrolTotp,
    Forgotten,
    KeepLock,
    KeptLocks,
    LevelSet,
    LockMade,
    Locks,
    LocksAsked,
    LogLevel,
    PenaltiesAsked,
    PenaltyList,
    RemoveLock,
    ResetTotp,
    SetLocks,
    SetLogLevel,
)
from bastion.errors import AuthReason, ControlReason
from bastion.observe.meters import LOCKS, Meters
from bastion.policy import locks as policy
from bastion.policy.locks import Lock, LockKind

SEC = By(1000, "sec")
USER, TARGET = LockKind.USER, LockKind.TARGET


class Hub(Node):
    name = "gateway"

    def __init__(self):
        self.asked, self.answer = [], Ended(2, 1, 0, ("a", "b", "c"))
        self.asked_one, self.store = [], Locks(())
        self.ids, self.id = [], succeed(AccountId(why="nobody"))

    def ask_any(self, request):
        if isinstance(request, IdAsked):
            self.ids.append(request.name)
            return self.id
        self.asked_one.append(request)
        return fail(self.store) if isinstance(self.store, Exception) else succeed(self.store)

    def ask(self, request, stream=None):
        self.asked.append(request)
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)


class Office:
    def __init__(self):
        self.clock, self.timers, self.hub, self.meters = FixedClock(1000.0), Clock(), Hub(), Meters()
        self.lines = []
        self.desk = Desk(self.hub, self.clock, self.timers, self.lines.append, self.meters)

    def ask(self, request):
        got = []
        self.desk.ask(request).addBoth(got.append)
        return got[0]

    def kept(self):
        """What the store was told, as (value, is it gone)."""
        return [(one.lock.value, one.gone) for one in self.hub.asked_one if isinstance(one, KeepLock)]

    def written(self):
        return [(line.event, line.fields()) for line in self.lines]


@pytest.fixture
def office():
    made = Office()
    yield made
    made.desk.stop()
    assert made.timers.getDelayedCalls() == []


def test_a_lock_is_kept_put_in_force_and_written_down(office):
    made = office.ask(AddLock(USER, "Alice", "stolen  laptop", 3600.0, SEC))
    assert made == LockMade(2, 1, 0, ("a", "b", "c"), on_name="nobody")
    lock = Lock(USER, "alice", "stolen laptop", "sec (uid 1000)", 1000.0, 4600.0)
    assert office.hub.asked == [SetLocks((lock,))] and office.kept() == [("alice", False)]
    ((event, fields),) = office.written()
    assert (
        event == "locked"
        and fields["who"] == "sec"
        and fields["who_uid"] == 1000
        and fields["why"] == "stolen laptop"
    )
    assert (fields["kind"], fields["value"], fields["until"], fields["sessions"]) == (
        "user",
        "alice",
        4600.0,
        2,
    )
    assert office.ask(LocksAsked()).locks == (lock,) and office.meters.value(LOCKS, "user") == 1


def test_a_lock_again_takes_the_place_of_the_first(office):
    office.ask(AddLock(USER, "alice", "one", None, SEC))
    office.ask(AddLock(USER, "alice", "two", 60.0, SEC))
    (lock,) = office.ask(LocksAsked()).locks
    assert (lock.reason, lock.until) == ("two", 1060.0)


def test_a_lock_that_not_everybody_has_heard_of_is_written_down_and_kept(office):
    office.hub.answer = ControlError(ControlReason.TIMEOUT, "worker 2 did not answer in 10 s")
    assert office.ask(AddLock(USER, "alice", "x", None, SEC)).value is office.hub.answer
    assert [event for event, _ in office.written()] == ["locked"] and len(office.desk.locks) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (AddLock(USER, "a b", "x", None, SEC), ControlReason.MALFORMED),
        (AddLock(USER, "alice", " ", None, SEC), ControlReason.MALFORMED),
        (AddLock(USER, "alice", "x" * 201, None, SEC), ControlReason.MALFORMED),
        (AddLock(USER, "alice", "x", 0.0, SEC), ControlReason.MALFORMED),
        (AddLock(USER, "alice", "x", 1e12, SEC), ControlReason.MALFORMED),
        (RemoveLock("alice", None, "", SEC), ControlReason.NOT_FOUND),
        (Kill(Selection(user="alice"), "", SEC), ControlReason.MALFORMED),
    ],
)
def test_what_cannot_be_done_is_not_done(office, request_, reason):
    assert office.ask(request_).value.reason is reason
    assert office.hub.asked == [] and office.lines == [] and office.kept() == []


def test_there_are_no_more_locks_than_may_be(office, monkeypatch):
    monkeypatch.setattr("bastion.control.lock_keeping.MAX_LOCKS", 1)
    assert policy.MAX_LOCKS > 1
    office.ask(AddLock(USER, "alice", "x", None, SEC))
    assert office.ask(AddLock(USER, "bob", "x", None, SEC)).value.reason is ControlReason.TOO_MANY
    office.ask(AddLock(USER, "alice", "y", None, SEC))
    assert len(office.desk.locks) == 1


def test_unlocking(office):
    office.ask(AddLock(USER, "alice", "x", None, SEC))
    office.ask(AddLock(TARGET, "alice", "x", None, SEC))
    assert office.ask(RemoveLock("ALICE", None, "", SEC)).value.reason is ControlReason.AMBIGUOUS
    office.hub.asked.clear()
    (gone,) = office.ask(RemoveLock("ALICE", USER, "found it", SEC)).locks
    assert gone.kind is USER and [lock.kind for lock in office.hub.asked[0].locks] == [TARGET]
    assert office.kept()[-1] == ("alice", True)
    event, fields = office.written()[-1]
    assert event == "unlocked" and fields["why"] == "found it" and fields["who"] == "sec"


def test_a_lock_ends_by_itself(office):
    office.ask(AddLock(USER, "alice", "x", 30.0, SEC))
    office.clock.advance(31.0)
    assert office.desk.locks == ()  # whoever asks is not told of it any more
    office.timers.advance(EXPIRY_LOOK)
    event, fields = office.written()[-1]
    assert event == "unlocked" and fields["who"] == "" and office.kept()[-1] == ("alice", True)
    assert office.hub.asked[-1] == SetLocks(()) and office.meters.value(LOCKS, "user") == 0


def test_locks_that_were_kept_are_in_force_as_soon_as_the_store_answers(office):
    kept = [Lock(USER, "alice", "x", "b", 1.0), Lock(USER, "old", "x", "b", 1.0, until=999.0)]
    office.hub.store = ControlError(ControlReason.FAILED, "the state store does not answer")
    office.desk.load()
    assert office.hub.asked == []
    office.ask(AddLock(USER, "alice", "newer", None, SEC))
    office.hub.asked.clear()
    office.hub.store = Locks(tuple(kept))
    office.timers.advance(LOAD_AGAIN)
    (asked,) = office.hub.asked
    assert [lock.reason for lock in asked.locks] == ["newer"]  # what was made meanwhile stands
    assert [event for event, _ in office.written()] == ["locked"]


def test_where_nothing_was_kept_nothing_is_asked(office):
    office.desk.load()
    assert office.hub.asked == [] and office.hub.asked_one == [KeptLocks()]


def test_a_lock_is_in_force_although_it_cannot_be_kept(office):
    office.hub.store = ControlError(ControlReason.LINK_LOST, "gone")
    assert office.ask(AddLock(USER, "alice", "x", None, SEC)).sessions == 2


def test_penalties_that_the_process_of_the_desk_keeps(office):
    penalties = Penalties(office.clock, PenaltyLimits(free=1))
    for _ in range(2):
        penalties.failed("192.0.2.1", "alice", AuthReason.BAD_PASSWORD)
    desk = Desk(office.hub, office.clock, office.timers, office.lines.append, office.meters, penalties)
    (one,) = desk.ask(PenaltiesAsked()).result.penalties
    assert (one.source, one.account, one.failures) == ("192.0.2.1", "alice", 2)
    assert desk.ask(ClearPenalties("", "alice", "x", SEC)).result.all == 1
    assert desk.ask(PenaltiesAsked()).result == PenaltyList((), 0) and office.hub.asked == []


def test_the_log_of_the_process_of_the_desk_follows(office):
    office.hub.answer, heard = LevelSet(LogLevel.WARN, LogLevel.DEBUG), []
    office.desk.on_level = heard.append
    office.ask(SetLogLevel(LogLevel.WARN, SEC))
    assert heard == [LogLevel.WARN]


def test_a_kill_is_written_down(office):
    office.ask(Kill(Selection(user="alice", target="web1"), "an\nexercise", SEC))
    (asked,) = office.hub.asked
    assert asked.reason == "an exercise"
    ((event, fields),) = office.written()
    assert (
        event == "killed"
        and fields["selected"] == "user alice, target web1"
        and fields["ids"] == ("a", "b", "c")
    )


@pytest.mark.parametrize(
    "request_", [Kill(Selection(user="alice"), "x", SEC), AddLock(USER, "alice", "x", None, SEC)]
)
@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (Ended(3, 0, 1, ("a",), silent=("worker-2",)), (3, 1)),
        (ControlError(ControlReason.TIMEOUT, "worker-2 did not answer in 10 s"), (0, 0)),
    ],
)
def test_what_one_of_them_has_done_is_written_down_although_another_is_silent(
    office, request_, answer, counted
):
    office.hub.answer = answer
    error = office.ask(request_).value
    assert error.reason is ControlReason.TIMEOUT and "worker-2" in error.text
    ((event, fields),) = office.written()
    assert event in ("killed", "locked") and (fields["sessions"], fields["connections"]) == counted


def test_a_line_has_so_many_names_and_the_count_of_all(office):
    office.hub.answer = Ended(MOST_IDS + 1, ids=tuple(map(str, range(MOST_IDS + 1))))
    office.ask(Kill(Selection(everything=True), "x", SEC))
    ((_, fields),) = office.written()
    assert len(fields["ids"]) == MOST_IDS and fields["sessions"] == MOST_IDS + 1


def test_a_kill_of_nothing_has_no_line(office):
    office.hub.answer = ControlError(ControlReason.NOT_FOUND, "nothing")
    assert office.ask(Kill(Selection(user="alice"), "x", SEC)).value.reason is ControlReason.NOT_FOUND
    assert office.lines == []


def test_other_orders_are_written_down_and_looks_are_not(office):
    office.hub.answer = PenaltyList((), 3)
    office.ask(ClearPenalties("192.0.2.1", "", "typed it wrong", SEC))
    office.hub.answer = LevelSet(LogLevel.WARN, LogLevel.DEBUG)
    office.ask(SetLogLevel(LogLevel.WARN, SEC))
    office.ask(LiveAsked())
    assert [event for event, _ in office.written()] == ["penalties_cleared", "log_level_set"]
    assert office.written()[0][1]["cleared"] == 3 and office.written()[1][1]["level"] == "warn"


def test_second_factors_are_made_and_taken_away_with_a_line_and_without_the_secret(office):
    office.hub.store = Enrolment("alice", "u-1", "otpauth://totp/x?secret=SECRET", ("abcd-efgh",))
    assert office.ask(EnrolTotp("Alice", SEC)) == office.hub.store
    office.hub.store = Forgotten(1)
    assert office.ask(ResetTotp("alice", "lost  telephone", SEC)) == Forgotten(1)
    assert office.written() == [
        ("totp_enrolled", {"who": "sec", "who_uid": 1000, "user": "alice", "uid": "u-1"}),
        ("totp_reset", {"who": "sec", "who_uid": 1000, "user": "alice", "why": "lost telephone"}),
    ]
    assert office.ask(ResetTotp("alice", " ", SEC)).value.reason is ControlReason.MALFORMED


def test_break_glass_accounts_are_opened_for_a_time_and_written_down(office):
    opened = Glass(office.clock.time() + 3600, "INC-7", str(SEC))
    office.hub.answer = opened
    assert office.ask(OpenGlass("INC-7", 3600, SEC)) == opened
    assert office.hub.asked == [SetGlass(opened)] and office.desk.glass == opened
    (line,) = office.lines
    assert (line.event, line.who, line.why, line.until) == (
        "break_glass_opened",
        "sec",
        "INC-7",
        opened.until,
    )
    office.clock.advance(3600)
    assert office.desk.glass is None  # a process that joins now is told nothing


def test_break_glass_accounts_are_closed_again(office):
    assert office.ask(CloseGlass(SEC)).value.reason is ControlReason.NOT_FOUND
    office.hub.answer = Glass()
    office.ask(OpenGlass("INC-7", 3600, SEC))
    office.ask(CloseGlass(SEC))
    assert office.hub.asked[-1] == SetGlass(Glass(opened_by=str(SEC))) and office.desk.glass is None
    assert [line.event for line in office.lines] == ["break_glass_opened", "break_glass_closed"]


@pytest.mark.parametrize(("seconds", "reason"), [(0, "x"), (-1, "x"), (86401, "x"), (60, " ")])
def test_break_glass_accounts_are_not_opened_for_ever_or_without_a_reason(office, seconds, reason):
    assert office.ask(OpenGlass(reason, seconds, SEC)).value.reason is ControlReason.MALFORMED
    assert office.hub.asked == office.lines == [] and office.desk.glass is None


def test_a_name_is_locked_at_once_and_then_whose_it_is(office):
    office.hub.id, got = Deferred(), []
    office.desk.ask(AddLock(USER, "alice", "left", None, SEC)).addBoth(got.append)
    (lock,) = office.ask(LocksAsked()).locks
    assert lock.uid == "" and office.hub.asked == [SetLocks((lock,))], (
        "in force before the directory says anything"
    )
    assert got == []
    office.hub.id.callback(AccountId("u-1"))
    (named,) = office.ask(LocksAsked()).locks
    assert named == replace(lock, uid="u-1") and office.hub.asked[1:] == [SetLocks((named,))]
    assert [one.lock.uid for one in office.hub.asked_one] == ["", "u-1"] and office.hub.ids == ["alice"]
    assert got[0].uid == "u-1" and got[0].on_name == "" and got[0].sessions == 4
    ((event, told),) = office.written()
    assert (event, told["value"], told["uid"], told["sessions"]) == ("locked", "alice", "u-1", 4)


def test_an_id_that_comes_after_the_lock_is_gone_changes_nothing(office):
    office.hub.id = Deferred()
    office.desk.ask(AddLock(USER, "alice", "left", None, SEC))
    office.ask(RemoveLock("alice", by=SEC))
    office.hub.id.callback(AccountId("u-1"))
    assert office.ask(LocksAsked()).locks == () and office.hub.asked[-1] == SetLocks(())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (AccountId(why="nobody of that name"), "nobody of that name"),
        (ControlError(ControlReason.LINK_LOST, "gone"), NO_ANSWER),
        (None, NO_ANSWER),
    ],
)
def test_where_nobody_knows_whose_it_is_the_name_is_locked_and_that_is_said(office, answer, why):
    office.hub.id = Deferred()
    if answer is not None:
        office.hub.id = fail(answer) if isinstance(answer, Exception) else succeed(answer)
    got = []
    office.desk.ask(AddLock(USER, "alice", "left", None, SEC)).addBoth(got.append)
    office.timers.advance(LOOKUP)
    assert (got[0].uid, got[0].on_name) == ("", why)
    (lock,) = office.ask(LocksAsked()).locks
    assert lock.uid == "" and len(office.hub.asked) == 1
    assert office.ask(AddLock(TARGET, "web1", "x", None, SEC)).on_name == ""
    assert office.hub.ids == ["alice"], "only accounts have ids"


def test_a_lock_on_an_account_is_replaced_by_one_on_the_same_only(office):
    """Else whoever had the name before would be free."""
    office.hub.id = succeed(AccountId("u-1"))
    office.ask(AddLock(USER, "alice", "left", 60.0, SEC))
    for other in (AccountId("u-2"), AccountId(why=NO_ANSWER)):
        office.hub.id = succeed(other)
        refused = office.ask(AddLock(USER, "alice", "again", None, SEC)).value
        assert refused.reason is ControlReason.ALREADY and "u-1" in refused.text and "unlock" in refused.text
        (lock,) = office.ask(LocksAsked()).locks
        assert (lock.uid, lock.reason) == ("u-1", "left")
    office.hub.id = succeed(AccountId("u-1"))
    assert office.ask(AddLock(USER, "alice", "again", None, SEC)).uid == "u-1"
    (lock,) = office.ask(LocksAsked()).locks
    assert (lock.uid, lock.reason, lock.until) == ("u-1", "again", None)


def test_a_lock_whose_time_is_over_is_in_nobodys_way(office):
    office.hub.id = succeed(AccountId("u-1"))
    office.ask(AddLock(USER, "alice", "left", 60.0, SEC))
    office.clock.advance(60.0)
    office.hub.id = succeed(AccountId("u-2"))
    assert office.ask(AddLock(USER, "alice", "again", None, SEC)).uid == "u-2"


def locked_while_nobody_answers(office, *names):
    office.hub.id = succeed(AccountId(why=NO_ANSWER))
    for name in names:
        assert office.ask(AddLock(USER, name, "left", None, SEC)).on_name == NO_ANSWER
    office.hub.ids.clear()


def test_a_lock_on_a_name_is_on_its_account_when_the_directory_is_back(office):
    locked_while_nobody_answers(office, "alice", "bob")
    office.timers.advance(ID_AGAIN)
    assert office.hub.ids == ["alice"], "while it does not answer it is asked once"
    assert [lock.uid for lock in office.ask(LocksAsked()).locks] == ["", ""]
    office.hub.id = succeed(AccountId("u-1"))
    office.timers.advance(ID_AGAIN)
    assert [lock.uid for lock in office.ask(LocksAsked()).locks] == ["u-1", "u-1"]
    assert [one.lock.uid for one in office.hub.asked_one][-2:] == ["u-1", "u-1"], "and it is kept so"
    (_, told), (_, other) = office.written()[-2:]
    assert (told["value"], told["uid"], told["who"], told["why"]) == ("alice", "u-1", "sec", "left")
    assert other["value"] == "bob"
    office.timers.advance(10 * ID_AGAIN)
    assert office.hub.ids == ["alice", "alice", "bob"], "and it is asked no more"


@pytest.mark.parametrize("why", ["nobody of that name", "alice has no id of its own"])
def test_where_there_is_no_account_the_lock_stays_on_the_name(office, why):
    locked_while_nobody_answers(office, "alice")
    office.hub.id = succeed(AccountId(why=why))
    office.timers.advance(10 * ID_AGAIN)
    (lock,) = office.ask(LocksAsked()).locks
    assert lock.uid == "" and office.hub.ids == ["alice"]


def test_a_lock_that_is_gone_or_another_one_by_then_is_not_brought_back(office):
    locked_while_nobody_answers(office, "alice", "bob", "carol")
    office.ask(RemoveLock("alice", by=SEC))
    office.hub.id = succeed(AccountId("u-2"))
    office.ask(AddLock(USER, "bob", "again", None, SEC))
    office.hub.ids.clear()
    office.hub.id = Deferred()
    office.timers.advance(ID_AGAIN)
    assert office.hub.ids == ["carol"]
    office.ask(RemoveLock("carol", by=SEC))
    office.hub.id.callback(AccountId("u-3"))
    (lock,) = office.ask(LocksAsked()).locks
    assert (lock.value, lock.uid, lock.reason) == ("bob", "u-2", "again")


def test_who_loses_a_second_factor_loses_what_is_open(office):
    office.hub.store = Forgotten(1, name="alice")
    assert office.ask(ResetTotp("Alice@example.com", "lost", SEC)) == office.hub.store
    why = "the second factor was taken away: lost"
    assert office.hub.asked == [Kill(Selection(user="alice"), why, SEC)]
    (_, reset), (event, killed) = office.written()
    assert (event, killed["who"], killed["why"], killed["selected"]) == ("killed", "sec", why, "user alice")
    assert (killed["sessions"], killed["tunnels"], reset["why"]) == (2, 1, "lost")


def test_who_has_nothing_open_loses_it_all_the_same(office):
    office.hub.store = Forgotten(1, name="alice")
    office.hub.answer = ControlError(ControlReason.NOT_FOUND, "nothing that is open fits")
    assert office.ask(ResetTotp("alice", "lost", SEC)) == office.hub.store
    assert [event for event, _ in office.written()] == ["totp_reset"]


def test_that_somebody_was_silent_is_said(office):
    office.hub.store = Forgotten(1, name="alice")
    office.hub.answer = Ended(1, 0, 0, ("a",), silent=("worker-2",))
    refused = office.ask(ResetTotp("alice", "lost", SEC)).value
    assert refused.reason is ControlReason.TIMEOUT and "worker-2 did not answer" in refused.text
