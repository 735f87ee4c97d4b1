"""Files of age recipients and identities (L2). Reading blocks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from bastion.age import Recipient, identities_of, recipients_of
from bastion.ca.secrets import read_secret_file
from bastion.errors import ConfigError

MAX_FILE: Final = 64 << 10
"""Bytes; MAX_RECIPIENTS post-quantum recipients have 64 KB."""


def read_recipients(path: Path) -> list[Recipient]:
    """Raises ConfigError that names the file and line, also when there is none in it."""
    name = os.fspath(path)
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not hang whoever reads it.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(name, 0, "", f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise ConfigError(name, 0, "", f"longer than {MAX_FILE} bytes")
    found = recipients_of(data.decode("utf-8", "replace").splitlines(), name)
    if not found:
        raise ConfigError(name, 0, "", "names nobody", "age1..., one recipient per line")
    return found


def identities_in(path: Path) -> list[Any]:
    """The identities of an age key file (`AGE-SECRET-KEY-1...`), or an OpenSSH private key. Raises ConfigError."""
    name = os.fspath(path)
    read_secret_file(path, "identity")  # closed to others, regular
    return identities_of(path.read_bytes(), name)
