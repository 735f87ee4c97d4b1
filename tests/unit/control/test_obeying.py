"""Orders of other gateways: judged here, by what the account is here. The rest: test_fleet.py, over the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.control.asking import By, ControlError, Ended, Node, Stream
from bastion.control.hub import Hub
from bastion.control.lock_keeping import LockKeeper
from bastion.control.node import Selection
from bastion.control.obeying import LOOKED_UP, NAME_IN, WHOLE_AT_ONCE, Obeying
from bastion.control.orders import SetLocks
from bastion.control.peer import Caller
from bastion.control.roles import Role
from bastion.control.there import (
    ASKED_BY_NODES,
    MOST_TOLD,
    KillThere,
    LiveThere,
    LocksHeld,
    LocksThere,
    LocksTold,
    StatusThere,
    WatchThere,
)
from bastion.errors import ControlReason
from bastion.observe.meters import Meters
from bastion.policy.lock_list import Gone
from bastion.policy.locks import Lock, LockKind

BY = By(1000, "sec")
LOCK = Lock(LockKind.TARGET, "web1", "why", "sec (uid 1000)", 5.0)
ORDERS = (
    LiveThere(BY, Selection(everything=True)),
    StatusThere(BY),
    KillThere(BY, Selection(everything=True), "x"),
    WatchThere(BY, "abc"),
)


class Desk(Node):
    name = "gateway"

    def __init__(self):
        self.asked = []

    def ask(self, request, stream=None):
        self.asked.append((request, stream))
        return succeed(Ended())


class Here:
    def __init__(self, *allowed):
        self.timers, self.desk, self.lines, self.looked = Clock(), Desk(), [], []
        self.keeper = LockKeeper(Hub(self.desk), FixedClock(10.0), self.timers, self.lines.append, Meters())
        look = lambda name, then: self.looked.append((name, then))  # noqa: E731
        self.keeper.known = True
        self.obeying = Obeying("gw1", self.desk, self.keeper, frozenset(allowed or Role), self.timers, look)

    def answer(self, request):
        got = []
        try:
            self.obeying.answer("gw2", request, Stream(lambda event, size: None)).addBoth(got.append)
        except ControlError as error:
            return [error]
        return got

    def known(self, *roles):
        self.looked.pop()[1](Caller(By(0, "sec"), frozenset(roles)))


@pytest.fixture
def here():
    made = Here()
    yield made
    made.keeper.stop()
    assert made.timers.getDelayedCalls() == []


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.command)
@pytest.mark.parametrize("role", [None, *Role])
def test_each_order_needs_the_role_that_it_needs_at_the_socket(here, order, role):
    got = here.answer(order)
    assert here.looked[0][0] == "sec" and here.desk.asked == []
    here.known(*([role] if role else []))
    may = {
        "node_live": set(Role),
        "node_status": set(Role),
        "node_kill": {Role.ADMIN, Role.RESPONDER},
        "node_watch": {Role.ADMIN, Role.RESPONDER, Role.AUDITOR},
    }[order.command]
    assert bool(here.desk.asked) is (role in may)
    if role not in may:
        assert got[0].value.reason is ControlReason.NO_ROLE and "sec of gw2 has" in got[0].value.text
    elif hasattr(here.desk.asked[0][0], "by"):
        assert here.desk.asked[0][0].by == By(1000, "sec@gw2")
    assert (here.desk.asked[0][1] is not None) is (order.command == "node_watch") if here.desk.asked else True


@pytest.mark.parametrize("order", ORDERS[2:], ids=lambda order: order.command)
def test_a_person_is_believed_from_an_account_that_may_speak_here_too(here, order):
    for speaks in (False, True):
        got = here.answer(replace(order, by=By(990, "console", "ada")))
        here.looked.pop()[1](Caller(By(0, "console"), frozenset(Role), speaks))
        if not speaks:
            assert got[0].value.reason is ControlReason.NO_ROLE and here.desk.asked == []
    assert here.desk.asked[0][0].by == By(990, "console@gw2", "ada")


def test_what_is_not_allowed_to_others_is_refused_whatever_the_account_is_here():
    here = Here(Role.AUDITOR)
    got = here.answer(ORDERS[2])
    here.known(Role.ADMIN)
    assert got[0].value.reason is ControlReason.NO_ROLE and here.desk.asked == []
    here.answer(ORDERS[3])
    here.known(Role.ADMIN, Role.AUDITOR)
    assert len(here.desk.asked) == 1


def test_an_account_that_is_not_known_in_time_has_no_role(here):
    got = here.answer(ORDERS[0])
    here.timers.advance(NAME_IN)
    assert got[0].value.reason is ControlReason.NO_ROLE
    here.known(Role.ADMIN)  # too late
    assert here.desk.asked == []


def test_what_nobody_can_look_up_has_no_role(here):
    got = here.answer(ORDERS[0])
    here.looked.pop()[1](None)
    assert got[0].value.reason is ControlReason.NO_ROLE


def test_locks_are_told_once_and_learned(here):
    (held,) = here.answer(LocksThere())
    assert held == LocksHeld(held.mark) and here.answer(LocksThere(held.mark)) == [held]
    assert here.answer(LocksTold((LOCK,), ())) == [Ended()]
    assert here.desk.asked[-1][0] == SetLocks((LOCK,))
    (now,) = here.answer(LocksThere(held.mark))
    assert now == LocksHeld(now.mark, (LOCK,), ()) and now.mark != held.mark
    here.answer(LocksTold((), (Gone(LOCK.kind, LOCK.value, 5.0),)))
    (then,) = here.answer(LocksThere(now.mark))
    assert (then.locks, then.gone) == ((), (Gone(LOCK.kind, LOCK.value, 5.0),))
    assert [line.event for line in here.lines] == ["lock_followed", "unlock_followed"]


def test_nothing_else_is_answered(here):
    assert set(ASKED_BY_NODES) == {"node_locks", "node_lock", *(order.command for order in ORDERS)}
    (refused,) = here.answer(SetLocks(()))
    assert refused.reason is ControlReason.UNKNOWN_COMMAND


def test_the_whole_list_is_told_as_often_as_it_may_change(here):
    here.keeper.learn("gw3", [LOCK], [])
    answers = [here.answer(LocksThere())[0] for _ in range(round(WHOLE_AT_ONCE) + 1)]
    assert answers[-1].value.reason is ControlReason.TOO_MANY and answers[-2].locks == (LOCK,)
    assert here.answer(LocksThere(answers[0].mark))[0] == LocksHeld(answers[0].mark), "that is always told"
    here.timers.advance(1.0)
    assert here.answer(LocksThere())[0].locks == (LOCK,)


def test_so_many_locks_and_no_more_in_one_question(here):
    many = tuple(Lock(LockKind.TARGET, f"t{n}", "x", "y", 5.0) for n in range(MOST_TOLD + 1))
    for told in (LocksTold(many, ()), LocksTold((), tuple(Gone(one.kind, one.value, 5.0) for one in many))):
        assert here.answer(told)[0].value.reason is ControlReason.MALFORMED
    assert len(here.keeper.list) == 0


def test_a_list_of_which_nobody_has_said_that_it_is_whole_is_told_as_such(here):
    here.keeper.known = False
    (held,) = here.answer(LocksThere())
    (again,) = here.answer(LocksThere(held.mark))
    assert held.known is again.known is False
    here.keeper.seen([])
    assert here.answer(LocksThere(held.mark))[0].known


def test_accounts_whose_names_do_not_answer_take_no_more_threads_than_they_may(here):
    got = [here.answer(ORDERS[0]) for _ in range(LOOKED_UP + 1)]
    assert len(here.looked) == LOOKED_UP and got[-1][0].value.reason is ControlReason.NO_ROLE
    here.timers.advance(NAME_IN)
    assert here.answer(ORDERS[0])[0].value.reason is ControlReason.NO_ROLE, "their threads are still there"
    here.looked.pop()[1](None)
    here.answer(ORDERS[0])
    here.known(Role.ADMIN)
    assert len(here.desk.asked) == 1
