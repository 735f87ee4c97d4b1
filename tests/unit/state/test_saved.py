"""Saved searches: their owner's, bounded, and each session told once."""

from __future__ import annotations

import pytest

from bastion.state import saved as module
from bastion.state.database import Database
from bastion.state.reviewing import NotTaken
from bastion.state.saved import (
    KEPT,
    MOST_SHOWN,
    Hit,
    Saved,
    all_searches,
    drop,
    note_run,
    save,
    searches_of,
    told_of,
)
from tests.unit.state.test_reviewing import ADA, BEA, NOW, ONE, silent


def hit(one: Saved, session: str = ONE, started_at: float = NOW) -> Hit:
    return Hit(one.id, session, "alice, deploy@web1", started_at, NOW + 1)


def test_a_search_is_its_owners(database: Database) -> None:
    told: list[str] = []
    one = save(database, ADA, "  miners ", "xmrig", "user=alice", NOW, told.append)
    assert (one.title, one.uid, one.ran_at) == ("miners", "u-ada", None) and told == [one.id]
    assert searches_of(database, "u-ada") == [(one, [])] and searches_of(database, "u-bea") == []
    note_run(database, one.id, [hit(one)], NOW + 1)
    assert not drop(database, one.id, BEA, silent) and all_searches(database)[0].ran_at == NOW + 1
    assert drop(database, one.id, ADA, told.append) and told == [one.id, one.id]
    assert all_searches(database) == [] and told_of(database, one.id) == set()


def test_a_session_is_told_once_and_forgotten_when_it_cannot_come_again(database: Database) -> None:
    one = save(database, ADA, "x", "x", "", NOW, silent)
    note_run(database, one.id, [hit(one)], NOW + 1)
    note_run(database, one.id, [hit(one), hit(one, "b" * 16, NOW + KEPT)], NOW + 2)
    assert told_of(database, one.id) == {ONE, "b" * 16}
    note_run(database, one.id, [], NOW + KEPT + 1)
    assert told_of(database, one.id) == {"b" * 16}
    drop(database, one.id, ADA, silent)
    note_run(database, one.id, [hit(one)], NOW + 3)
    assert told_of(database, one.id) == set(), "one that was dropped while it ran"


def test_how_many_there_are_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OF_ONE", 2)
    monkeypatch.setattr(module, "MOST_SEARCHES", 3)
    for by in (ADA, ADA, BEA):
        save(database, by, "x", "x", "", NOW, silent)
    for by, text in ((ADA, "you have 2"), (BEA, "as many saved searches")):
        with pytest.raises(NotTaken, match=text):
            save(database, by, "x", "x", "", NOW, silent)
    for title in ("", "  ", "x" * 81):
        with pytest.raises(NotTaken, match="name"):
            save(database, ADA, title, "x", "", NOW, silent)
    one = all_searches(database)[0]
    note_run(database, one.id, [hit(one, f"{n:016d}") for n in range(MOST_SHOWN + 5)], NOW)
    found = {saved.id: hits for saved, hits in searches_of(database, one.uid)}
    assert len(found[one.id]) == MOST_SHOWN


def test_without_its_line_none_is_saved_or_dropped(database: Database) -> None:
    def fails(_: str) -> None:
        raise RuntimeError("the log is full")

    with pytest.raises(RuntimeError):
        save(database, ADA, "x", "x", "", NOW, fails)
    one = save(database, ADA, "x", "x", "", NOW, silent)
    with pytest.raises(RuntimeError):
        drop(database, one.id, ADA, fails)
    assert all_searches(database) == [one]
