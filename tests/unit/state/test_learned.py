"""What detections have learned, in rows that several write."""

from __future__ import annotations

import zlib
from base64 import b64encode
from typing import Any

import pytest

from bastion.state import learned as module
from bastion.state.database import Database, Place, StateDown
from bastion.state.learned import (
    KEPT,
    MOST_BYTES,
    NODE,
    PERSON,
    Learned,
    Saved,
    Saving,
    learned,
    pack,
    unpack,
)

NOW = 1_800_000_000.0
FORM = 3


def save(
    database: Database, document: Any, revision: int = 0, node: str = "gw1", name: str = "alice", now: float = NOW,
    form: int = FORM,
) -> Saved:  # fmt: skip
    def both(found: Any) -> Any:
        return sorted({*document, *found})

    with database.write() as connection:
        return Saving(connection, form, node, now).put(PERSON, name, revision, pack(document), both)


def test_a_row_is_written_by_who_has_read_it(database: Database) -> None:
    assert save(database, ["a"]) == Saved(1)
    assert save(database, ["a", "b"], 1) == Saved(2)
    assert learned(database, PERSON, FORM, 10) == [Learned("alice", 2, "gw1", NOW, ["a", "b"])]
    assert learned(database, NODE, FORM, 10) == []


def test_who_has_not_read_it_merges(database: Database, place: Place) -> None:
    other = Database(place)
    save(database, ["a"])
    assert save(other, ["b"], 0, "gw2") == Saved(2, ["a", "b"]), "somebody was first"
    assert save(database, ["a", "c"], 1) == Saved(3, ["a", "b", "c"])
    assert save(other, ["d"], 9, "gw2") == Saved(4, ["a", "b", "c", "d"]), "an older copy was restored"
    other.close()


def test_another_form_is_not_read_and_not_merged(database: Database) -> None:
    save(database, ["a"], form=FORM - 1)
    assert learned(database, PERSON, FORM, 10) == []
    assert save(database, ["b"]).document is None
    assert learned(database, PERSON, FORM, 10) == [Learned("alice", 2, "gw1", NOW, ["b"])]


def test_what_others_have_written_since(database: Database) -> None:
    save(database, ["a"], node="gw1", name="a", now=NOW)
    save(database, ["b"], node="gw2", name="b", now=NOW - 9)
    save(database, ["c"], node="gw2", name="c", now=NOW)
    assert [one.name for one in learned(database, PERSON, FORM, 10)] == ["b", "a", "c"]
    assert [one.name for one in learned(database, PERSON, FORM, 2)] == ["a", "c"], "the newest"
    assert [one.name for one in learned(database, PERSON, FORM, 10, NOW, but_of="gw1")] == ["c"]


def test_what_nobody_has_written_for_long_goes(database: Database) -> None:
    save(database, ["a"], name="a")
    save(database, ["b"], name="b", now=NOW + 9)
    with database.write() as connection:
        Saving(connection, FORM, "gw1", NOW + KEPT + 5).sweep()
    assert [one.name for one in learned(database, PERSON, FORM, 10)] == ["b"]


def test_damage_is_as_none(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpack(pack({"a\ud800": [1.5, "x"]})) == {"a\ud800": [1.5, "x"]}
    bomb = b64encode(zlib.compress(b"[" + b"1," * (MOST_BYTES // 2 + 9) + b"1]")).decode()
    nested = b64encode(zlib.compress(b"[" * 100_000)).decode()
    for text in (
        "",
        "x",
        "é",
        b64encode(b"x").decode(),
        b64encode(zlib.compress(b"{")).decode(),
        bomb,
        nested,
    ):
        assert unpack(text) is None
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(StateDown):
        pack("x" * 20)


def test_others_that_write_without_end_are_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    save(database, ["a"])
    monkeypatch.setattr(Saving, "_now", lambda *_: (7, None))
    with pytest.raises(StateDown, match="too many at once"):
        save(database, ["b"], 5)


def test_what_one_writes_without_end_is_not_read_without_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.MOST_OF, PERSON, 1000)
    monkeypatch.setattr(module, "MOST_READ", 2500)
    for number in range(9):
        save(database, ["x" * 800], name=f"person{number}", now=NOW + number)
    save(database, ["y" * 2000], name="large", now=NOW + 50)
    bomb = b64encode(zlib.compress(b"[" + b"1," * 100_000 + b"1]")).decode()
    with database.write() as connection:
        Saving(connection, FORM, "gw2", NOW + 60).put(PERSON, "bomb", 0, bomb, lambda found: found)
        Saving(connection, FORM, "gw2", NOW + 70).put(PERSON, "n" * 300, 0, pack(["a"]), lambda found: found)
        Saving(connection, FORM, "gw2", NOW + 80).put(PERSON, "long", 0, "A" * 5000, lambda found: found)
    assert [row.name for row in learned(database, PERSON, FORM, 100)] == ["person6", "person7", "person8"]
