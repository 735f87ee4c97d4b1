"""A list a page at a time says what the whole list says, in as many pages as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Connection

from bastion.recording.listed import Listed, Wanted
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from bastion.state import paging
from bastion.state.changes import ADD, Change, Value, apply
from bastion.state.database import Database
from bastion.state.paging import Cursor, Known, Place, one_of, page_of
from bastion.state.schema import SESSIONS
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


class Chosen:
    """What somebody beside the database knows: sessions that may be meant, and those of them that are."""

    def __init__(self, may: set[int], meant: set[int]) -> None:
        self._may = sorted(((START + number // 4, name_of(number)) for number in may), reverse=True)
        self._meant = {name_of(number) for number in meant}
        self.asked = 0

    @property
    def all(self) -> Known:
        return Known(self.takes, self.newest)

    def takes(self, session: str) -> bool:
        self.asked += 1
        return session in self._meant

    def newest(self, wanted: Wanted, after: tuple[float, str] | None) -> Iterator[tuple[float, str]]:
        return (one for one in self._may if after is None or one < after)


@pytest.mark.parametrize("led", [False, True])
@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("size", [3, 50])
def test_what_is_known_beside_the_database_chooses_too(
    database: Database, shelf: Place, monkeypatch: pytest.MonkeyPatch, size: int, tagged: bool, led: bool
) -> None:
    monkeypatch.setattr(paging, "CANDIDATES", 20)
    monkeypatch.setattr(paging, "STEP", 30)
    fill(database, [row(number) for number in range(300)])
    meant = {
        number for number in range(0, 320, 7) if number % 3 != 2
    }  # some of which the database knows nothing
    known = Chosen(set(range(0, 320, 7)), meant).all
    known = known if led else replace(known, newest=None)

    def among(_: Connection) -> ColumnElement[bool] | None:
        return SESSIONS.c.identity != "u0" if tagged else None

    for wanted, kind in ((Wanted(), ""), (Wanted(user="u1"), ""), (Wanted(rule="staff"), "shell")):
        found, after = [], None
        for _ in range(200):
            page = page_of(database, shelf, wanted, kind, after, size, NOW, among, known)
            assert len(page.rows) <= size
            found += [one.id for one in page.rows]
            after = page.after
            if after is None:
                break
        expected = [
            one.id
            for one in walk(database, shelf, 50, wanted, kind)
            if one.id in {name_of(number) for number in meant} and (not tagged or one.identity != "u0")
        ]
        assert found == expected and (expected or wanted.user == "u1")


def test_rows_that_are_not_named_are_not_looked_at(
    database: Database, shelf: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, [row(number) for number in range(400)])
    page = page_of(database, shelf, Wanted(), "", None, 10, NOW, known=Chosen({3, 5}, {5}).all)
    assert [one.id for one in page.rows] == [name_of(5)] and page.looked == 2 and page.after is None
    monkeypatch.setattr(paging, "CANDIDATES", 20)
    monkeypatch.setattr(paging, "MOST_LOOKED", 40)
    known = Chosen(set(range(200)), {0})
    page = page_of(database, shelf, Wanted(), "", None, 10, NOW, known=known.all)
    assert page.rows == () and page.looked == known.asked == 40 and page.after is not None
