"""Figures of a while."""

from __future__ import annotations

from bastion.state.changes import ADD, Change, apply
from bastion.state.database import Database
from bastion.state.figures import TOP, Kept, Place, figures_of
from tests.unit.state.test_findings import keep, row
from tests.unit.state.test_reviewing import session

NOW = 1_800_000_000.0
HOUR = 3600.0


def name_of(number: int) -> str:
    return f"{number:016d}".translate(str.maketrans("0189", "abcd"))


def test_an_empty_store_has_empty_figures(database: Database) -> None:
    figures = figures_of(database, NOW, HOUR, 3)
    assert figures.begun == ((NOW, 0), (NOW + HOUR, 0), (NOW + 2 * HOUR, 0))
    assert figures.people == figures.destinations == figures.recordings == figures.alerts == ()


def test_sessions_people_and_destinations_of_the_while_alone(database: Database) -> None:
    session(database, name_of(1), started_at=NOW - 1, bytes_in=1 << 40)
    session(database, name_of(2), started_at=NOW, bytes_in=5, bytes_out=6)
    session(database, name_of(3), started_at=NOW + HOUR - 0.5, identity="bob", bytes_out=100)
    session(
        database,
        "aaaaaaaaaaaaaaaa.1",
        started_at=NOW + HOUR,
        kind="tunnel",
        target="db1",
        port=5432,
        bytes_out=7,
    )
    session(database, name_of(4), started_at=NOW + 9 * HOUR)
    figures = figures_of(database, NOW, HOUR, 2)
    assert figures.begun == ((NOW, 2), (NOW + HOUR, 1))
    assert figures.people == (Place("bob", 1, 100), Place("alice", 3, 18))
    assert figures.destinations == (Place("db1:5432", 1, 7),)


def test_lists_are_bounded_and_have_the_largest(database: Database) -> None:
    for number in range(TOP + 5):
        session(database, name_of(number), started_at=NOW, identity=f"u{number}", bytes_in=number)
    people = figures_of(database, NOW, HOUR, 1).people
    assert len(people) == TOP and people[0] == Place(f"u{TOP + 4}", 1, TOP + 4)


def test_recordings_by_state_and_alerts_by_kind(database: Database) -> None:
    files = (("a", "ended", ""), ("b", "ended", "s3://b/k"), ("c", "deleted", ""), ("d", "ended", ""))
    with database.write() as connection:
        apply(
            connection,
            [
                Change(ADD, "recordings", {"session_id": name, "state": state, "stored": stored, "size": 10})
                for name, state, stored in files
            ],
        )
    keep(
        database, row("a1"), row("a2"), row("a3", level="notice"), row("a4", mute="m"), row("a5", at=NOW - 1),
        row("a6", kind="dormant_account"),
    )  # fmt: skip
    figures = figures_of(database, NOW, HOUR, 1)
    assert figures.recordings == (
        Kept("deleted", False, 1, 10),
        Kept("ended", False, 2, 20),
        Kept("ended", True, 1, 10),
    )
    assert figures.alerts == (("sftp_data", 2), ("dormant_account", 1))
