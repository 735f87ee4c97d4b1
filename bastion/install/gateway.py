"""A new gateway, built in a stage (L3): all files of `Layout.files`, and the folders that lie among them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

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


def names(layout: Layout) -> list[str]:
    """What `build` puts directly into the folder."""
    inside = (*layout.folders()[1:], *layout.files())
    return sorted({place.path.name for place in inside if place.path.parent == layout.folder})


def build(stage: Path, answers: Answers, layout: Layout, owners: Owners) -> Made:
    """Everything that goes into `layout.folder`, in `stage`. Raises OSError."""

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
        elif file.path.suffix != ".pub" and not (name == LOGIN_CA and answers.login_ca):
            made[name] = make_key(file.path, f"bastion {name}", rsa=name == RSA).public
    if answers.login_ca:
        (stage / "keys" / f"{LOGIN_CA}.pub").write_text(answers.login_ca, encoding="utf-8")
    for file in map(moved, layout.files()):
        if file.path.parent.name == "keys" and file.path.exists():
            owners.give(file.path, file.belongs)
            os.chmod(file.path, file.mode)
    return Made(made)
