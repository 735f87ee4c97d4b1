"""Made whole or not at all (L3): files are written beside their place and moved when all of them are there.

Invariant: after an error, or a signal that Python sees, the folder is as it was, or the gateway is whole. Only a kill
while things move into a folder that was there already can leave some of them; the configuration comes last. Nothing
that exists is replaced.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from bastion.install.layout import CONFIG, Belongs, Layout, Owners, Place
from bastion.install.units import Unit

STAGE_MARK = ".init-"
Undo = list[Callable[[], object]]


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new folder (0700) on the filesystem of `folder`, gone at the end with everything that was not moved out."""
    inside = folder.is_dir()
    parent = folder if inside else folder.parent
    prefix = f"{'' if inside else '.' + folder.name}{STAGE_MARK}"
    _sweep(parent, prefix)
    stage = parent / f"{prefix}{secrets.token_hex(4)}"
    os.mkdir(stage, 0o700)
    held = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # while it lives; whoever comes after a kill finds it free
        content = (
            stage / "content"
        )  # not the locked folder: who pins a host key locks the folder of known_hosts
        content.mkdir(0o700)
        yield content
    finally:
        os.close(held)
        shutil.rmtree(stage, ignore_errors=True)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove what a run that was killed has left: there are keys in it."""
    for name in os.listdir(parent):
        if not name.startswith(prefix):
            continue
        with suppress(OSError):  # not a folder of ours, or somebody works in it
            held = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(held).st_uid == os.geteuid():
                    shutil.rmtree(parent / name)
            finally:
                os.close(held)


def write_file(path: Path, text: str, mode: int, owners: Owners, belongs: Belongs) -> None:
    """A new file with its owner and mode, on disk when this returns. Raises OSError, also when it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        owners.give(path, belongs)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def make_folder(path: Path, place: Place, owners: Owners) -> None:
    """A new folder as `place` says, at `path`. Raises OSError, also when it exists."""
    os.mkdir(path, 0o700)
    owners.give(path, place.belongs)
    os.chmod(path, place.mode)


def in_the_way(layout: Layout, names: Sequence[str]) -> list[Path]:
    """What is there already of what would be made in the folder: `names` are files and folders directly in it."""
    return [layout.folder / name for name in names if os.path.lexists(layout.folder / name)]


def place(stage: Path, layout: Layout, owners: Owners, more: Sequence[Unit] = ()) -> None:
    """Move what is in `stage` to its folder, and make the folders outside of it and the files of `more`.

    Raises OSError, everything undone.
    """
    undo: Undo = []
    try:
        make_units(more, undo)
        for wanted in layout.folders():
            if not wanted.path.is_relative_to(layout.folder) and not wanted.path.is_dir():
                _make_parents(wanted.path, undo)
                make_folder(wanted.path, wanted, owners)
                undo.append(wanted.path.rmdir)
        _move_in(stage, layout, owners, undo)
    except BaseException:
        for step in reversed(undo):
            step()
        raise


def make_units(units: Sequence[Unit], undo: Undo) -> None:
    """Files of the system's folders, 0644 and of whoever calls. Raises OSError."""
    for unit in units:
        _make_parents(unit.path, undo)
        write_file(unit.path, unit.text, 0o644, Owners(), Belongs.PRIVATE)
        undo.append(unit.path.unlink)


def _move_in(stage: Path, layout: Layout, owners: Owners, undo: Undo) -> None:
    folder = layout.folder
    if not folder.is_dir():
        whole = layout.folders()[0]
        owners.give(stage, whole.belongs)
        os.chmod(stage, whole.mode)
        os.rename(stage, folder)
        _sync(folder.parent)
        return
    for name in sorted(os.listdir(stage), key=lambda name: (name == CONFIG, name)):
        source, target = stage / name, folder / name
        if os.path.lexists(target):
            raise FileExistsError(17, "exists", str(target))
        os.rename(source, target)
        undo.append(partial(os.rename, target, source))
    _sync(folder)


def _make_parents(path: Path, undo: Undo) -> None:
    for parent in reversed(path.parents):
        if not parent.is_dir():
            os.mkdir(parent, 0o755)
            undo.append(parent.rmdir)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
