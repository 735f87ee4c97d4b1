"""How this program was started, for starting its successor the same way (L4)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def own_program(argv0: str | None = None) -> tuple[str, ...]:
    """The words that start this program again, or what has been put in its place since: the path is not resolved, so
    that a symbolic link that leads to another version now starts that one."""
    name = sys.argv[0] if argv0 is None else argv0
    if Path(name).name == "__main__.py":
        return sys.executable, "-m", "bastion"
    return (os.path.abspath(name),)


def resolved(program: Sequence[str]) -> str:
    """Which file it is now; "" when there is none."""
    try:
        return os.path.realpath(program[0], strict=True)
    except OSError:
        return ""


def leave_parent() -> None:
    """Become nobody's child, so that whoever keeps processes (systemd) hears of our end from the kernel.

    The process group stays that of the process that was started: it is ended by that number, whatever it does. Call it
    first of all: there may be no other thread.
    """
    os.setsid()
    if os.fork():
        os._exit(0)
