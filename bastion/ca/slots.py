"""Where a signing key is, and which of two is in force while one takes the other's place (L2).

A `Slot` is one key file that a configuration names. While it is being rotated the key to come lies beside it, in
`FILE.next`, and the ledger says from when it signs. Invariant: which key signs follows from the ledger and the clock
alone, so every process that has read the same files changes over in the same second, without being told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bastion.ca.agent import AgentSigner
from bastion.ca.keys import load_private_key, load_public_keys
from bastion.ca.ledger import KeyName, Ledger
from bastion.errors import ConfigError
from bastion.options import KeyPath
from bastion.wire.keys import PublicKey, Signer


@dataclass(frozen=True, slots=True)
class Slot:
    """One key file of a configuration: `option` is where it is named.

    The file holds a private key, with `agent` (a socket) the public half of one that is there; of a login CA, public
    keys, one per line.
    """

    name: KeyName
    path: Path
    option: KeyPath
    passphrase_file: Path | None = None
    agent: Path | None = None

    @property
    def next(self) -> Path:
        """Where the key lies that is to take this one's place."""
        return self.path.with_name(f"{self.path.name}.next")


@dataclass(frozen=True, slots=True)
class Staged:
    """`first` signs until the moment `switch` (seconds since the epoch), `then` from it on; without `then`, always."""

    first: Signer
    then: Signer | None = None
    switch: float = 0.0

    def at(self, now: float) -> Signer:
        """The one that signs at `now`."""
        return self.first if self.then is None or now < self.switch else self.then

    @property
    def in_agents(self) -> tuple[AgentSigner, ...]:
        """Those whose private half is in an agent."""
        return tuple(key for key in (self.first, self.then) if isinstance(key, AgentSigner))

    def waits(self, now: float) -> AgentSigner | None:
        """The one that signs at `now`, when signing waits for an agent."""
        key = self.at(now)
        return key if isinstance(key, AgentSigner) else None

    @property
    def publics(self) -> tuple[PublicKey, ...]:
        """The public halves that others should trust: both during an overlap, the one in force first."""
        return (self.first.public,) if self.then is None else (self.first.public, self.then.public)


def load_slot(slot: Slot, ledger: Ledger) -> Staged:
    """The key of a slot that signs, and the one to come. Raises ConfigError that names the file."""
    first = load_key(slot, slot.path)
    successor = ledger.successor(slot.name, first.public)
    if successor is None:
        return Staged(first)
    try:
        then = load_key(slot, slot.next)
    except ConfigError:
        first = load_key(slot, slot.path)
        if (
            first.public == successor.public
        ):  # it was just given its name, by somebody who retires the old one
            return Staged(first)
        raise
    if then.public != successor.public:
        raise ConfigError(
            os.fspath(slot.next),
            0,
            "",
            f"holds {then.public.fingerprint()}",
            f"the key that the ledger says is to come, {successor.public.fingerprint()}",
        )
    return Staged(first, then, successor.active_from)


def load_key(slot: Slot, path: Path) -> Signer:
    """The key in one of the slot's files. Raises ConfigError."""
    if slot.agent is None:
        return load_private_key(path, slot.passphrase_file)
    keys = load_public_keys(path)
    if len(keys) != 1:
        raise ConfigError(
            os.fspath(path), 0, "", f"holds {len(keys)} keys", "the public half of the one in the agent"
        )
    return AgentSigner(slot.agent, keys[0], str(slot.name))
