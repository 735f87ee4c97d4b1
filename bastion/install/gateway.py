"""A new gateway, built in a stage (L3): all files of `Layout.files`, and the folders that lie among them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bastion.ca.keys import load_public_keys
from bastion.ca.ledger import Entry, KeyName, Ledger, write_ledger
from bastion.install import texts
from bastion.install.answers import Answers
from bastion.install.authorities import make_key
from bastion.install.layout import Layout, Owners, Place
from bastion.install.making import make_folder, write_file
from bastion.wire.keys import PublicKey

LOGIN_CA: Final = "login_ca"
RSA: Final = "ssh_host_rsa_key"


@dataclass(frozen=True, slots=True)
class Made:
    """Public halves of what was made, by file name."""

    keys: dict[str, PublicKey]


@dataclass(frozen=True, slots=True)
class Signed:
    """Who makes it, and when (seconds since the epoch): for the ledger of keys."""

    name: str
    now: float


def names(layout: Layout) -> list[str]:
    """What `build` puts directly into the folder."""
    inside = (*layout.folders()[1:], *layout.files())
    return sorted({place.path.name for place in inside if place.path.parent == layout.folder})


def build(stage: Path, answers: Answers, layout: Layout, owners: Owners, by: Signed) -> Made:
    """Everything that goes into `layout.folder`, in `stage`. Raises OSError, ConfigError."""

    def moved(place: Place) -> Place:
        return replace(place, path=stage / place.path.relative_to(layout.folder))

    for folder in layout.folders()[1:]:
        if folder.path.is_relative_to(layout.folder):
            make_folder(moved(folder).path, folder, owners)
    contents = {
        layout.config.name: texts.config_text(answers, layout),
        "policy.toml": texts.policy_text(answers),
        "targets.toml": texts.targets_text(answers),
        "users.toml": texts.users_text(answers),
        "known_hosts": texts.KNOWN_HOSTS,
        "recipients.txt": texts.recipients_text(answers),
    }
    made: dict[str, PublicKey] = {}
    for file in map(moved, layout.files()):
        name = file.path.name
        if name in contents:
            write_file(file.path, contents[name], file.mode, owners, file.belongs)
        elif file.path.suffix == "" and not (name == LOGIN_CA and answers.login_ca):
            made[name] = make_key(file.path, f"bastion {name}", rsa=name == RSA).public
    if answers.login_ca:
        (stage / "keys" / f"{LOGIN_CA}.pub").write_text(answers.login_ca, encoding="utf-8")
    write_ledger(stage / "keys" / "keys.toml", _ledger(stage, made, answers, by))
    for file in map(moved, layout.files()):
        if file.path.parent.name == "keys" and file.path.exists():
            owners.give(file.path, file.belongs)
            os.chmod(file.path, file.mode)
    return Made(made)


_NAMES: Final = {
    "ssh_host_ed25519_key": KeyName.HOST_KEYS,
    RSA: KeyName.HOST_KEYS,
    LOGIN_CA: KeyName.LOGIN_CA,
    "upstream_ca": KeyName.UPSTREAM_CA,
    "front_host_ca": KeyName.FRONT_HOST_CA,
    "recording": KeyName.RECORDING,
}


def _ledger(stage: Path, made: dict[str, PublicKey], answers: Answers, by: Signed) -> Ledger:
    """All of them are in force from now on; so is a login CA that was there before."""
    now = float(int(by.now))
    keys = [(_NAMES[file], key) for file, key in made.items()]
    if answers.login_ca:
        keys += [(KeyName.LOGIN_CA, key) for key in load_public_keys(stage / "keys" / f"{LOGIN_CA}.pub")]
    return Ledger(tuple(Entry(name, key, now, by.name, now) for name, key in keys))
