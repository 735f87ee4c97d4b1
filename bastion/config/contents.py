"""What stands in the files that a configuration names (L2): whether two readings have read the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bastion.config.changes import each_option, value_at
from bastion.config.load import Config

WRITTEN: Final = frozenset(("audit.file", "recording.directory"))
"""Options whose path is written to."""

LARGEST: Final = 64 << 20
"""Bytes of a file that are looked at: more than any that can be read as one."""


def contents(config: Config) -> Mapping[str, str]:
    """Option (or target) -> a digest of what is in its files; of the configuration itself under its own path."""
    found = {str(config.file): _digest([config.file])}
    for name, value in _paths(config):
        found[name] = _digest(value)
    return found


def together(digests: Mapping[str, str]) -> str:
    """One digest of all of them."""
    text = "\0".join(f"{name}\0{digest}" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def newest(config: Config) -> float:
    """When one of them was changed last, seconds since the epoch; 0.0 when none is there."""
    files = [config.file, *(path for _, paths in _paths(config) for path in paths)]
    return max((_changed(path) for path in files), default=0.0)


def _paths(config: Config) -> Iterator[tuple[str, list[Path]]]:
    for name, _ in each_option():
        value: Any = value_at(config, name)
        paths: list[Any] = (
            [value] if isinstance(value, Path) else list(value) if isinstance(value, tuple) else []
        )
        if paths and name not in WRITTEN and all(isinstance(path, Path) for path in paths):
            yield name, paths
    if config.targets.folder is not None:
        yield "targets.folder", [*config.inventory_files]
    for one in config.kept:
        yield f"inventories.{one.name}", [one.file] if one.counts else []
    for target in config.inventory:
        if target.key_file is not None:
            yield f"targets.{target.name}", [Path(target.key_file)]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except OSError:
        return 0.0


def _digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                whole.update(hashlib.sha256(file.read(LARGEST)).digest())
        except OSError as error:
            whole.update(str(error.errno).encode())
    return whole.hexdigest()
