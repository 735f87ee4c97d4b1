"""Folders of files to copy about, and what they come to."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path


def make_file(path: Path, size: int, seed: int = 1) -> Path:
    """A file of `size` bytes that no compression or cache can guess, the same for the same seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = random.Random(seed)
    with path.open("wb") as file:
        while size:
            piece = min(size, 1 << 20)
            file.write(source.randbytes(piece))
            size -= piece
    return path


def make_tree(root: Path) -> Path:
    """Some folders and files: empty, small, odd names, one of 3 MiB."""
    for number in range(20):
        make_file(root / f"folder {number % 3}" / f"file-{number}.bin", number * 997, number)
    (root / "empty").write_bytes(b"")
    (root / "sübdir & co").mkdir(parents=True)
    (root / "sübdir & co" / "naïve $name;.txt").write_text("text\n")
    make_file(root / "large.bin", 3 << 20, 99)
    return root


def tree_sums(root: Path) -> dict[str, str]:
    """SHA-256 of every file by its path below `root`."""
    return {str(path.relative_to(root)): file_sum(path) for path in sorted(root.rglob("*")) if path.is_file()}


def file_sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
