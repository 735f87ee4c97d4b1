"""Tests of what an unprivileged user may do, also when the tests run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOBODY = 65534

SYSTEM_PYTHON = Path("/usr/bin/python3")
"""Where the interpreter of the tests is in somebody's home that others may not enter."""


@dataclass(frozen=True)
class Other:
    """Programs of the tests, run as another account of this machine."""

    account: pwd.struct_passwd
    python: str
    environment: Mapping[str, str]

    @classmethod
    def of(cls, name: str, folder: Path) -> Other:
        """Only root can. In `folder`, which others may enter, an interpreter is made when that of the tests is
        closed to them."""
        account = pwd.getpwnam(name)
        here = Path(__file__).parents[2]
        paths = os.pathsep.join((str(here), sysconfig.get_path("purelib")))
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        made = cls(account, sys.executable, environment)
        try:
            made.run("-c", "")
        except PermissionError:
            python = folder / "bin" / "python"  # a virtual environment without what the system has installed
            python.parent.mkdir(parents=True)
            python.symlink_to(SYSTEM_PYTHON)
            told = f"home = {SYSTEM_PYTHON.parent}\ninclude-system-site-packages = false\n"
            (folder / "pyvenv.cfg").write_text(told)
            return cls(account, str(python), environment)
        return made

    @property
    def missing(self) -> str:
        """Why it cannot be, "" when it can."""
        try:
            done = self.run("-m", "bastion", "--version")
        except OSError as error:
            return f"{self.python}: {error.strerror}"
        return "" if done.returncode == 0 else f"{self.python} does not run what is tested"

    @property
    def identity(self) -> dict[str, Any]:
        """For `subprocess`."""
        ids = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return {**ids, "env": self.environment, "cwd": "/"}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`python WORDS`."""
        command: Sequence[str] = [self.python, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **self.identity)


@contextmanager
def without_rights() -> Iterator[None]:
    """As root: the effective user is nobody. As somebody else: nothing changes, and that one has few rights too."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(uid)
