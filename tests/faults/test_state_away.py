"""The state store goes away and comes back: sessions go on, new ones are as the policy says, what is owed is written.

A real PostgreSQL is stopped in the middle; a gateway with an SQLite file is killed while it writes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bastion.state.database import Database, Place, StateDown, password_of
from bastion.state.figures import figures_of
from bastion.state.hold_lifts import answer_lift, ask_lift
from bastion.state.pruning import Hold, hold, holds
from bastion.state.review_queue import Rules, duty_at, queue_of
from bastion.state.reviewing import Reviewer, add_mark, add_note, add_tag, drop_tag, left_at
from bastion.state.roles import CONSOLE, READ, RIGHTS
from bastion.state.schema import METADATA, SESSIONS
from bastion.state.snapshot import InTheWay, look, put, take
from tests.support.postgres import PASSWORD, Postgres
from tests.support.sshd import sshd_missing
from tests.support.state import rows
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as made:
        yield made


def state_section(server: Postgres, more: str = "") -> str:
    return f'[state]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n{more}'


@pytest.fixture
def world(server: Postgres) -> Iterator[World]:
    made = World(config=state_section(server))
    yield made
    made.close()
    database = opened(server)
    with database.write() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database.close()


def opened(server: Postgres) -> Database:
    place = Place(server.folder, server.url, server.password_file)
    return Database(place, password_of(place))


def test_what_waits_for_a_row_sees_it_as_it_is_then_whatever_the_servers_default_is(server: Postgres) -> None:
    """A deletion waits for a hold that is placed at the same moment; an older snapshot would not have it."""
    database = opened(server)
    try:
        with database.write() as connection:
            connection.exec_driver_sql(
                "ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'"
            )
        again = opened(server)
        with again.write() as connection:
            shown = connection.exec_driver_sql("SHOW transaction_isolation").scalar()
        again.close()
        assert shown == "read committed"
    finally:
        with database.write() as connection:
            connection.exec_driver_sql("ALTER DATABASE postgres RESET default_transaction_isolation")
        database.close()


def migrated(world: World) -> World:
    done = world.bastion("state", "migrate", "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    return world.start()


def of_sessions(server: Postgres) -> dict[str, str]:
    """Session -> state, as the database has it."""
    database = opened(server)
    try:
        return {row["id"]: row["state"] for row in rows(database, SESSIONS)}
    finally:
        database.close()


def health(world: World) -> str:
    """The line of /readyz about the store."""
    _, lines = world.health()
    return next(line for line in lines if line.startswith("state "))


def owed(world: World) -> float:
    return world.metric("bastion_state_owed_rows")


def check(world: World) -> dict[str, object]:
    done = world.bastion("state", "check", "--json", "--config", str(world.config))
    assert done.stdout, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def whole(world: World) -> None:
    """In the end the index says what the recordings say, and nothing is owed."""
    poll(
        lambda: [check(world)[key] for key in ("differences", "owed_files")] == [[], []],
        30,
        "the index differs",
    )


def test_a_gateway_does_not_start_on_a_schema_that_is_not_there(world: World) -> None:
    command = [sys.executable, "-m", "bastion", "serve", "--config", str(world.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "bastion state migrate" in done.stderr and "s3cret" not in done.stderr


def away(world: World, server: Postgres, seconds: float) -> None:
    """The store is gone for `seconds`: what runs goes on, what is new begins, all is written afterwards."""
    running = world.client("cat")
    running.send(b"before\n")
    running.expect(b"before")
    poll(lambda: "live" in of_sessions(server).values(), text="no row at the start of a session")
    server.stop()
    try:
        pause = threading.Event()
        running.send(b"while\n")
        running.expect(b"while")
        began = 0
        while seconds > 0 or began < 3:
            assert world.ssh("echo new").stdout == b"new\n"
            began += 1
            seconds -= 1.0
            pause.wait(1.0 if seconds > 0 else 0.0)
        poll(lambda: "degraded" in health(world), text="/readyz says nothing")
        assert owed(world) >= 4 * began
    finally:
        server.start()
    poll(lambda: owed(world) == 0, 30, "what was owed is not written")
    poll(lambda: health(world) == "state ok", text="/readyz still complains")
    running.send(b"after\n")
    running.expect(b"after")
    running.close()
    poll(lambda: "live" not in of_sessions(server).values(), text="a session without an end")
    assert len(of_sessions(server)) == began + 1 == len(list(world.recordings.glob("*/*.rec")))
    assert check(world)["differences"] == []


def test_while_postgresql_is_away_sessions_go_on_and_all_is_written_afterwards(
    world: World, server: Postgres
) -> None:
    away(migrated(world), server, 0.0)


@pytest.mark.soak
def test_while_postgresql_is_away_for_a_minute(world: World, server: Postgres) -> None:
    away(migrated(world), server, 60.0)


def test_new_sessions_are_refused_while_it_is_away_when_that_is_the_policy(
    server: Postgres, world: World
) -> None:
    migrated(world)
    world.config.write_text(world.config.read_text().replace("[state]", '[state]\nunavailable = "refuse"'))
    world.reload()
    running = world.client("cat")
    running.send(b"before\n")
    running.expect(b"before")
    server.stop()
    try:
        poll(lambda: "refusing" in health(world), 30, "it never noticed")
        refused = world.ssh("echo new")
        assert refused.returncode == 255 and b"store does not answer" in refused.stderr
        assert [line["reason"] for line in world.audit("refused")] == ["state_unavailable"]
        assert world.metric('bastion_state_refusals_total{reason="state_unavailable"}') == 1
        assert world.metric('bastion_state_errors_total{fault="unavailable"}') >= 1
        running.send(b"while\n")
        running.expect(b"while")
    finally:
        server.start()
    poll(lambda: health(world) == "state ok", 30, "it never came back")
    assert world.ssh("echo new").stdout == b"new\n"
    running.close()


def test_a_gateway_that_is_killed_while_the_store_is_away_loses_no_row(
    world: World, server: Postgres
) -> None:
    migrated(world)
    running = world.client("cat")
    running.send(b"before\n")
    running.expect(b"before")
    server.stop()
    try:
        for _ in range(3):
            assert world.ssh("echo new").stdout == b"new\n"
        poll(lambda: [one["state"] for one in world.sessions()].count("ended") == 3, text="no end")
        world.kill(signal.SIGKILL)
        running.close()
        assert [path.stat().st_size > 0 for path in (world.recordings / "state").glob("*.owed")] == [True]
    finally:
        server.start()
    world.start()
    poll(
        lambda: sorted(of_sessions(server).values()) == ["ended"] * 3 + ["incomplete"], 30, "rows are missing"
    )
    whole(world)


def test_a_gateway_starts_while_the_store_is_away_and_writes_when_it_is_there(
    world: World, server: Postgres
) -> None:
    assert world.bastion("state", "migrate", "--config", str(world.config)).returncode == 0
    server.stop()
    try:
        world.start()
        assert "degraded" in health(world)
        assert world.ssh("echo new").stdout == b"new\n"
    finally:
        server.start()
    poll(lambda: list(of_sessions(server).values()) == ["ended"], 30, "no row")
    poll(lambda: health(world) == "state ok", text="/readyz still complains")


def test_a_store_that_comes_without_its_schema_is_told_with_the_command(
    world: World, server: Postgres
) -> None:
    server.stop()
    try:
        world.start()
        assert world.ssh("echo new").stdout == b"new\n"
    finally:
        server.start()
    poll(lambda: "bastion state migrate" in health(world), 30, f"it says: {health(world)}")
    assert world.bastion("state", "migrate", "--config", str(world.config)).returncode == 0
    poll(lambda: list(of_sessions(server).values()) == ["ended"], 30, "no row")


# -- SQLite ------------------------------------------------------------------------------------------------------------


def killed_while_writing(world: World, rounds: int, seed: int) -> None:
    """Sessions begin and end as fast as they can, the gateway dies in the midst; the index is whole every time."""
    chance = random.Random(seed)
    for _ in range(rounds):
        world.start()
        going = True

        def sessions() -> None:
            while going:  # noqa: B023 - the threads end with the round
                world.ssh("true")

        threads = [threading.Thread(target=sessions) for _ in range(3)]
        for thread in threads:
            thread.start()
        before = len(list(world.recordings.glob("*/*.rec")))
        poll(lambda: len(list(world.recordings.glob("*/*.rec"))) >= before + 2, 30, "no sessions")  # noqa: B023
        threading.Event().wait(chance.random() / 2)
        os.kill(world.pid, signal.SIGKILL)
        going = False
        for thread in threads:
            thread.join()
        world.kill()
    world.start()
    whole(world)
    listed = world.bastion("sessions", "--json", "--config", str(world.config))
    assert len(json.loads(listed.stdout)) == len(list(world.recordings.glob("*/*.rec"))) > 2 * rounds


@pytest.mark.parametrize(("rounds", "workers"), [(2, 1), (1, 2), pytest.param(50, 1, marks=pytest.mark.soak)])
def test_an_sqlite_index_is_whole_after_kill_nine(rounds: int, workers: int) -> None:
    world = World(workers=workers)
    try:
        killed_while_writing(world, rounds, seed=rounds)
    finally:
        world.close()


# -- copies ------------------------------------------------------------------------------------------------------------


def test_a_store_moves_from_postgresql_to_sqlite_and_back(
    world: World, server: Postgres, tmp_path: Path
) -> None:
    migrated(world)
    for _ in range(2):
        assert world.ssh("true").returncode == 0
    poll(lambda: sorted(of_sessions(server).values()) == ["ended"] * 2, text="no rows")
    world.kill(signal.SIGTERM)
    (tmp_path / "copy").mkdir()
    database, embedded = opened(server), Database(Place(tmp_path / "state"))
    take(database, tmp_path / "copy")
    assert look(tmp_path / "copy")[1]["sessions"] == 2
    before = rows(database, SESSIONS)
    with pytest.raises(InTheWay, match="sessions"):
        put(tmp_path / "copy", database)
    put(tmp_path / "copy", embedded)
    assert rows(embedded, SESSIONS) == before
    with database.write() as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())
    put(tmp_path / "copy", database)
    assert rows(database, SESSIONS) == before
    embedded.close()
    database.close()


def only_reads(
    server: Postgres, role: str, tables: frozenset[str], may: Mapping[str, frozenset[str]] | None = None
) -> None:
    """It reads these tables, no other, and writes none but those that it `may`."""
    url = server.url.replace("//bastion@", f"//{role}@")
    database = Database(Place(server.folder, url, server.password_file), PASSWORD)
    for name, table in METADATA.tables.items():
        if name in tables:
            rows(database, table)
        else:
            with pytest.raises(StateDown, match="permission denied"):
                rows(database, table)
        column = next(iter(table.c)).name
        for change in (
            f"INSERT INTO {name} DEFAULT VALUES",
            f"UPDATE {name} SET {column} = {column}",
            f"DELETE FROM {name}",
            f"TRUNCATE {name}",
        ):
            if name in (may or {}).get(change.partition(" ")[0], ()):
                continue
            with pytest.raises(StateDown, match="permission denied"), database.write() as connection:
                connection.exec_driver_sql(change)
    with pytest.raises(StateDown, match=r"permission denied|must be owner"), database.write() as connection:
        connection.exec_driver_sql("DROP TABLE locks")
    database.close()


def reviews(server: Postgres, session: str) -> None:
    """As the console's role: what reviewers leave, and a hold that two lift."""
    database = Database(
        Place(server.folder, server.url.replace("//bastion@", "//console@"), server.password_file), PASSWORD
    )
    ada, bea = Reviewer("u-ada", "ada"), Reviewer("u-bea", "bea")
    told: list[str] = []
    add_note(database, session, ada, "a note", 1.0, told.append)
    add_mark(database, session, ada, "", 2.0, told.append)
    assert add_tag(database, session, ada, "x", 3.0, told.append)
    assert drop_tag(database, session, "x", told.append)
    assert hold(database, Hold(session, "case", "ada", 4.0), lambda: told.append("held"))
    lift = ask_lift(database, session, ada, "over", 5.0, told.append)
    answer_lift(database, lift.id, bea, True, 6.0, lambda one: told.append(one.session_id))
    assert holds(database) == {} and left_at(database, session).tags == () and told[-1] == session
    duty, _ = duty_at(database, session, Rules(3600.0))
    assert duty is not None and duty.done
    figures_of(database, 0.0, 3600.0, 3)
    assert queue_of(database, Rules(3600.0), 7.0).duties == ()
    database.close()


