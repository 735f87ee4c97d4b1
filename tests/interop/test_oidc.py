"""A sign-in at an identity provider beside a key, with a stock ssh and a provider behind TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from tests.support.identity_provider import CLIENT, SECRET, USER_CODE, IdentityProvider
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

CONFIG = """[login]
require = [["publickey", "oidc"], ["certificate"]]
[oidc]
issuer = "{issuer}"
client_id = "{client}"
client_secret_file = "oidc.secret"
ca_file = "{ca}"
wait = "30s"
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    with IdentityProvider(tmp_path_factory.mktemp("provider")) as made:
        yield made


@pytest.fixture(scope="module")
def world(provider: IdentityProvider) -> Iterator[World]:
    made = World(
        config=CONFIG.format(issuer=provider.issuer, client=CLIENT, ca=provider.ca_file),
        limits="penalties = { free = 1000, accounts = 1000 }",
    )
    (made.folder / "oidc.secret").write_text(SECRET + "\n")
    (made.folder / "oidc.secret").chmod(0o600)
    with unbroken(made):
        yield made


@pytest.fixture(autouse=True)
def fresh(provider: IdentityProvider) -> None:
    provider.reset()


def begin(
    world: World, *command: str, user: str = "alice+root+web1", options: tuple[str, ...] = ()
) -> pexpect.spawn:
    """ssh with alice's key, which has shown the address and the code."""
    words = [word for word in world.ssh_options("alice") if word != "BatchMode=yes"][:-1]
    words = [*words, *options, "-p", str(world.port), f"{user}@{LOOPBACK}", *command]
    client = pexpect.spawn("ssh", words, env=world.environment(), timeout=20, encoding="utf-8")
    client.expect_exact("Sign in to show that it is you")
    client.expect_exact(USER_CODE)
    return client


def ended(client: pexpect.spawn) -> str:
    client.expect(pexpect.EOF)
    client.close()
    return str(client.before)


def logins(world: World, after: int) -> list[tuple[str, str]]:
    """Without those of a client that shows its key once more: a certificate would do, too."""
    lines = [(line["method"], line["reason"]) for line in world.new_audit("auth", after)]
    return [line for line in lines if line[1] != "factor_not_wanted"]


def test_who_signs_in_is_let_in(world: World, provider: IdentityProvider) -> None:
    before = len(world.audit("auth"))
    client = begin(world, "echo reached")
    assert provider.polled.wait(10) and not world.audit("session_started")
    provider.approve()
    client.expect_exact("reached")
    ended(client)
    assert client.exitstatus == 0
    assert logins(world, before) == [("publickey", "partial"), ("oidc", "ok")]
    assert world.audit("session_started")[-1]["user"] == "alice"


@pytest.mark.parametrize(
    ("claims", "reason", "words"),
    [
        ({"preferred_username": "bob"}, "factor_mismatch", "somebody else's"),
        ({"aud": "another"}, "factor_invalid", "proves nothing"),
        ({"iss": "https://id.example.com"}, "factor_invalid", "proves nothing"),
        ({"exp": 1}, "factor_invalid", "proves nothing"),
    ],
)
def test_what_is_no_proof_lets_nobody_in(
    world: World, provider: IdentityProvider, claims: dict[str, Any], reason: str, words: str
) -> None:
    before = len(world.audit("auth"))
    client = begin(world, "echo reached")
    provider.approve(claims)
    said = ended(client)
    assert client.exitstatus == 255 and words in said and "reached" not in said
    assert logins(world, before) == [("publickey", "partial"), ("oidc", reason)]


def test_who_refuses_there_is_told_so(world: World, provider: IdentityProvider) -> None:
    client = begin(world, "echo reached")
    provider.says("access_denied")
    assert "the sign-in was refused there" in ended(client) and client.exitstatus == 255


def test_who_leaves_is_asked_about_no_longer(world: World, provider: IdentityProvider) -> None:
    before = len(world.audit("auth"))
    client = begin(world, "echo reached")
    assert provider.polled.wait(10) and world.metric('bastion_factors_waiting{factor="oidc"}') == 1
    client.close(force=True)
    poll(lambda: ("oidc", "abandoned") in logins(world, before), text="nobody noticed")
    assert world.metric('bastion_factors_waiting{factor="oidc"}') == 0


def test_without_a_key_the_provider_hears_of_nobody(world: World, provider: IdentityProvider) -> None:
    assert world.ssh("true", key=None).returncode == 255 and provider.asked == []


def test_a_certificate_needs_no_sign_in_although_the_client_shows_its_key_first(
    world: World, provider: IdentityProvider
) -> None:
    before = len(world.audit("auth"))
    certificate = world.certify()
    try:
        assert world.ssh("true").returncode == 0 and provider.asked == []
        assert logins(world, before) == [("publickey", "partial"), ("certificate", "ok")]
    finally:
        certificate.unlink()


def test_the_lobby_knows_it(world: World, provider: IdentityProvider) -> None:
    client = begin(world, "factor", "oidc", user="alice")
    provider.approve()
    client.expect_exact("oidc was given already")
    ended(client)
    assert client.exitstatus == 0
