"""age (https://age-encryption.org/v1): who may open what the gateway seals (L1, pure).

A recipient is a public key: `age1...` as age-keygen prints it, `age1tag1...` and `age1tagpq1...` for keys that live in
a token and need no program to be encrypted to, `age1NAME1...` for the plugin `age-plugin-NAME`, or a line of OpenSSH's
`ssh-ed25519` and `ssh-rsa`. An identity is its secret half.

Invariant: a mistyped recipient is refused (bech32 carries a checksum), because what is sealed to it is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyrage

from bastion.errors import ConfigError

MAX_RECIPIENTS: Final = 32
"""Each takes 150 us of every session's beginning."""

ALLOWED: Final = "age1... as age-keygen prints it, or ssh-ed25519 AAAA..."

_PLUGIN = re.compile(r"\Aage1([a-z0-9+._-]+)1[a-z0-9]+\Z")


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody that is sealed to: the text as it was given, and the plugin it needs, "" for none."""

    text: str
    plugin: str
    key: Any


def parse_recipient(text: str) -> Recipient:
    """Raises ValueError with words that say why `text` is none."""
    if text.startswith(("AGE-SECRET-KEY-", "AGE-PLUGIN-")):
        raise ValueError(
            "is a secret key: give its public half (age-keygen -y), and keep this one off the gateway"
        )
    kinds = (pyrage.ssh,) if text.startswith("ssh-") else (pyrage.x25519, pyrage.tag, pyrage.tagpq)
    for kind in kinds:
        try:
            return Recipient(text, "", kind.Recipient.from_str(text))
        except pyrage.RecipientError:
            pass
    named = _PLUGIN.match(text)
    if named:
        try:
            return Recipient(text, named[1], pyrage.plugin.Recipient.from_str(text))
        except pyrage.RecipientError:
            pass
    raise ValueError("is no age recipient, or mistyped")


def recipients_of(lines: Iterable[str], source: str = "") -> list[Recipient]:
    """One a line; empty lines and # comments are skipped, one that comes twice counts once.

    Raises ConfigError that names `source` and the line; without a `source`, the text itself.
    """
    found: dict[str, Recipient] = {}
    for number, line in enumerate((line.strip() for line in lines), 1):
        if not line or line.startswith("#"):
            continue
        try:
            found.setdefault(line, parse_recipient(line))
        except ValueError as error:
            place, at = (source, number) if source else (_shown(line), 0)
            raise ConfigError(place, at, "", str(error), ALLOWED) from None
    if len(found) > MAX_RECIPIENTS:
        raise ConfigError(source or "recipients", 0, "", f"more than {MAX_RECIPIENTS} recipients")
    return list(found.values())


def identities_of(data: bytes, source: str) -> list[Any]:
    """The identities of an age key file (`AGE-SECRET-KEY-1...`), or an OpenSSH private key. Raises ConfigError."""
    try:
        if data.startswith(b"-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode("ascii").splitlines()]
        found = [_identity(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, UnicodeDecodeError):
        found = []
    if not found:
        raise ConfigError(source, 0, "", "holds no age identity", "AGE-SECRET-KEY-1...")
    return found


def _identity(line: str) -> Any:
    if line.startswith("AGE-PLUGIN-"):
        identity = pyrage.plugin.Identity.from_str(line)
        return pyrage.plugin.IdentityPluginV1(identity.plugin(), [identity], _Silent())
    return pyrage.x25519.Identity.from_str(line)


def keys_of(recipients: Sequence[Recipient]) -> list[Any]:
    """What pyrage seals to. Raises ValueError when there is nobody, or a plugin is missing."""
    if not recipients:
        raise ValueError("nobody could open it: there is no recipient")
    keys = [recipient.key for recipient in recipients if not recipient.plugin]
    by_plugin: dict[str, list[Any]] = {}
    for recipient in recipients:
        if recipient.plugin:
            by_plugin.setdefault(recipient.plugin, []).append(recipient.key)
    try:
        for name, group in by_plugin.items():
            keys.append(pyrage.plugin.RecipientPluginV1(name, group, [], _Silent()))
    except (pyrage.RecipientError, OSError) as error:
        raise ValueError(f"cannot be sealed: {error}") from None
    return keys


def seal(data: bytes, recipients: Sequence[Recipient]) -> bytes:
    """An age file that each of `recipients` opens. Raises ValueError, also when a plugin is missing or refuses.

    Plugins are programs: then it blocks for as long as they take.
    """
    try:
        sealed: bytes = pyrage.encrypt(data, keys_of(recipients))
    except (pyrage.EncryptError, OSError) as error:
        raise ValueError(f"cannot be sealed: {error}") from None
    return sealed


def unseal(sealed: bytes, identities: Sequence[Any]) -> bytes:
    """What was sealed. Raises ValueError when no identity opens it, or it is damaged."""
    try:
        data: bytes = pyrage.decrypt(sealed, list(identities))
    except pyrage.DecryptError as error:
        raise ValueError(f"cannot be opened: {error}") from None
    return data


def _shown(line: str) -> str:
    return line if len(line) <= 40 else line[:37] + "..."


class _Silent:
    """What a plugin is told when it wants to speak with a person: nobody is there."""

    def display_message(self, message: str) -> None:
        """Nothing is shown: a token that waits for a touch blinks."""

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        return None

    def request_public_string(self, description: str) -> str | None:
        return None

    def request_passphrase(self, description: str) -> str | None:
        return None
