"""The login CAs of a configuration, and whom each may let in (L2). Reads files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bastion.auth.ca_scope import CaScope
from bastion.auth.identity import group_form
from bastion.ca.keys import load_public_keys
from bastion.config.authorities import ROLES, Held
from bastion.config.key_slots import login_slots
from bastion.config.load import Config
from bastion.errors import ConfigError
from bastion.options import KeyPath

SCOPES = ("users", "groups", "principals")
"""Options of `[login_ca]` that are about one of its files."""


@dataclass(slots=True)
class LoginCas:
    """What was read: the keys, the scopes of each by its blob, and what is wrong: where, what, what may stand there."""

    held: list[Held] = field(default_factory=list)
    scopes: dict[bytes, tuple[CaScope, ...]] = field(default_factory=dict)
    faults: list[tuple[KeyPath, str, str]] = field(default_factory=list)


def read_login_cas(config: Config) -> LoginCas:
    """Every file of `[login_ca]`. Raises nothing: faults are told."""
    found = LoginCas(faults=list(_unknown_files(config)))
    for slot in login_slots(config):
        try:
            keys = load_public_keys(slot.path)
        except ConfigError as error:
            found.faults.append((slot.option, str(error), ""))
            continue
        scope = _scope_of(config, slot.path)
        for public in keys:
            found.held.append(Held(ROLES[slot.name], public, str(slot.path)))
            if scope != CaScope():
                found.scopes[public.blob] = (*found.scopes.get(public.blob, ()), scope)
    return found


def _scope_of(config: Config, path: Path) -> CaScope:
    ca = config.login_ca
    groups = frozenset(map(group_form, _named(config, ca.groups, path)))
    return CaScope(_named(config, ca.users, path), groups, _named(config, ca.principals, path))


def _named(config: Config, option: Mapping[str, tuple[str, ...]], path: Path) -> tuple[str, ...]:
    """What an option says of the file at `path`, however it is spelt there."""
    return tuple(value for name, values in option.items() if _place(config, name) == path for value in values)


def _place(config: Config, name: str) -> Path:
    return config.file.absolute().parent / name


def _unknown_files(config: Config) -> Iterator[tuple[KeyPath, str, str]]:
    """A name that is no file of the section restricts nobody, and somebody believes that it does."""
    files = set(config.login_ca.files)
    for option in SCOPES:
        for name in getattr(config.login_ca, option):
            if _place(config, name) not in files:
                key: KeyPath = ("login_ca", option, name)
                yield key, "is none of login_ca.files, and so restricts nobody", ", ".join(map(str, files))
