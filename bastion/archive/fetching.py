"""A recording out of the bucket, for the commands that read it (L2). Blocks.

Invariant: what is given is what was uploaded: its SHA-256 is that of the index or, where there is none, the one that
the bucket keeps; anything else is a StoreFault, and no file is left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from bastion.archive.bucket import Bucket, Found
from bastion.archive.measure import measure
from bastion.errors import StoreFault, StoreReason

ROOM: Final = 64 << 20
"""Bytes that stay free where it is put."""


def fetch(
    bucket: Bucket,
    key: str,
    into: Path,
    version: str = "",
    digest: str = "",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Put the object into the file `into`, which must not exist, for its owner only.

    `digest` is its SHA-256 in hex, "" where nobody knows it, two of them where it may be the one or the other;
    `progress` hears how many bytes of how many are there. Raises StoreFault.
    """
    found = find(bucket, key, version, into.parent)
    try:
        descriptor = os.open(into, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            prove(bucket, found, copy(bucket, found, file, progress), digest, file)
    except OSError as error:
        into.unlink(missing_ok=True)
        raise StoreFault(StoreReason.LOCAL_FILE, f"{into}: {error.strerror}") from None
    except BaseException:
        into.unlink(missing_ok=True)
        raise


def find(bucket: Bucket, key: str, version: str, folder: Path) -> Found:
    """The object, for a copy of which `folder` has room. Raises StoreFault."""
    found = bucket.head(key, version)
    if found is None:
        raise StoreFault(StoreReason.BAD_ANSWER, f"{bucket.place.url(key)}: there is no such object")
    free = shutil.disk_usage(folder).free
    if free < found.size + ROOM:
        text = f"{folder} has {free >> 20} MiB left, and {key} has {found.size >> 20}: set TMPDIR"
        raise StoreFault(StoreReason.LOCAL_FILE, text)
    return found


def copy(
    bucket: Bucket,
    found: Found,
    file: BinaryIO,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> str:
    """Put it into an open file; its SHA-256 in hex. Raises StoreFault, and OSError for the disk."""
    made, done = sha256(), 0
    for data in bucket.read(found.key, found.version):
        done += len(data)
        if done > found.size:
            break
        made.update(data)
        file.write(data)
        progress(done, found.size)
    if done != found.size:
        raise StoreFault(StoreReason.CHECKSUM, f"{found.key}: the bucket gave another size than it says")
    file.flush()
    return made.hexdigest()


def prove(bucket: Bucket, found: Found, made: str, digest: str, file: BinaryIO) -> None:
    """Raises StoreFault for a copy with the SHA-256 `made` that is not what was uploaded: `digest`, or what the bucket
    keeps."""
    if digest:
        same = made in digest.split()
    elif found.checksum:
        measured = measure(file.fileno())
        same = found.checksum in (measured.checksum, measured.stored_checksum)
    else:
        same = True  # of a server that keeps no checksum, and a recording that the index does not know
    if not same:
        url = bucket.place.url(found.key)
        raise StoreFault(StoreReason.CHECKSUM, f"{url}: is not what was uploaded: its SHA-256 is {made}")
