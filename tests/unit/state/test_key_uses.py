"""When a key was used, read off the headers of sessions."""

from __future__ import annotations

import orjson
import pytest

from bastion.state import key_uses
from bastion.state.database import Database
from bastion.state.key_uses import Uses, uses_of
from bastion.state.schema import SESSIONS


def add(database: Database, number: int, at: float, key: object, uid: str = "u-1", header: str = "") -> None:
    text = header or orjson.dumps({"key_fingerprint": key}).decode()
    with database.write() as connection:
        connection.execute(SESSIONS.insert().values(id=f"s{number}", uid=uid, started_at=at, header=text))


def test_first_last_and_how_often(database: Database) -> None:
    add(database, 1, 10.0, "SHA256:a")
    add(database, 2, 30.0, "SHA256:a")
    add(database, 3, 20.0, "SHA256:b")
    add(database, 4, 40.0, "SHA256:a", uid="u-2")
    assert uses_of(database, "u-1") == {"SHA256:a": Uses(10.0, 30.0, 2), "SHA256:b": Uses(20.0, 20.0, 1)}
    assert uses_of(database, "u-3") == {}


def test_a_header_that_says_nothing_is_passed_over(database: Database) -> None:
    for number, header in enumerate(
        ("{}", "[]", "not JSON", '{"key_fingerprint": 1}', '{"key_fingerprint": ""}')
    ):
        add(database, number, 1.0, "", header=header)
    assert uses_of(database, "u-1") == {}


def test_the_newest_are_looked_at(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_uses, "LOOKED_AT", 2)
    for number in range(4):
        add(database, number, float(number), "SHA256:a")
    assert uses_of(database, "u-1") == {"SHA256:a": Uses(2.0, 3.0, 2)}
