"""The audit log and its rotated files, read (L2): what they are, oldest first, and their lines, packed or not."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

ROTATED: Final = re.compile(r"(\.\d+|-\d{8,14}|\.\d{8,14})?(\.gz|\.zst)?")

MAX_LINE: Final = 1024 * 1024
"""Bytes. A line of ours is far below this (`observe.audit` bounds every field); a longer one is no audit line."""

BLOCK: Final = 256 * 1024


class LogUnreadable(Exception):
    """A file of the log cannot be read, or not to its end."""


def log_files(path: Path) -> list[Path]:
    """The log and its rotated siblings (`.1`, `.2.gz`, `-20261123.zst`), oldest first; [] without any."""
    siblings = [
        entry
        for entry in path.parent.glob(path.name + "*")
        if ROTATED.fullmatch(entry.name.removeprefix(path.name)) and entry.is_file()
    ]
    return sorted(siblings, key=lambda entry: (entry.stat().st_mtime, entry.name))


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of one file, unpacked when its name says so. Raises LogUnreadable, perhaps after some lines."""
    faults: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
    try:
        with path.open("rb") as raw:
            file: IO[bytes] = raw
            if path.suffix == ".gz":
                file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
            elif path.suffix == ".zst":
                import zstandard  # here, where there is such a file: every other story begins sooner

                faults = (*faults, zstandard.ZstdError)
                file = cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(raw))
            pending = b""
            while block := file.read(BLOCK):
                *lines, pending = (pending + block).split(b"\n")
                yield from lines
                if len(pending) > MAX_LINE:
                    pending = b""
            if pending:
                yield pending
    except faults as error:
        raise LogUnreadable(getattr(error, "strerror", None) or str(error)) from None
