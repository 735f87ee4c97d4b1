"""Passkeys in the store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bastion.state.database import Database
from bastion.state.passkeys import MOST_OF_ONE, Passkey, find, fingerprint, keep, listed, remove, use

ONE = Passkey(fingerprint(b"x" * 32), "eHg", "{}", "u-ada", "ada", "blue key", 0, 0, 100.0)


def test_one_is_kept_found_by_its_owner_and_taken_away(database: Database) -> None:
    assert ONE.id.startswith("SHA256:") and keep(database, ONE)
    assert (
        find(database, ONE.id) == find(database, ONE.id, "u-ada") == ONE
        and find(database, ONE.id, "u-rex") is None
    )
    assert listed(database, "u-ada") == listed(database) == [ONE] and listed(database, "u-rex") == []
    assert remove(database, ONE.id) and not remove(database, ONE.id) and find(database, ONE.id) is None


def test_nobody_takes_anothers(database: Database) -> None:
    keep(database, ONE)
    assert not keep(database, replace(ONE, uid="u-rex", name="rex"))
    assert find(database, ONE.id, "u-ada") is not None


def test_one_identity_has_so_many(database: Database) -> None:
    for number in range(MOST_OF_ONE):
        assert keep(database, replace(ONE, id=f"id{number}"))
    assert not keep(database, ONE) and keep(database, replace(ONE, uid="u-rex"))


@pytest.mark.parametrize(
    ("counters", "taken"),
    [
        ((0, 0, 0), (True, True, True)),
        ((5, 6, 6), (True, True, False)),
        ((5, 4, 7), (True, False, True)),
        ((5, 0), (True, False)),
        ((0, 1, 0), (True, True, False)),
    ],
)
def test_a_counter_only_rises(database: Database, counters: tuple[int, ...], taken: tuple[bool, ...]) -> None:
    keep(database, ONE)
    assert tuple(use(database, ONE.id, counter, 200.0) for counter in counters) == taken
    known = find(database, ONE.id)
    assert known is not None and known.used_at == 200.0 and known.counter == max(counters)


def test_one_that_is_gone_is_not_used(database: Database) -> None:
    assert not use(database, ONE.id, 1, 200.0)


def test_a_line_is_written_of_what_is_kept_and_of_nothing_else(database: Database) -> None:
    told: list[str] = []
    assert keep(database, ONE, lambda: told.append("kept"))
    assert not keep(database, ONE, lambda: told.append("not kept")) and told == ["kept"]
