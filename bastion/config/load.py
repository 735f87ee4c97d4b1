"""Reads `bastion.toml` and the two files it names into one value (L2).

A reload is a second `load`: nothing is changed in place, so a file with a fault leaves the old value in use.
No key file is opened here; `inspect` in `bastion.config.check` does that.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from bastion.config.document import open_document
from bastion.config.sections import Sections
from bastion.options import At, Problems, Source, Unreadable, read
from bastion.policy.rules import Defaults, Policy, parse_policy
from bastion.policy.targets import Inventory, parse_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Sections):
    """Everything an operator has decided. `file` is where it was read from."""

    file: Path
    inventory: Inventory
    rules: Policy
    digest: str = ""  # of the three files, as they were read


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
    inventory, rules = Inventory(), Policy()
    targets_file = open_document(sections.targets.file, problems, at.child("targets").child("file"))
    if targets_file is not None:
        found[sections.targets.file] = targets_file[1]
        digests.append(targets_file[1].digest)
        inventory = parse_targets(*targets_file, problems)
    policy_file = open_document(sections.policy.file, problems, at.child("policy").child("file"))
    if policy_file is not None:
        found[sections.policy.file] = policy_file[1]
        digests.append(policy_file[1].digest)
        limits = sections.limits
        defaults = Defaults(
            max_duration=limits.max_duration, idle=limits.idle, max_auth_age=limits.max_auth_age
        )
        rules = parse_policy(*policy_file, problems, defaults)
    rules.selections(inventory)  # now, and not when the first engineer waits for it
    values = {name: getattr(sections, name) for name in Sections.__dataclass_fields__}
    return Config(**values, file=file, inventory=inventory, rules=rules, digest=_digest(digests))


def _digest(digests: list[str]) -> str:
    """One name for what the files said."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
