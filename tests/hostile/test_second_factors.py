"""One-time codes on a gateway of two workers: clients that give them, and those that guess, repeat and reorder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncssh
import pexpect
import pyotp
import pytest
from argon2 import PasswordHasher

from bastion.wire.data import string, uint32
from bastion.wire.kexinit import FRONT
from bastion.wire.userauth import InfoRequest, UserauthFailure
from tests.hostile import memory_gateway as gate
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.hostile.test_gateway_attempts import question
from tests.hostile.test_gateway_rows import password
from tests.hostile.test_half_logins import SESSION, signed
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import PASSWORD, World, poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

CONFIG = """[login]
require = [["publickey", "totp"], ["password", "totp"]]
[totp]
key_file = "totp.key"
issuer = "the gateway"
"""
NAMES = ("alice", "bert", "carol", "dora", "erik", "fred", "gina", "hilda")


class Guarded(World):
    """Everybody has a key and a password; `enroll` gives a second factor."""

    def enroll(self, name: str) -> tuple[pyotp.TOTP, list[str]]:
        done = self.bastion("totp", "enroll", name, "--config", str(self.config), "--json")
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        (secret,) = parse_qs(urlsplit(made["uri"]).query)["secret"]
        return pyotp.TOTP(secret), made["recovery"]

    def lines(self, name: str) -> list[tuple[str, str]]:
        return [(line["method"], line["reason"]) for line in self.audit("auth") if line["user"] == name]


@pytest.fixture(scope="module")
def world() -> Iterator[Guarded]:
    made = Guarded(config=CONFIG, workers=2, limits="penalties = { free = 5, accounts = 1000 }")
    (made.folder / "totp.key").write_text("k" * 44 + "\n")
    (made.folder / "totp.key").chmod(0o600)
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    keys = json.dumps([gate.ALICE.public.line(), (made.keys / "alice.pub").read_text().strip()])
    made.users.write_text(
        "".join(
            f'[users.{name}]\nid = "u-{name}"\npassword = "{hashed}"\nkeys = {keys}\ngroups = ["ops"]\n'
            for name in NAMES
        )
        + '[users.hugo]\ngroups = ["ops"]\n'
    )
    with unbroken(made):
        yield made


def at_userauth(world: World) -> RawSsh:
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    return peer


def failed(peer: RawSsh) -> tuple[bool, tuple[str, ...]]:
    answer = UserauthFailure.parse(peer.read_until(51))
    return answer.partial, answer.methods


def answer(peer: RawSsh, user: str, text: str) -> str:
    """What was asked; the answer is sent."""
    peer.send(question(user.encode()))
    asked = InfoRequest.parse(peer.read_until(60)).prompts[0].text
    peer.send(b"\x3d" + uint32(1) + string(text.encode()))
    return asked


def test_openssh_is_asked_for_a_code_after_its_key(world: Guarded) -> None:
    totp, _ = world.enroll("alice")
    command = [word.replace("BatchMode=yes", "BatchMode=no") for word in world.ssh_command("echo in")]
    client = pexpect.spawn(command[0], command[1:], env=world.environment(), timeout=20, encoding="utf-8")
    client.expect_exact("One-time code of alice: ")
    client.sendline(totp.now())
    client.expect_exact("in")
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 0
    assert [one for one in world.lines("alice+root+web1") if one[1] in ("partial", "ok")] == [
        ("publickey", "partial"), ("totp", "ok"),
    ]  # fmt: skip
    enrolled = world.audit("totp_enrolled")[-1]
    assert enrolled["user"] == "alice" and enrolled["uid"] == "u-alice"
    assert totp.secret not in (world.folder / "audit.jsonl").read_text() + world.log.read_text()


def test_the_picture_is_drawn_in_the_terminal(world: Guarded) -> None:
    done = world.bastion("totp", "enroll", "hilda", "--config", str(world.config))
    shown = done.stdout.decode()
    assert done.returncode == 0 and "\u2584" in shown and "otpauth://totp/the%20gateway:hilda?" in shown
    listed = world.bastion("totp", "list", "--config", str(world.config)).stdout.decode()
    assert "hilda" in listed and "u-hilda" in listed


def test_asyncssh_gives_key_and_code(world: Guarded) -> None:
    totp, _ = world.enroll("bert")

    class Client(asyncssh.SSHClient):
        def kbdint_auth_requested(self) -> str:
            return ""

        def kbdint_challenge_received(
            self, name: str, instructions: str, lang: str, prompts: Any
        ) -> list[str]:
            return [totp.now() for _ in prompts]

    async def ask() -> str:
        async with asyncssh.connect(
            LOOPBACK, world.port, username="bert", known_hosts=None, agent_path=None, client_factory=Client,
            client_keys=[str(world.keys / "alice")],
        ) as connection:  # fmt: skip
            return str((await connection.run("whoami", check=True)).stdout)

    assert "publickey, totp" in asyncio.run(ask())


def test_the_code_comes_before_the_password(world: Guarded) -> None:
    """And a right password with a wrong code tells nobody that it was right: it is not even looked at."""
    totp, _ = world.enroll("carol")
    peer = at_userauth(world)
    peer.send(password(b"carol", PASSWORD))
    assert failed(peer) == (False, ("publickey", "keyboard-interactive"))
    assert (
        answer(peer, "carol", "000000" if totp.now() != "000000" else "000001") == "One-time code of carol: "
    )
    assert failed(peer) == (False, ("publickey", "keyboard-interactive"))
    answer(peer, "carol", totp.now())
    assert failed(peer) == (True, ("publickey", "password", "keyboard-interactive"))
    assert answer(peer, "carol", PASSWORD) == "Directory password of carol: "
    peer.read_until(52)
    assert world.lines("carol") == [
        ("other", "method_not_offered"), ("totp", "bad_code"), ("totp", "partial"), ("keyboard-interactive", "ok"),
    ]  # fmt: skip
    peer.wire.close()  # type: ignore[attr-defined]


def test_one_code_at_once_lets_one_in(world: Guarded) -> None:
    """On two workers: it was seen over a shoulder, and is sent in the same moment."""
    totp, _ = world.enroll("dora")
    peers = [at_userauth(world) for _ in range(6)]
    for peer in peers:
        peer.send(signed(peer, "dora"))
        assert failed(peer)[0]
        peer.send(question(b"dora"))
        peer.read_until(60)
    code = totp.now()
    for peer in peers:
        peer.send(b"\x3d" + uint32(1) + string(code.encode()))
    let_in = 0
    for peer in peers:
        while (number := peer.read()[0]) not in (51, 52):
            pass
        let_in += number == 52
        peer.wire.close()  # type: ignore[attr-defined]
    assert let_in == 1
    judged = sorted(reason for method, reason in world.lines("dora") if method == "totp")
    assert judged == ["code_used"] * 5 + ["ok"]


def test_a_recovery_code_stands_in_once(world: Guarded) -> None:
    _, recovery = world.enroll("erik")
    for reason in ("ok", "bad_code"):
        peer = at_userauth(world)
        peer.send(signed(peer, "erik"))
        assert failed(peer)[0]
        answer(peer, "erik", recovery[3].upper())
        peer.read_until(52 if reason == "ok" else 51)
        peer.wire.close()  # type: ignore[attr-defined]
        assert world.lines("erik")[-1] == ("totp", reason)
    assert [line.get("recovery") for line in world.audit("auth") if line["user"] == "erik"] == [
        None,
        1,
        None,
        None,
    ]


def test_wrong_codes_are_penalised_whoever_has_the_key(world: Guarded) -> None:
    world.enroll("fred")
    for _ in range(6):
        peer = at_userauth(world)
        peer.send(signed(peer, "fred"))
        assert failed(peer)[0]
        answer(peer, "fred", "1234567")
        assert not failed(peer)[0]
        peer.wire.close()  # type: ignore[attr-defined]
    peer = at_userauth(world)
    peer.send(signed(peer, "fred"))
    assert not failed(peer)[0]
    assert [one for one in world.lines("fred") if one[0] == "totp"] == [("totp", "bad_code")] * 6
    assert world.lines("fred")[-1] == ("publickey", "throttled")


def test_who_has_none_is_told_after_his_key_and_taken_away_with_a_reason(world: Guarded) -> None:
    def tried() -> tuple[int, list[bytes]]:
        peer = at_userauth(world)
        peer.send(signed(peer, "gina"))
        assert failed(peer)[0]
        answer(peer, "gina", "123456")
        heard = []
        while not heard or heard[-1][0] not in (51, 52):
            heard.append(peer.read())
        peer.send(SESSION)
        peer.wire.close()  # type: ignore[attr-defined]
        return heard[-1][0], heard

    number, heard = tried()
    assert number == 51 and any(b"you have no second factor yet" in one for one in heard)
    assert world.lines("gina")[-1] == ("totp", "not_enrolled")
    world.enroll("gina")
    config = ("--config", str(world.config))
    assert world.bastion("totp", "enroll", "gina", *config).returncode == 1
    shown = json.loads(world.bastion("totp", "list", "--json", *config).stdout)["holders"]
    assert {"gina"} <= {one["name"] for one in shown} and all(one["recovery"] <= 10 for one in shown)
    done = world.bastion("totp", "reset", "gina", "--reason", "lost telephone", *config)
    assert done.returncode == 0, done.stderr
    assert poll(lambda: world.audit("totp_reset")[-1]["why"]) == "lost telephone"
    assert world.bastion("totp", "reset", "gina", "--reason", "again", *config).returncode == 1
    assert world.bastion("totp", "enroll", "nobody", *config).returncode == 1
    refused = world.bastion("totp", "enroll", "hugo", *config)
    assert refused.returncode == 1 and b"no id of its own" in refused.stderr
