"""API tokens (L4, pure): made, and read again of what a program sends.

`bastion_api_` and then an id, which may be seen by anybody, and 256 random bits. The beginning is there for those who
look for secrets in code and logs: PATTERN is what to look for. Invariant: a token is shown once; what is kept of it is
a digest, for which one round is enough because it is random.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b32encode
from dataclasses import dataclass, field
from typing import Final

BEGINNING: Final = "bastion_api_"
PATTERN: Final = BEGINNING + "[a-z2-7]{12}_[a-z2-7]{52}"

ID_BYTES: Final = 7
SECRET_BYTES: Final = 32

_TOKEN: Final = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class Presented:
    """What is looked for in the store."""

    id: str
    digest: str = field(repr=False)


def make() -> tuple[str, Presented]:
    """A new token, for the person, and what is kept of it."""
    name = _random(ID_BYTES)
    text = f"{BEGINNING}{name}_{_random(SECRET_BYTES)}"
    return text, Presented(name, _digest(text))


def read(text: str) -> Presented | None:
    """What a program sent; None: that is no token."""
    return Presented(text.split("_")[2], _digest(text)) if _TOKEN.fullmatch(text) else None


def _random(size: int) -> str:
    return b32encode(secrets.token_bytes(size)).decode("ascii").lower().rstrip("=")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