def test_the_roles_of_the_document_are_enough(world: World, server: Postgres) -> None:
    """A gateway that owns nothing, a reader and a console: with the roles that docs/state.md has."""
    page = (Path(__file__).parents[2] / "docs" / "state.md").read_text()
    roles = (
        page.partition("```sql\n")[2].partition("```")[0].replace("ROLE bastion LOGIN", "ROLE gateway LOGIN")
    )
    roles += "CREATE ROLE console LOGIN PASSWORD '...' IN ROLE bastion_console;"
    database = opened(server)
    with database.write() as connection:
        connection.exec_driver_sql(roles.replace("'...'", f"'{PASSWORD}'"))
    done = world.bastion("state", "migrate", "--config", str(world.config))
    assert done.returncode == 0 and b"bastion_console has its rights" in done.stdout, done.stderr
    only_reads(server, "auditor", READ)
    only_reads(server, "console", RIGHTS[CONSOLE]["SELECT"], RIGHTS[CONSOLE])
    try:
        config = world.config.read_text()
        world.config.write_text(config.replace("//bastion@", "//gateway@"))
        world.start()
        assert world.ssh("true").returncode == 0
        poll(lambda: list(of_sessions(server).values()) == ["ended"], text="no row")
        reviews(server, next(iter(of_sessions(server))))
        world.config.write_text(config.replace("//bastion@", "//auditor@"))
        assert check(world)["differences"] == []
        words = ("alice", "web1", "root", "--groups", "ops", "--at", "now", "--config", str(world.config))
        judged = world.bastion("why", *words)  # by what the gateway kept, read as who may only read
        assert judged.returncode == 0 and b"(by start)" in judged.stdout, judged.stderr
        assert world.bastion("hold", "--config", str(world.config)).returncode == 0
        refused = world.bastion("state", "rebuild-index", "--config", str(world.config))
        assert refused.returncode == 0, "it has nothing to write"
        held = world.bastion(
            "hold", next(iter(of_sessions(server))), "--reason", "x", "--config", str(world.config)
        )
        assert held.returncode == 3 and b"permission denied" in held.stderr
        world.config.write_text(config)
    finally:
        world.kill(signal.SIGTERM)
        with database.write() as connection:
            for role in ("gateway", "auditor", "console", *RIGHTS):
                connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
        database.close()
