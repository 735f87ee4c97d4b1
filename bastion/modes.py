"""With which modes things are made in a folder that may be shared with a group (L0, pure).

A folder that is set-group-ID and open to its group (02750) is shared: whatever the kernel makes in it has the folder's
group from the first moment (inode(7)), and with these modes the group may read it. Every other folder's contents are
its owner's alone. Invariant: nobody but the owner may ever write.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SHARED_BITS: Final = 0o2050
"""Of a folder's mode, all of which say that it is shared: its group may list and enter it, and what is made in it is
the group's."""


class Modes(NamedTuple):
    """For open(2) and mkdir(2); the umask may narrow them."""

    file: int
    folder: int


CLOSED: Final = Modes(0o600, 0o700)
SHARED: Final = Modes(0o640, 0o750)


def is_shared(mode: int) -> bool:
    """Is a folder of this mode (`st_mode`) shared with its group?"""
    return mode & SHARED_BITS == SHARED_BITS


def modes_in(mode: int) -> Modes:
    """With which modes things are made in a folder of this mode."""
    return SHARED if is_shared(mode) else CLOSED
