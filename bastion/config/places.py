"""Every file and folder that the gateway will write, and the trial of each (L2).

`check`, the start and a reload call the same function, as the user that they run as: what cannot be written is
told before anybody depends on it. A trial leaves nothing behind and appends nothing: an existing log is opened
for appending, a new file is made beside it (as after a rotation) and removed, a folder gets a probe file that is
written, synced and removed. It touches the disk, so call it where that may take its time.

What passes by itself (a full disk) is a warning; what stays wrong until somebody acts is an error.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bastion.config.load import Config
from bastion.options import KeyPath

# Faults of a disk that is full: space may come back without anybody changing the configuration.
_PASSING: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


@dataclass(frozen=True, slots=True)
class Place:
    """One thing that is written: `key` is the option that names it; a folder, or a file that is appended to."""

    key: KeyPath
    path: Path
    folder: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What a trial found wrong with a place. `error` is False for what the gateway can begin with."""

    key: KeyPath
    error: bool
    problem: str
    allowed: str = ""


def written_places(config: Config, now: float) -> tuple[Place, ...]:
    """All that the gateway itself writes, at `now` (seconds since the epoch): the day's folder is one of it."""
    recordings = config.recording.directory
    places = [Place(("recording", "directory"), recordings, True)]
    today = recordings / datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
    if os.path.lexists(today):  # made by an earlier run, perhaps by another user
        places.append(Place(("recording", "directory"), today, True))
    if os.path.lexists(config.state_folder):  # else it is made
        places.append(Place(("state", "directory"), config.state_folder, True))
    places.append(Place(("audit", "file"), config.audit.file, False))
    return tuple(places)


def try_places(config: Config, now: float) -> tuple[Finding, ...]:
    """Try every place as the user of this process. Never raises for what it finds."""
    findings: list[Finding] = []
    for place in written_places(config, now):
        findings += _try_folder(place) if place.folder else _try_log(place)
    return tuple(findings)


def tried_as() -> str:
    """Who this process is, for the line that says whose rights were tried: `bastion (uid 998)`."""
    uid = os.geteuid()
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _is_folder(path: Path) -> bool:
    """Or might be: what is in a folder that is closed is found out when it is tried."""
    try:
        return path.is_dir()
    except PermissionError:
        return True


def _try_log(place: Place) -> Iterator[Finding]:
    """A log is appended to, and made again in its folder after a rotation."""
    path, key = place.path, place.key
    folder = path.parent
    if not _is_folder(folder):
        yield Finding(key, True, f"{folder} is no folder", f"mkdir {folder}")
        return
    try:
        # O_NONBLOCK: a pipe that nobody reads is a fault, not a reason to wait
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        if os.path.islink(path):
            folder = Path(os.path.realpath(path)).parent
        yield from _try_new_file(key, path, folder, error=True)
        return
    except OSError as error:
        yield _fault(key, f"{path} cannot be appended to by {tried_as()}", error, f"chown it: {path}")
        return
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
    if regular:
        yield from _try_new_file(key, path, folder, error=False)


def _try_new_file(key: KeyPath, path: Path, folder: Path, error: bool) -> Iterator[Finding]:
    try:
        _probe(folder, sync=False)
    except OSError as fault:
        when = "" if error else " after a rotation"
        text = f"{path} cannot be made{when} by {tried_as()} in {folder}"
        found = _fault(key, text, fault, f"a folder that belongs to the gateway's user: chown ... {folder}")
        yield Finding(key, error and found.error, found.problem, found.allowed)


def _try_folder(place: Place) -> Iterator[Finding]:
    path, key = place.path, place.key
    if not _is_folder(path):
        yield Finding(key, True, f"{path} is no folder", f"mkdir -m 700 {path}")
        return
    try:
        _probe(path, sync=True)
    except OSError as error:
        text = f"{path} cannot be written to by {tried_as()}"
        yield _fault(key, text, error, f"a folder that belongs to the gateway's user: chown ... {path}")


def _fault(key: KeyPath, text: str, error: OSError, allowed: str) -> Finding:
    passing = error.errno in _PASSING
    return Finding(key, not passing, f"{text}: {error.strerror}", "" if passing else allowed)


def _probe(folder: Path, sync: bool) -> None:
    """Make a file in `folder`, write and sync it, remove it. Raises OSError; leaves nothing behind."""
    probe = folder / f".bastion-probe-{secrets.token_hex(8)}"
    fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if sync:
            os.write(fd, b"\0")
            os.fsync(fd)
    finally:
        os.close(fd)
        os.unlink(probe)
