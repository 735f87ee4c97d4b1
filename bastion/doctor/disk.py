"""The disks that are written to (L4): space, inodes, kind of filesystem, locks, and how long a synced write takes."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.subject import Subject

FEW_INODES: Final = 10_000  # a session is a file, a day a folder
SLOW_SYNC: Final = 0.25  # seconds: every session waits for the write that runs
PROBE: Final = 64 << 10  # bytes: more than a burst
REMOTE: Final = frozenset(
    (
        "9p",
        "afs",
        "ceph",
        "cifs",
        "davfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "virtiofs",
    )
)
MEMORY: Final = frozenset(("tmpfs", "ramfs"))


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a filesystem begins, and what it is."""

    point: str
    kind: str
    read_only: bool


def examine_disk(subject: Subject) -> Iterator[Finding]:
    """The recordings' folder in every respect; the audit log's for space."""
    folder = subject.config.recording.directory
    if not folder.is_dir():
        yield Finding(Area.DISK, Level.FAIL, str(folder), "is no folder", shell("mkdir", "-m", "700", folder))
        return
    yield from _space(folder, subject.config.recording.disk_floor)
    yield from filesystem(folder, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    yield from _writing(folder, subject)
    log = subject.config.audit.file.parent
    if log.is_dir() and os.stat(log).st_dev != os.stat(folder).st_dev:
        yield from _space(log, PROBE)


def _space(folder: Path, floor: int) -> Iterator[Finding]:
    answer = os.statvfs(folder)
    free = answer.f_bavail * answer.f_frsize
    line = shell("df", "-h", folder)
    text = f"{_size(free)} are free, of {_size(answer.f_blocks * answer.f_frsize)}"
    if free < floor:
        text += f": below the {_size(floor)} of recording.disk_floor no session begins"
        yield Finding(Area.DISK, Level.FAIL, str(folder), text, line)
    elif free < 2 * floor:
        yield Finding(
            Area.DISK, Level.WARN, str(folder), f"{text}; at {_size(floor)} no session begins", line
        )
    else:
        yield Finding(Area.DISK, Level.OK, str(folder), text)
    if answer.f_files and answer.f_favail < FEW_INODES:
        level = Level.WARN if answer.f_favail else Level.FAIL
        text = f"{answer.f_favail} inodes are free: each session is a file"
        yield Finding(Area.DISK, level, str(folder), text, shell("df", "-i", folder))


def filesystem(folder: Path, table: str) -> Iterator[Finding]:
    """What `folder` lies on, by the kernel's table of mounts."""
    mount = mount_of(os.path.realpath(folder), table)
    if mount is None:
        return
    about, line = f"{folder} on {mount.point}", shell("findmnt", "-T", folder)
    if mount.read_only:
        yield Finding(Area.DISK, Level.FAIL, about, "is mounted read-only", line)
    if mount.kind in REMOTE or mount.kind.startswith("fuse."):
        text = f"is {mount.kind}: recordings are written on a local disk, before anything is forwarded"
        yield Finding(Area.DISK, Level.FAIL, about, text, line)
    elif mount.kind in MEMORY:
        text = f"is {mount.kind}: recordings are gone at a reboot"
        yield Finding(Area.DISK, Level.WARN, about, text, line)
    else:
        yield Finding(Area.DISK, Level.OK, about, f"is a local filesystem ({mount.kind})")


def mount_of(path: str, table: str) -> Mount | None:
    """The mount that `path` lies on, from the text of /proc/self/mountinfo; the last one wins, as in the kernel."""
    best: Mount | None = None
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        words, kinds = fields.split(" "), rest.split(" ")
        if len(words) < 6 or not kinds[0]:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):
            options = {*words[5].split(","), *(kinds[2].split(",") if len(kinds) > 2 else ())}
            best = Mount(point, kinds[0], "ro" in options)
    return best


def _writing(folder: Path, subject: Subject) -> Iterator[Finding]:
    """A file is made, locked, written, synced and removed, as a recording is."""
    path = folder / f".bastion-doctor-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        text = f"no file can be made in it: {error.strerror}"
        yield Finding(Area.DISK, Level.FAIL, str(folder), text, shell("ls", "-ld", folder))
        return
    try:
        yield from _write(descriptor, folder, subject)
    finally:
        os.close(descriptor)
        path.unlink()


def _write(descriptor: int, folder: Path, subject: Subject) -> Iterator[Finding]:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        text = f"files in it cannot be locked: {error.strerror}"
        yield Finding(Area.DISK, Level.FAIL, str(folder), text, shell("findmnt", "-T", folder))
    began = subject.clock.monotonic()
    try:
        os.write(descriptor, b"\0" * PROBE)
        os.fsync(descriptor)
    except OSError as error:
        yield Finding(Area.DISK, Level.FAIL, str(folder), f"cannot be written to: {error.strerror}",
                      shell("df", "-h", folder))  # fmt: skip
        return
    took = subject.clock.monotonic() - began
    text = f"64 KiB are written, locked and synced in {took * 1000:.1f} ms"
    if took > SLOW_SYNC:
        yield Finding(
            Area.DISK, Level.WARN, str(folder), f"{text}: the disk is slow or busy", "iostat -x 1 3"
        )
    else:
        yield Finding(Area.DISK, Level.OK, str(folder), text)


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
