"""Accounts for emergencies with a stock ssh: opened, used for what they name, told of, and closed again."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pexpect
import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

NAME = "emergency-1"


def emergency_world(config: str = "") -> World:
    """With such an account, for web1 alone; `config` are more lines of its configuration."""
    made = World(
        config=f'[totp]\nkey_file = "totp.key"\n{config}',
        limits="penalties = { free = 1000, accounts = 1000 }",
        workers=2,
    )
    (made.folder / "totp.key").write_text("k" * 44 + "\n")
    (made.folder / "totp.key").chmod(0o600)
    key = (made.keys / "alice.pub").read_text().strip()
    made.users.write_text(
        f'{made.users.read_text()}[users.{NAME}]\nbreak_glass = true\nid = "{NAME}"\nkeys = ["{key}"]\n'
        'groups = ["ops"]\ntargets = ["web1"]\n'
    )
    return made


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = emergency_world()
    made.add_target("db1", LOOPBACK, made.sshd.port)
    with unbroken(made):
        yield made


def glass(world: World, *words: str) -> str:
    done = world.bastion("break-glass", *words, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def begin(world: World, command: str, target: str = "web1") -> pexpect.spawn:
    options = [word for word in world.ssh_options("alice") if word != "BatchMode=yes"][:-1]
    words = [*options, "-p", str(world.port), f"{NAME}+root+{target}@{LOOPBACK}", command]
    return pexpect.spawn("ssh", words, env=world.environment(), timeout=20, encoding="utf-8")


def prove(client: pexpect.spawn, code: str, why: str) -> pexpect.spawn:
    client.expect_exact(f"One-time code of {NAME}: ")
    client.sendline(code)
    client.expect_exact("This account is for emergencies")
    client.expect_exact("Reason: ")
    client.sendline(why)
    return client


def refused(client: pexpect.spawn) -> str:
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 255
    return str(client.before)


def test_it_is_opened_used_for_what_it_names_and_closed(world: World) -> None:
    done = world.bastion("totp", "enroll", NAME, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    codes = re.findall(r"^  ([\w-]{19})$", done.stdout.decode(), re.MULTILINE)
    assert "closed" in refused(begin(world, "echo reached"))
    assert world.audit("break_glass")[-1]["result"] == "closed" and not world.audit("session_started")

    assert "open until" in glass(world, "open", "--reason", "INC-42", "--for", "1h")
    refused(prove(begin(world, "echo reached", "db1"), codes[0], "INC-42 the database"))
    refused(prove(begin(world, "echo reached"), codes[1], " "))
    assert not world.audit("session_started"), "another target, and no reason"

    client = prove(begin(world, "echo reached; exec cat"), codes[2], "INC-42 web1 is down")
    client.expect_exact("reached")
    (started,) = world.audit("session_started")
    assert (started["user"], started["target"], started["break_glass"]) == (
        NAME,
        "web1",
        "INC-42 web1 is down",
    )
    last = world.audit("break_glass")[-1]
    assert (last["result"], last["opened_by"], last["why"]) == ("ok", "command", "INC-42 web1 is down")
    let_in = [line for line in world.audit("break_glass") if line["result"] == "ok"]
    assert world.metric('bastion_break_glass_total{result="ok"}') == len(let_in) >= 1

    assert "closed" in glass(world, "close")
    client.sendline("goes on")
    client.expect_exact("goes on")
    assert "closed" in refused(begin(world, "echo reached"))
    client.close()
    (row,) = [one for one in world.sessions() if one["session_id"] == started["session"]]
    assert row["break_glass_why"] == "INC-42 web1 is down"
    assert codes[2] not in (world.folder / "audit.jsonl").read_text()


def test_an_ordinary_login_has_no_such_reason(world: World) -> None:
    before = len(world.audit("session_started"))
    assert world.ssh("true").returncode == 0
    assert "break_glass" not in world.audit("session_started")[before]


def test_what_was_opened_is_open_after_a_restart_at_every_worker(world: World) -> None:
    assert "open until" in glass(world, "open", "--reason", "INC-43", "--for", "1h")
    world.kill()
    world.start()
    poll(lambda: "INC-43" in glass(world, "status"), text="it was forgotten")
    (followed,) = world.audit("break_glass_followed")
    assert followed["why"] == "INC-43" and "uid" in followed["by"]
    before = len(world.audit("break_glass"))
    for _ in range(6):  # whichever worker takes it: closed, it would say so before it asks
        client = begin(world, "true")
        client.expect_exact(f"One-time code of {NAME}: ")
        client.close()
    poll(lambda: len(world.audit("break_glass")) == before + 6, text="a try that nobody hears of")
    assert "closed" in glass(world, "close")
    world.kill()
    world.start()
    assert "closed" in refused(begin(world, "echo reached")) and "closed" in glass(world, "status")
