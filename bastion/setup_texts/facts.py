"""What the texts for clients are made of (pure values)."""

from __future__ import annotations

from dataclasses import dataclass

from bastion.wire.keys import PublicKey


@dataclass(frozen=True, slots=True)
class ClientTarget:
    """One target as a client sees it. `names` are its names and addresses, `aliases` the other names alone.

    `recorded` is False for a gateway of its own, which shows host keys of its own. `login` may be empty.
    """

    name: str
    aliases: tuple[str, ...]
    names: tuple[str, ...]
    port: int
    login: str
    recorded: bool = True


@dataclass(frozen=True, slots=True)
class Certificates:
    """What is issued to people who have logged in: for `lifetime` seconds, `by_certificate` also to those who log in
    with one of somebody else's."""

    lifetime: int
    by_certificate: bool


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """`gateway` and `port` are what engineers type; `identity` may be empty. `certificates`: None where none are
    issued.

    `authorities` are the front host CA's keys, none without a CA, two while one takes the other's place; so with
    `host_keys` of one type.
    """

    gateway: str
    port: int
    identity: str
    targets: tuple[ClientTarget, ...]
    host_keys: tuple[PublicKey, ...]
    authorities: tuple[PublicKey, ...] = ()
    certificates: Certificates | None = None


def place(host: str, port: int, brackets: bool = True) -> str:
    """A host and port as known_hosts writes them; with `brackets` False as ProxyJump does."""
    if port == 22:
        return host
    return f"[{host}]:{port}" if brackets or ":" in host else f"{host}:{port}"
