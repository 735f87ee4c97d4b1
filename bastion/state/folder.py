"""The folder of a gateway's own state (L2): closed to others, and the gateway's whoever makes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

HOME: Final = "home"
"""The file with what the instances of the folder begin with (`state.store.home_of`)."""


def make_folder(folder: Path) -> None:
    """The folder of this gateway's own state, closed to others. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        give_to_owner_of(folder.parent, folder)


def give_to_owner_of(other: Path, made: Path) -> None:
    """What root makes in the gateway's folders is the gateway's: it runs as another user. Raises OSError."""
    if os.geteuid() == 0:
        found = other.stat()
        os.chown(made, found.st_uid, found.st_gid)
