"""What is wrong with the inventory beyond its grammar (L2): for `check`, which has the files open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from bastion.ca.known_hosts import lookup_name
from bastion.ca.secrets import check_program, read_secret_file
from bastion.config.load import Config
from bastion.errors import ConfigError
from bastion.inventories.section import InventorySource
from bastion.options import KeyPath
from bastion.options.kinds import show_seconds
from bastion.policy.patterns import canonical, matches_any
from bastion.policy.targets import Target, TargetPassword

Fault = tuple[bool, str, str, str]
"""Whether it is an error, the key, the problem, what is allowed."""

Place = tuple[tuple[str, ...], str | None, str | None, int]
"""Where a machine is: the same address by another road is another machine."""

ONE_MACHINE: Final = "rules and records see two machines"


def place_of(target: Target) -> Place:
    """By which hops or program it is reached, and at which address and port there."""
    return target.via, target.proxy_command, canonical(target.host), target.port


def same_place(target: Target, first: str, elsewhere: bool) -> Iterator[Fault]:
    """Two targets at one place are one machine: rules for the one can be walked round by the other's name. `elsewhere`:
    one of them is of an inventory that is asked, and not the other; its labels are not for what a person wrote down."""
    if first != target.name:
        text = f"{target.address} is where target {first} is already: {ONE_MACHINE}"
        yield elsewhere, "host", text, f"an alias of {first}"


class Apart:
    """An inventory that is asked says nothing of what a person, or another one, wrote down: neither which host key is
    believed there, since a pin is of a name and whoever is known by that name has it; nor where an address leads, since
    a target that is called so comes before the one that is there."""

    def __init__(self, inventory: Iterable[Target]) -> None:
        self._known: dict[str, list[Target]] = {}
        self._there: dict[str | None, list[Target]] = {}
        for target in inventory:
            self._there.setdefault(canonical(target.host), []).append(target)
            for name in target.known_as:
                for shown in dict.fromkeys((name, lookup_name(name, target.port))):
                    self._known.setdefault(shown, []).append(target)

    def faults(self, target: Target) -> Iterator[Fault]:
        if not target.inventory:
            return
        for name in target.names:
            if other := self._of_another(target, self._there.get(canonical(name), ())):
                text = f'"{name}" is where target {other.name} is: who writes that would be led here'
                yield True, "", text, "prefix"
        pinned = self._known[lookup_name(target.known_as[0], target.port)] if target.pins else ()
        if other := self._of_another(target, pinned):
            text = f"would be believed of target {other.name} too, which has that name or address"
            yield True, "host_keys", text, f"host_keys in the table of {other.name}"

    @staticmethod
    def _of_another(target: Target, found: Iterable[Target]) -> Target | None:
        return next((other for other in found if other.inventory != target.inventory), None)


def password_faults(password: TargetPassword) -> Iterator[Fault]:
    """The secret is read and dropped; a command is looked at and not run."""
    try:
        if password.file is not None:
            read_secret_file(password.file)
        elif password.command is not None:
            check_program(password.command[0])
    except ConfigError as error:
        yield True, "password", str(error), ""


def program_faults(commands: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Of the programs that lead to targets: the problem, and the name."""
    for name, words in commands.items():
        try:
            check_program(words[0], f"the program {words[0]}")
        except ConfigError as error:
            yield error.problem, name


def hop_faults(target: Target, egress: bool) -> Iterator[Fault]:
    """Of a target that others are behind; `egress`: certificates say where they may be used from."""
    if target.hop_login is not None and egress and not target.hop_egress:
        text = "certificates for what is behind it would work from any address until they expire"
        yield False, "hop_login", text, "hop_egress: the addresses that it connects from"


def asked_faults(config: Config, now: float) -> Iterator[tuple[bool, KeyPath, str, str]]:
    """Is it an error, where, what the problem is, and what to do: of inventories that are asked. Nobody is, here."""
    for name, section in config.inventories.items():
        for key, problem in _source_faults(section):
            yield True, ("inventories", name, key), problem, ""
    for one in config.kept:
        place = ("inventories", one.name)
        if not one.answered_at:
            text = "has never given an answer that was taken"
            yield False, place, text, f"bastion inventory ask {one.name}"
        elif one.expired:
            age = show_seconds(round(one.age(now)))
            yield False, place, f"has not answered for {age}: its targets are taken out", "max_age"


def _source_faults(section: InventorySource) -> Iterator[tuple[str, str]]:
    key = "command"
    try:
        if section.command:
            check_program(section.command[0], "the program")
        key = "token_file"
        if section.token_file is not None:
            read_secret_file(section.token_file, "inventory's token")
        key = "ca_file"
        if section.ca_file is not None:
            section.ca_file.read_bytes()
    except ConfigError as error:
        yield key, str(error)
    except OSError as error:
        yield key, f"{section.ca_file} cannot be read: {error.strerror}"


def may_be_named(config: Config, name: str) -> bool:
    """Some inventory that is asked may have a target of this name, now or later."""
    return any(
        name.startswith(section.prefix) and (not section.only or matches_any(section.only, name))
        for section in config.inventories.values()
    )
