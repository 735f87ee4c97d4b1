"""Pages read ahead: as far as there is room, no further than is wanted, and never in anybody's way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.indexing import ahead
from bastion.indexing.ahead import AHEAD, CHUNK, Ahead
from tests.support.world import poll


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, set[int]]]:
    """A file with pages, and those that somebody has read of it."""
    file, seen, connect = tmp_path / "pages.db", set[int](), sqlite3.connect
    with connect(file) as made:
        made.execute("CREATE TABLE pages (number INTEGER PRIMARY KEY, packed BLOB)")
        made.executemany("INSERT INTO pages VALUES (?, x'00')", ((number,) for number in range(3 * AHEAD)))
    made.close()

    class Watched:
        def __init__(self, database: sqlite3.Connection) -> None:
            self._database = database
            self.close = database.close

        def execute(self, text: str, numbers: tuple[int]) -> sqlite3.Cursor:
            seen.add(*numbers)
            return self._database.execute(text, numbers)

    monkeypatch.setattr(ahead.sqlite3, "connect", lambda *given, **more: Watched(connect(*given, **more)))
    yield f"file:{file}?mode=ro", seen


def test_so_many_are_read_ahead_and_more_as_others_have_passed(asked: tuple[str, set[int]]) -> None:
    uri, seen = asked
    reading = Ahead(uri, range(3 * AHEAD))
    try:
        poll(lambda: seen == set(range(AHEAD)), text="not all there is room for")
        for _ in range(2 * CHUNK):
            reading.passed()
        poll(lambda: seen == set(range(AHEAD + 2 * CHUNK)), text="no more when there is room again")
    finally:
        reading.close()
    assert seen == set(range(AHEAD + 2 * CHUNK))


def test_it_ends_whether_all_was_read_or_not_and_leaves_no_thread(asked: tuple[str, set[int]]) -> None:
    uri, _ = asked
    before = threading.active_count()
    for numbers in (range(5), range(3 * AHEAD), range(0)):
        Ahead(uri, numbers).close()
    Ahead("file:/nowhere/at/all?mode=ro", range(100)).close()
    assert threading.active_count() == before
