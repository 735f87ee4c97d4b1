"""What all sessions share: who is let in at all, who pays, what is counted and what the operator reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.auth.budget import Budget, Payer, Work
from bastion.auth.startups import StartupLimiter
from bastion.clock import FixedClock
from bastion.errors import EndReason, LimitReason, Refused
from bastion.observe.families.nodes import UNCONFIRMED_REFUSALS
from bastion.observe.meters import (
    DESCRIPTORS_EXHAUSTED,
    SESSIONS_ENDED,
    SESSIONS_LIVE,
    SESSIONS_STARTED,
    Meters,
)
from bastion.session.ending import End
from bastion.session.gateway import DESCRIPTORS_EVERY, Gateway, Limits, locks_known
from bastion.sharing.rows import ROW_SIZE, Cell, Row, unfinished
from bastion.state.rows import Moved
from tests.support.state import closed_store

HERE = "192.0.2.1"


class Log:
    """The operator's log."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.failures: list[tuple[str, Exception]] = []

    def error(self, text: str, what: str) -> None:
        self.errors.append(text.format(what=what))

    def failure(self, text: str, failure: Failure, doing: str) -> None:
        self.failures.append((text.format(doing=doing), failure.value))


@pytest.fixture
def gateway() -> Gateway:
    clock = FixedClock()
    services: Any = SimpleNamespace(
        auth=SimpleNamespace(penalties=SimpleNamespace(allows_source=lambda _: True)), limits=Limits()
    )
    nobody: Any = None
    log: Any = Log()
    closed = closed_store()
    return Gateway(
        Clock(), clock, Meters(), nobody, nobody, StartupLimiter(lambda: 0.0), Budget(clock), services, closed, log=log
    )  # fmt: skip


def refused(gateway: Gateway) -> LimitReason:
    with pytest.raises(Refused) as caught:
        gateway.admit_connection(HERE)
    assert isinstance(caught.value.reason, LimitReason)
    return caught.value.reason


def test_a_connection_takes_a_place(gateway: Gateway) -> None:
    gateway.admit_connection(HERE)
    assert gateway.startups.waiting == 1


def test_who_is_not_let_in_takes_none(gateway: Gateway) -> None:
    penalties: Any = gateway.services.auth.penalties
    penalties.allows_source = lambda source: source != HERE
    assert refused(gateway) is LimitReason.PENALTY
    gateway.draining = True
    assert refused(gateway) is LimitReason.DRAINING
    assert gateway.startups.waiting == 0


def test_an_identity_pays_for_the_exchanges_it_asks_for(gateway: Gateway) -> None:
    spend = gateway.pays_key_exchanges("alice")
    spend(700)
    assert gateway.budget.held(Payer.IDENTITY, Work.KEY_EXCHANGE) == 700


def test_the_end_of_a_session_is_counted_by_door_and_reason(gateway: Gateway) -> None:
    session: Any = SimpleNamespace(session_id="one", door="jump", moved_in_all=lambda: (Moved(1, 2), 3))
    gateway.take_place("one", "u-1", None)
    gateway.opened(session, None)
    assert len(gateway.live) == gateway.meters.value(SESSIONS_LIVE, "jump") == 1
    assert gateway.meters.value(SESSIONS_STARTED, "jump") == 1
    gateway.session_ended(session, End(EndReason.IDLE, "no data"))
    assert len(gateway.live) == gateway.meters.value(SESSIONS_LIVE, "jump") == 0
    assert gateway.meters.value(SESSIONS_ENDED, "jump", EndReason.IDLE) == 1


def test_sessions_are_counted_over_all_workers_with_those_that_are_being_opened(gateway: Gateway) -> None:
    memory = memoryview(bytearray(2 * ROW_SIZE))
    gateway.others, other = (Row(memory, 2, own, b"k" * 16) for own in range(2))
    gateway.services.limits = Limits(sessions=3)
    other.add(Cell.SESSIONS, 1)
    gateway.take_place("a" * 16, "u-1", None)
    gateway.take_place("b" * 16, "u-1", None)
    with pytest.raises(Refused) as refusal:
        gateway.take_place("c" * 16, "u-1", None)
    assert refusal.value.reason is LimitReason.SESSIONS
    assert other.elsewhere(Cell.SESSIONS) == 2 and list(unfinished(memory, 0)) == ["a" * 16, "b" * 16]
    gateway.not_opened("a" * 16)
    session: Any = SimpleNamespace(session_id="b" * 16, door="direct", moved_in_all=lambda: (Moved(1, 2), 3))
    gateway.opened(session, None)
    other.add(Cell.SESSIONS, 1)
    with pytest.raises(Refused):
        gateway.take_place("c" * 16, "u-1", None)
    gateway.session_ended(session, End(EndReason.IDLE, "no data"))
    assert other.elsewhere(Cell.SESSIONS) == 0 and list(unfinished(memory, 0)) == []
    gateway.take_place("c" * 16, "u-1", None)


def test_no_descriptors_are_counted_each_time_and_told_now_and_then(gateway: Gateway) -> None:
    log: Any = gateway.log
    clock: Any = gateway.clock
    for what in ("accept", "dial", "recording"):
        gateway.out_of_descriptors(what)
        assert gateway.meters.value(DESCRIPTORS_EXHAUSTED, what) == 1
    assert log.errors == ["out of file descriptors (accept): raise the limit of open files"]
    clock.advance(DESCRIPTORS_EVERY)
    gateway.out_of_descriptors("dial")
    assert len(log.errors) == 2


def test_a_fault_of_ours_stands_in_the_log(gateway: Gateway) -> None:
    log: Any = gateway.log
    fault = KeyError("x")
    gateway.log_failure("opening a session", Failure(fault))
    assert log.failures == [("opening a session failed", fault)]


def test_engineers_type_what_is_configured_else_where_it_listens(gateway: Gateway) -> None:
    gateway.listening = ("host7", 2222)
    assert gateway.public == ("host7", 2222)
    gateway.typed = ("bastion.example.com", 22)
    assert gateway.public == ("bastion.example.com", 22)


def test_where_gateways_share_locks_nothing_new_begins_unless_they_are_known(gateway: Gateway) -> None:
    gateway.check_known()  # one gateway alone knows its locks
    gateway.know_locks(30.0)
    gateway.reactor.advance(29.0)
    gateway.check_known()
    gateway.reactor.advance(1.0)
    nobody: Any = None
    for check in (gateway.check_known, lambda: gateway.check_locks_of_tunnel(nobody, "db1")):
        with pytest.raises(Refused, match="cannot learn now who is locked") as no:
            check()
        assert no.value.reason is LimitReason.LOCKS_UNCONFIRMED
    assert gateway.meters.value(UNCONFIRMED_REFUSALS) == 2


def test_while_the_machine_was_suspended_nobody_has_said_what_is_locked(gateway: Gateway) -> None:
    clock: Any = gateway.clock
    gateway.know_locks(30.0)
    gateway.reactor.advance(1.0)
    clock.asleep += 3600.0
    assert not locks_known(gateway)
    gateway.know_locks(30.0)
    assert locks_known(gateway)
