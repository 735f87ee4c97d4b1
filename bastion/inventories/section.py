# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The options of an inventory that is asked for (L2)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bastion.net.urls import url
from bastion.options import At, Kind, option, shown
from bastion.options.kinds import (
    BOOLEAN,
    NETWORK,
    SIZE,
    Network,
    choice,
    duration,
    integer,
    list_of,
    mapping_of,
    optional,
    or_off,
    sections_by_name,
    text,
)
from bastion.options.paths import FILE
from bastion.policy.patterns import PATTERN
from bastion.policy.targets import LABEL_KEY, LABEL_VALUE

SOURCE_NAME: Final = re.compile(r"\A[a-z][a-z0-9_-]{0,31}\Z")
SOURCES_MAX: Final = 32
"""Inventories of one gateway: each has a thread of the process that asks."""

BYTES_MAX: Final = 32 << 20
"""Of one answer, whatever `max_bytes` says: read as JSON it takes some ten times that."""

FAULTS_MAX: Final = 1000
"""Faults of one answer after which no more are looked for."""

_PREFIX = re.compile(r"\A(?:[a-z0-9][a-z0-9._-]{0,31})?\Z")
_VARIABLE = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")

VARIABLE: Kind[str] = text("variable", _VARIABLE, "the name of a variable: letters, digits and _")


URL: Kind[str] = url("URL", "URL of an inventory", "https://HOST/PATH, without a password")


@dataclass(frozen=True, slots=True)
class InventorySource:
    """Targets that a program or a web server names as JSON, asked for again and again (`docs/targets.md`). NAME is
    yours to choose."""

    command: tuple[str, ...] = option(
        list_of(text()),
        "Program with an absolute path and its arguments, which prints the inventory. It is run without a shell, as the"
        " gateway's user, in `/`, with PATH, HOME and LANG as its whole environment.",
        default=(),
    )
    url: str | None = option(
        optional(URL),
        "Where the inventory is, instead of `command`. No redirect is followed and no proxy used.",
        default=None,
        example='"https://cmdb.example.com/bastion.json"',
    )
    ca_file: Path | None = option(
        optional(FILE),
        "CAs, one of which the server's certificate must be of. Not set: those of the system.",
        default=None,
        example='"cmdb_ca.pem"',
    )
    token_file: Path | None = option(
        optional(FILE),
        "File with a token in its first line, closed to others, sent as `Authorization: Bearer`. Read each time.",
        default=None,
        example='"credential:cmdb"',
    )
    format: str = option(
        choice("bastion", "ansible"),
        'What the JSON is: "bastion" has `targets` as targets.toml has them; "ansible" is what'
        " `ansible-inventory --list` prints.",
        default="bastion",
    )
    every: float = option(duration(1, 86400), "How often it is asked.", default=300.0)
    timeout: float = option(
        duration(1, 300), "How long one answer may take, from beginning to end.", default=30.0
    )
    max_bytes: int = option(SIZE, "Longest answer; at most 32 MiB.", default=8 << 20)
    max_targets: int = option(integer(1, 100_000), "Targets that it may name.", default=10_000)
    max_age: float | None = option(
        or_off(duration(2)),
        "The targets of an inventory that has not answered for this long are taken out, until it does.",
        default=7 * 86400.0,
    )
    may_be_empty: bool = option(
        BOOLEAN,
        "An answer without a single target is taken, and all that it had are taken out. Not set, it is a fault, as of"
        " a program that could not see what it lists.",
        default=False,
    )
    prefix: str = option(
        text("prefix", _PREFIX, "lower-case letters, digits and . _ -, at most 32"),
        'Put before each name and alias that it gives, such as "aws-".',
        default="",
    )
    only: tuple[str, ...] = option(
        list_of(PATTERN),
        "Patterns of names, the prefix included; what fits none of them is left out. Empty: all.",
        default=(),
        example='["aws-*"]',
    )
    labels: Mapping[str, str] = option(
        mapping_of(text("label", LABEL_VALUE, "letters, digits and . _ -"), LABEL_KEY, "lower-case words"),
        "Labels of all its targets, whatever it says itself.",
        default=MappingProxyType({}),
        example='{ inventory = "aws" }',
    )
    allow_addresses: tuple[Network, ...] = option(
        list_of(NETWORK),
        "As `allow_addresses` of a target, for all of its targets: without it, an address that is the gateway's"
        " loopback, link-local or a metadata service is a fault in an answer.",
        default=(),
        example='["127.0.0.0/8"]',
    )
    groups: tuple[str, ...] = option(
        list_of(PATTERN),
        'Ansible: patterns of groups, such as `["web*", "prod"]`; a target in one of them gets the label `group.NAME` ='
        ' "yes".',
        default=(),
    )
    vars: Mapping[str, str] = option(
        mapping_of(VARIABLE, LABEL_KEY, "a label = the name of a variable"),
        'Ansible: labels that are made of variables of the host, such as `{ env = "deploy_env" }`.',
        default=MappingProxyType({}),
    )
    login_var: str | None = option(
        or_off(VARIABLE), "Ansible: the variable with the one account of a target.", default="ansible_user"
    )
    host_key_var: str | None = option(
        optional(VARIABLE),
        "Ansible: a variable with the target's public host key line, or a list of such lines.",
        default=None,
    )

    def validate(self, at: At) -> None:
        if bool(self.command) == (self.url is not None):
            at.wrong("needs either a program or a URL", "command or url")
        if self.command and not self.command[0].startswith("/"):
            at.child("command").child(0).wrong(
                f"{shown(self.command[0])} is not an absolute path", "a program with an absolute path"
            )
        for name in ("ca_file", "token_file"):
            if getattr(self, name) is not None and self.url is None:
                at.child(name).wrong("has no effect without url", "url")
        if not 0 < self.max_bytes <= BYTES_MAX:
            at.child("max_bytes").wrong("is out of range", "1 to 32 MiB")
        for name in ("groups", "vars", "host_key_var"):
            if getattr(self, name) and self.format != "ansible":
                at.child(name).wrong("has no effect without this format", 'format = "ansible"')
        if self.max_age is not None and self.max_age < 2 * self.every:
            at.child("max_age").wrong("is over before it was asked twice", "at least twice `every`")


def digest_of(sections: Mapping[str, InventorySource]) -> str:
    """One word for which inventories there are and how they are asked; "" of none."""
    return hashlib.sha256(repr(dict(sections)).encode()).hexdigest() if sections else ""


INVENTORIES: Kind[Mapping[str, InventorySource]] = sections_by_name(
    InventorySource, SOURCE_NAME, "[inventories.NAME]: lower-case letters, digits, _ and -", SOURCES_MAX
)
