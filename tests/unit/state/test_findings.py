"""Findings and mutes in the state store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bastion.state import findings as module
from bastion.state.database import Database
from bastion.state.findings import (
    KEPT,
    WAITING,
    Mute,
    Row,
    TooMany,
    Wanted,
    add,
    all_mutes,
    covering,
    listed,
    mute,
    mutes,
    named,
    new_id,
    settle,
    strangers,
    sweep,
    unmute,
    waiting,
)

NOW = 1_800_000_000.0
DAY = 86400.0


def row(name: str = "aaaaaaaa", node: str = "gw1", **more: object) -> Row:
    made = Row(
        node,
        name,
        "sftp_data",
        "alert",
        NOW,
        "alice",
        "web1",
        "little",
        "much",
        "s1,s2",
        NOW,
        audited=WAITING,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def keep(database: Database, *rows: Row) -> None:
    with database.write() as connection:
        add(connection, rows)


def names(found: list[Row]) -> list[str]:
    return [one.id for one in found]


def test_a_finding_is_there_once_as_it_was_first(database: Database) -> None:
    keep(database, row())
    keep(database, row(came="other"), row(node="gw2"))
    assert listed(database, Wanted(), 10) == [row(), row(node="gw2")]
    with database.write() as connection:
        assert names(strangers(connection, "gw1", [row(), row("b"), row("b")])) == ["b"]
        assert strangers(connection, "gw1", []) == []


def test_what_is_wanted_is_listed_oldest_first(database: Database) -> None:
    keep(
        database, row("a"), row("b", at=NOW + DAY, kind="break_glass", identity="bob", level="notice"),
        row("c", at=NOW + 2 * DAY, mute="m1"),
    )  # fmt: skip
    assert names(listed(database, Wanted(), 10)) == ["a", "b", "c"]
    assert names(listed(database, Wanted(), 2)) == ["b", "c"], "the newest"
    for wanted, found in (
        (Wanted(since=NOW + DAY), ["b", "c"]),
        (Wanted(kind="break_glass"), ["b"]), (Wanted(identity="alice"), ["a", "c"]),
        (Wanted(level="notice"), ["b"]), (Wanted(muted=True), ["c"]), (Wanted(muted=False), ["a", "b"]),
    ):  # fmt: skip
        assert names(listed(database, wanted, 10)) == found, wanted


def test_it_is_found_by_the_beginning_of_its_name(database: Database) -> None:
    keep(database, row("abc"), row("abd"), row("b%"))
    assert names(named(database, "ab", 10)) == ["abc", "abd"] and names(named(database, "abd", 10)) == ["abd"]
    assert named(database, "%", 10) == [] and len(named(database, "ab", 1)) == 1


def test_who_is_still_to_be_told_is_known_until_it_is_settled(database: Database) -> None:
    keep(
        database, row("a", webhook=WAITING), row("b", webhook=WAITING, made_at=NOW - DAY), row("c"),
        row("d", node="gw2", webhook=WAITING),
    )  # fmt: skip
    assert names(waiting(database, "gw1", "webhook", 0.0, 10)) == ["a", "b"]
    assert names(waiting(database, "gw1", "webhook", NOW - 1, 10)) == ["a"]
    assert len(waiting(database, "gw1", "audited", 0.0, 2)) == 2
    with database.write() as connection:
        settle(connection, "gw1", "webhook", ["a", "c", "d"], "sent")
        settle(connection, "gw1", "webhook", ["a"], "refused")
    assert {one.id: one.webhook for one in listed(database, Wanted(), 10)} == {
        "a": "sent", "b": WAITING, "c": "", "d": WAITING,
    }  # fmt: skip


def test_what_is_old_or_too_much_goes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    old = [row(f"old{number}", at=NOW - KEPT - 1) for number in range(2)]
    keep(
        database, *old, *(row(f"n{number}", at=NOW + number) for number in range(5)), row("other", node="gw2")
    )
    with database.write() as connection:
        sweep(connection, "gw1", NOW)
    assert set(names(listed(database, Wanted(), 20))) == {"n2", "n3", "n4", "other"}


# -- mutes ---------------------------------------------------------------------------------------------------------


def of(name: str = "m1", **parts: object) -> Mute:
    made = Mute(name, "", "", "", "because", "root", NOW, NOW + DAY)
    return replace(made, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "is_covered"),
    [
        ({"kind": "sftp_data"}, True), ({"kind": "tunnel_data"}, False), ({"identity": "alice"}, True),
        ({"identity": "Alice"}, False), ({"identity": ""}, True), ({"target": "web1"}, True),
        ({"target": "web"}, False),
        ({"kind": "sftp_data", "identity": "alice", "target": "web1"}, True),
        ({"kind": "sftp_data", "identity": "bob"}, False), ({"identity": "alice", "target": "web2"}, False),
    ],
)  # fmt: skip
def test_a_mute_covers_what_fits_all_its_parts(parts: dict[str, str], is_covered: bool) -> None:
    assert of(**parts).covers("sftp_data", "alice", "web1") is is_covered
    assert (
        covering([of("m0", kind="other"), of("m1", **parts)], "sftp_data", "alice", "web1")
        == "m1" * is_covered
    )


def test_a_mute_has_an_end_and_can_be_taken_away(database: Database) -> None:
    told: list[str] = []
    mute(database, of(kind="sftp_data"), lambda: told.append("muted"))
    assert mutes(database, NOW) == [of(kind="sftp_data")] and mutes(database, NOW + DAY) == []
    assert not unmute(database, "m2", NOW, lambda: told.append("never"))
    assert unmute(database, "m1", NOW + 5, lambda: told.append("unmuted"))
    assert not unmute(database, "m1", NOW + 6, lambda: told.append("never"))
    assert told == ["muted", "unmuted"] and mutes(database, NOW + 5) == []
    assert [one.until for one in all_mutes(database)] == [NOW + 5], "what it covered can be explained"
    with database.write() as connection:
        sweep(connection, "gw1", NOW + KEPT + DAY)
    assert all_mutes(database) == []


def test_what_is_not_in_the_log_is_not_so(database: Database) -> None:
    def fail() -> None:
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        mute(database, of(), fail)
    assert all_mutes(database) == []
    mute(database, of(), lambda: None)
    with pytest.raises(RuntimeError, match="no room"):
        unmute(database, "m1", NOW, fail)
    assert mutes(database, NOW) == [of()]


def test_there_are_not_too_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MUTES", 1)
    mute(database, of(), lambda: None)
    with pytest.raises(TooMany):
        mute(database, of("m2"), lambda: None)
    mute(database, of("m2", made_at=NOW + DAY), lambda: None)
    assert len({new_id() for _ in range(100)}) == 100
