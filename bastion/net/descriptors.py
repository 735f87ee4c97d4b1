"""File descriptors: as many as the system gives, and to know when there are none left."""

from __future__ import annotations

import errno
import os
import resource
from typing import Final

EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE))
"""This process has none left, or the whole system."""

MOST: Final = 1 << 20
"""Descriptors asked for where the system sets no limit: 10,000 sessions need 30,000 (two sockets and a recording)."""

WORDS: Final = "the gateway is out of file descriptors, please try again in a moment"


def raise_limit() -> int:
    """Raise the soft limit to the hard one, as far as `MOST`; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def none_left() -> bool:
    """Can no file be opened? For those who only hear that something failed (getaddrinfo)."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in EXHAUSTED
    return False
