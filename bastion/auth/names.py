"""How the parts of an SSH user name are told apart (L1, pure; imports nothing, so that every command may use it)."""

from __future__ import annotations

import re
from typing import Final

SEPARATOR: Final = re.compile(r"[+ ]")
"""OpenSSH decodes the user of an ssh://, scp:// or sftp:// URL as a form, where + is a blank: "alice+web1" arrives as
"alice web1". No identity, login or target may hold either, so a blank separates as + does and nothing is ambiguous."""


def account_part(user: str) -> str:
    """The part that names the account, without what follows an @, as penalties compare it; not checked."""
    return SEPARATOR.split(user, maxsplit=1)[0].partition("@")[0].lower()
