"""`[oidc]` and `[radius]`: what is half configured, or cannot be, is a fault that says what to do."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bastion.config import second_factors
from bastion.config.further_factors import Oidc, Radius
from bastion.config.login import Login, Totp
from bastion.config.second_factors import read_second_factors
from bastion.config.sections import Sections
from bastion.options import At, Problems, Source, Unreadable, read
from tests.support.pki import Authority

ISSUER = 'issuer = "https://id.example.com/staff"\nclient_id = "bastion"\n'
SERVERS = 'servers = ["192.0.2.8:1812"]\nsecret_file = "radius.secret"\n'


def faults(kind: type[Any], text: str) -> list[str]:
    problems = Problems()
    with suppress(Unreadable):
        read(kind, tomllib.loads(text), At(Source("bastion.toml"), problems))
    return [f"{error.key}: {error.problem}" for error in problems.errors]


@pytest.mark.parametrize(
    "text", ["", ISSUER, ISSUER + 'claim = "sub"\nequals = "id"', ISSUER + 'wait = "5m"']
)
def test_an_identity_provider(text: str) -> None:
    assert faults(Oidc, text) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('issuer = "http://id.example.com"\nclient_id = "x"', "issuer"),
        ('issuer = "https://"\nclient_id = "x"', "issuer"),
        ('issuer = "https://a@id.example.com"\nclient_id = "x"', "issuer"),
        ('issuer = "https://id.example.com/?x=1"\nclient_id = "x"', "issuer"),
        ('issuer = "https://id.example.com"', "client_id"),
        ('client_id = "x"', "client_id"),
        ('ca_file = "x"', "ca_file"),
        ('client_secret_file = "x"', "client_secret_file"),
        (ISSUER + 'scopes = ["profile"]', "scopes"),
        (ISSUER + "scopes = []", "scopes"),
        (ISSUER + 'equals = "id"\nsuffix = "@x"', "suffix"),
        (ISSUER + 'claim = "a b"', "claim"),
        (ISSUER + 'wait = "10s"', "wait"),
    ],
)
def test_half_an_identity_provider(text: str, key: str) -> None:
    (fault,) = faults(Oidc, text)
    assert fault.startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('servers = ["radius.example.com:1812"]\nsecret_file = "x"', "servers[1]"),
        ('servers = ["192.0.2.8"]\nsecret_file = "x"', "servers[1]"),
        ('servers = ["192.0.2.8:1812", "192.0.2.8:1812"]\nsecret_file = "x"', "servers"),
        ('servers = ["192.0.2.8:1812"]', "secret_file"),
        ('secret_file = "x"', "servers"),
        (SERVERS + "tries = 0", "tries"),
        (SERVERS + 'prompt = "Code:\\u001b"', "prompt"),
    ],
)
def test_half_a_radius_server(text: str, key: str) -> None:
    (fault,) = faults(Radius, text)
    assert fault.startswith(f"{key}: ")
    assert faults(Radius, SERVERS) == faults(Radius, "") == []


class Wanted:
    """A configuration, and what is wrong with its files."""

    def __init__(
        self, login: Login | None = None, oidc: Oidc | None = None, radius: Radius | None = None
    ) -> None:
        self.config: Any = SimpleNamespace(
            totp=Totp(), login=login or Login(), oidc=oidc or Oidc(), radius=radius or Radius()
        )
        self.wrong: list[tuple[str, str]] = []

    def read(self, *rules: Any) -> second_factors.SecondFactors:
        def wrong(path: tuple[str, ...], problem: str, allowed: str) -> None:
            assert allowed
            self.wrong.append((".".join(path), problem))

        config: Sections = self.config
        return read_second_factors(config, rules, {}, wrong)


def test_a_factor_that_is_asked_for_is_configured() -> None:
    site = Wanted(Login(require=(("publickey", "oidc"), ("password", "radius"))))
    site.read()
    assert site.wrong == [
        ("oidc.issuer", "is not set, and login.require asks for oidc"),
        ("radius.servers", "is not set, and login.require asks for radius"),
    ]
    rule: Any = SimpleNamespace(name="db", factors=("radius",))
    by_rule = Wanted()
    by_rule.read(rule)
    assert by_rule.wrong == [("radius.servers", 'is not set, and rule "db" asks for radius')]


def test_off_means_that_nothing_is_read() -> None:
    site = Wanted()
    read = site.read()
    assert site.wrong == [] and (read.tls, read.radius_secret, read.oidc_secret) == (None, b"", "")


def test_the_files_are_read_and_closed_to_others(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sixteen or more of them\n")
    secret.chmod(0o600)
    ca = Authority(tmp_path / "ca").certificate
    oidc = Oidc(issuer="https://id.example.com", client_id="x", client_secret_file=secret, ca_file=ca)
    servers: Any = ("server",)
    site = Wanted(oidc=oidc, radius=Radius(servers=servers, secret_file=secret))
    read = site.read()
    assert site.wrong == [] and read.oidc_secret == "sixteen or more of them" == read.radius_secret.decode()
    assert read.tls is not None and "sixteen" not in repr(read)
    secret.chmod(0o644)
    site.read()
    assert [key for key, _ in site.wrong] == ["oidc.client_secret_file", "radius.secret_file"]
    secret.chmod(0o600)
    secret.write_text("short\n")
    ca.write_text("nothing")
    again = Wanted(oidc=oidc, radius=Radius(servers=servers, secret_file=secret))
    again.read()
    assert [key for key, _ in again.wrong] == ["oidc.ca_file", "radius.secret_file"]
    assert "has 5 characters, and needs 16" in again.wrong[1][1]


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_factors, "find_spec", lambda name: None)
    servers: Any = ("server",)
    site = Wanted(oidc=Oidc(issuer="https://id.example.com", client_id="x"), radius=Radius(servers=servers))
    site.read()
    assert site.wrong == [
        ("oidc.issuer", "needs the library joserfc, which is not installed"),
        ("radius.servers", "needs the library pyrad, which is not installed"),
    ]
