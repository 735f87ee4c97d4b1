"""Keys and passwords that are made here: for a new gateway, and for the demo's world (L3).

The four authorities are keys of their own, each made by its own call: `bastion check` refuses two that are equal.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from bastion.ca.keys import write_private_key
from bastion.wire.keys import PrivateKey

RSA_HOST_KEY_BITS: Final = 3072

# No vowels and nothing that looks like something else: passwords are read and typed.
PASSWORD_LETTERS: Final = "bcdfghjkmnpqrstvwxz"
GROUP_LETTERS: Final = 4  # 17 bits


def make_password(groups: int) -> str:
    """Groups of four letters, joined by a minus: 17 bits each."""
    return "-".join(
        "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(GROUP_LETTERS)) for _ in range(groups)
    )


def make_key(path: Path, comment: str, rsa: bool = False) -> PrivateKey:
    """A new key at `path` (0600) and its .pub beside it. Raises FileExistsError rather than overwrite."""
    key = PrivateKey.generate_rsa(RSA_HOST_KEY_BITS) if rsa else PrivateKey.generate_ed25519()
    write_private_key(path, key, comment)
    return key
