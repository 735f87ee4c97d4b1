"""Breaking the glass while PostgreSQL is away: each code once, and used up in the store when it is back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.interop.test_break_glass import NAME, begin, emergency_world, glass, prove
from tests.support.postgres import Postgres
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as made:
        yield made


@pytest.fixture(scope="module")
def world(server: Postgres) -> Iterator[World]:
    made = emergency_world(f'[state]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n')
    done = made.bastion("state", "migrate", "--config", str(made.config))
    assert done.returncode == 0, done.stderr
    with unbroken(made):
        yield made


def left(world: World) -> int:
    """Recovery codes that the store has."""
    done = world.bastion("totp", "list", "--config", str(world.config), "--json")
    return sum(one["recovery"] for one in json.loads(done.stdout)["holders"]) if done.returncode == 0 else 0


def not_right(world: World, code: str) -> None:
    client = begin(world, "echo reached")
    client.expect_exact(f"One-time code of {NAME}: ")
    client.sendline(code)
    client.expect_exact("that code was not right")
    client.close()


def test_the_glass_is_broken_without_the_store(world: World, server: Postgres) -> None:
    done = world.bastion("totp", "enroll", NAME, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    codes = re.findall(r"^  ([\w-]{19})$", done.stdout.decode(), re.MULTILINE)
    glass(world, "open", "--reason", "INC-42", "--for", "1h")
    copy = world.recordings / "state" / "break-glass-codes.json"
    poll(copy.exists, 30, "nothing is known of the account")

    server.stop()
    for code in codes[:2]:  # at whichever worker
        client = prove(begin(world, "echo reached"), code, "INC-42 everything is down")
        client.expect_exact("reached")
        client.close()
    for _ in range(2):
        not_right(world, codes[0])
    assert len(world.audit("session_started")) == 2

    server.start()
    poll(lambda: left(world) == len(codes) - 2, 60, "the store was not told")
    not_right(world, codes[1])
    client = prove(begin(world, "echo reached"), codes[2], "INC-42 is over")
    client.expect_exact("reached")
    client.close()
