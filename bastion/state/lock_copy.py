"""The locks as this gateway knew them last, in a file beside the store (L2). Blocks, for a small file.

What it is for: a gateway that starts while its store is away would let everybody in who was locked out. The store is
right where it answers; this is for when it does not. Invariant: the file is whole or not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from bastion.state.rows import Lock

FILE: Final = "locks.json"
SIZE_MAX: Final = 16 << 20


def read_copy(folder: Path) -> list[Lock] | None:
    """The locks of last time; None when nobody knows them."""
    try:
        with open(folder / FILE, "rb") as file:
            data = file.read(SIZE_MAX + 1)
        if len(data) > SIZE_MAX:
            return None
        return [Lock(**entry) for entry in orjson.loads(data)]
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None


def write_copy(folder: Path, locks: Iterable[Lock]) -> None:
    """These are the locks now. Raises OSError."""
    fresh = folder / f".{FILE}.{os.getpid()}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(orjson.dumps([asdict(lock) for lock in locks]))
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, folder / FILE)


def change_copy(folder: Path, kind: str, value: str, lock: Lock | None) -> None:
    """One lock is there, or no longer. Raises OSError."""
    others = [one for one in read_copy(folder) or () if (one.kind, one.value) != (kind, value)]
    write_copy(folder, others if lock is None else [*others, lock])
