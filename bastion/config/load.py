"""Reads `bastion.toml` and the two files it names into one value (L2).

A reload is a second `load`: nothing is changed in place, so a file with a fault leaves the old value in use.
No key file is opened here; `inspect` in `bastion.config.check` does that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.clock import SystemClock
from bastion.config.document import open_document, parse_document
from bastion.config.sections import Sections
from bastion.config.versions import NONE, PolicyVersion, kept_file, version_of
from bastion.inventories.answers import narrowed, text_of
from bastion.inventories.kept import Kept, kept_of
from bastion.inventories.section import InventorySource
from bastion.options import At, Problems, Source, Unreadable, read
from bastion.policy.roads import check_roads
from bastion.policy.rules import Defaults, Policy, parse_policy
from bastion.policy.targets import Inventory, Taken, Target, parse_targets

INVENTORY_FILES: Final = 1000
"""Files of `targets.folder`: each is opened at every reload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Sections):
    """Everything an operator has decided. `file` is where it was read from, `inventory_files` the targets that people
    wrote down, `kept` what there is of `[inventories]`."""

    file: Path
    inventory: Inventory
    rules: Policy
    inventory_files: tuple[Path, ...] = ()
    kept: tuple[Kept, ...] = ()
    digest: str = ""  # of these files, as they were read
    version: PolicyVersion = NONE  # of what of them decides who reaches what

    @property
    def inventory_paths(self) -> tuple[Path, ...]:
        """The files, and the folder that decides which they are."""
        folder = self.targets.folder
        return self.documents if folder is None else (*self.documents, folder)

    @property
    def documents(self) -> tuple[Path, ...]:
        """All files that targets are read from."""
        return (*self.inventory_files, *(one.file for one in self.kept if one.counts))


def load(path: str | os.PathLike[str]) -> Config:
    """Read and validate the configuration. Raises ConfigErrors (a ConfigError) with every fault found."""
    problems = Problems()
    config = load_into(path, problems)
    problems.raise_any()
    assert config is not None
    return config


Answers = Mapping[str, str]
"""Inventory -> the text that is to be kept of it, before it is."""


def load_into(
    path: str | os.PathLike[str],
    problems: Problems,
    sources: dict[Path, Source] | None = None,
    answers: Answers | None = None,
) -> Config | None:
    """As `load`, but faults are added to `problems`; None when there is nothing that could be used.

    With faults in the inventory or the policy the value has what could be read of them. `sources` gets the
    documents that are TOML, by file. `answers` stand in the place of what is kept.
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
    rules, texts = Policy(), dict[Path, str]()
    reading = _Inventories(problems, found, texts, digests)
    inventory_files = reading.files(sections, at.child("targets"))
    kept = reading.asked(sections, at.child("inventories"), answers or {})
    inventory, limits = reading.joined(sections.targets.proxy_commands), sections.limits
    defaults = Defaults(max_duration=limits.max_duration, idle=limits.idle, max_auth_age=limits.max_auth_age)
    version, targets_files = NONE, [kept_file(path, text) for path, text in texts.items()]
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
        kept=kept,
        digest=_digest(digests),
        version=version,
    )


class _Inventories:
    """All of them as one: a name is one target's in all files. `found`, `texts` and `digests` get each document."""

    def __init__(
        self, problems: Problems, found: dict[Path, Source], texts: dict[Path, str], digests: list[str]
    ) -> None:
        self._problems, self._found, self._texts, self._digests = problems, found, texts, digests
        self._before = len(problems.errors)
        self._taken: Taken = {}
        self._targets: list[Target] = []
        self._sources: list[Source] = []

    def files(self, sections: Sections, at: At) -> tuple[Path, ...]:
        """Those that people write; which they were."""
        files = _inventory_files(sections, at)
        for number, file in enumerate(files):
            self._file(file, at.child("folder" if number else "file"))
        return files

    def asked(self, sections: Sections, at: At, answers: Answers) -> tuple[Kept, ...]:
        """What `[inventories]` answered last; whatever people wrote down was there before it."""
        folder, now = sections.state_folder, SystemClock().time()
        made = []
        for name, section in sections.inventories.items():
            one = kept_of(folder, name, section, now)
            if name in answers:
                one = Kept(name, one.file, now, False)
                self._take(one.file, answers[name], name)
            elif one.counts:
                self._kept(one, section, at.child(name))
            made.append(one)
        return tuple(made)

    def joined(self, commands: Collection[str]) -> Inventory:
        """What has been read so far as one, with roads that lead somewhere; `commands` may lead to targets."""
        inventory = Inventory(self._targets)
        if len(self._problems.errors) == self._before:  # else a hop may be missing only because of that fault
            check_roads(inventory, self._place, commands)
        return inventory

    def _place(self, target: Target) -> At:
        return At(source_of(target, self._sources), self._problems, ("targets", target.name))

    def _file(self, file: Path, at: At) -> None:
        self._document(file, open_document(file, self._problems, at, self._texts), "")

    def _kept(self, one: Kept, section: InventorySource, at: At) -> None:
        """As its section has it now, which may be less than when it was kept."""
        opened = open_document(one.file, self._problems, at, self._texts)
        if opened is not None and (less := narrowed(opened[0], section)) != opened[0]:
            targets = parse_targets(less, opened[1], self._problems, inventory=one.name).targets
            self._take(one.file, text_of(one.name, targets), one.name)
        else:
            self._document(one.file, opened, one.name)

    def _take(self, file: Path, text: str, asked: str) -> None:
        self._texts[file] = text
        self._document(file, parse_document(file, text, self._problems), asked)

    def _document(self, file: Path, opened: tuple[Mapping[str, object], Source] | None, asked: str) -> None:
        if opened is not None:
            self._found[file] = opened[1]
            self._sources.append(opened[1])
            self._digests.append(opened[1].digest)
            self._targets += parse_targets(*opened, self._problems, self._taken, asked)


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
