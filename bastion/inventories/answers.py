"""From an answer to the targets it names, and to the text that is kept of them (L2).

An answer is read as strictly as a file of the configuration, and any fault refuses all of it: half an inventory would
take targets away from engineers. Faults name the inventory and the path in its JSON.

Invariant: of a target an answer says where it is, how it is called and known, and who may be on it. How the gateway
logs in to it, what it runs or opens for that, and what is recorded are the operator's, in targets.toml.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from bastion.errors import ConfigError
from bastion.inventories.ansible import hosts_of
from bastion.inventories.section import FAULTS_MAX, InventorySource
from bastion.options import At, Problems, Source, Unreadable, declarations, read, shown
from bastion.policy.addresses import out_of_reach
from bastion.policy.patterns import matches_any
from bastion.policy.targets import NAME, Taken, Target, take_names

GIVEN: Final = ("host", "port", "aliases", "labels", "logins", "host_keys")
"""Options of a target that an answer may set."""

WRITTEN: Final = (*GIVEN, "allow_addresses")
"""Those that stand in what is kept."""


class Inventoried(NamedTuple):
    """What an answer came to: its targets by name, and how many names `only` has left out."""

    targets: tuple[Target, ...]
    left_out: int


class _Reading:
    """One answer."""

    def __init__(self, section: InventorySource) -> None:
        self._section = section
        self._taken: Taken = {}
        self.made: list[Target] = []
        self.left_out = 0

    def target(self, name: str, table: dict[str, Any], at: At) -> None:
        """Read one. Raises Unreadable."""
        section = self._section
        name = section.prefix + name.lower()
        if section.only and not matches_any(section.only, name):
            self.left_out += 1
            return
        NAME.read(name, at)
        if len(self.made) >= section.max_targets:
            raise at.wrong(
                "is one target more than the inventory may have", f"max_targets = {section.max_targets}"
            )
        table["labels"] = _labels(table, section, at)
        table["aliases"] = self._aliases(table, at)
        if section.allow_addresses:
            table["allow_addresses"] = [str(network) for network in section.allow_addresses]
        target = read(Target, table, at, name=name)
        _reachable(target, at)
        if take_names(target, self._taken, at):
            self.made.append(target)

    def _aliases(self, table: Mapping[str, Any], at: At) -> list[object]:
        section, given = self._section, table.get("aliases", [])
        if not isinstance(given, list):
            raise at.child("aliases").wrong("must be a list", "a list of names")
        kept: list[object] = []
        for alias in given:
            whole = section.prefix + alias.lower() if isinstance(alias, str) else alias
            if isinstance(whole, str) and section.only and not matches_any(section.only, whole):
                self.left_out += 1
            else:
                kept.append(whole)
        return kept


def _labels(table: Mapping[str, Any], section: InventorySource, at: At) -> dict[str, Any]:
    given = table.get("labels", {})
    if not isinstance(given, dict):
        raise at.child("labels").wrong("must be an object", "labels and their values")
    return {**given, **section.labels}


def _reachable(target: Target, at: At) -> None:
    barred = out_of_reach(target.host, target.allow_addresses)
    if barred is not None:
        raise at.child("host").wrong(
            f"{shown(target.host)} is {barred}", "allow_addresses of the inventory, where that is meant"
        )


def read_answer(name: str, section: InventorySource, data: bytes) -> Inventoried:
    """The targets of one answer of the inventory `name`. Raises ConfigErrors with every fault in it."""
    source, problems = Source(f"the answer of inventory {name}"), Problems()
    root, reading = At(source, problems), _Reading(section)
    document = _document(data, source.file)
    tables = hosts_of(document, section, root) if section.format == "ansible" else _tables(document, root)
    for target, table, at in tables:
        try:
            reading.target(target, table, at)
        except Unreadable:
            if len(problems.errors) > FAULTS_MAX:
                break
    problems.raise_any()
    return Inventoried(tuple(reading.made), reading.left_out)


def narrowed(document: Mapping[str, Any], section: InventorySource) -> Mapping[str, Any]:
    """What was kept, as its section has it now: the operator may have said since that less of it is to be taken."""
    tables = document.get("targets")
    if not isinstance(tables, dict):
        return document
    return {
        "targets": {name: _now(table, section) for name, table in tables.items() if _wanted(name, section)}
    }


def _wanted(name: str, section: InventorySource) -> bool:
    return name.startswith(section.prefix) and (not section.only or matches_any(section.only, name))


def _now(table: Any, section: InventorySource) -> Any:
    if not isinstance(table, dict):
        return table
    made = {key: value for key, value in table.items() if key in GIVEN}
    labels, aliases = made.get("labels", {}), made.get("aliases", [])
    if section.labels and isinstance(labels, dict):
        made["labels"] = {**labels, **section.labels}
    if aliases and isinstance(aliases, list):
        made["aliases"] = [alias for alias in aliases if _wanted(str(alias), section)]
    if section.allow_addresses:
        made["allow_addresses"] = [str(network) for network in section.allow_addresses]
    return made


def _tables(document: Mapping[str, Any], root: At) -> Iterator[tuple[str, dict[str, Any], At]]:
    for key in document:
        if key != "targets":
            root.child(key).wrong("is not known", "targets")
    tables = document.get("targets")
    if not isinstance(tables, dict):
        root.child("targets").wrong("must be an object with a target for each name")
        return
    for name, table in tables.items():
        at = root.child("targets").child(name)
        if not isinstance(table, dict):
            at.wrong(f"must be an object, not {shown(table)}", ", ".join(GIVEN))
            continue
        known = {one.name for one in declarations(Target)}
        withheld = [key for key in table if key not in GIVEN]
        for key in withheld:
            problem = "is the operator's to say, in targets.toml" if key in known else "is not known"
            at.child(key).wrong(problem, ", ".join(GIVEN))
        if not withheld:
            yield name, dict(table), at


def _document(data: bytes, name: str) -> dict[str, Any]:
    """The JSON object. Raises ConfigError."""
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_no_number
        )
    except UnicodeDecodeError as error:
        raise ConfigError(name, 0, "", f"is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            name, error.lineno, "", f"is not JSON: {error.msg} at column {error.colno}"
        ) from None
    except RecursionError:
        raise ConfigError(name, 0, "", "is not taken: it is nested too deep") from None
    except ValueError as error:
        raise ConfigError(name, 0, "", f"is not taken: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(name, 0, "", "is not a JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that stands twice in an object, readers take the one or the other: so it is a fault."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{shown(twice)} stands twice in one object")
    return made


def _no_number(text: str) -> Any:
    """A host has none of those, but a variable that no target is made of may."""
    return text


def text_of(name: str, targets: tuple[Target, ...]) -> str:
    """What is kept: targets as in targets.toml, in the order of their names, so that the same is the same text."""
    lines = [
        f"# What the inventory {name} answered, written by the gateway. Changes here are lost.",
        *(line for target in sorted(targets, key=lambda one: one.name) for line in _table(target)),
    ]
    return "\n".join(lines) + "\n"


def _table(target: Target) -> Iterator[str]:
    yield ""
    yield f'[targets."{target.name}"]'
    for declared in declarations(Target):
        value = getattr(target, declared.name)
        if declared.name in WRITTEN and value != declared.default:
            yield f"{declared.name} = {declared.kind.write(value)}"
