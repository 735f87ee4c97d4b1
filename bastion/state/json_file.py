"""A small file of JSON beside the store (L2): what is known where the store is away, whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import orjson


def read(file: Path, longest: int) -> Any:
    """Raises OSError, or ValueError for what is no JSON or has more than `longest` bytes."""
    with open(file, "rb") as opened:
        data = opened.read(longest + 1)
    if len(data) > longest:
        raise ValueError(f"{file.name} is longer than {longest} bytes")
    return orjson.loads(data)


def write(file: Path, value: Any) -> None:
    """For the account alone, and safe from a loss of power. Raises OSError."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_native_id()}")  # several write at once
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as opened:
        opened.write(orjson.dumps(value))
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(fresh, file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # else the file of before may be back after a loss of power
    finally:
        os.close(folder)
