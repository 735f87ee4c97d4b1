"""A target that wants a key and then an answer of the engineer: sshd with PAM behind both doors."""

from __future__ import annotations

from collections.abc import Iterator

import pexpect
import pytest

from tests.support.appliances import account
from tests.support.jump import POLICY, JumpWorld
from tests.support.sshd import sshd_missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

SECRET = "second answer of alice"


@pytest.fixture(scope="module")
def login() -> Iterator[str]:
    with account(SECRET) as name:
        yield name


@pytest.fixture(scope="module")
def world(login: str) -> Iterator[JumpWorld]:
    made = JumpWorld(
        policy=POLICY.replace('"deploy"', f'"{login}"'),
        targets="ask = true\n",
        sshd_options=[
            "UsePAM yes",
            "KbdInteractiveAuthentication yes",
            "AuthenticationMethods publickey,keyboard-interactive",
        ],
    )
    made.start()
    yield made
    made.close()


def test_the_target_asks_through_the_jump_door(world: JumpWorld, login: str) -> None:
    config = world.jump_config("BatchMode no", name="asking")
    done = world.jump("id -un", to=f"{login}@web1", config=config, password=SECRET)
    assert (done.returncode, done.stdout.decode().strip()) == (0, login), done.stderr
    started = world.audit("session_started")[-1]
    assert (started["credential"], started["login_method"]) == ("certificate", "keyboard-interactive")


def test_the_target_asks_through_the_direct_door_and_nothing_is_kept(world: JumpWorld, login: str) -> None:
    user = f"alice+{login}+web1"
    assert world.ssh("true", user=user).returncode == 255, "a client in batch mode cannot be asked"
    words = [word.replace("BatchMode=yes", "BatchMode=no") for word in world.ssh_command("id -un", user=user)]
    client = pexpect.spawn(words[0], words[1:], env=world.environment(), timeout=30, encoding="utf-8")
    client.expect_exact("web1 asks: Password: ")
    client.sendline("wrong")
    client.expect_exact("web1 asks: Password: ", timeout=30)
    client.sendline(SECRET)
    client.expect_exact(login)
    client.expect(pexpect.EOF)
    world.last_session()
    for file in (world.log, world.folder / "audit.jsonl", *world.recordings.rglob("*")):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()
