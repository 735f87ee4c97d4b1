"""Gateways that tell each other of penalties through one store: heard within a second, with the store away and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from bastion.auth.penalty_claims import BATCH
from bastion.auth.throttle import Penalties, PenaltyLimits
from bastion.control.penalty_orders import PenaltiesShared, SharePenalties
from bastion.control.penalty_sharing import CONSOLE, LOOK, LOOK_AWAY, PenaltySharing, with_consoles
from bastion.control.penalty_store import share
from bastion.errors import AuthReason
from bastion.state.database import Database, Place, StateDown
from bastion.state.schema_version import check_schema

HERE = "192.0.2.1"
START = 1_800_000_000.0
NAMES = ("gw1", "gw2")


class Both:
    """The reactor's clock and the wall's, `skew` seconds apart from others' walls."""

    def __init__(self, timers: Clock, skew: float = 0.0) -> None:
        self.timers, self.skew = timers, skew

    def monotonic(self) -> float:
        return float(self.timers.seconds())

    def time(self) -> float:
        return float(START + self.timers.seconds() + self.skew)


class World:
    """gw1, gw2 and a console of gw1 over one SQLite file. `away`: who does not reach it."""

    def __init__(self, folder: Path) -> None:
        self.timers = Clock()
        self.timers.advance(1000.0)
        self.away: set[str] = set()
        self.asked: list[SharePenalties] = []
        self.database = Database(Place(folder / "state"))
        check_schema(self.database)
        self.nodes: dict[str, Penalties] = {}
        self.sharing: dict[str, PenaltySharing] = {}
        self.keys: dict[str, bytes] = {}
        for number, name in enumerate((*NAMES, "gw1" + CONSOLE)):
            self.begin(name, bytes([number + 1]) * 32)

    def begin(self, name: str, key: bytes, skew: float = 0.0) -> Penalties:
        made = Penalties(Both(self.timers, skew), PenaltyLimits(first_block=60.0), secret=key)
        self.nodes[name], self.keys[name] = made, key

        def ask(request: SharePenalties) -> Deferred[PenaltiesShared]:
            return maybeDeferred(self._ask, name, request)

        def keyed(found: bytes) -> None:
            self.keys[name] = found
            made.rekey(found)

        console = name.endswith(CONSOLE)
        others = with_consoles(NAMES, name)
        sharing = PenaltySharing(name, others, ask, self.timers, keyed, not console)
        self.sharing[name] = sharing
        sharing.start(made, key)
        return made

    def _ask(self, name: str, request: SharePenalties) -> PenaltiesShared:
        if name in self.away:
            raise StateDown("connection refused")
        self.asked.append(request)
        return share(self.database, request, START + self.timers.seconds())

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.timers.advance(0.5)

    def close(self) -> None:
        for sharing in self.sharing.values():
            sharing.stop()
        self.timers.advance(2 * LOOK_AWAY)
        assert not self.timers.getDelayedCalls()
        self.database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.run(3)
    yield made
    made.close()


def fail(penalties: Penalties, times: int = 6, account: str = "alice", source: str = HERE) -> None:
    for _ in range(times):
        penalties.failed(source, account, AuthReason.BAD_PASSWORD)


def test_who_guesses_at_one_waits_at_all_and_at_the_console_within_two_seconds(world: World) -> None:
    fail(world.nodes["gw1"])
    world.run(2 * LOOK)
    for name, node in world.nodes.items():
        assert not node.allows(HERE, "alice") and node.allows(HERE, "bob"), name
    assert [row.nodes for row in world.nodes["gw2"].waiting()] == [("gw1",)]


def test_guesses_at_the_console_count_at_every_gateway(world: World) -> None:
    console = world.nodes["gw1" + CONSOLE]
    fail(console)
    world.run(2 * LOOK)
    for name in NAMES:
        assert not world.nodes[name].allows(HERE, "alice")
        assert [row.nodes for row in world.nodes[name].waiting()] == [("gw1" + CONSOLE,)]
    world.nodes["gw2"].forget(account="alice")
    world.run(2 * LOOK)
    assert console.allows(HERE, "alice") and world.nodes["gw1"].allows(HERE, "alice")


def test_all_make_their_digests_with_one_key(world: World) -> None:
    assert set(world.keys.values()) == {b"\1" * 32}


def test_a_console_waits_for_the_key_of_a_gateway(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.away = set(NAMES)
    world.run(5)
    assert world.keys["gw1" + CONSOLE] == b"\3" * 32
    world.away = set()
    world.run(6)
    assert len(set(world.keys.values())) == 1
    world.close()


def test_with_the_store_away_each_judges_by_its_own_and_tells_later(world: World) -> None:
    world.away = set(NAMES)
    fail(world.nodes["gw1"])
    fail(world.nodes["gw2"], account="bob")
    world.run(30)
    assert not world.nodes["gw1"].allows(HERE, "alice") and world.nodes["gw2"].allows(HERE, "alice")
    assert world.nodes["gw1"].allows(HERE, "bob")
    world.away = set()
    world.run(2 * LOOK_AWAY)
    for name in NAMES:
        for account in ("alice", "bob"):
            assert not world.nodes[name].allows(HERE, account)
            assert world.nodes[name].wait(HERE, account) <= 30.0, "no longer than it was to be"


def test_one_that_is_started_again_knows_what_was_claimed_and_goes_on(world: World) -> None:
    fail(world.nodes["gw1"])
    fail(world.nodes["gw2"], account="bob")
    world.run(10)
    world.sharing["gw1"].stop()
    again = world.begin("gw1", b"\1" * 32, skew=-3600.0)
    world.run(2 * LOOK)
    assert not again.allows(HERE, "bob")
    fail(again, account="carol")
    world.run(3 * LOOK)
    assert not world.nodes["gw2"].allows(HERE, "carol"), (
        "its clock was set back an hour: it is heard all the same"
    )
    again.forget()
    world.run(2 * LOOK)
    assert all(world.nodes["gw2"].allows(HERE, one) for one in ("alice", "bob", "carol"))


def test_a_guesser_at_line_rate_is_bounded_writes(world: World) -> None:
    for number in range(2000):
        fail(world.nodes["gw1"], account=f"user{number}", source=f"2001:db8:{number:x}::1")
    world.asked.clear()
    world.run(20 * LOOK)
    told = [len(request.claims) for request in world.asked if request.node == "gw1"]
    assert max(told) == BATCH and len(told) <= 20 and sum(told) == 1024


def test_nobody_who_is_not_listed_is_heard(world: World) -> None:
    stranger = Penalties(Both(world.timers), secret=b"\1" * 32)
    stranger.claims.begin("gw9")
    fail(stranger)
    request = SharePenalties("gw9", "", tuple(stranger.claims.batch()), ())
    share(world.database, request, START)
    world.run(3 * LOOK)
    assert world.nodes["gw1"].allows(HERE, "alice") and world.nodes["gw2"].allows(HERE, "alice")


def test_one_question_at_a_time_and_none_after_the_end(world: World) -> None:
    waiting: list[Deferred[PenaltiesShared]] = []

    def ask(request: SharePenalties) -> Deferred[PenaltiesShared]:
        waiting.append(Deferred())
        return waiting[-1]

    sharing = PenaltySharing("gw1", frozenset({"gw2"}), ask, world.timers, lambda key: None)
    sharing.start(Penalties(Both(world.timers)), b"\1" * 32)
    world.run(5 * LOOK)
    assert len(waiting) == 1
    sharing.stop()
    waiting[0].callback(PenaltiesShared("cd" * 32, ()))
    world.run(5 * LOOK)
    assert len(waiting) == 1
