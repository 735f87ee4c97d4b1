"""Since when keys have logged in: kept once, told once a day by one, and bounded."""

from __future__ import annotations

from bastion.state.database import Database, Place
from bastion.state.key_ages import AGAIN, MOST_KEYS, first_use, first_uses

NOW = 1_800_000_000.0
DAY = 86400.0
YEAR = 365 * DAY


def test_the_first_login_is_the_one_that_counts(database: Database) -> None:
    assert first_use(database, "u-1", "SHA256:a", NOW, YEAR) == (NOW, False)
    assert first_use(database, "u-1", "SHA256:a", NOW + 5, YEAR) == (NOW, False)
    assert first_use(database, "u-1", "SHA256:a", NOW - 5, YEAR) == (NOW, False), "a clock that was set back"
    assert first_use(database, "u-2", "SHA256:a", NOW + 9, YEAR) == (NOW + 9, False), "it is another one's"
    assert first_uses(database, "u-1") == {"SHA256:a": NOW}


def test_an_old_key_is_told_of_once_a_day(database: Database, place: Place) -> None:
    first_use(database, "u-1", "SHA256:a", NOW, YEAR)
    assert first_use(database, "u-1", "SHA256:a", NOW + YEAR, YEAR) == (NOW, False)
    late = NOW + YEAR + 1
    other = Database(place)  # another gateway of the same store
    told = [first_use(one, "u-1", "SHA256:a", late, YEAR)[1] for one in (database, other, database)]
    other.close()
    assert told == [True, False, False]
    assert not first_use(database, "u-1", "SHA256:a", late + AGAIN - 1, YEAR)[1]
    assert first_use(database, "u-1", "SHA256:a", late + AGAIN, YEAR)[1]


def test_nobody_is_told_where_nobody_wants_to_know(database: Database) -> None:
    first_use(database, "u-1", "SHA256:a", NOW, 0.0)
    assert first_use(database, "u-1", "SHA256:a", NOW + 9 * YEAR, 0.0) == (NOW, False)
    assert first_use(database, "u-1", "SHA256:a", NOW + 9 * YEAR, YEAR)[1], "it was remembered all the same"


def test_those_used_longest_ago_are_forgotten_first(database: Database) -> None:
    for number in range(MOST_KEYS):
        first_use(database, "u-1", f"SHA256:{number}", NOW + number, YEAR)
    first_use(database, "u-1", "SHA256:0", NOW + 1000, YEAR)
    first_use(database, "u-2", "SHA256:1", NOW, YEAR)
    first_use(database, "u-1", "SHA256:new", NOW + 1001, YEAR)
    known = first_uses(database, "u-1")
    assert len(known) == MOST_KEYS and {"SHA256:0", "SHA256:new"} <= known.keys() and "SHA256:1" not in known
    assert first_uses(database, "u-2") == {"SHA256:1": NOW}
