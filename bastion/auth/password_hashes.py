"""Hashes of passwords as they stand in files, looked at without computing one (L1, pure)."""

from __future__ import annotations

import re
from typing import Final

MAX_MEMORY: Final = 1 << 20
"""A hash may not ask for more than this of one thread: 1 GiB, in KiB as argon2 counts."""

MAX_TIME: Final = 64
MAX_LANES: Final = 64

# As the reference implementation writes them: version 1.3, a salt of 8 bytes or more, a digest of 16 or more.
_ARGON2ID: Final = re.compile(
    r"\A\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,3})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,171}\Z"
)


def fault_of(text: str) -> str:
    """What is wrong with an argon2id hash, "" when nothing is. It says nothing of what stands there."""
    found = _ARGON2ID.match(text)
    if found is None:
        return "is not an argon2id hash"
    memory, time, lanes = (int(number) for number in found.groups())
    if memory > MAX_MEMORY or time > MAX_TIME or lanes > MAX_LANES:
        limits = f"m up to {MAX_MEMORY}, t up to {MAX_TIME}, p up to {MAX_LANES}"
        return f"asks for too much memory or time: {limits}"
    if memory < 8 * lanes:  # RFC 9106 section 3.1
        return "has parameters that argon2 does not allow"
    return ""
