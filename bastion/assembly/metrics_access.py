"""Who may read `/metrics`: basic authentication against hashes of a file (L4).

A hash costs 50 ms of a processor, and a scraper comes every 15 s for years: what has proved right once is known by a
keyed digest, compared in constant time. Invariants: no password is kept; whoever has none costs at most one thread, and
no turn of the reactor; an unknown name takes as long as a wrong password; what cannot be judged now is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final

import argon2
from argon2.exceptions import Argon2Error, InvalidHashError
from twisted.internet.defer import Deferred, succeed

from bastion.auth.workers import Workers

HEADER_MAX: Final = 1024
"""Characters of an `Authorization` header that are looked at."""

WAITING: Final = 8
"""Judgements that may wait for the thread; the next is refused at once."""

DEADLINE: Final = 10.0


class BasicGuard:
    """Of one process. `admits` says whether a header proves one of `users` (name -> argon2id hash)."""

    def __init__(self, reactor: Any, users: Mapping[str, str]) -> None:
        self._users = dict(users)
        self._nobody = argon2.PasswordHasher().hash(secrets.token_hex(16))
        self._workers = Workers(reactor, "metrics", 1, WAITING)
        self._key = secrets.token_bytes(32)
        self._proved: dict[str, bytes] = {}  # name -> digest of what was right

    def admits(self, header: str | None) -> Deferred[bool]:
        """Never fails."""
        found = _credentials(header)
        if found is None:
            return succeed(False)
        name, password = found
        digest = hashlib.blake2b(f"{name}\0{password}".encode(), key=self._key, digest_size=32).digest()
        if hmac.compare_digest(self._proved.get(name, b""), digest):
            return succeed(True)
        stored = self._users.get(name)

        def verify() -> bool:
            try:
                argon2.PasswordHasher().verify(self._nobody if stored is None else stored, password)
            except (Argon2Error, InvalidHashError):
                return False
            return stored is not None

        def judged(right: bool) -> bool:
            if right:
                self._proved[name] = digest
            return right

        return self._workers.run(verify, DEADLINE).addCallbacks(judged, lambda _: False)

    def close(self) -> None:
        """Give up the thread."""
        self._workers.close()


def _credentials(header: str | None) -> tuple[str, str] | None:
    """(name, password) of RFC 7617; None for anything else."""
    if header is None or len(header) > HEADER_MAX:
        return None
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
