"""Which files a backup of a whole gateway has beside its keys, and where a restored file may go (L2)."""

from __future__ import annotations

import os
from pathlib import Path

from bastion.ca.backup import Member, member_of
from bastion.ca.ledger import Ledger
from bastion.config.document import FILE_MAX
from bastion.config.key_backup import key_members
from bastion.config.load import Config
from bastion.errors import ConfigError


def gateway_members(config: Config, ledger: Ledger) -> tuple[str, dict[str, Member]]:
    """(the name of the configuration itself, every file by its name): configuration, inventory, policy, users, known
    hosts, keys. Passwords and passphrases in files of their own are not among them. Raises ConfigError."""
    paths = [config.file, *config.inventory_files, config.policy.file]
    others = (config.targets.known_hosts, config.directory.embedded, config.login.revoked_keys)
    paths += [path for path in others if path is not None]
    folder = config.file.parent
    members = {_name(path, folder): member_of(path, FILE_MAX) for path in paths if path.exists()}
    return _name(config.file, folder), {**members, **key_members(config, ledger)}


def _name(path: Path, folder: Path) -> str:
    whole, base = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(whole, base) if whole.startswith(base + os.sep) else whole


def placed(members: dict[str, Member], into: Path, outside: bool, source: str) -> dict[Path, Member]:
    """Where each file goes: under `into`, or to its own place elsewhere when `outside` allows that. Raises ConfigError.

    Whoever knows a recipient can seal a backup, so what stands in one may write nowhere that was not said.
    """
    base = os.path.abspath(into)
    found: dict[Path, Member] = {}
    for name, member in members.items():
        whole = os.path.normpath(os.path.join(base, name))
        if not whole.startswith(base + os.sep) and not (outside and os.path.isabs(name)):
            problem = f"holds {name}, which lies outside of {into}"
            raise ConfigError(source, 0, "", problem, "--outside, when that is meant")
        found[Path(whole)] = member
    return found
