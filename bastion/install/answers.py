"""What an operator decides before a gateway is made (L3): values, and reading them from what was typed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from bastion.auth.identity import LOGIN_NAME, TARGET_LOGIN, TARGET_NAME
from bastion.options.kinds import Address, address_of
from bastion.policy.patterns import canonical
from bastion.policy.targets import SSH_PORT

FINGERPRINT: Final = re.compile(r"\ASHA256:[A-Za-z0-9+/]{43}\Z")


class BadAnswer(ValueError):
    """What was typed cannot be used; the text says what can."""


@dataclass(frozen=True, slots=True)
class NewTarget:
    """A machine for the inventory."""

    name: str
    host: str
    port: int = SSH_PORT


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that the files are made from. `password_hash` is argon2id; `login_ca` lines of public keys, "" when
    a login CA is to be made; `egress` the gateway's addresses as targets see them."""

    listen: tuple[Address, ...]
    public: Address
    account: str
    password_hash: str = field(repr=False)
    targets: tuple[NewTarget, ...] = ()
    logins: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    login_ca: str = ""
    metrics: Address | None = None


def read_target(text: str) -> NewTarget:
    """`web1=10.0.0.5`, `web1=web1.example.com:2200`, `web1=[2001:db8::5]:22`, or `web1` for both."""
    name, equals, place = text.partition("=")
    name = name.strip().lower()
    if not TARGET_NAME.match(name):
        raise BadAnswer(f"{name!r} is no name for a target: lower-case letters, digits and . _ -")
    host, port = (place.strip() if equals else name), SSH_PORT
    found = None if canonical(host) else address_of(host)
    if found is not None:
        host, port = found.host, found.port
    if canonical(host) is None or not 0 < port < 65536:
        raise BadAnswer(f"{host!r} is no host name or address: write {name}=10.0.0.5 or {name}=host:2200")
    return NewTarget(name, host, port)


def read_place(text: str, port: int) -> Address:
    """`host`, `host:port` or `[::1]:port`; without a port it is `port`."""
    found = address_of(text)
    if found is None and canonical(text) is not None:
        found = Address(text, port)
    if found is None:
        raise BadAnswer(f"{text!r} is no address: write bastion.example.com:2222 or [::]:2222")
    return found


def read_login(text: str) -> str:
    """An account on targets."""
    if not TARGET_LOGIN.match(text):
        raise BadAnswer(f"{text!r} is no account name: at most 32 letters, digits and . _ -")
    return text


def read_account(text: str) -> str:
    """An account on the gateway."""
    if not LOGIN_NAME.match(text):
        raise BadAnswer(f"{text!r} is no login name: a-z or _, then a-z 0-9 _ . -, at most 32 characters")
    return text


def read_pin(text: str) -> tuple[str, str]:
    """`web1=SHA256:...` as (target, fingerprint)."""
    name, _, fingerprint = text.partition("=")
    if not TARGET_NAME.match(name) or not FINGERPRINT.match(fingerprint):
        raise BadAnswer(f"{text!r} is no pin: write web1=SHA256:..., as ssh-keygen -lf prints it")
    return name, fingerprint
