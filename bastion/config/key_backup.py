"""Which files a backup of keys has, by the names that they have in it (L2).

A name is the file's path seen from the folder of the configuration, or its whole path outside of that. Invariant: a
backup brings back only files that the configuration names, so what stands in it can write nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bastion.ca.backup import Member, member_of
from bastion.ca.keys import MAX_PUBLIC_FILE
from bastion.ca.ledger import KeyName, Ledger, ledger_text, parse_ledger
from bastion.config.key_slots import ledger_path, login_slots, signing_slots
from bastion.config.load import Config
from bastion.errors import ConfigError


def key_files(config: Config) -> dict[str, Path]:
    """Every file that may hold a key of this configuration, whether or not it is there now, and the ledger."""
    paths: list[Path] = [ledger_path(config)]
    for slot in (*signing_slots(config), *login_slots(config)):
        both = (slot.path,) if slot.name is KeyName.LOGIN_CA else (slot.path, slot.next)
        for path in both:
            paths += [path, path.with_name(f"{path.name}.pub")]
    paths += [Path(target.key_file) for target in config.inventory if target.key_file is not None]
    return {_name(path, config.file.parent): path for path in paths}


def _name(path: Path, folder: Path) -> str:
    whole, base = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(whole, base) if whole.startswith(base + os.sep) else whole


def key_members(config: Config, ledger: Ledger) -> dict[str, Member]:
    """The files as they are now, with this ledger in the place of the one on the disk. Raises ConfigError."""
    found = {name: path for name, path in key_files(config).items() if path.exists()}
    members = {name: member_of(path, MAX_PUBLIC_FILE) for name, path in found.items()}
    members[_name(ledger_path(config), config.file.parent)] = Member(ledger_text(ledger).encode(), 0o644)
    return members


def ledger_among(config: Config, members: Mapping[str, Member], source: str) -> Ledger:
    """The ledger that was sealed with the keys. Raises ConfigError."""
    found = members.get(_name(ledger_path(config), config.file.parent))
    if found is None:
        raise ConfigError(
            source, 0, "", "has no ledger of its keys", "what `bastion keys export-backup` wrote"
        )
    return parse_ledger(found.data.decode("utf-8", "replace"), source)


def own_keys(config: Config, members: Mapping[str, Member]) -> dict[str, Member]:
    """Of these the keys that a ledger must know: what the gateway signs with, not what targets were given."""
    paths = key_files(config)
    signing = {path for slot in signing_slots(config) for path in (slot.path, slot.next)}
    return {name: member for name, member in members.items() if paths.get(name) in signing}
