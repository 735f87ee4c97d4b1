"""The store of a process: notes at once, writes later, owes what is not taken, and refuses only what it is told to."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.auth.budget import Budget
from bastion.auth.directory import Asker
from bastion.clock import FixedClock
from bastion.errors import ConfigError, LimitReason, Refused
from bastion.observe.meters import (
    STATE_ERRORS,
    STATE_OWED_OLDEST_SECONDS,
    STATE_OWED_ROWS,
    STATE_REFUSALS,
    STATE_ROWS_WRITTEN,
    Meters,
)
from bastion.recording.listing import Recordings
from bastion.state import store as module
from bastion.state.changes import ADD, Change
from bastion.state.database import Database, Place, StateDown
from bastion.state.journal import OWED_MAX
from bastion.state.rows import Lock
from bastion.state.schema import CONFIGS, LOCKS, NODES
from bastion.state.schema_version import SchemaUnfit, check_schema
from bastion.state.store import BATCH, GATHER, LOOK_EVERY, RETRY_LONGEST, SOON, StateStore, home_of
from tests.support.state import rows
from tests.unit.auth.threads import StillReactor, outcome

pytestmark = pytest.mark.slow

BOB = Lock("user", "bob", "left", "carol", 1.0, None, "u-1")


class Bench:
    """A store on SQLite; `turn` lets time pass and waits for what its thread brings."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.reactor, self.clock, self.meters = StillReactor(), FixedClock(), Meters()
        self.store = StateStore(self.reactor, self.clock, self.meters, Recordings(place.folder), place, "gw1")

    def begin(self) -> None:
        self.store.open()
        self.store.start()
        self.settle()

    def turn(self, seconds: float = 0.05) -> None:
        self.clock.advance(seconds)
        self.reactor.advance(seconds)

    def settle(self) -> None:
        """Until nothing runs in a thread."""
        for _ in range(50):
            self.turn()
            while self.store._writers.in_use or self.store._readers.in_use:
                self.reactor.drain()
            if not self.store.health().owed or self.store.down:
                return
        raise AssertionError("it never settled")

    def tables(self, *names: Any) -> list[list[dict[str, Any]]]:
        database = Database(self.place)
        try:
            return [rows(database, name) for name in names]
        finally:
            database.close()


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    made = Bench(place)
    yield made
    made.store.close()


def hinder(bench: Bench, monkeypatch: pytest.MonkeyPatch, refused: bool = False) -> None:
    """From now on nothing is taken."""

    def fails(connection: object, changes: object) -> None:
        raise StateDown("it is away", refused)

    monkeypatch.setattr(module, "apply", fails)


def test_a_row_is_written_a_moment_later_by_a_thread(bench: Bench) -> None:
    bench.begin()
    bench.store.add_lock(BOB)
    assert bench.store.health().owed == 1
    bench.settle()
    locks, nodes = bench.tables(LOCKS, NODES)
    assert [Lock(**row) for row in locks] == [BOB] and [row["name"] for row in nodes] == ["gw1"]
    bench.store.remove_lock("user", "bob", BOB.made_at)
    bench.settle()
    assert bench.tables(LOCKS) == [[]]
    assert bench.meters.value(STATE_ROWS_WRITTEN) == 4, "a node, a lock, its end, and no lock"


def test_rows_of_a_second_share_a_transaction_and_a_lock_waits_for_none(bench: Bench) -> None:
    bench.begin()
    bench.store.in_force("d1", "start", "0.1")
    bench.turn(GATHER - 0.1)
    assert bench.store.health().owed == 1 and not bench.store._writers.in_use
    bench.store.in_force("d2", "reload", "0.1")
    bench.turn(0.1)
    assert bench.store._writers.in_use == 1
    bench.store.add_lock(BOB)  # while the others are written
    bench.reactor.drain()
    assert bench.store.health().owed == 1
    bench.turn(SOON)
    assert bench.store._writers.in_use == 1
    bench.settle()
    configs, locks = bench.tables(CONFIGS, LOCKS)
    assert (len(configs), len(locks)) == (2, 1)
    bench.store.in_force("d3", "reload", "0.1")
    bench.store.remove_lock("user", "bob", BOB.made_at)  # which the other now goes with
    bench.turn(SOON)
    bench.reactor.drain()
    assert bench.store.health().owed == 0


