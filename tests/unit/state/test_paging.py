"""A list a page at a time says what the whole list says, in as many pages as it takes."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from bastion.recording.listed import Listed, Wanted
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from bastion.state import paging
from bastion.state.changes import ADD, Change, Value, apply
from bastion.state.database import Database
from bastion.state.paging import Cursor, Place, one_of, page_of
from tests.unit.recording.disk import finish, say
from tests.unit.recording.samples import header

NOW = 1_800_100_000.0
START = 1_800_000_000.0
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def name_of(number: int) -> str:
    """Ids that are in no order of time."""
    digits = [LETTERS[(number * 7 + place * number) % 32] for place in range(12)]
    return "".join(digits) + "".join(LETTERS[number // 32**place % 32] for place in range(4))


def row(number: int, **values: Value) -> dict[str, Value]:
    made: dict[str, Value] = {
        "id": name_of(number), "kind": "session", "state": "ended", "identity": f"u{number % 3}", "target": "web1",
        "login": "deploy", "source": f"192.0.2.{number % 7}", "rules": "staff,all" if number % 2 else "all",
        "started_at": START + number // 4, "ended_at": START + number // 4 + 5, "node": "gw1", "instance": "h.1",
        "ran": '[["exec","exit 0",1]]' if number % 5 == 0 else '[["shell","",1]]',
        "header": f'{{"identity":"u{number % 3}"}}',
    }  # fmt: skip
    return made | values


@pytest.fixture
def shelf(tmp_path: Path) -> Place:
    (tmp_path / "recordings").mkdir()
    return Place(Recordings(tmp_path / "recordings"), "gw2")


def fill(database: Database, rows: list[dict[str, Value]]) -> None:
    with database.write() as connection:
        apply(connection, [Change(ADD, "sessions", one) for one in rows])


def walk(
    database: Database, shelf: Place, size: int, wanted: Wanted | None = None, kind: str = ""
) -> list[Listed]:
    """All pages, one after the other."""
    found: list[Listed] = []
    after: Cursor | None = None
    for _ in range(1000):
        page = page_of(database, shelf, wanted or Wanted(), kind, after, size, NOW)
        assert len(page.rows) <= size
        found += page.rows
        after = page.after
        if after is None:
            return found
    raise AssertionError("there is no end")


@pytest.mark.parametrize("size", [1, 7, 50, 500])
def test_pages_are_the_list_newest_first_and_each_row_once(
    database: Database, shelf: Place, size: int
) -> None:
    count = 60 if size == 1 else 600
    fill(database, [row(number) for number in range(count)])
    found = [(one.started_at, one.id) for one in walk(database, shelf, size)]
    assert found == sorted(found, reverse=True) and len(set(found)) == count


@pytest.mark.parametrize(
    ("wanted", "kind", "fits"),
    [
        (Wanted(user="u1"), "", lambda number: number % 3 == 1),
        (Wanted(rule="staff"), "", lambda number: number % 2 == 1),
        (Wanted(rule="sta"), "", lambda number: False),
        (Wanted(source=ip_network("192.0.2.4/31")), "", lambda number: number % 7 in (4, 5)),
        (Wanted(since=START + 100, until=START + 120), "", lambda number: 380 <= number < 480),
        (Wanted(), "exec", lambda number: number % 5 == 0),
        (Wanted(user="u1"), "exec", lambda number: number % 15 == 10),
        (Wanted(tunnels=True), "", lambda number: False),
    ],
)
def test_filters_leave_out_what_does_not_fit(
    database: Database, shelf: Place, wanted: Wanted, kind: str, fits: Any
) -> None:
    fill(database, [row(number) for number in range(600)])
    found = {one.id for one in walk(database, shelf, 10, wanted, kind)}
    assert found == {name_of(number) for number in range(600) if fits(number)}


def test_a_page_looks_at_so_many_rows_and_says_where_it_stopped(
    database: Database, shelf: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "STEP", 20)
    monkeypatch.setattr(paging, "MOST_LOOKED", 100)
    fill(
        database,
        [row(number, source="198.51.100.1" if number == 0 else "192.0.2.1") for number in range(250)],
    )
    wanted = Wanted(source=ip_network("198.51.100.0/24"))
    first = page_of(database, shelf, wanted, "", None, 10, NOW)
    assert first.rows == () and first.after is not None and first.looked == 100
    assert [one.id for one in walk(database, shelf, 10, wanted)] == [name_of(0)]


def test_states_and_files(database: Database, shelf: Place) -> None:
    here = Place(shelf.recordings, "gw1")
    files: list[dict[str, Value]] = [
        {"session_id": name_of(0), "node": "gw1", "path": "2027-01-15/x.rec", "size": 1, "state": "deleted"},
        {"session_id": name_of(1), "node": "gw1", "path": "2027-01-15/gone.rec", "size": 1, "state": "ended"},
        {"session_id": name_of(2), "node": "gw1", "path": "", "state": "ended", "stored": "s3://b/k"},
    ]
    fill(database, [row(number) for number in range(3)] + [row(3, state="live", ended_at=None, node="gw9")])
    with database.write() as connection:
        apply(connection, [Change(ADD, "recordings", one) for one in files])
    found = {one.id: (one.state, one.path) for one in walk(database, here, 10)}
    assert [found[name_of(number)] for number in range(4)] == [
        ("deleted", ""), ("missing", ""), ("ended", "s3://b/k"), ("live", ""),
    ]  # fmt: skip
    one = one_of(database, here, name_of(1), NOW)
    assert (
        one is not None and one.more is not None and one.more["identity"] == "u1" and one.rules == "staff,all"
    )
    assert one_of(database, here, "z" * 16, NOW) is None
    store = Store(here.recordings.directory, disk_floor_bytes=0, sync_seconds=0.05)
    recorder, writer = store.start(header("q" * 16))
    say(recorder, writer, b"hello")
    begun = one_of(database, here, "q" * 16, NOW)
    finish(recorder, writer)
    assert store.close() and begun is not None and begun.state == "live" and begun.more is not None


@pytest.mark.parametrize(
    "text", ["", "x", "1", "1~", "1~AAAA", "1e9~" + "a" * 16, "1~" + "a" * 17, "-1~" + "a" * 16]
)
def test_what_is_no_place_is_none(text: str) -> None:
    assert Cursor.of(text) is None
