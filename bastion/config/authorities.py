"""The four authorities and the host keys beside each other, and beside the ledger of what they were (L2).

Invariant: no two authorities are the same key, retired ones included, and a retired key is used for nothing: if targets
trusted the login CA, engineers could walk round the gateway, and a key is retired because somebody may have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Final

from bastion.ca.ledger import Entry, KeyName, Ledger
from bastion.wire.keys import PublicKey

TARGET_HOST_CA: Final = "target host CA"
ROLES: Final = {
    KeyName.HOST_KEYS: "host key of the gateway",
    KeyName.LOGIN_CA: "login CA",
    KeyName.UPSTREAM_CA: "upstream CA",
    KeyName.FRONT_HOST_CA: "front host CA",
    KeyName.RECORDING: "recording key",
    KeyName.ISSUE: "issuing CA",
}
"""What each is called in a fault."""
CERTIFY_PEOPLE: Final = (ROLES[KeyName.LOGIN_CA], ROLES[KeyName.ISSUE])
"""Whose certificates log people in."""
SECTIONS: Final = {role: str(name) for name, role in ROLES.items()} | {TARGET_HOST_CA: "targets"}
"""Role -> the section of the configuration that names it."""


@dataclass(frozen=True, slots=True)
class Held:
    """One key that is used: as what, and where it is written."""

    role: str
    key: PublicKey
    where: str


@dataclass(frozen=True, slots=True)
class KeyFault:
    """`error` is False for what can wait."""

    error: bool
    section: str
    problem: str
    allowed: str


def key_faults(held: list[Held], ledger: Ledger, now: float) -> Iterator[KeyFault]:
    """Everything that is wrong with these keys beside each other and beside the ledger."""
    for one, other in combinations(held, 2):
        if one.role != other.role and one.key == other.key:
            same = f"{one.where} ({one.role}) and {other.where} ({other.role}) are the same key"
            text = f"{same} {one.key.fingerprint()}"
            yield KeyFault(True, SECTIONS[one.role], text, "a key of its own for each authority")
    for use in held:
        entry = ledger.find(use.key)
        if entry is not None:
            yield from _against(use, entry)
    for entry in ledger.entries:
        ends = entry.overlap_ends
        if ends is not None and ends <= now:
            name = key_title(entry)
            text = (
                f"the overlap of {name} ended on {day(ends)}: {entry.public.fingerprint()} is still trusted"
            )
            yield KeyFault(False, str(entry.name), text, f"bastion keys retire {name}")


def _against(use: Held, entry: Entry) -> Iterator[KeyFault]:
    section, print_ = SECTIONS[use.role], use.key.fingerprint()
    was = ROLES[entry.name]
    if entry.retired is not None:
        text = f"{use.where} ({use.role}) is {print_}, which was retired as {was} on {day(entry.retired)}"
        yield KeyFault(True, section, text, "a new key: bastion keys rotate")
    elif was != use.role:
        text = f"{use.where} ({use.role}) is {print_}, which the ledger knows as {was}"
        yield KeyFault(True, section, text, "a key of its own for each authority")


def key_title(entry: Entry) -> str:
    """What `bastion keys` calls it: host keys by their type (`host_ed25519`), the others by their section."""
    return title(entry.name, entry.public.type)


def title(name: KeyName, key_type: str) -> str:
    """The same, of a key that is not in the ledger."""
    if name is not KeyName.HOST_KEYS:
        return str(name)
    return "host_" + ("ecdsa" if key_type.startswith("ecdsa") else key_type.removeprefix("ssh-"))


def day(moment: float) -> str:
    """A moment as people write it into a calendar."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%MZ")