def test_rows_are_written_in_turns_with_those_who_log_in_whatever_their_number(bench: Bench) -> None:
    """Many codes at once filled the queue: rows found no place in it, and the store was taken for dead."""
    bench.begin()
    budget = Budget(bench.clock)
    askers = [Asker(budget.source(f"192.0.2.{number}")) for number in (1, 2, 3)]
    judged: list[int] = []
    found = [
        bench.store.decide(lambda _: judged.append(1) or len(judged), askers[number % 3])
        for number in range(240)
    ]
    bench.store.add_lock(BOB)
    bench.turn(SOON)
    for _ in range(8):
        bench.reactor.drain()
    assert bench.store.health().owed == 0 and not bench.store.down and bench.store._writers.waiting > 200
    bench.settle()
    assert sorted(map(outcome, found)) == list(range(1, 241))
    assert bench.meters.value(STATE_ERRORS, "unavailable") == 0


def test_a_batch_that_is_full_waits_no_longer(bench: Bench) -> None:
    bench.begin()
    for number in range(BATCH - 1):
        bench.store.in_force(f"d{number:02}", "reload", "0.1")
    bench.turn(SOON)
    assert not bench.store._writers.in_use
    bench.store.in_force("last", "reload", "0.1")
    bench.turn(0.0)
    bench.reactor.drain()
    assert bench.store.health().owed == 0


def test_locks_are_read_back_with_those_that_a_dead_process_left(bench: Bench) -> None:
    bench.begin()
    bench.store.add_lock(BOB)
    bench.settle()
    left = module.lock_added(Lock("source", "192.0.2.1", "", "", 2.0))
    (bench.place.folder / f"{home_of(bench.place.folder)}.9.owed").write_bytes(left.line())
    asked = bench.store.load_locks()
    bench.reactor.drain()
    assert sorted(lock.kind for lock in outcome(asked)) == ["source", "user"]


def test_locks_of_last_time_are_in_force_while_the_store_is_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin()
    bench.store.add_lock(BOB)
    bench.store.add_lock(Lock("source", "192.0.2.1", "", "", 2.0))
    bench.store.remove_lock("source", "192.0.2.1", 2.0)
    bench.settle()

    def broken(self: Database) -> None:
        raise StateDown("it is away")

    monkeypatch.setattr(Database, "read", broken)
    asked = bench.store.load_locks()
    bench.reactor.drain()
    assert outcome(asked) == [BOB]
    (bench.place.folder / "locks.json").unlink()
    asked = bench.store.load_locks()
    bench.reactor.drain()
    assert isinstance(outcome(asked), StateDown), "nobody knows them"


def test_a_configuration_in_force_is_noted_and_sessions_say_which(bench: Bench) -> None:
    bench.begin()
    bench.store.in_force("d1", "start", "0.1")
    bench.settle()
    assert [row["digest"] for row in bench.tables(CONFIGS)[0]] == ["d1"]
    assert bench.store.writer.config == "d1" and bench.store.writer.node == "gw1"


def test_what_is_not_taken_is_owed_in_order_and_written_when_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin()
    with monkeypatch.context() as patch:
        hinder(bench, patch)
        for number in range(BATCH + 10):
            bench.store.add_lock(Lock("user", f"u{number:03}", "", "", float(number)))
        bench.settle()
        assert bench.store.down == "it is away" and bench.store.health().owed == BATCH + 10
        bench.turn(30.0)
        bench.settle()
        bench.store.refresh()
        assert bench.meters.value(STATE_OWED_ROWS) == BATCH + 10
        assert bench.meters.value(STATE_OWED_OLDEST_SECONDS) > 30_000_000
        assert bench.meters.value(STATE_ERRORS, "unavailable") >= 2
    bench.turn(RETRY_LONGEST)
    bench.settle()
    assert bench.store.down == "" and bench.store.health().owed == 0
    assert [row["made_at"] for row in bench.tables(LOCKS)[0]] == [float(n) for n in range(BATCH + 10)]


def test_a_row_that_no_repetition_makes_right_holds_up_no_other(bench: Bench) -> None:
    bench.begin()
    bench.store.add_lock(BOB)
    bench.store.note([Change(ADD, "locks", {"kind": "user", "value": "x", "made_at": None})])
    bench.store.add_lock(Lock("user", "zoe", "", "", 1.0))
    bench.settle()
    assert [row["value"] for row in bench.tables(LOCKS)[0]] == ["bob", "zoe"]
    assert bench.store.down == "" and bench.meters.value(STATE_ERRORS, "rejected") == 1
    bench.store.note([Change(ADD, "locks", {"kind": "\ud800", "value": "x"})])
    assert bench.meters.value(STATE_ERRORS, "rejected") == 2 and bench.store.health().owed == 0


