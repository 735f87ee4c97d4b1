"""Locks that others have made and taken away. Those that are made here: test_desk.py, through the desk."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.control.asking import By, ControlError, Ended, Node
from bastion.control.lock_keeping import EXPIRY_LOOK, LockKeeper
from bastion.control.orders import AddLock, KeepLock, KeptLocks, Locks, RemoveLock, SetLocks
from bastion.errors import ControlReason
from bastion.observe.meters import LOCKS, Meters
from bastion.policy.lock_list import STEP, Gone
from bastion.policy.locks import Lock, LockKind

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
