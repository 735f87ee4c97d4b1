"""The locks as this gateway knew them last, in a file beside the store (L2). Blocks, for a small file.

What it is for: a gateway that starts while its store is away would let everybody in who was locked out. The store is
right where it answers; this is for when it does not. Invariant: the file is whole or not there.

Ids of accounts stand in a file of their own, since the version before reads no lock that has one; an id counts for the
lock that was made at the same time, and a lock without one is on the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from bastion.state import json_file
from bastion.state.rows import Lock

USER: Final = "user"
FILE: Final = "locks.json"
IDS: Final = "lock-ids.json"
SIZE_MAX: Final = 16 << 20


def read_copy(folder: Path) -> list[Lock] | None:
    """The locks of last time; None when nobody knows them."""
    try:
        locks = [Lock(**entry) for entry in json_file.read(folder / FILE, SIZE_MAX)]
    except (OSError, ValueError, TypeError):
        return None
    try:
        ids = {
            (str(value), made_at): str(uid) for value, made_at, uid in json_file.read(folder / IDS, SIZE_MAX)
        }
    except (OSError, ValueError, TypeError):
        ids = {}
    return [
        replace(lock, uid=ids.get((lock.value, lock.made_at), "")) if lock.kind == USER else lock
        for lock in locks
    ]


def write_copy(folder: Path, locks: Iterable[Lock]) -> None:
    """These are the locks now. Raises OSError."""
    locks = list(locks)
    ids = [(lock.value, lock.made_at, lock.uid) for lock in locks if lock.uid]
    rows = [asdict(lock) for lock in locks]
    for row in rows:
        del row["uid"]
    if ids or (folder / IDS).exists():
        json_file.write(folder / IDS, ids)
    json_file.write(folder / FILE, rows)


def change_copy(folder: Path, lock: Lock, gone: bool = False) -> None:
    """One lock is there, or `gone`; a later one in its place stays. Raises OSError."""
    known = read_copy(folder)
    here = [one for one in known or () if (one.kind, one.value) == (lock.kind, lock.value)]
    if any(one.made_at > lock.made_at for one in here) or (gone and not here and known is not None):
        return
    others = [one for one in known or () if one not in here]
    write_copy(folder, others if gone else [*others, lock])