def test_a_store_that_is_away_refuses_only_when_it_is_told_to(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin()
    bench.store.refuse = True
    bench.store.admit()
    with monkeypatch.context() as patch:
        hinder(bench, patch)
        bench.store.add_lock(BOB)
        bench.settle()
        with pytest.raises(Refused) as refused:
            bench.store.admit()
        assert refused.value.reason is LimitReason.STATE_UNAVAILABLE
        bench.store.refuse = False
        bench.store.admit()
    bench.turn(RETRY_LONGEST)
    bench.settle()
    bench.store.refuse = True
    bench.store.admit()
    assert bench.meters.value(STATE_REFUSALS, LimitReason.STATE_UNAVAILABLE) == 1


def test_when_as_much_is_owed_as_may_be_no_session_begins(bench: Bench) -> None:
    bench.begin()
    bench.store._journal.append([b"x" * OWED_MAX], 0.0)  # type: ignore[union-attr]
    with pytest.raises(Refused) as refused:
        bench.store.admit()
    assert refused.value.reason is LimitReason.STATE_OWED and bench.store.health().full
    bench.store._journal.settled(1)  # type: ignore[union-attr]


def test_a_store_that_is_away_at_the_start_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "state").touch()  # where the folder should be
    bench = Bench(Place(tmp_path / "state"))
    bench.store.open()
    assert "exists" in bench.store.down
    bench.store.start()
    bench.store.add_lock(BOB)
    bench.settle()
    assert bench.store.health().owed == 2 and "exists" in bench.store.health().spool
    (tmp_path / "state").unlink()
    for _ in range(3):
        bench.turn(LOOK_EVERY)
        bench.settle()
    assert bench.store.health().spool == bench.store.down == ""
    assert [row["value"] for row in bench.tables(LOCKS)[0]] == ["bob"]
    assert bench.store.writer.instance.startswith(home_of(bench.place.folder))
    bench.store.close()


def test_a_store_that_goes_idle_is_still_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.begin()

    def broken(self: Database) -> None:
        raise StateDown("it is away")

    monkeypatch.setattr(Database, "write", broken)
    bench.turn(LOOK_EVERY)
    bench.settle()
    assert bench.store.down == "it is away" and bench.store.health().owed == 0


def test_a_stop_writes_what_is_owed_and_leaves_nothing(bench: Bench) -> None:
    from twisted.internet.defer import ensureDeferred

    bench.begin()
    bench.store.add_lock(BOB)
    stopped = ensureDeferred(bench.store.stop())
    bench.settle()
    bench.turn()
    assert outcome(stopped) is None and stopped.called
    assert len(bench.tables(LOCKS)[0]) == 1
    assert [name for name in os.listdir(bench.place.folder) if name.endswith(".owed")] == []


def test_a_stop_leaves_in_the_file_what_the_store_does_not_take(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin()
    hinder(bench, monkeypatch)
    bench.store.add_lock(BOB)
    bench.settle()
    bench.store.close()
    monkeypatch.undo()
    after = Bench(bench.place)
    after.begin()
    after.settle()
    assert [row["value"] for row in after.tables(LOCKS)[0]] == ["bob"]
    after.store.close()


def test_before_it_is_started_nothing_is_owed(bench: Bench) -> None:
    bench.store.add_lock(BOB)
    bench.store.open()
    bench.store.add_lock(BOB)
    assert bench.store.health().owed == 0


def test_an_older_file_is_migrated_by_a_process_of_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, told = Bench(place), []

    def check(database: Database) -> int:
        if not told:
            raise SchemaUnfit("older", True)
        return check_schema(database)

    with monkeypatch.context() as patch:
        patch.setattr(module, "check_schema", check)
        patch.setattr(module, "migrate_in_child", told.append)
        bench.begin()
    assert told == [place]
    assert bench.store.down == ""
    bench.store.close()
    with sqlite3.connect(place.file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
        connection.execute("UPDATE schema_oldest SET revision = 98")
    with pytest.raises(SchemaUnfit):
        Bench(place).store.open()


@pytest.mark.slow
def test_the_child_migrates_or_says_why_not(tmp_path: Path) -> None:
    module.migrate_in_child(Place(tmp_path))
    assert (tmp_path / "state.db").exists()
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StateDown, match="not a database"):
        module.migrate_in_child(Place(tmp_path))


def test_the_name_of_a_folder_is_made_once(tmp_path: Path) -> None:
    name = home_of(tmp_path)
    assert home_of(tmp_path) == name and os.listdir(tmp_path) == ["home"]
    (tmp_path / "home").write_text("../x")
    with pytest.raises(OSError, match="damaged"):
        home_of(tmp_path)


def test_a_url_with_a_fault_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Bench(Place(tmp_path, "postgresql://a:b@c/d")).store.open()
