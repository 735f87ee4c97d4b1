"""The store and the index, asked in threads: whatever goes wrong is trouble of a known kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bastion.auth.directory import OPERATOR
from bastion.auth.totp import TotpKey
from bastion.clock import SystemClock
from bastion.console.reads import Reads, Trouble
from bastion.errors import AuthReason, ConsoleReason, Refused
from bastion.policy.locks import Party
from bastion.state.changes import apply
from bastion.state.database import Database, Place, StateDown
from bastion.state.rows import Lock, lock_added
from bastion.state.schema_version import check_schema
from tests.support.reactor import run, start

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "state")
    database = Database(made)
    check_schema(database)
    with database.write() as connection:
        apply(connection, [lock_added(Lock("user", "alice", "why", "root", 1.0, None, "u-alice"))])
    database.close()
    return made


def asked(place: Place, ask: Any) -> Any:
    reads = Reads(start(), SystemClock(), place, "", place.folder / "reading.db")
    try:
        return run(lambda: ask(reads))
    finally:
        run(reads.close)


def test_locks_are_read(place: Place) -> None:
    locks = asked(place, lambda reads: reads.locks(OPERATOR))
    assert locks.party(Party("alice", "u-alice", "192.0.2.1"), 5.0).reason == "why"
    assert locks.party(Party("alice", "u-other", "192.0.2.1"), 5.0) is None


def test_a_lock_that_only_a_later_version_knows_keeps_nobody_from_signing_in(place: Place) -> None:
    database = Database(place)
    with database.write() as connection:
        apply(connection, [lock_added(Lock("moon", "full", "", "", 1.0))])
    database.close()
    locks = asked(place, lambda reads: reads.locks(OPERATOR))
    assert locks.party(Party("alice", "u-alice", "192.0.2.1"), 5.0).reason == "why"


def test_a_store_that_does_not_answer_is_trouble(place: Place) -> None:
    def fails(database: Database) -> None:
        raise StateDown("the password is hunter2")

    with pytest.raises(Trouble) as trouble:
        asked(place, lambda reads: reads.ask(fails, OPERATOR))
    assert trouble.value.reason is ConsoleReason.UNAVAILABLE and "hunter2" not in trouble.value.text


def test_no_index_and_a_bad_one(place: Place) -> None:
    with pytest.raises(Trouble) as trouble:
        asked(place, lambda reads: reads.search(lambda file: 1, OPERATOR))
    assert "bastion index" in trouble.value.text
    (place.folder / "reading.db").write_bytes(b"nonsense" * 100)
    with pytest.raises(Trouble):
        asked(place, lambda reads: reads.search(lambda file: 1, OPERATOR))


def test_a_code_of_nobody_is_refused_and_one_without_a_store_is_unavailable(place: Place) -> None:
    key = TotpKey(b"k" * 44)
    with pytest.raises(Refused) as refused:
        asked(place, lambda reads: reads.codes(key)("u-alice", "123456", OPERATOR))
    assert refused.value.reason is AuthReason.NOT_ENROLLED
    place.file.write_bytes(b"nonsense" * 1000)
    with pytest.raises(Refused) as refused:
        asked(place, lambda reads: reads.codes(key)("u-alice", "123456", OPERATOR))
    assert refused.value.reason is AuthReason.CODES_UNAVAILABLE
