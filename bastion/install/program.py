"""How to call this very program again (L3): for commands that are printed to be pasted, and for running one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def program() -> tuple[str, ...]:
    """The words before a subcommand: the `bastion` beside this interpreter, or the module."""
    script = Path(sys.executable).parent / "bastion"
    return (str(script),) if script.exists() else (sys.executable, "-m", "bastion")


def command(*words: object) -> str:
    """A line for a shell that calls this program with `words`."""
    return shlex.join([*program(), *map(str, words)])
