"""Writing the files that keys and known hosts are in (L2): whole or not at all, one writer at a time.

Invariant: a reader, and whoever comes after a crash, sees the old file or the new one and never a part; a file that is
made takes nobody's place; one that is replaced keeps its owner, group and mode, because the gateway reads it as another
user than the one who runs the command. It blocks: commands call it, never a login.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bastion.errors import ConfigError


def is_there(path: Path) -> bool:
    """Whether there is a file, or might be: reading one in a folder that is closed says what is wrong with it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Alone in this folder, among those who ask; what was renamed in it is on disk at the end. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(target: Path, data: bytes, new_mode: int) -> None:
    """Write beside, sync, rename. The new file has the old one's owner, group and mode before it takes its place.

    `new_mode` is of a file that was not there; it belongs to whom its folder belongs. Raises OSError.
    """
    beside = _written_beside(target, data, new_mode, like=target)
    try:
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    sync_folder(target.parent)


def create_file(target: Path, data: bytes, mode: int, like: Path | None = None) -> None:
    """A new file, which appears whole. Raises FileExistsError when there is one by that name, and OSError.

    It gets the owner and group of `like`, or of its folder, when whoever runs this may give it away.
    """
    beside = _written_beside(target, data, mode, like=like)
    try:
        os.link(beside, target)
    finally:
        beside.unlink()
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """What was made, renamed and removed in it survives a power failure. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(target: Path, error: OSError) -> ConfigError:
    """What the operator reads, with what to do when it is a question of rights."""
    text = f"cannot be written: {error.strerror}"
    if error.errno not in (errno.EACCES, errno.EPERM):
        return ConfigError(os.fspath(target), 0, "", text)
    with suppress(OSError, KeyError):
        owner = pwd.getpwuid(os.stat(target.parent).st_uid).pw_name
        return ConfigError(
            os.fspath(target), 0, "", text, f"run it as root, or as {owner}, to whom the folder belongs"
        )
    return ConfigError(os.fspath(target), 0, "", text, "run it as root")


def _written_beside(target: Path, data: bytes, new_mode: int, like: Path | None) -> Path:
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _take_over(descriptor, target.parent, like, new_mode)
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    return beside


def _take_over(descriptor: int, folder: Path, like: Path | None, new_mode: int) -> None:
    """Owner, group and mode of `like` for the file that will replace it, or those of a new one. Raises OSError."""
    made = os.fstat(descriptor)
    try:
        if like is None:
            raise FileNotFoundError
        before = os.stat(like)
    except FileNotFoundError:
        owner = os.stat(folder)
        if os.geteuid() == 0 and owner.st_uid:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fchmod(descriptor, new_mode)
        return
    if (before.st_uid, before.st_gid) != (made.st_uid, made.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))  # after the owner: a change of it may take bits away
