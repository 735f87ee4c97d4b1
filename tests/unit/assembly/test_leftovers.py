"""What a dead process left is ended and told once; what lives or may still be ended is left for later."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.assembly.leftovers import ASK_AGAIN, Leftovers
from bastion.errors import EndReason
from bastion.observe.families.recordings import RECORDINGS_SEALED, RECORDINGS_UNSEALED
from bastion.observe.meters import Meters
from bastion.recording.store import Store
from bastion.recording.writer import Writer
from bastion.state.database import StateDown
from tests.support.world import poll
from tests.unit.recording.disk import say
from tests.unit.recording.samples import header

pytestmark = pytest.mark.slow

DEAD, DAMAGED, LIVES = "a" * 16, "b" * 16, "c" * 16


class StillReactor(Clock):
    """Threads' calls come at once."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


class Bench:
    """A gateway of nothing but what leftovers need; `told` and `rows` have what was written down."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder, disk_floor_bytes=0)
        self.told: list[tuple[str, EndReason, int]] = []
        self.rows: dict[str, str] = {}
        self.reactor, self.meters, self.closing = StillReactor(), Meters(), False
        self.audit = SimpleNamespace(note=self._told)
        self.found: Deferred[list[str]] = succeed([])
        self.state = SimpleNamespace(note=self._rows, unfinished=lambda: self.found)
        self.leftovers = Leftovers(self)  # type: ignore[arg-type]

    def _told(self, event: Any, about: Any) -> None:
        self.told.append((about.session, event.reason, event.bytes_out))

    def _rows(self, changes: Any) -> None:
        for change in changes:
            if change.table == "sessions":
                self.rows[change.values["id"]] = change.values["reason"]

    def left(self, session: str, close: bool = True) -> Writer:
        recorder, writer = self.store.start(header(session))
        say(recorder, writer, b"hello")
        if close:
            writer.close()
            poll(lambda: writer.closed)
        return writer

    def end(self, *sessions: str, reason: EndReason = EndReason.GATEWAY_DIED) -> None:
        done = self.leftovers.end(sessions, reason)
        poll(lambda: done.called)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "recordings")


def test_each_is_ended_and_told_and_one_that_is_damaged_holds_up_no_other(bench: Bench) -> None:
    damaged = bench.left(DAMAGED).path
    damaged.write_bytes(damaged.read_bytes()[:40] + b"\xff" * 400)
    bench.left(DEAD)
    bench.end(DAMAGED, DEAD)
    gone = EndReason.GATEWAY_DIED
    assert bench.told == [(DAMAGED, gone, 0), (DEAD, gone, 5)]
    assert bench.rows == {DAMAGED: gone, DEAD: gone}
    (entry,) = bench.store.find(DEAD)
    assert (entry.state, entry.reason) == ("ended", gone)
    assert bench.meters.value(RECORDINGS_SEALED, "successor") == 1
    assert bench.meters.value(RECORDINGS_UNSEALED, "successor") == 1


def test_what_lives_is_neither_ended_nor_told(bench: Bench) -> None:
    writer = bench.left(LIVES, close=False)
    bench.end(LIVES, "d" * 16)
    assert bench.told == [] and bench.rows == {}
    assert bench.store.find(LIVES)[0].state == "live"
    writer.close()


def test_what_another_has_told_is_not_told_again(bench: Bench) -> None:
    bench.left(DEAD)
    bench.end(DEAD, reason=EndReason.WORKER_DIED)
    bench.end(DEAD)
    assert [reason for _, reason, _ in bench.told] == [EndReason.WORKER_DIED]
    assert bench.rows == {DEAD: EndReason.WORKER_DIED}


def test_a_fault_of_ours_with_one_file_is_the_end_of_none(bench: Bench) -> None:
    bench.left(DEAD)
    seal = bench.store.seal

    def faulty(session: str, reason: str, text: str) -> Any:
        if session == DAMAGED:
            raise RuntimeError
        return seal(session, reason, text)

    bench.store.seal = faulty  # type: ignore[method-assign]
    bench.end(DAMAGED, DEAD)
    assert [session for session, _, _ in bench.told] == [DEAD]


def test_a_store_that_is_away_is_asked_again(bench: Bench) -> None:
    bench.left(DEAD)
    bench.found = fail(StateDown("away"))
    assert bench.leftovers.end_all().called
    bench.found = succeed([DEAD])
    bench.reactor.advance(ASK_AGAIN)
    poll(lambda: len(bench.told) == 1)
    poll(lambda: bench.rows == {DEAD: EndReason.GATEWAY_DIED})
    bench.found, bench.closing = fail(StateDown("away")), True
    bench.leftovers.end_all()
    assert bench.reactor.getDelayedCalls() == []
