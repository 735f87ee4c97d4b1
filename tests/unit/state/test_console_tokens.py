"""API tokens in the store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from bastion.state.console_tokens import (
    MOST_OF_ONE,
    USED_SECONDS,
    KeptToken,
    find,
    keep,
    listed,
    revoke,
    use,
)
from bastion.state.database import Database
from bastion.state.schema import CONSOLE_TOKENS

TOKEN = KeptToken("aaaabbbbcccc", "siem", "u-ada", "ada", ("sessions", "live"), 100.0, "ada", 1000.0)
DIGEST = "ab" * 32


def test_a_token_is_known_by_its_digest_until_it_ends(database: Database) -> None:
    assert keep(database, TOKEN, DIGEST, 100.0)
    assert use(database, TOKEN.id, DIGEST, 200.0) == TOKEN
    assert (
        use(database, TOKEN.id, "cd" * 32, 200.0) is None and use(database, "x" * 12, DIGEST, 200.0) is None
    )
    assert use(database, "x" * 12, "0" * 64, 200.0) is None, "what is compared for nobody is nobody's"
    assert (
        use(database, TOKEN.id, DIGEST, 999.9) is not None and use(database, TOKEN.id, DIGEST, 1000.0) is None
    )


def test_its_use_is_noted_once_in_a_while(database: Database) -> None:
    keep(database, TOKEN, DIGEST, 100.0)
    for moment, noted in ((200.0, 200.0), (200.0 + USED_SECONDS - 1, 200.0), (260.0, 260.0)):
        use(database, TOKEN.id, DIGEST, moment)
        assert listed(database)[0].used_at == noted
    use(database, TOKEN.id, "cd" * 32, 500.0)
    assert listed(database)[0].used_at == 260.0, "a wrong secret is no use"


def test_what_is_taken_away_counts_at_once(database: Database) -> None:
    keep(database, TOKEN, DIGEST, 100.0)
    assert find(database, TOKEN.id, "u-rex") is None and find(database, TOKEN.id, "u-ada") == TOKEN
    assert revoke(database, TOKEN.id) and not revoke(database, TOKEN.id)
    assert use(database, TOKEN.id, DIGEST, 200.0) is None and find(database, TOKEN.id) is None


def test_one_identity_has_so_many_and_those_that_ended_make_room(database: Database) -> None:
    for number in range(MOST_OF_ONE):
        one = replace(TOKEN, id=f"id{number}", made_at=float(number), ends_at=500.0 + number)
        assert keep(database, one, DIGEST, 100.0)
    assert not keep(database, TOKEN, DIGEST, 100.0)
    assert keep(database, replace(TOKEN, uid="u-rex", name="rex"), DIGEST, 100.0)
    assert [one.id for one in listed(database, "u-ada")][:2] == [
        f"id{MOST_OF_ONE - 1}",
        f"id{MOST_OF_ONE - 2}",
    ]
    assert keep(database, replace(TOKEN, id="new"), DIGEST, 501.0)
    assert {"id0", "id1"}.isdisjoint(one.id for one in listed(database))


def test_nothing_but_a_digest_is_kept(database: Database) -> None:
    keep(database, TOKEN, DIGEST, 100.0)
    with database.read() as connection:
        (row,) = connection.execute(select(CONSOLE_TOKENS))
    assert row.digest == DIGEST and DIGEST not in repr(TOKEN)


def test_a_line_is_written_of_what_is_kept_and_of_nothing_else(database: Database) -> None:
    told: list[str] = []
    for number in range(MOST_OF_ONE):
        keep(database, replace(TOKEN, id=f"id{number}"), DIGEST, 100.0, lambda: told.append("kept"))
    assert not keep(database, TOKEN, DIGEST, 100.0, lambda: told.append("not kept"))
    assert told == ["kept"] * MOST_OF_ONE


def test_what_cannot_be_written_down_is_not_kept(database: Database) -> None:
    def full() -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        keep(database, TOKEN, DIGEST, 100.0, full)
    assert find(database, TOKEN.id) is None
