"""The key files of a configuration as slots, and where their ledger is (L2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bastion.ca.files import is_there
from bastion.ca.ledger import KeyName, read_ledger
from bastion.ca.slots import Slot, Staged, load_slot
from bastion.config.sections import Sections
from bastion.wire.keys import PublicKey


def ledger_path(config: Sections) -> Path:
    """Where `bastion keys` writes what it knows."""
    return config.keys.ledger or config.host_keys.files[0].parent / "keys.toml"


def recording_key_path(config: Sections) -> Path:
    """The key that recordings are vouched for with; where none is configured the gateway makes it."""
    return config.recording.signing_key or config.state_folder / "recording_key"


def signing_slots(config: Sections) -> tuple[Slot, ...]:
    """What the gateway signs with: host keys, upstream CA, front host CA, issuing CA, recording key."""
    host_keys = config.host_keys
    slots = [
        Slot(KeyName.HOST_KEYS, path, ("host_keys", "files", index), host_keys.passphrase_file)
        for index, path in enumerate(host_keys.files)
    ]
    for name, ca in (
        (KeyName.UPSTREAM_CA, config.upstream_ca),
        (KeyName.FRONT_HOST_CA, config.front_host_ca),
        (KeyName.ISSUE, config.issue),
    ):
        if ca.key is not None:
            slots.append(Slot(name, ca.key, (str(name), "key"), ca.passphrase_file, ca.agent))
    path, wanted = recording_key_path(config), config.recording
    if wanted.signing_key is not None or is_there(path):
        option = ("recording", "signing_key")
        slots.append(Slot(KeyName.RECORDING, path, option, wanted.signing_passphrase_file))
    return tuple(slots)


def login_slots(config: Sections) -> tuple[Slot, ...]:
    """The lists of login CAs, whose certificates are taken; nothing here is signed with them."""
    return tuple(
        Slot(KeyName.LOGIN_CA, path, ("login_ca", "files", index))
        for index, path in enumerate(config.login_ca.files)
    )


def load_staged(config: Sections, name: KeyName) -> tuple[Staged, ...]:
    """The keys of that name, for a command that needs nothing else. Raises ConfigError."""
    ledger = read_ledger(ledger_path(config))
    return tuple(load_slot(slot, ledger) for slot in signing_slots(config) if slot.name is name)


def publics_of(keys: Sequence[Staged]) -> tuple[PublicKey, ...]:
    """What others should trust: those in force first, then those that are to come."""
    return tuple(
        dict.fromkeys((*(key.publics[0] for key in keys), *(p for key in keys for p in key.publics)))
    )
