"""Uploads over a day without a store, on a clock of the test; what is told, what is counted, and what is kept."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from bastion.archive.place import S3Place
from bastion.archive.report import Report, read_report
from bastion.archive.schedule import Schedule
from bastion.archive.spool import Held, Spool
from bastion.archive.upload import Kept, Upload
from bastion.archive.uploader import LOOK_EVERY, OVERDUE, TELL_EVERY, Done, Hangs, Uploader, Wiring
from bastion.clock import FixedClock
from bastion.errors import StoreFault, StoreReason
from bastion.recording.store import Store
from bastion.state.database import Database, StateDown
from bastion.state.stored import stored_beginning
from tests.unit.archive.made import START, name_of, record

ONE, TWO = name_of(1), name_of(2)


class Bench:
    """An uploader whose uploads end as `outcome` says, at once; `hang` keeps them running."""

    def __init__(self, store: Store, database: Database) -> None:
        self.clock = FixedClock(START + 3600)
        self.spool = Spool(store, database)
        self.outcome: StoreFault | None = None
        self.own: dict[str, StoreFault] = {}
        self.hang = False
        self.tried: list[str] = []
        self.most_at_once = 0
        self.pending: list[Done] = []
        self.reports: list[Report] = []
        self.said: list[str] = []
        wiring = Wiring(self._upload, self._start, S3Place("bucket").url, self._hear, self.said.append)
        self.uploader = Uploader(self.spool, Schedule(self.clock, 4), wiring, self.clock, 7)

    def _hear(self, report: Report) -> None:
        assert read_report(report.line()) == report
        self.reports.append(report)

    def _upload(self, held: Held) -> Upload:
        nothing: Any = None
        return Upload(nothing, held.fd, held.waiting.path, self.clock)

    def _start(self, held: Held, upload: Upload) -> None:
        one = held.waiting
        self.tried.append(one.session)
        fault = self.own.get(one.session, self.outcome)
        kept = None if fault else Kept(one.path, "v1", one.size, "ab" * 32, one.size)
        self.pending.append(Done(held, kept, fault))

    def turn(self) -> float:
        pause = self.uploader.turn()
        self.most_at_once = max(self.most_at_once, len(self.pending))
        if not self.hang:
            pending, self.pending = self.pending, []
            for done in pending:
                self.uploader.done(done)
        return pause

    def run(self, seconds: float, step: float = 0.05) -> None:
        """Turns of so much time, each at least a `step`."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.advance(max(step, self.turn()))


@pytest.fixture
def bench(store: Store, database: Database) -> Bench:
    return Bench(store, database)


def fault(reason: StoreReason) -> StoreFault:
    return StoreFault(reason, f"it is {reason}")


def test_what_waits_goes_four_at_a_time(bench: Bench, store: Store, database: Database) -> None:
    paths = [record(database, store, name_of(number)) for number in range(10)]
    bench.run(60)
    assert bench.most_at_once == 4 and sorted(bench.tried) == [name_of(number) for number in range(10)]
    assert not any(path.exists() for path in paths) and len(stored_beginning(database, "")) == 10
    last = bench.reports[-1]
    assert (last.waiting, last.size, last.oldest, last.trouble) == (0, 0, 0.0, "")
    assert last.results == {"ok": 10} and last.sent > 0 and bench.said == []


DAY, WHILE = 86400, 1200


