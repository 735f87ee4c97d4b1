"""The console as a Unix user and a role of PostgreSQL of its own: it leaves notes, and can change nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from tests.interop.test_console_user import pytestmark  # noqa: F401 - the same demands
from tests.support.apart import CONFIG, Apart
from tests.support.postgres import PASSWORD as OWNERS
from tests.support.postgres import Postgres
from tests.support.slapd import PASSWORD, Slapd, group, person
from tests.support.world import poll
from tests.unit.console.made import Browser

SECRET = "of the console alone"
ROLES = f"CREATE ROLE bastion_console; CREATE ROLE console LOGIN PASSWORD '{SECRET}' IN ROLE bastion_console;"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    made = Postgres()
    try:
        with made.start(), psycopg.connect(made.url, password=OWNERS) as owner:
            owner.execute(ROLES)
            owner.commit()
            yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def world(postgres: Postgres) -> Iterator[Apart]:
    own = postgres.url.replace("bastion@", "console@")
    state = f'[state]\nurl = "{postgres.url}"\npassword_file = "{postgres.password_file}"\n'
    section = f'state_url = "{own}"\nstate_password_file = "console/password"\n'
    slapd = Slapd([person("rex"), group("responders", "rex")])
    slapd.start()
    made = Apart(slapd, state + CONFIG + section)
    try:
        if made.other.missing:
            pytest.skip(made.other.missing)
        password = made.folder / "console" / "password"
        password.write_text(SECRET + "\n")
        password.chmod(0o600)
        account = made.other.account
        os.chown(password, account.pw_uid, account.pw_gid)
        migrated = made.bastion("state", "migrate", "--config", str(made.config))
        assert migrated.returncode == 0, migrated.stderr
        made.start()
        made.enroll("rex")
        made.serve_console()
        yield made
    finally:
        made.close()
        slapd.close()


def test_it_shows_and_leaves_notes_and_may_do_no_more(world: Apart, postgres: Postgres) -> None:
    assert world.ssh("echo seen by everybody").returncode == 0
    browser = Browser(world.origin)
    got = browser.sign_in("rex", PASSWORD, world.recovery["rex"][0])
    assert got.status == 303, got.text
    newest = world.sessions()[-1]["session_id"]
    poll(lambda: newest in browser.get("/sessions?user=alice&state=").text, text="it is not listed")
    assert "seen by everybody" in browser.get(f"/sessions/{newest}/text").text
    left = browser.post(f"/sessions/{newest}/note", {"text": "looks like a drill"})
    assert left.status == 303, left.text
    assert "looks like a drill" in browser.get(f"/sessions/{newest}").text
    with psycopg.connect(postgres.url.replace("bastion@", "console@"), password=SECRET) as console:
        for statement in (
            "SELECT * FROM totp",
            "DELETE FROM locks",
            "UPDATE sessions SET identity = 'mallory'",
            "DELETE FROM review_notes",
            "INSERT INTO approvals DEFAULT VALUES",
            "INSERT INTO deletions (id, asked_at) VALUES ('x', 1)",
            "UPDATE deletions SET state = 'agreed'",
            "UPDATE deletions SET answered_by = 'ada'",
            "DELETE FROM deletions",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                console.execute(statement)
            console.rollback()
        console.execute("UPDATE deletions SET void_at = 1 WHERE session_id = 'x'")  # what a hold does
        console.rollback()
