"""Codes that a real FreeRADIUS judges: asked of it directly, and at a login with a stock ssh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pexpect
import pytest
from twisted.internet.defer import Deferred, succeed

from bastion.auth.identity import Identity
from bastion.auth.radius import RadiusFactor, RadiusTerms
from bastion.clock import SystemClock
from bastion.errors import AuthReason, Refused
from bastion.observe.meters import FACTOR_FAULTS, Meters
from bastion.options.kinds import Address
from bastion.wire.userauth import Prompt
from tests.support.freeradius import SECRET, FreeRadius, freeradius_missing
from tests.support.net import LOOPBACK, free_ports
from tests.support.reactor import run, start
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import World

MISSING = freeradius_missing() or sshd_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")]


@pytest.fixture(scope="module")
def server() -> Iterator[FreeRadius]:
    with FreeRadius() as made:
        yield made


class Asking:
    """The factor, in the tests' reactor."""

    def __init__(self, *ports: int, secret: str = SECRET) -> None:
        self.meters, self.asked = Meters(), []
        servers = tuple(Address(LOOPBACK, port) for port in ports)
        terms = RadiusTerms(servers, secret.encode(), timeout=1.0, tries=1)
        self.factor = RadiusFactor(terms, start(), SystemClock(), self.meters)
        self.answers: list[bytes] = []

    def ask(self, prompts: tuple[Prompt, ...], text: str, seconds: float) -> Deferred[tuple[bytes, ...]]:
        self.asked += [prompt.text for prompt in prompts]
        return succeed((self.answers.pop(0),))

    def outcome(self, name: str, typed: str) -> Any:
        who = Identity(name, f"u-{name}", frozenset(), "test", ("publickey",), None, LOOPBACK)
        try:
            return run(lambda: Deferred.fromCoroutine(self.factor.prove(who, LOOPBACK, typed, self.ask)))
        except Refused as refusal:
            return refusal.reason


def test_right_and_wrong(server: FreeRadius) -> None:
    asking = Asking(server.port)
    assert asking.outcome("alice", "123456") is None
    assert asking.outcome("alice", "123457") is AuthReason.BAD_CODE
    assert asking.outcome("alice", "") is AuthReason.BAD_CODE
    assert asking.outcome("nobody", "123456") is AuthReason.BAD_CODE
    assert asking.outcome("alice", "x" * 128) is AuthReason.BAD_CODE


def test_a_second_question(server: FreeRadius) -> None:
    asking = Asking(server.port)
    asking.answers = [b"654321", b"654322"]
    assert asking.outcome("bob", "first") is None and asking.asked == ["RADIUS server: Next code: "]
    assert asking.outcome("bob", "first") is AuthReason.BAD_CODE


def test_an_accept_without_a_message_authenticator_is_none(server: FreeRadius) -> None:
    """CVE-2024-3596: its Response Authenticator is right, which is what an attacker can have too."""
    asking = Asking(server.port)
    assert asking.outcome("carol", "123456") is AuthReason.FACTOR_UNAVAILABLE
    assert asking.meters.value(FACTOR_FAULTS, "radius", "unverified") == 1


def test_a_server_that_is_not_there_and_one_with_another_secret(server: FreeRadius) -> None:
    (nobody,) = free_ports(1)
    asking = Asking(nobody, server.port)
    assert asking.outcome("alice", "123456") is None
    wrong = Asking(server.port, secret="another secret of ours")
    assert wrong.outcome("alice", "123456") is AuthReason.FACTOR_UNAVAILABLE


CONFIG = """[login]
require = [["publickey", "radius"]]
[radius]
servers = ["{address}"]
secret_file = "radius.secret"
timeout = "2s"
"""


@pytest.fixture(scope="module")
def world(server: FreeRadius) -> Iterator[World]:
    made = World(
        config=CONFIG.format(address=server.address), limits="penalties = { free = 1000, accounts = 1000 }"
    )
    (made.folder / "radius.secret").write_text(SECRET + "\n")
    (made.folder / "radius.secret").chmod(0o600)
    with unbroken(made):
        yield made


def test_a_login_with_a_key_and_a_code(world: World) -> None:
    words = [word for word in world.ssh_options("alice") if word != "BatchMode=yes"][:-1]
    words = [*words, "-p", str(world.port), f"alice+root+web1@{LOOPBACK}", "echo reached"]
    client = pexpect.spawn("ssh", words, env=world.environment(), timeout=20, encoding="utf-8")
    client.expect_exact("Token code of alice: ")
    client.sendline("123457")
    client.expect_exact("that code was not right")
    client.expect_exact("Token code of alice: ")
    client.sendline("123456")
    client.expect_exact("reached")
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 0
    tried = [(line["method"], line["reason"]) for line in world.audit("auth")]
    assert tried == [("publickey", "partial"), ("radius", "bad_code"), ("radius", "ok")]
    said = (world.folder / "audit.jsonl").read_text() + world.log.read_text()
    assert "123456" not in said and SECRET not in said
