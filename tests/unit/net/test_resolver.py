"""Look-ups of names: bounded, in turns, joined, cancelled, and late."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.auth.budget import LIMITS, Budget, Payer, Work
from bastion.clock import FixedClock
from bastion.errors import LimitReason, Refused
from bastion.net.resolver import DEADLINE, THREADS, THREADS_EACH, Resolver, resolver_of

PLACES = LIMITS[Payer.IDENTITY, Work.NAME_LOOKUP].each


class World(Clock):
    """A reactor whose names are answered by the test, as threads would: `asked` are those that have one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, Any] = {}
        self.nameResolver = self
        self.budget = Budget(FixedClock())
        self.resolver = Resolver(self)
        self.said: dict[str, list[Any]] = {}

    def resolveHostName(self, receiver: Any, host: str) -> None:
        assert host not in self.asked, "the same name twice at once"
        self.asked[host] = receiver

    def answer(self, host: str, *addresses: str) -> None:
        receiver = self.asked.pop(host)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 0))
        receiver.resolutionComplete()

    def ask(self, who: str, host: str) -> Deferred[list[str]]:
        asked = self.resolver.resolve(host, self.budget.identity(who))
        asked.addBoth(self._heard, host)
        return asked

    def _heard(self, result: Any, host: str) -> None:
        self.said.setdefault(host, []).append(result.value if isinstance(result, Failure) else result)

    def held(self) -> int:
        return self.budget.held(Payer.IDENTITY, Work.NAME_LOOKUP)


@pytest.fixture
def world() -> World:
    return World()


def test_a_number_is_itself(world: World) -> None:
    world.ask("mallory", "10.0.0.1")
    world.ask("mallory", "::1")
    assert world.said == {"10.0.0.1": [["10.0.0.1"]], "::1": [["::1"]]} and world.held() == 0


def test_dead_names_of_one_leave_the_others_their_threads(world: World) -> None:
    """60 dead names of one engineer filled the pool, and another's dial failed."""
    for number in range(60):
        world.ask("mallory", f"dead{number}.test")
    assert len(world.asked) == THREADS_EACH and world.resolver.waiting == PLACES - THREADS_EACH
    refused = [said[0] for said in world.said.values()]
    assert len(refused) == 60 - PLACES
    assert {error.reason for error in refused} == {LimitReason.BUDGET_NAME_LOOKUP}
    world.ask("alice", "db1.test")
    world.answer("db1.test", "10.0.0.5")
    assert world.said["db1.test"] == [["10.0.0.5"]]


def test_who_waits_has_a_turn_with_the_others(world: World) -> None:
    names = [f"{who}{number}.test" for who in range(THREADS // THREADS_EACH) for number in range(6)]
    for name in names:
        world.ask(name[0], name)
    assert len(world.asked) == world.resolver.running == THREADS
    world.ask("alice", "alice.test")
    for number in range(2):
        world.answer(f"{number}0.test", "10.0.0.5")
    assert "alice.test" in world.asked
    for name in list(world.asked):
        world.answer(name)
    while world.asked:
        world.answer(next(iter(world.asked)))
    assert (world.resolver.running, world.resolver.waiting, world.held()) == (0, 0, 0)
    assert isinstance(world.said["alice.test"][0], DNSLookupError)
    assert not world.getDelayedCalls()


def test_one_name_is_asked_once_for_all(world: World) -> None:
    world.ask("alice", "db1.test")
    world.ask("bob", "db1.test")
    world.answer("db1.test", "10.0.0.5", "10.0.0.6", "10.0.0.5")
    assert world.said["db1.test"] == [["10.0.0.5", "10.0.0.6"]] * 2 and world.held() == 0


def test_a_name_that_somebody_else_waits_for_does_not_wait_behind_his(world: World) -> None:
    for number in range(THREADS_EACH + 1):
        world.ask("mallory", f"dead{number}.test")
    last = f"dead{THREADS_EACH}.test"
    assert last not in world.asked
    world.ask("alice", last)
    world.answer(last, "10.0.0.5")
    assert world.said[last] == [["10.0.0.5"]] * 2


def test_who_leaves_frees_what_waits(world: World) -> None:
    asked = [world.ask("mallory", f"dead{number}.test") for number in range(PLACES)]
    for one in asked:
        one.cancel()
    assert world.resolver.waiting == 0 and world.held() == THREADS_EACH, (
        "threads are held until they are back"
    )
    assert all(isinstance(said[0], CancelledError) for said in world.said.values())
    for number in range(THREADS_EACH):
        world.answer(f"dead{number}.test", "10.0.0.1")
    assert world.held() == world.resolver.running == 0 and not world.getDelayedCalls()


def test_one_of_two_who_leaves_takes_nothing_from_the_other(world: World) -> None:
    first = world.ask("alice", "db1.test")
    world.ask("bob", "db1.test")
    first.cancel()
    world.answer("db1.test", "10.0.0.5")
    assert world.said["db1.test"][1] == ["10.0.0.5"] and world.held() == 0


def test_a_thread_that_does_not_come_back_is_counted(world: World) -> None:
    world.ask("alice", "dead.test")
    world.advance(DEADLINE)
    assert isinstance(world.said["dead.test"][0], DNSLookupError)
    assert (world.resolver.stuck, world.resolver.running, world.held()) == (1, 1, 1)
    world.answer("dead.test")
    assert (world.resolver.stuck, world.resolver.running, world.held()) == (0, 0, 0)


def test_who_asks_for_a_stuck_name_waits_for_the_same_thread(world: World) -> None:
    world.ask("alice", "dead.test")
    world.advance(DEADLINE)
    world.ask("bob", "dead.test")
    world.answer("dead.test", "10.0.0.5")
    assert world.said["dead.test"][1] == ["10.0.0.5"] and world.held() == 0


def test_who_gives_a_stuck_name_up_again_leaves_nothing_held(world: World) -> None:
    for _ in range(3):
        world.ask("alice", "dead.test").cancel()
    assert (world.resolver.stuck, world.held()) == (1, 1)
    world.answer("dead.test")
    assert (world.resolver.stuck, world.held()) == (0, 0)


def test_a_reactor_has_one(world: World) -> None:
    assert resolver_of(world) is resolver_of(world)


def test_nobody_pays_for_the_gateways_own(world: World) -> None:
    with pytest.raises(Refused):
        for _ in range(PLACES + 1):
            world.budget.identity("mallory").take(Work.NAME_LOOKUP)
    found: list[list[str]] = []
    world.resolver.resolve("t1.test").addCallback(found.append)
    world.answer("t1.test", "10.0.0.5")
    assert found == [["10.0.0.5"]]
