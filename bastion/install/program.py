"""How to call this very program again (L3): for commands that are printed to be pasted, and for running one."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def program() -> tuple[str, ...]:
    """The words before a subcommand: `bastion` as the PATH has it when that is this installation (a link that stays
    when a new version comes), else the one beside this interpreter, or the module."""
    script = Path(sys.executable).parent / "bastion"
    if not script.exists():
        return (sys.executable, "-m", "bastion")
    found = shutil.which("bastion")
    if found is not None and os.path.isabs(found) and os.path.realpath(found) == os.path.realpath(script):
        return (found,)
    return (str(script),)


def command(*words: object) -> str:
    """A line for a shell that calls this program with `words`."""
    return shlex.join([*program(), *map(str, words)])
