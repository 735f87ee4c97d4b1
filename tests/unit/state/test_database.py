"""A place, its connections, and what is said when it does not work."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from bastion.errors import ConfigError
from bastion.state.database import (
    Database,
    Place,
    StateDown,
    StateReadOnly,
    checked_url,
    password_of,
)
from tests.support.rights import NOBODY, without_rights

pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is somebody else")


def pragma(database: Database, name: str) -> object:
    with database.read() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


def test_sqlite_is_closed_to_others_in_wal_mode_and_synced(place: Place, database: Database) -> None:
    assert pragma(database, "journal_mode") == "wal"
    assert pragma(database, "synchronous") == 2
    assert place.folder.stat().st_mode & 0o777 == 0o700
    for name in os.listdir(place.folder):
        assert (place.folder / name).stat().st_mode & 0o077 == 0, name


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that is shared with a group of which nobody here is a member but who looks."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    made = tmp_path / "shared"
    made.mkdir()
    os.chown(made, -1, NOBODY)
    made.chmod(0o2750)
    return made


@contextmanager
def of_the_group() -> Iterator[None]:
    os.setegid(NOBODY)
    try:
        with without_rights():
            yield
    finally:
        os.setegid(0)


def rows(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM t")).scalar_one())


@needs_root
def test_the_group_of_a_shared_folder_reads_and_never_writes(shared: Path) -> None:
    writer, reader = Database(Place(shared)), Database(Place(shared))
    with writer.write() as connection:
        connection.execute(text("CREATE TABLE t (a)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
    modes = {(stat.S_IMODE(one.stat().st_mode), one.stat().st_gid) for one in shared.iterdir()}
    assert modes == {(0o640, NOBODY)}
    with of_the_group():
        assert rows(reader) == 1
        with pytest.raises(StateReadOnly), reader.write():
            pass
    with writer.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
    with of_the_group():
        assert rows(reader) == 2
    reader.close()
    writer.close()
    assert [one.name for one in shared.iterdir()] == ["state.db"], "nobody has it open"
    with of_the_group():
        assert rows(reader) == 2
    again = Database(Place(shared))
    with again.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (3)"))
    with of_the_group():
        assert rows(reader) == 3
    reader.close()
    again.close()


@needs_root
def test_what_is_read_while_a_gateway_comes_back_does_not_count(shared: Path) -> None:
    writer, reader = Database(Place(shared)), Database(Place(shared))
    with writer.write() as connection:
        connection.execute(text("CREATE TABLE t (a)"))
    writer.close()
    with of_the_group():
        looking = reader.read()
        looking.__enter__()
    with writer.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    with of_the_group(), pytest.raises(StateDown, match=r"has opened"):
        looking.__exit__(None, None, None)
    reader.close()
    writer.close()


@needs_root
def test_what_a_killed_gateway_left_is_read(shared: Path) -> None:
    child = os.fork()
    if not child:
        database = Database(Place(shared))
        with database.write() as connection:
            connection.execute(text("CREATE TABLE t (a)"))
            connection.execute(text("INSERT INTO t VALUES (1)"))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (shared / "state.db-wal").stat().st_size > 0
    reader = Database(Place(shared))
    with of_the_group():
        assert rows(reader) == 1
    reader.close()


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
