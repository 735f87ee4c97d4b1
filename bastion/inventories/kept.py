"""What inventories answered last, on disk (L2): a file each, in the form of targets.toml.

It is written by the process that asks and read at each start and reload, so that a gateway whose inventory is away
serves what it knew. Invariants: a file is there whole or not at all; its time of change is when the inventory last
answered so; one that is older than `max_age` counts as none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.ca.files import replace_file
from bastion.inventories.section import InventorySource

FOLDER: Final = "inventory"
"""In the folder of the gateway's state."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is of one inventory. `answered_at`: seconds since the epoch, 0.0 when nothing is kept."""

    name: str
    file: Path
    answered_at: float
    expired: bool

    @property
    def counts(self) -> bool:
        """Its targets are part of the inventory."""
        return self.answered_at > 0 and not self.expired

    def age(self, now: float) -> float:
        """Seconds since it answered. A clock that was set back makes nothing younger than now."""
        return max(0.0, now - self.answered_at)


def kept_of(folder: Path, name: str, section: InventorySource, now: float) -> Kept:
    """`folder` is that of the gateway's state."""
    file = folder / FOLDER / f"{name}.toml"
    try:
        answered_at = max(os.stat(file).st_mtime, 0.001)
    except OSError:
        return Kept(name, file, 0.0, False)
    longest = section.max_age
    return Kept(name, file, answered_at, longest is not None and now - answered_at > longest)


def keep(file: Path, text: str) -> None:
    """Write it, whole or not at all, and safe from a loss of power. Raises OSError."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    replace_file(file, text.encode(), 0o600)


def answered_again(file: Path) -> None:
    """It has said the same as before. Raises OSError."""
    os.utime(file)


def text_in(file: Path) -> str | None:
    """What is kept; None when nothing is."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
