"""Locks that others have made and taken away. Those that are made here: test_desk.py, through the desk."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.control.account_id import NO_ANSWER, AccountId
from bastion.control.asking import By, ControlError, Ended, Node
from bastion.control.lock_keeping import (
    APPLIES_AT_ONCE,
    APPLY_AGAIN,
    EXPIRY_LOOK,
    KEEPS_A_SECOND,
    KEEPS_AT_ONCE,
    LockKeeper,
)
from bastion.control.orders import AddLock, KeepLock, KeptLocks, LockMade, Locks, RemoveLock, SetLocks
from bastion.errors import ControlReason
from bastion.observe.meters import LOCKS, Meters
from bastion.policy.lock_list import STEP, Gone
from bastion.policy.locks import MAX_LOCKS, Lock, LockKind

TARGET = LockKind.TARGET
ROOT = By(0, "root")


class Hub(Node):
    name = "gateway"

    def __init__(self):
        self.asked, self.kept, self.store = [], [], Locks(())

    def ask_any(self, request):
        if isinstance(request, KeepLock):
            self.kept.append((request.lock.value, request.lock.made_at, request.gone))
        return fail(self.store) if isinstance(self.store, Exception) else succeed(self.store)

    def ask(self, request, stream=None):
        self.asked.append(request)
        return succeed(Ended(1, ids=("a",)))


class Office:
    def __init__(self):
        self.clock, self.timers, self.hub, self.meters, self.lines = (
            FixedClock(1000.0),
            Clock(),
            Hub(),
            Meters(),
            [],
        )
        self.keeper = LockKeeper(self.hub, self.clock, self.timers, self.lines.append, self.meters)
        self.shared = []
        self.keeper.share = self._share
        self.there = Ended()

    def _share(self, locks, gone):
        self.shared.append((locks, gone))
        return succeed(self.there)

    def do(self, what, request):
        got = []
        what(request).addBoth(got.append)
        return got[0]

    def events(self):
        return [(line.event, line.fields()["value"]) for line in self.lines]

    def in_force(self):
        last = self.hub.asked[-1]
        assert isinstance(last, SetLocks)
        return [lock.value for lock in last.locks]


@pytest.fixture
def office():
    made = Office()
    yield made
    made.keeper.stop()
    assert made.timers.getDelayedCalls() == []


def lock(value="web1", made_at=5.0, **more):
    return Lock(TARGET, value, "why", "sec (uid 1)", made_at, **more)


def add(value="web1"):
    return AddLock(TARGET, value, "why", None, ROOT)


def test_what_another_gateway_says_is_in_force_kept_and_written_down(office):
    ended = []
    office.keeper.learn("gw2", [lock()], []).addCallback(ended.append)
    assert ended == [Ended(1, ids=("a",))] and office.in_force() == ["web1"]
    assert office.hub.kept == [("web1", 5.0, False)] and office.events() == [("lock_followed", "web1")]
    assert office.shared == [], "who told us tells the others"
    assert office.meters.value(LOCKS, "target") == 1
    office.keeper.learn("gw3", [lock()], [])
    assert len(office.hub.asked) == 1 and len(office.lines) == 1, "the same again is no news"
    office.keeper.learn("gw3", [], [Gone(TARGET, "web1", 5.0)])
    assert office.in_force() == [] and office.hub.kept[-1] == ("web1", 5.0, True)
    assert office.events()[-1] == ("unlock_followed", "web1")


def test_a_lock_with_words_for_a_terminal_is_written_down_as_it_shows(office):
    office.keeper.learn("gw2", [Lock(TARGET, "web1", "x\x1b[2J", "y\u202e", 5.0)], [])
    fields = office.lines[0].fields()
    assert fields["why"] == "x\\x1b[2J" and fields["by"] == "y\\u202e"


def test_what_the_store_has_is_followed_and_not_written_again(office):
    office.keeper.seen([lock()])
    assert (
        office.in_force() == ["web1"]
        and office.hub.kept == []
        and office.events() == [("lock_followed", "web1")]
    )
    office.keeper.seen([lock()])
    assert len(office.hub.asked) == 1
    office.keeper.seen([])
    assert office.in_force() == [] and office.events()[-1] == ("unlock_followed", "web1")


def test_a_store_that_is_behind_is_told_again(office):
    office.do(office.keeper.add, add())
    office.hub.kept.clear()
    office.keeper.seen([lock()])
    assert office.hub.kept == [("web1", 1000.0, False)] and office.in_force() == ["web1"]


def test_a_lock_whose_end_the_store_has_is_over_here_and_what_was_written_late_is_ended_again(office):
    office.do(office.keeper.add, add())
    office.hub.kept.clear()
    office.keeper.seen([], [Gone(TARGET, "web1", 1000.0)])
    assert office.in_force() == [] and office.events()[-1] == ("unlock_followed", "web1")
    assert office.hub.kept == []
    office.keeper.seen([lock("web1", 1000.0)], [Gone(TARGET, "web1", 1000.0)])
    assert office.hub.kept == [("web1", 1000.0, True)] and office.in_force() == []


def test_a_new_server_is_told_of_ends_as_fast_as_one_writes(office):
    gone = [Gone(TARGET, f"w{n}", 5.0) for n in range(int(KEEPS_AT_ONCE) + 30)]
    office.keeper.seen([], gone)
    office.keeper.seen([], gone[:10], lost=True)
    assert len(office.hub.kept) == KEEPS_AT_ONCE
    office.timers.advance(1.0)
    assert len(office.hub.kept) == KEEPS_AT_ONCE + 20
    office.keeper.stop()


def test_what_is_made_here_is_told_to_the_others_and_who_is_silent_named(office):
    made = office.do(office.keeper.add, add())
    assert made.sessions == 1
    ((locks, gone),) = office.shared
    assert [one.value for one in locks] == ["web1"] and gone == ()
    office.there = Ended(2, ids=("b", "c"), silent=("gw2",))
    error = office.do(office.keeper.add, add("web2")).value
    assert isinstance(error, ControlError) and error.reason is ControlReason.TIMEOUT
    assert "gw2 did not answer" in error.text and "3 have ended elsewhere" in error.text
    assert office.in_force() == ["web1", "web2"], "it is in force here all the same"


def test_what_is_unlocked_here_is_told_too(office):
    office.do(office.keeper.add, add())
    office.there = Ended(silent=("gw2",))
    gone = office.do(office.keeper.remove, RemoveLock("web1", None, "", ROOT))
    assert [one.value for one in gone.locks] == ["web1"] and gone.silent == ("gw2",)
    assert office.shared[-1] == ((), (Gone(TARGET, "web1", 1000.0),))
    office.there = Ended()
    again = office.do(office.keeper.add, add())
    assert again.sessions == 1 and office.hub.kept[-1] == ("web1", 1000.0 + STEP, False)


def test_who_was_shown_a_lock_takes_away_that_one(office):
    office.do(office.keeper.add, add())
    office.do(office.keeper.remove, RemoveLock("web1", None, "", ROOT))
    office.do(office.keeper.add, add())
    refused = office.do(office.keeper.remove, RemoveLock("web1", None, "", ROOT, 1000.0)).value
    assert isinstance(refused, ControlError) and refused.reason is ControlReason.ALREADY
    assert office.in_force() == ["web1"]
    gone = office.do(office.keeper.remove, RemoveLock("web1", None, "", ROOT, 1000.0 + STEP))
    assert [one.value for one in gone.locks] == ["web1"] and office.in_force() == []


ALICES = AccountId("u-alice")


@pytest.mark.parametrize(
    ("by", "uid", "directory", "reason"),
    [
        (By(990, "console", "rex"), "", AccountId("u-rex"), None),
        (By(990, "console", "rex"), "u-alice", AccountId("u-rex"), None),
        (By(990, "console", "alice"), "", ALICES, ControlReason.NO_ROLE),
        (By(990, "console", "alice"), "u-alice", ALICES, ControlReason.NO_ROLE),
        (By(990, "console", "renamed"), "u-alice", ALICES, ControlReason.NO_ROLE),
        (By(990, "console", "rex"), "u-alice", AccountId(why=NO_ANSWER), ControlReason.FAILED),
        (By(990, "console", "rex"), "", AccountId(why=NO_ANSWER), None),
        (By(1000, "alice"), "u-alice", ALICES, ControlReason.NO_ROLE),
        (By(1000, "bob"), "u-alice", ALICES, None),
        (ROOT, "u-alice", ALICES, None),
    ],
)
def test_nobody_unlocks_himself(office, by, uid, directory, reason):
    office.keeper.use([Lock(LockKind.USER, "alice", "why", "sec (uid 1)", 5.0, uid=uid)])
    office.hub.store = directory
    got = office.do(office.keeper.remove, RemoveLock("alice", None, "found it", by))
    if reason is None:
        assert [one.value for one in got.locks] == ["alice"] and office.in_force() == []
        assert office.lines[-1].fields()["person"] == by.person
    else:
        assert got.value.reason is reason and office.in_force() == ["alice"] and office.lines == []


def test_locks_of_certificates_are_told_however_many_they_are(office):
    locks = [
        Lock(LockKind.CERTIFICATE, f"{n}@SHA256:{'a' * 43}", "why", "root (uid 0)", 1000.0) for n in range(3)
    ]
    office.do(lambda made: office.keeper.add_certificates(made, ROOT), locks)
    assert len(office.shared[0][0]) == 3 and [event for event, _ in office.events()] == ["locked"] * 3


def test_one_whose_time_is_over_goes_everywhere_by_itself(office):
    office.keeper.learn("gw2", [lock(until=1030.0)], [])
    office.clock.advance(60.0)
    office.timers.advance(EXPIRY_LOOK)
    assert office.in_force() == [] and office.hub.kept[-1] == ("web1", 5.0, True)
    office.keeper.learn("gw2", [lock(until=1030.0)], [])
    assert office.in_force() == [] and len(office.keeper.list) == 0


def test_at_the_start_the_store_is_asked(office):
    office.hub.store = Locks((lock(),))
    done = []
    office.keeper.load().addCallback(done.append)
    assert done and office.in_force() == ["web1"] and KeptLocks().command == "kept_locks"


def test_among_several_one_whose_clock_is_ahead_ends_no_lock_of_the_others(office):
    office.keeper.patience = 86400.0
    office.keeper.learn("gw2", [lock(until=1030.0)], [])
    office.clock.advance(60.0)
    office.timers.advance(EXPIRY_LOOK)
    assert office.in_force() == [] and office.keeper.list.taken == (), "it is over here"
    assert (LockKind.TARGET, "web1") in office.keeper.list and office.hub.kept == [("web1", 5.0, False)]
    assert office.events() == [("lock_followed", "web1"), ("unlocked", "web1")]
    office.timers.advance(EXPIRY_LOOK)
    assert len(office.events()) == 2, "one line"
    refused = office.do(office.keeper.remove, RemoveLock("web1", None, "x", ROOT)).value
    assert isinstance(refused, ControlError) and refused.reason is ControlReason.NOT_FOUND
    office.clock.advance(86400.0)
    office.timers.advance(EXPIRY_LOOK)
    assert office.hub.kept[-1] == ("web1", 5.0, True) and len(office.keeper.list) == 0


def test_a_gateway_that_begins_says_nothing_of_what_was_over_before(office):
    office.keeper.patience = 86400.0
    office.keeper.use([lock(until=900.0)])
    office.timers.advance(EXPIRY_LOOK)
    assert office.events() == [] and len(office.keeper.list) == 1


def test_what_another_locks_without_end_is_in_force_and_kept_one_after_the_other(office):
    locks = [lock(f"host{number}") for number in range(5000)]
    for start in range(0, 5000, 100):
        office.keeper.learn("gw2", locks[start : start + 100], [])
    assert len(office.hub.kept) == KEEPS_AT_ONCE and len(office.in_force()) == 5000
    office.timers.advance(10.0)
    assert len(office.hub.kept) <= KEEPS_AT_ONCE + 10 * KEEPS_A_SECOND
    for _ in range(300):
        office.timers.advance(1.0)
    assert len(office.hub.kept) == 5000


def test_one_that_says_something_else_all_the_time_does_not_have_all_processes_told_all_the_time(office):
    told = []
    for number in range(500):
        office.keeper.learn("gw2", [lock(f"host{number}")], []).addCallback(told.append)
    assert len(office.hub.asked) == len(told) == APPLIES_AT_ONCE
    office.timers.advance(APPLY_AGAIN)
    assert len(office.hub.asked) == APPLIES_AT_ONCE + 1 and len(office.in_force()) == 500
    assert len(told) == 500 and sum(ended.sessions for ended in told) == APPLIES_AT_ONCE + 1


def test_whoever_locks_here_finds_room_however_much_others_have_locked(office):
    for start in range(0, MAX_LOCKS, 1000):
        office.keeper.learn("gw2", [lock(f"host{number}") for number in range(start, start + 1000)], [])
    assert isinstance(office.do(office.keeper.add, add("web9")), LockMade) and "web9" in office.in_force()
