# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""Factors that others judge: the sections `[oidc]` and `[radius]` (L2). Off where they are not set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from bastion.net.urls import url
from bastion.options import At, Kind, option
from bastion.options.kinds import (
    ADDRESS,
    Address,
    choice,
    duration,
    integer,
    list_of,
    optional,
    text,
)
from bastion.options.paths import FILE

_VISIBLE: Final = re.compile(r"\A[\x21-\x7e]{1,256}\Z")
_CLAIM: Final = re.compile(r"\A[A-Za-z0-9_.:/-]{1,128}\Z")
_SUFFIX: Final = re.compile(r"\A[A-Za-z0-9@._-]{0,128}\Z")
_PROMPT: Final = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9 '-]{0,63}\Z")


ISSUER: Kind[str] = url(
    "issuer", "issuer", "https://HOST/PATH, as the provider itself says it", query=False, longest=256
)


@dataclass(frozen=True, slots=True)
class Oidc:
    """A sign-in at an identity provider as a further factor, `oidc` (`docs/second-factors.md`)."""

    issuer: str | None = option(
        optional(ISSUER),
        "The identity provider (OpenID Connect), which must offer the device flow (RFC 8628). Not set: the factor"
        " `oidc` is off.",
        default=None,
        example='"https://id.example.com/realms/staff"',
    )
    client_id: str | None = option(
        optional(text("client id", _VISIBLE, "1 to 256 visible characters")),
        "What the provider calls this gateway.",
        default=None,
        example='"bastion"',
    )
    client_secret_file: Path | None = option(
        optional(FILE),
        "File with the client's secret in its first line, closed to others. Not set: a public client.",
        default=None,
        example='"credential:oidc"',
    )
    ca_file: Path | None = option(
        optional(FILE),
        "The authorities that may have signed the provider's certificate (PEM). Not set: those of the system.",
        default=None,
        example='"id-ca.pem"',
    )
    scopes: tuple[str, ...] = option(
        list_of(text("scope", _VISIBLE, "1 to 256 visible characters"), at_least=1),
        "What is asked for. `openid` must be there.",
        default=("openid", "profile", "email"),
    )
    claim: str = option(
        text("claim", _CLAIM, "the name of a claim"),
        "The claim that says who has signed in. Nobody may be able to write his own. `email` counts where the provider"
        " says `email_verified`.",
        default="preferred_username",
    )
    equals: str = option(
        choice("name", "id"),
        'What it must be: "name", the name of whoever logs in, followed by suffix; "id", the immutable id that the'
        " directory has for him.",
        default="name",
    )
    suffix: str = option(
        text("suffix", _SUFFIX, "such as @example.com"),
        "What follows the name in the claim.",
        default="",
        example='"@example.com"',
    )
    wait: float = option(duration(30, 900), "How long there is to sign in.", default=120.0)

    def validate(self, at: At) -> None:
        given = {
            "client_id": self.client_id,
            "client_secret_file": self.client_secret_file,
            "ca_file": self.ca_file,
        }
        if self.issuer is None:
            for name in (name for name, value in given.items() if value is not None):
                at.child(name).wrong("has no effect without issuer", ISSUER.allowed)
        elif self.client_id is None:
            at.child("client_id").wrong("is not set, and issuer is", "the name that the provider gave")
        if "openid" not in self.scopes:
            at.child("scopes").wrong("has no openid: there would be no ID token", '["openid", "profile"]')
        if self.equals == "id" and self.suffix:
            at.child("suffix").wrong("follows a name, and an id has none", 'equals = "name"')


@dataclass(frozen=True, slots=True)
class Radius:
    """Codes that RADIUS servers judge as a further factor, `radius` (`docs/second-factors.md`)."""

    servers: tuple[Address, ...] = option(
        list_of(ADDRESS),
        "RADIUS servers by IP address and port (1812 as a rule), in order of preference. They must send a"
        " Message-Authenticator with every answer (RFC 2869). Empty: the factor `radius` is off.",
        default=(),
        example='["10.0.0.8:1812", "10.0.1.8:1812"]',
    )
    secret_file: Path | None = option(
        optional(FILE),
        "File with the secret that the servers share with this gateway in its first line, closed to others: 16"
        " characters or more.",
        default=None,
        example='"credential:radius"',
    )
    timeout: float = option(duration(1, 90), "How long one try of one server may take.", default=5.0)
    tries: int = option(integer(1, 5), "Tries of one server, before the next is asked.", default=2)
    nas_identifier: str = option(
        text("NAS-Identifier", _VISIBLE, "1 to 253 visible characters"),
        "What this gateway calls itself.",
        default="bastion",
    )
    suffix: str = option(
        text("suffix", _SUFFIX, "such as @example.com"),
        "What follows the name of whoever logs in, in User-Name.",
        default="",
        example='"@example.com"',
    )
    prompt: str = option(
        text("prompt", _PROMPT, "1 to 64 letters, digits, blanks"),
        "What is asked for, before `of alice:`.",
        default="Token code",
    )

    def validate(self, at: At) -> None:
        for index, server in enumerate(self.servers):
            try:
                ip_address(server.host)
            except ValueError:
                place = at.child("servers").child(index)
                place.wrong(
                    "is a name: who answers for it would be anybody's word", "an IP address and a port"
                )
        if len(set(self.servers)) < len(self.servers):
            at.child("servers").wrong("names a server twice", "each once")
        if bool(self.servers) != (self.secret_file is not None):
            missing = "secret_file" if self.servers else "servers"
            at.child(missing).wrong("is not set, and the other one is", "servers and secret_file, or none")
