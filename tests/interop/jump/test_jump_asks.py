"""`ssh -J` to an appliance whose password the engineer types: asked on the inner leg, where no proof was needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.appliances import account
from tests.support.jump import POLICY, JumpWorld
from tests.support.sshd import sshd_missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

SECRET = "typed by alice"


@pytest.fixture(scope="module")
def login() -> Iterator[str]:
    with account(SECRET) as name:
        yield name


@pytest.fixture(scope="module")
def world(login: str) -> Iterator[JumpWorld]:
    made = JumpWorld(
        policy=POLICY.replace('"deploy"', f'"{login}"'),
        targets="password = { ask = true }\n",
        sshd_options=["PubkeyAuthentication no", "PasswordAuthentication yes"],
    )
    made.start()
    yield made
    made.close()


def test_the_password_of_the_target_is_asked_on_the_inner_leg(world: JumpWorld, login: str) -> None:
    config = world.jump_config("BatchMode no", name="asking")
    done = world.jump("id -un", to=f"{login}@web1", config=config, password=SECRET)
    assert (done.returncode, done.stdout.decode().strip()) == (0, login), done.stderr
    started = world.audit("session_started")[-1]
    assert (started["door"], started["credential"], started["login_method"]) == ("jump", "asked", "password")
    world.last_session()
    for file in (world.log, world.folder / "audit.jsonl", *world.recordings.rglob("*")):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_a_client_in_batch_mode_is_turned_away(world: JumpWorld, login: str) -> None:
    done = world.jump("true", to=f"{login}@web1", password=SECRET)
    assert done.returncode == 255 and b"Permission denied (keyboard-interactive)" in done.stderr
