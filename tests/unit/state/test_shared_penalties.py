"""Penalties in the store: a gateway's own rows, read in order and in bounds, and rows that are none."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select, text

from bastion.auth.penalty_claims import BATCH, DAY, MOST_EACH, Claim, Of
from bastion.state.database import Database
from bastion.state.schema import PENALTIES
from bastion.state.shared_penalties import key_of, read, sweep, tell

NOW = 1_800_000_000.0
AT = int(NOW * 1_000_000)


def claim(number: int, **more: object) -> Claim:
    made = Claim(f"{number:024x}", Of.PAIR, "192.0.2.1", 6, NOW + 5, NOW, 0.0, NOW, NOW + 1805, AT + number)
    return replace(made, **more)  # type: ignore[arg-type]


def test_the_first_gateway_s_key_is_everybody_s(database: Database) -> None:
    assert key_of(database, None) is None
    assert key_of(database, b"a" * 32) == b"a" * 32
    assert key_of(database, b"b" * 32) == key_of(database, None) == b"a" * 32
    with database.write() as connection:
        connection.execute(text("UPDATE penalty_key SET key = 'spoilt'"))
    assert key_of(database, b"b" * 32) is None


def test_what_is_told_is_read_once_and_the_later_claim_of_a_key_counts(database: Database) -> None:
    tell(database, "gw1", [claim(1), claim(2, of=Of.SOURCE), claim(3, of=Of.ACCOUNT, source="")])
    tell(database, "gw2", [claim(1, failures=9)])
    assert read(database, {}, NOW) == {}, "of whom nobody asked"
    found = read(database, {"gw1": 0, "gw3": 0}, NOW)
    assert found == {"gw1": (claim(1), claim(2, of=Of.SOURCE), claim(3, of=Of.ACCOUNT, source=""))}
    assert read(database, {"gw1": AT + 3}, NOW) == {}
    tell(database, "gw1", [claim(1, revision=AT + 9, failures=7)])
    tell(database, "gw1", [claim(1, revision=AT + 8, failures=8)])
    assert read(database, {"gw1": AT + 3}, NOW) == {"gw1": (claim(1, revision=AT + 9, failures=7),)}


def test_of_each_gateway_so_much_is_read_at_once_and_it_has_so_many_rows(database: Database) -> None:
    for start in range(0, 3 * MOST_EACH, BATCH):
        tell(database, "gw2", [claim(number) for number in range(start, start + BATCH)])
    seen = {"gw1": 0, "gw2": 0}
    first = read(database, seen, NOW)["gw2"]
    assert len(first) == BATCH and first[0] == claim(0)
    tell(database, "gw1", [claim(1)])
    assert read(database, seen, NOW)["gw1"] == (claim(1),), "one that says much keeps nobody else waiting"
    sweep(database, "gw2", NOW)
    with database.read() as connection:
        left = (
            connection.execute(select(PENALTIES.c.revision).where(PENALTIES.c.node == "gw2")).scalars().all()
        )
    assert sorted(left) == list(range(AT + 2 * MOST_EACH, AT + 3 * MOST_EACH))


def test_what_is_over_is_removed_by_whose_it_is_and_by_anybody_a_day_later(database: Database) -> None:
    for node in ("gw1", "gw2"):
        tell(database, node, [claim(1, ends_at=NOW - 1), claim(2)])
    sweep(database, "gw1", NOW)
    found = read(database, {"gw1": 0, "gw2": 0}, NOW)
    assert [len(found[node]) for node in ("gw1", "gw2")] == [1, 2]
    sweep(database, "gw1", NOW + DAY)
    assert len(read(database, {"gw2": 0}, NOW)["gw2"]) == 1


def test_rows_that_are_no_claims_are_not_taken_for_some(database: Database) -> None:
    """Whoever has the store's password can write anything."""
    tell(database, "gw2", [claim(number) for number in range(8)])
    hostile = [
        "UPDATE penalties SET source = :long WHERE key LIKE '%0'",
        "UPDATE penalties SET of = 'all' WHERE key LIKE '%1'",
        "UPDATE penalties SET until = 9e999 WHERE key LIKE '%2'",
        "UPDATE penalties SET failures = 9007199254740993 WHERE key LIKE '%3'",
        "UPDATE penalties SET revision = 9e17 WHERE key LIKE '%4'",
    ]
    with database.write() as connection:
        for statement in hostile:
            connection.execute(text(statement), {"long": "x" * 100_000} if ":long" in statement else {})
    found = read(database, {"gw2": 0}, NOW)["gw2"]
    assert [each.key for each in found] == ["", "", "", *(f"{number:024x}" for number in (5, 6, 7))]
    assert [each.revision for each in found] == [AT + number for number in (1, 2, 3, 5, 6, 7)]
