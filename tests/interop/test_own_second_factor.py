"""Somebody makes a second factor of his own in the lobby: invited, and in the place of an earlier one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pexpect
import pyotp
import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import PASSWORD, World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

CONFIG = """[login]
require = [["publickey", "totp"], ["password", "totp"]]
[totp]
key_file = "totp.key"
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(config=CONFIG, limits="penalties = { free = 1000, accounts = 1000 }")
    (made.folder / "totp.key").write_text("k" * 44 + "\n")
    (made.folder / "totp.key").chmod(0o600)
    with unbroken(made):
        yield made


def invited(world: World, name: str) -> str:
    done = world.bastion("totp", "invite", name, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    (code,) = re.findall(r"^  (\w{4}-\w{4}-\w{4}-\w{4})$", done.stdout.decode(), re.MULTILINE)
    assert code not in (world.folder / "audit.jsonl").read_text()
    return str(code)


def at_lobby(world: World, name: str, key: str | None) -> pexpect.spawn:
    options = [word for word in world.ssh_options(key) if word != "BatchMode=yes"]
    if key is not None:
        del options[-1]
    command = ["-tt", *options, "-p", str(world.port), f"{name}@{LOOPBACK}", "totp"]
    return pexpect.spawn("ssh", command, env=world.environment(), timeout=20, encoding="utf-8")


def set_up(client: pexpect.spawn) -> tuple[pyotp.TOTP, list[str]]:
    """Scan, type the first code, read the recovery codes."""
    client.expect(r"or type it in: (otpauth://\S+)")
    assert client.match is not None and "\u2584" in client.before, "the picture"
    (secret,) = parse_qs(urlsplit(client.match.group(1)).query)["secret"]
    totp = pyotp.TOTP(secret)
    client.expect_exact("Code that the app shows: ")
    client.sendline("000000" if totp.now() != "000000" else "111111")
    client.expect_exact("that is not it")
    client.expect_exact("Code that the app shows: ")
    client.sendline(totp.now())
    client.expect_exact("Done")
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 0
    return totp, re.findall(r"^  ([\w-]{19})\r?$", client.before, re.MULTILINE)


def test_who_was_invited_makes_one_and_replaces_it(world: World) -> None:
    code = invited(world, "alice")
    client = at_lobby(world, "alice", "alice")
    client.expect_exact("One-time code of alice: ")
    client.sendline(code)
    first, recovery = set_up(client)
    assert len(recovery) == 10
    (line,) = world.audit("totp_set_up")
    assert line["user"] == "alice" and line["uid"] == "u-alice" and line["replaced"] is False
    assert world.audit("totp_invited")[-1]["uid"] == "u-alice"

    def whoami(secret: str) -> int:
        options = [word for word in world.ssh_options("alice") if word != "BatchMode=yes"][:-1]
        client = pexpect.spawn(
            "ssh",
            [*options, "-p", str(world.port), f"alice@{LOOPBACK}", "whoami"],
            env=world.environment(),
            timeout=20,
        )
        client.expect_exact("One-time code of alice: ")
        client.sendline(secret)
        client.expect(["publickey, totp", "Permission denied", pexpect.EOF])
        client.close()
        return [line["reason"] for line in world.audit("auth") if line["method"] == "totp"][-1]

    assert whoami(code) == "bad_code", "an invitation is good once"
    again = at_lobby(world, "alice", "alice")
    again.expect_exact("One-time code of alice: ")
    again.sendline(recovery[0])
    again.expect_exact("To replace it, give a code")
    again.expect_exact("One-time code of alice: ")
    again.sendline(recovery[0])  # which is used up
    again.expect_exact("that code was not right")
    again.expect_exact("One-time code of alice: ")
    again.sendline(recovery[1])
    second, _ = set_up(again)
    assert second.secret != first.secret and world.audit("totp_set_up")[-1]["replaced"] is True
    assert whoami(recovery[2]) == "bad_code", "those of the old one went with it"
    assert first.secret not in (world.folder / "audit.jsonl").read_text() + world.log.read_text()
    done = world.bastion("totp", "invite", "alice", "--config", str(world.config))
    assert done.returncode == 1 and b"may replace it" in done.stderr


def test_with_a_password_the_invitation_is_the_code(world: World) -> None:
    code = invited(world, "carol")
    client = at_lobby(world, "carol", None)
    client.expect_exact("One-time code of carol: ")
    client.sendline(code)
    client.expect(r"(Directory password of carol:|password:) ")
    client.sendline(PASSWORD)
    set_up(client)