@pytest.mark.parametrize(
    ("reason", "away"),
    [
        (StoreReason.UNREACHABLE, DAY),
        (StoreReason.SERVER_ERROR, WHILE),
        (StoreReason.TIMEOUT, WHILE),
        (StoreReason.REFUSED, WHILE),
        (StoreReason.NO_BUCKET, WHILE),
        (StoreReason.BAD_ANSWER, WHILE),
    ],
)
def test_a_store_that_is_gone_for_a_day_loses_nothing_and_comes_back_by_itself(
    bench: Bench, store: Store, database: Database, reason: StoreReason, away: int
) -> None:
    paths = [record(database, store, name_of(number)) for number in range(6)]
    bench.outcome = fault(reason)
    bench.run(away, step=30)
    assert all(path.exists() for path in paths) and stored_beginning(database, "") == []
    assert away / 91 < len(bench.tried) < away / 50 + 10, "one try a minute, whatever waits"
    assert len(bench.said) <= 1 + away / TELL_EVERY
    report = bench.reports[-1]
    assert report.waiting == 6 and report.trouble == f"it is {reason}"
    (counted,) = report.results.items()
    assert counted in [(str(reason), len(bench.tried) - late) for late in (0, 1)]
    assert report.age(bench.clock.time()) > away
    bench.outcome = None
    bench.run(120)
    assert not any(path.exists() for path in paths) and len(stored_beginning(database, "")) == 6
    assert bench.said[-1].startswith("the store works again") and bench.reports[-1].trouble == ""


def test_memory_does_not_grow_with_the_time_that_it_is_away(
    bench: Bench, store: Store, database: Database
) -> None:
    for number in range(20):
        record(database, store, name_of(number))
    bench.outcome = fault(StoreReason.UNREACHABLE)
    bench.run(1200, step=10)
    bench.reports.clear()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        bench.run(1200, step=10)
        bench.reports.clear()
        bench.tried.clear()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 200_000


def test_one_that_fails_by_itself_holds_up_no_other_and_is_told_once(
    bench: Bench, store: Store, database: Database
) -> None:
    bad = [record(database, store, name_of(number)) for number in range(5)]
    good = record(database, store, name_of(9), ended_at=START + 999)
    bench.own = {path.stem: fault(StoreReason.CHECKSUM) for path in bad}
    bench.run(300)
    assert not good.exists() and all(path.exists() for path in bad)
    assert len(bench.said) == 1 and bench.reports[-1].failing == 5 and bench.reports[-1].trouble == ""
    bench.own = {}
    bench.run(3700, step=30)
    assert not any(path.exists() for path in bad) and bench.reports[-1].failing == 0


def test_without_its_index_nothing_goes_and_nothing_is_sent_twice(
    bench: Bench, store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(database, store, ONE)
    whole = bench.spool.stored

    def down(*_: object) -> bool:
        raise StateDown("the database is away")

    monkeypatch.setattr(bench.spool, "stored", down)
    bench.run(30)
    assert path.exists() and bench.reports[-1].trouble == "the state store: the database is away"
    monkeypatch.setattr(bench.spool, "stored", whole)
    bench.run(120)
    assert not path.exists() and bench.reports[-1].trouble == ""


def test_an_index_that_cannot_be_read_is_trouble_until_it_can(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.spool.waiting

    def down() -> Any:
        raise StateDown("the database is away")

    monkeypatch.setattr(bench.spool, "waiting", down)
    bench.run(30)
    assert "the database is away" in bench.reports[-1].trouble
    monkeypatch.setattr(bench.spool, "waiting", whole)
    bench.run(90)
    assert bench.reports[-1].trouble == "" and bench.said[-1].startswith("the store works again")


def test_what_runs_is_not_begun_again_and_what_hangs_ends_the_process(
    bench: Bench, store: Store, database: Database
) -> None:
    record(database, store, ONE)
    bench.hang = True
    bench.run(LOOK_EVERY * 4)
    assert bench.tried == [ONE] and bench.reports[-1].running == 1
    ((_, upload),) = bench.uploader._running.values()
    upload.deadline.start(0)
    bench.clock.advance(60 + OVERDUE + 1)
    with pytest.raises(Hangs):
        bench.turn()
    assert bench.reports[-1].results == {"timeout": 1}
    bench.pending[0].held.release()


def test_a_hold_that_somebody_has_is_waited_for(
    bench: Bench, store: Store, database: Database, tmp_path: Path
) -> None:
    path = record(database, store, TWO)
    import fcntl

    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        bench.run(30)
        assert bench.tried == [] and bench.said == []
    bench.run(30)
    assert not path.exists()
