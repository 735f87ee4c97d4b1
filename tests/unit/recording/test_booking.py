"""What the ledger is told: nothing is dropped, the end comes after the file is on the disk, a sick disk is told."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording import booking
from bastion.recording.booking import PATIENCE, Books, Links
from bastion.recording.ledger import Entry, Head, LedgerEvent, follow
from bastion.recording.ledger_file import ledger_path, read_lines
from bastion.recording.store import Store, new_session_id
from tests.unit.recording.samples import SESSION, header

LINKS = Links(b"\1" * 32, b"\2" * 32)


def entries(folder: Path) -> list[Entry]:
    return [entry for entry, _ in follow(read_lines(ledger_path(folder, "gw1")))]


def told(folder: Path) -> list[tuple[LedgerEvent, str]]:
    return [(entry.event, entry.session) for entry in entries(folder)[1:]]


def test_what_is_told_is_written_in_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(booking, "MOST_LINES", 2)
    books = Books(tmp_path, "gw1", FixedClock())
    books.write()
    assert books.head == Head() and not ledger_path(tmp_path, "gw1").exists()
    books.began(SESSION, LINKS)
    books.ended(SESSION, LINKS)
    books.found(SESSION, LINKS, incomplete=True)
    assert books.waiting == 4
    books.write()
    books.write()
    assert told(tmp_path) == [
        (LedgerEvent.BEGAN, SESSION),
        (LedgerEvent.ENDED, SESSION),
        (LedgerEvent.BEGAN, SESSION),
        (LedgerEvent.INCOMPLETE, SESSION),
    ]
    assert books.waiting == 0 and books.head.serial == 4
    assert [entry.digest for entry in entries(tmp_path)[1:3]] == ["01" * 32, "02" * 32]


def test_a_disk_that_refuses_loses_nothing_and_stops_sessions_after_a_while(tmp_path: Path) -> None:
    clock = FixedClock()
    books = Books(tmp_path / "gone", "gw1", clock)
    books.began(SESSION, LINKS)
    books.write()
    clock.advance(PATIENCE - 1)
    books.write()
    assert books.trouble == "" and books.waiting == 1
    store = Store(tmp_path, disk_floor_bytes=0, books=books)
    store.admit()
    clock.advance(2)
    assert "ledger" in books.trouble
    with pytest.raises(RecorderFailed, match="ledger of recordings cannot be written"):
        store.admit()
    assert store.health().failures == {RecorderReason.SYNC_FAILED: 1} and "ledger" in store.health().trouble
    (tmp_path / "gone").mkdir()
    books.write()
    assert books.trouble == "" and told(tmp_path / "gone") == [(LedgerEvent.BEGAN, SESSION)]


def test_a_damaged_ledger_is_told_of(tmp_path: Path) -> None:
    books = Books(tmp_path, "gw1", FixedClock())
    ledger_path(tmp_path, "gw1").write_bytes(b"garbage\n")
    books.began(SESSION, LINKS)
    books.write()
    (aside,) = books.broken
    assert Path(aside).read_bytes() == b"garbage\n" and told(tmp_path) == [(LedgerEvent.BEGAN, SESSION)]


def test_a_store_tells_of_its_recordings(tmp_path: Path) -> None:
    books = Books(tmp_path, "gw1", FixedClock())
    store = Store(tmp_path, disk_floor_bytes=0, books=books)
    recorder, writer = store.start(header())
    began = recorder.link.hex()
    store._syncer._pass()
    assert told(tmp_path) == [(LedgerEvent.BEGAN, SESSION)]
    writer.close(recorder.finish("client_closed"), recorder.link)
    assert told(tmp_path) == [(LedgerEvent.BEGAN, SESSION)]  # not before it is on the disk
    assert store.close()
    assert told(tmp_path) == [(LedgerEvent.BEGAN, SESSION), (LedgerEvent.ENDED, SESSION)]
    assert [entry.digest for entry in entries(tmp_path)[1:]] == [began, recorder.link.hex()]


def test_a_recording_that_was_left_behind_is_told_of_by_who_ends_it(tmp_path: Path) -> None:
    dead = Store(tmp_path, disk_floor_bytes=0)
    recorder, writer = dead.start(header())
    began = recorder.link.hex()
    fcntl.flock(writer._fd, fcntl.LOCK_UN)  # as when its process dies
    books = Books(tmp_path, "gw1", FixedClock())
    store = Store(tmp_path, disk_floor_bytes=0, books=books)
    sealed = store.seal(SESSION, "gateway_died", "died")
    assert sealed is not None and sealed.links is not None
    assert told(tmp_path) == [(LedgerEvent.BEGAN, SESSION), (LedgerEvent.INCOMPLETE, SESSION)]
    assert [entry.digest for entry in entries(tmp_path)[1:]] == [began, sealed.links.ended.hex()]
    again = store.seal(SESSION, "gateway_died", "died")  # it has its end: the same is told
    assert again is not None and again.links == sealed.links
    os.close(writer._fd)


def test_threads_that_write_at_once_drop_nothing(tmp_path: Path) -> None:
    books = Books(tmp_path, "gw1", FixedClock())
    names = [new_session_id() for _ in range(60)]

    def tell(some: list[str]) -> None:
        for name in some:
            books.began(name, Links(b"1" * 32))
            books.write()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, [names[start::4] for start in range(4)]))
    assert sorted(session for _, session in told(tmp_path)) == sorted(names) and books.waiting == 0
