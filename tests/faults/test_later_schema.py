"""An upgrade that brought several revisions is taken back: the program of before runs on the schema of after.

A real PostgreSQL, migrated by this program and then as a later one would.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bastion.state.database import Database, Place, password_of
from bastion.state.roles import GATEWAY
from bastion.state.schema import SESSIONS
from bastion.state.schema_version import HEAD, SchemaUnfit, check_schema, state_oldest
from tests.support.postgres import PASSWORD, Postgres
from tests.support.sshd import sshd_missing
from tests.support.state import rows
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

LATER = HEAD + 4
MORE = (
    "CREATE TABLE of_tomorrow (id TEXT PRIMARY KEY, text TEXT NOT NULL DEFAULT '')",
    "ALTER TABLE sessions ADD COLUMN of_tomorrow TEXT NOT NULL DEFAULT 'x'",
    "ALTER TABLE locks ADD COLUMN of_tomorrow BIGINT NOT NULL DEFAULT 7",
    "CREATE INDEX of_tomorrow_text ON of_tomorrow (text)",
)


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres() as made:
        yield made


@pytest.fixture
def world(server: Postgres) -> Iterator[World]:
    state = f'[state]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n'
    made = World(config=state)
    assert made.bastion("state", "migrate", "--config", str(made.config)).returncode == 0
    yield made
    made.close()


@pytest.fixture
def database(server: Postgres) -> Iterator[Database]:
    place = Place(server.folder, server.url, server.password_file)
    made = Database(place, password_of(place))
    yield made
    made.close()


def become(database: Database, oldest: int) -> None:
    """As a later version's `bastion state migrate` leaves it."""
    with database.write() as connection:
        for statement in MORE:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{LATER:04}'")
        state_oldest(connection, oldest)


def test_a_gateway_runs_on_a_schema_of_several_revisions_later_that_is_for_it(
    world: World, database: Database, server: Postgres
) -> None:
    """As the role of a gateway, which owns nothing; and migrating again takes nothing back."""
    become(database, HEAD - 1)
    with database.write() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {GATEWAY}")
        connection.exec_driver_sql(f"CREATE ROLE gateway LOGIN PASSWORD '{PASSWORD}' IN ROLE {GATEWAY}")
    again = world.bastion("state", "migrate", "--config", str(world.config))
    assert again.returncode == 0 and f"the schema is {LATER} already".encode() in again.stdout, again.stderr
    world.config.write_text(world.config.read_text().replace("//bastion@", "//gateway@"))
    world.start()
    assert world.ssh("echo on").stdout == b"on\n"
    poll(lambda: [row["state"] for row in rows(database, SESSIONS)] == ["ended"], 30, "no row")
    for command in (("lock", "user", "carol", "--reason", "an exercise"), ("unlock", "carol")):
        done = world.bastion(*command, "--config", str(world.config))
        assert done.returncode == 0, done.stderr
    checked = world.bastion("state", "check", "--config", str(world.config))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with database.read() as connection:
        (kept,) = connection.exec_driver_sql("SELECT of_tomorrow FROM sessions").scalars()
    assert kept == "x"


def test_one_that_is_for_later_versions_is_refused_at_the_start_with_what_to_do(
    world: World, database: Database
) -> None:
    become(database, HEAD + 1)
    with pytest.raises(SchemaUnfit):
        check_schema(database)
    for words in (("serve",), ("state", "migrate"), ("sessions",)):
        command = [sys.executable, "-m", "bastion", *words, "--config", str(world.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if words != ("sessions",):  # which reads the files where the index does not fit
            assert done.returncode in (2, 3)
        assert f"for versions of schema {HEAD + 1} and later" in done.stderr, done.stderr
        assert "it was migrated by a later version, which is the one to run" in done.stderr
    assert rows(database, SESSIONS) == []
