"""A place, its connections, and what is said when it does not work."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from bastion.errors import ConfigError
from bastion.state.database import Database, Place, StateDown, checked_url, password_of

pytestmark = pytest.mark.slow


def pragma(database: Database, name: str) -> object:
    with database.read() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


def test_sqlite_is_closed_to_others_in_wal_mode_and_synced(place: Place, database: Database) -> None:
    assert pragma(database, "journal_mode") == "wal"
    assert pragma(database, "synchronous") == 2
    assert place.folder.stat().st_mode & 0o777 == 0o700
    for name in os.listdir(place.folder):
        assert (place.folder / name).stat().st_mode & 0o077 == 0, name


def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(StateDown), database.write() as connection:
        connection.execute(text("INSERT INTO locks (kind, value, made_at) VALUES ('user', 'a', 1)"))
        connection.execute(text("INSERT INTO locks (kind, value, made_at) VALUES ('user', 'b', NULL)"))
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM locks")).scalar() == 0


def test_what_no_repetition_makes_right_is_told_from_what_passes(place: Place, database: Database) -> None:
    with pytest.raises(StateDown) as wrong, database.write() as connection:
        connection.execute(
            text("INSERT INTO locks (kind, value) VALUES ('user', :secret)"), {"secret": "s3cret"}
        )
    assert wrong.value.refused and "s3cret" not in wrong.value.text and wrong.value.__cause__ is None
    other = sqlite3.connect(place.file, timeout=0)
    other.execute("BEGIN IMMEDIATE")
    quick = Database(place)
    quick._engine.dialect.connect = lambda *a, **named: sqlite3.connect(  # type: ignore[method-assign]
        place.file, timeout=0, check_same_thread=False
    )
    with pytest.raises(StateDown) as busy, quick.write():
        pass
    assert not busy.value.refused and "locked" in busy.value.text
    other.close()
    quick.close()


def test_two_processes_write_one_after_the_other(place: Place, database: Database) -> None:
    def write(name: str) -> None:
        one = Database(place)
        for number in range(20):
            with one.write() as connection:
                connection.execute(
                    text("INSERT INTO locks (kind, value, made_at) VALUES ('user', :value, 1)"),
                    {"value": f"{name}{number}"},
                )
        one.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM locks")).scalar() == 60


def test_a_folder_that_cannot_be_made_is_a_store_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database(Place(tmp_path / "file" / "state"))
    with pytest.raises(StateDown) as down, database.read():
        pass
    assert "Not a directory" in down.value.text


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    place = Place(tmp_path, "postgresql://gw@127.0.0.1:1/none", secret)
    assert password_of(place) == "hunter2" and password_of(Place(tmp_path)) == ""
    database = Database(place, password_of(place))
    with pytest.raises(StateDown) as down, database.read():
        pass
    assert "refused" in down.value.text and not down.value.refused
    assert "hunter2" not in down.value.text + str(place) + repr(database.__dict__)
    database.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "is no URL"),
        ("mysql://a@b/c", "is no PostgreSQL URL"),
        ("postgresql://a:secret@b/c", "has a password in it"),
    ],
)
def test_a_url_that_will_not_do_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked_url(url)
    assert problem in str(refused.value) and "secret" not in str(refused.value)
