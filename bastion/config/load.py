"""Reads `bastion.toml` and the two files it names into one value (L2).

A reload is a second `load`: nothing is changed in place, so a file with a fault leaves the old value in use.
No key file is opened here; `inspect` in `bastion.config.check` does that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.config.document import open_document
from bastion.config.sections import Sections
from bastion.config.versions import NONE, PolicyVersion, kept_file, version_of
from bastion.options import At, Problems, Source, Unreadable, read
from bastion.policy.roads import check_roads
from bastion.policy.rules import Defaults, Policy, parse_policy
from bastion.policy.targets import Inventory, Target, parse_targets

INVENTORY_FILES: Final = 1000
"""Files of `targets.folder`: each is opened at every reload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Sections):
    """Everything an operator has decided. `file` is where it was read from, `inventory_files` the targets."""

    file: Path
    inventory: Inventory
    rules: Policy
    inventory_files: tuple[Path, ...] = ()
    digest: str = ""  # of these files, as they were read
    version: PolicyVersion = NONE  # of what of them decides who reaches what

    @property
    def inventory_paths(self) -> tuple[Path, ...]:
        """The files, and the folder that decides which they are."""
        folder = self.targets.folder
        return self.inventory_files if folder is None else (*self.inventory_files, folder)


def load(path: str | os.PathLike[str]) -> Config:
    """Read and validate the configuration. Raises ConfigErrors (a ConfigError) with every fault found."""
    problems = Problems()
    config = load_into(path, problems)
    problems.raise_any()
    assert config is not None
    return config


def load_into(
    path: str | os.PathLike[str], problems: Problems, sources: dict[Path, Source] | None = None
) -> Config | None:
    """As `load`, but faults are added to `problems`; None when there is nothing that could be used.

    With faults in the inventory or the policy the value has what could be read of them. `sources` gets the
    documents that are TOML, by file.
    """
    file = Path(path)
    found = {} if sources is None else sources
    opened = open_document(file, problems)
    if opened is None:
        return None
    document, source = opened
    found[file] = source
    digests = [source.digest]
    at = At(source, problems)
    try:
        sections = read(Sections, document, at)
    except Unreadable:
        return None
    rules = Policy()
    inventory_files = _inventory_files(sections, at.child("targets"))
    texts: dict[Path, str] = {}
    commands = sections.targets.proxy_commands
    inventory = _read_inventory(inventory_files, at.child("targets"), found, texts, digests, commands)
    limits = sections.limits
    defaults = Defaults(max_duration=limits.max_duration, idle=limits.idle, max_auth_age=limits.max_auth_age)
    version = NONE
    targets_files = [kept_file(path, text) for path, text in texts.items()]
    policy_file = open_document(sections.policy.file, problems, at.child("policy").child("file"), texts)
    if policy_file is not None:
        found[sections.policy.file] = policy_file[1]
        digests.append(policy_file[1].digest)
        rules = parse_policy(*policy_file, problems, defaults)
        of_policy = kept_file(sections.policy.file, texts[sections.policy.file])
        version = version_of(of_policy, targets_files, defaults)
    rules.selections(inventory)  # now, and not when the first engineer waits for it
    values = {name: getattr(sections, name) for name in Sections.__dataclass_fields__}
    return Config(
        **values,
        file=file,
        inventory=inventory,
        rules=rules,
        inventory_files=inventory_files,
        digest=_digest(digests),
        version=version,
    )


def _read_inventory(
    files: Sequence[Path],
    at: At,
    found: dict[Path, Source],
    texts: dict[Path, str],
    digests: list[str],
    commands: Collection[str],
) -> Inventory:
    """All of them as one: a name is one target's in all files."""
    targets: list[Target] = []
    taken: dict[str, str] = {}
    sources: list[Source] = []
    faults = len(at.problems.errors)
    for number, file in enumerate(files):
        opened = open_document(file, at.problems, at.child("folder" if number else "file"), texts)
        if opened is not None:
            found[file] = opened[1]
            sources.append(opened[1])
            digests.append(opened[1].digest)
            targets += parse_targets(*opened, at.problems, taken)
    inventory = Inventory(targets)
    if len(at.problems.errors) == faults:  # else a hop may be missing only because its table has a fault
        check_roads(
            inventory,
            lambda target: At(source_of(target, sources), at.problems, ("targets", target.name)),
            commands,
        )
    return inventory


def _inventory_files(sections: Sections, at: At) -> tuple[Path, ...]:
    """The file, and those of the folder in the order of their names."""
    folder = sections.targets.folder
    if folder is None:
        return (sections.targets.file,)
    try:
        names = sorted(
            name for name in os.listdir(folder) if name.endswith(".toml") and not name.startswith(".")
        )
    except OSError as error:
        at.child("folder").wrong(f"{folder} cannot be read: {error.strerror}")
        names = []
    if len(names) > INVENTORY_FILES:
        at.child("folder").wrong(f"{folder} has {len(names)} files", f"{INVENTORY_FILES} at most")
        names = []
    more = (folder / name for name in names)
    return (sections.targets.file, *(path for path in more if path != sections.targets.file))


def source_of(target: Target, sources: Sequence[Source]) -> Source:
    """The document that has the table of this target; the first when none shows where it is."""
    having = (source for source in sources if ("targets", target.name) in source.lines)
    return next(having, sources[0])


def _digest(digests: list[str]) -> str:
    """One name for what the files said."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
