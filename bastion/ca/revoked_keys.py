"""The file of revoked keys (L2): a KRL, or a plain list of public keys, as OpenSSH's RevokedKeys takes them.

Invariant: a line that cannot be read makes the whole file unreadable: OpenSSH passes over it, and then a key that
somebody wrote down is not revoked. Blocks, for a file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bastion.errors import ConfigError, ProtocolError
from bastion.wire.certificates import CERTIFICATE_TYPES, UnverifiedCertificate
from bastion.wire.keys import decode_base64, parse_public_line, split_blanks
from bastion.wire.krl import MAGIC, MAX_FILE, RevokedKeys, of_keys, parse_krl


def load_revoked_keys(path: Path) -> RevokedKeys:
    """Read it. Raises ConfigError."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(
                os.fstat(file.fileno()).st_mode
            ):  # a FIFO that nobody writes to revokes nothing
                raise ConfigError(str(path), 0, "", "is not a regular file")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(str(path), 0, "", f"cannot be read: {error.strerror}") from None
    if not data.startswith(MAGIC):
        return _read_lines(path, data)
    try:
        return parse_krl(data)
    except ProtocolError as error:
        text = f"is a KRL that cannot be read: {error.text}"
        raise ConfigError(str(path), 0, "", text, "what `ssh-keygen -k` writes") from None


def _read_lines(path: Path, data: bytes) -> RevokedKeys:
    if len(data) > MAX_FILE:
        raise ConfigError(str(path), 0, "", f"is longer than {MAX_FILE >> 20} MiB")
    blobs: list[bytes] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.decode("utf-8", "replace").strip(" \t\r")
        if not text or text.startswith("#"):
            continue
        try:
            blobs.append(_key_in(text))
        except ProtocolError as error:
            raise ConfigError(
                str(path), number, "", error.text, "a KRL, or a public key or certificate on each line"
            ) from None
    return of_keys(blobs)


def _key_in(line: str) -> bytes:
    """The blob of the key on a line, or of the one in a certificate. Raises ProtocolError."""
    words = split_blanks(line, 2)
    if len(words) > 1 and words[0] in CERTIFICATE_TYPES:
        return UnverifiedCertificate.read(decode_base64(words[1])).key_blob
    return parse_public_line(line)[0].blob
