"""Writing known_hosts: what `bastion target pin` does (L2).

Invariant: the file is replaced as a whole or not at all, keeps its owner, group and mode (the gateway reads it as
another user than the one who pins), and no line that is not about the pinned host changes. Two pins at once are
serialised by a lock on the directory. Nothing but ConfigError is raised.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from bastion.ca.files import is_there, locked, replace_file, unwritable
from bastion.ca.keys import read_text_lines
from bastion.ca.known_hosts import HASH_MAGIC, KnownHosts, Line, Marker, hash_name, lookup_name
from bastion.errors import ConfigError
from bastion.wire.keys import PublicKey

NEW_MODE = 0o644
"""Of a file that was not there: host keys are public, and the gateway, another user, must be able to read them."""

SALT_BYTES = 20  # OpenSSH's: the size of the SHA-1 digest


def pin(
    path: str | os.PathLike[str],
    host: str,
    port: int,
    key: PublicKey,
    *,
    replace: bool = False,
    hashed: bool = False,
    salt: Callable[[int], bytes] = secrets.token_bytes,
) -> bool:
    """Trust `key` for `host`; returns False when it already was. The file is made when it is missing.

    `replace` forgets the host's other plain keys, which is how a changed key is accepted. Raises ConfigError
    for a file that cannot be read or written, saying what to do, and for an old key that is pinned by a pattern,
    naming the line to edit.
    """
    try:
        return _pin(path, host, port, key, replace, hashed, salt)
    except OSError as error:
        raise unwritable(Path(os.path.realpath(path)), error) from None


def _pin(
    path: str | os.PathLike[str],
    host: str,
    port: int,
    key: PublicKey,
    replace: bool,
    hashed: bool,
    salt: Callable[[int], bytes],
) -> bool:
    name = lookup_name(host, port)
    if not host or key.is_security_key or any(c in name for c in ",*?!| \t\r\n#@"):
        raise ConfigError(os.fspath(path), 0, "", "not a host name and host key that can be pinned")
    target = Path(os.path.realpath(path))
    with locked(target.parent):
        lines = read_text_lines(target) if is_there(target) else []
        known = KnownHosts.parse("\n".join(lines), os.fspath(path))
        about = [line for line in known.lines if line.marker is Marker.NONE and line.matches(name)]
        present = any(line.key == key for line in about)
        old = {line.number: line for line in about if line.key != key} if replace else {}
        if present and not old:
            return False
        kept = []
        for number, text in enumerate(lines, 1):
            if number in old:
                text = _without(old[number], name, text, os.fspath(path))
                if not text:
                    continue
            kept.append(text)
        while kept and not kept[-1].strip():
            kept.pop()
        if not present:
            written = hash_name(name, salt(SALT_BYTES)) if hashed else name
            kept.append(f"{written} {key.line()}")
        replace_file(target, ("\n".join(kept) + "\n").encode("utf-8"), NEW_MODE)
        return not present


def _without(line: Line, name: str, text: str, source: str) -> str:
    """The line's text without `name`; "" when nothing else was on it."""
    if line.patterns.startswith(HASH_MAGIC):
        return ""
    names = line.patterns.split(",")
    left = [other for other in names if other.lower() != name]
    if dataclasses.replace(line, patterns=",".join(left)).matches(name):
        raise ConfigError(
            source, line.number, "", "the old key is pinned by a pattern; edit the line by hand"
        )
    # A line of negations only, as of none, means nobody.
    positive = [other for other in left if not other.startswith("!")]
    return text.replace(line.patterns, ",".join(left), 1) if positive else ""
