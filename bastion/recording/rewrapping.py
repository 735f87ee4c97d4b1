"""An encrypted recording for other recipients (L2): its data keys are wrapped anew, nothing else of it changes.

The block of the keys is no part of the chain, so a recording holds together and verifies as before. Blocks: call it in
a thread. Invariants: the file that is there stays whole until the new one is on the disk under its name; a recording
that is being written is not touched; keys that are not the recording's are not wrapped.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from bastion.age import recipients_of, seal
from bastion.errors import ConfigError
from bastion.recording.chain import keys_block
from bastion.recording.format import HEAD_SIZE, PREAMBLE_SIZE, BlockType, FormatError, Head, parse_head
from bastion.recording.keys import Seal
from bastion.recording.ledger_file import is_named, sync_directory
from bastion.recording.listing import LEFTOVER, SUFFIX
from bastion.recording.reader import Reader
from bastion.recording.unwrapping import DataKeys, Unwrap, Wrapped

Change = Callable[[tuple[str, ...]], Sequence[str]]
"""From the recipients that a recording has to those that it is to have."""

_CHUNK: Final = 1 << 20


def rewrap(path: Path, unwrap: Unwrap, change: Change) -> bool:
    """True when the recording has other recipients now, False when it had them, or is not encrypted.

    Raises FormatError when it cannot be opened, is running, is damaged at its beginning, or would be left to nobody;
    OSError when the disk refuses.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as source:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FormatError("is still being written") from None
        if not is_named(fd, path):
            raise FormatError("was replaced at this moment: try again")
        path.with_name(path.name + LEFTOVER).unlink(
            missing_ok=True
        )  # of a run that was cut off: it had this lock
        reader = Reader(source, path.stem)
        if reader.damage:
            raise FormatError(reader.damage[0].text)
        if reader.wrapped is None:
            if reader.sealed:
                raise FormatError(reader.sealed)
            return False
        before = reader.wrapped.recipients
        texts = tuple(dict.fromkeys(change(before)))
        if set(texts) == set(before):
            return False
        block = b"".join(keys_block(reader.sync, _wrapped_for(reader, reader.wrapped, unwrap, texts)))
        start, end = _place(source, reader.sync)
        _replace(path, source, start, end, block)
    return True


def _wrapped_for(reader: Reader, wrapped: Wrapped, unwrap: Unwrap, texts: Sequence[str]) -> DataKeys:
    keys = unwrap(wrapped.data)
    if keys is None:
        raise FormatError("none of the identities opens it")
    if not Seal.of(reader.header).fits(keys):
        raise FormatError("the keys are not those of this recording")
    try:
        sealed = seal(keys.output + keys.input, recipients_of(texts))
    except (ValueError, ConfigError) as error:
        raise FormatError(str(error)) from None
    return DataKeys(keys.output, keys.input, sealed, tuple(texts))


def _place(source: BinaryIO, sync: bytes) -> tuple[int, int]:
    """Where the block of the keys begins and ends: behind the header."""
    header = _head(source, PREAMBLE_SIZE, sync)
    start = PREAMBLE_SIZE + header.block_size
    keys = _head(source, start, sync)
    if keys.type is not BlockType.KEYS:
        raise FormatError("the block of the keys is not behind the header")
    return start, start + keys.block_size


def _head(source: BinaryIO, at: int, sync: bytes) -> Head:
    source.seek(at)
    head = parse_head(source.read(HEAD_SIZE), sync)
    if head is None:
        raise FormatError("its beginning is damaged")
    return head


def _replace(path: Path, source: BinaryIO, start: int, end: int, block: bytes) -> None:
    fresh = path.with_name(path.name + LEFTOVER)
    status = os.fstat(source.fileno())
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as target:
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
            if os.geteuid() == 0:
                os.fchown(fd, status.st_uid, status.st_gid)
            source.seek(0)
            target.write(source.read(start))
            target.write(block)
            source.seek(end)
            while chunk := source.read(_CHUNK):
                target.write(chunk)
            target.flush()
            os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(fd)
        os.rename(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sweep(folder: Path) -> int:
    """Remove what runs that were cut off have left of recordings that are gone since; how many. Raises OSError.

    Of one that is there `rewrap` removes it, which has its lock.
    """
    found = 0
    for left in folder.glob(f"*/*{SUFFIX}{LEFTOVER}"):
        if not left.with_name(left.name.removesuffix(LEFTOVER)).exists():
            left.unlink(missing_ok=True)
            found += 1
    return found
