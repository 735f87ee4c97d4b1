"""Paths as values of options (L2): the one kind that touches the filesystem's own types.

`kinds.PATH` is the pure form, for rooms that may not import `pathlib`.
"""

from __future__ import annotations

from pathlib import Path

from bastion.options.declare import Kind
from bastion.options.kinds import PATH, quoted
from bastion.options.source import At


def _read_file(value: object, at: At) -> Path:
    return Path(PATH.read(value, at))


FILE: Kind[Path] = Kind("path", PATH.allowed, _read_file, lambda value: quoted(str(value)))
