"""Penalties as they were last, in a file beside the store, for the next process (L2). Blocks, for a small file.

What it is for: whoever guesses must not find a clean slate because the gateway was restarted. Of accounts the file has
digests alone, since a typed name may be a password; they are keyed with a secret in a file of its own, which is that of
the store where gateways share their penalties (`state.shared_penalties`). Invariant: the file is whole or not there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from bastion.auth.penalty_records import KEPT_MAX, Kept
from bastion.state.folder import make_folder

FILE: Final = "penalties.json"
KEY_FILE: Final = "penalties.key"
KEY: Final = 32
"""Bytes."""
SIZE_MAX: Final = KEPT_MAX * 512


def key_of(folder: Path) -> bytes:
    """The secret of this folder's digests: made once. Raises OSError."""
    make_folder(folder)
    file = folder / KEY_FILE
    fresh = folder / f".{KEY_FILE}.{secrets.token_hex(4)}"
    with suppress(FileNotFoundError):
        key = file.read_bytes()
        if len(key) == KEY:
            return key
        file.unlink()  # torn: what it was for is lost
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as made:
        made.write(secrets.token_bytes(KEY))
    try:
        os.link(fresh, file)
    except FileExistsError:
        pass  # another process was first
    finally:
        os.unlink(fresh)
    return file.read_bytes()


def write_key(folder: Path, key: bytes) -> None:
    """The secret is this from now on: that of all gateways that share their penalties. Raises OSError."""
    fresh = folder / f".{KEY_FILE}.{secrets.token_hex(4)}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as made:
        made.write(key)
    os.replace(fresh, folder / KEY_FILE)


def read_penalties(folder: Path) -> list[Kept] | None:
    """Those of last time, none when there is no file; None when it cannot be read."""
    try:
        with open(folder / FILE, "rb") as file:
            data = file.read(SIZE_MAX + 1)
        if len(data) > SIZE_MAX:
            return None
        return [_read(entry) for entry in orjson.loads(data)[:KEPT_MAX]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError):
        return None


def _read(entry: object) -> Kept:
    """Raises ValueError or TypeError."""
    match entry:
        case [str(key), str(source), bool(named), int(at) | float(at), int(count)]:
            bytes.fromhex(key)
            return Kept(key, source, named, float(at), count)
    raise ValueError("no penalty")


def write_penalties(folder: Path, kept: Sequence[Kept]) -> None:
    """These are they now. Raises OSError."""
    fresh = folder / f".{FILE}.{os.getpid()}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(orjson.dumps([list(one) for one in kept]))
    os.replace(fresh, folder / FILE)
