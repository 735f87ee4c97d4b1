"""The version of what is built; everything else stands in setup.cfg.

It is the tag's (v0.2.0), and says how far a checkout is beyond it (0.2.0.post3+g1a2b3c4). Where git knows no tag (a
shallow clone) it is that of `bastion/__init__.py` with the commit (0.1.0+g1a2b3c4); where there is no git (an sdist),
what the sdist was made with: the file bastion/VERSION. In a wheel it is bastion.__version__.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
CARRIED = HERE / "bastion" / "VERSION"
DESCRIBED = re.compile(
    r"v(?P<tag>[0-9]+(?:\.[0-9]+)*)-(?P<beyond>[0-9]+)-g(?P<commit>[0-9a-f]+)(?P<dirty>\.dirty)?"
)


def git(*words: str) -> str:
    """What git says about this folder; "" when it is none of git's, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(HERE), *words], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def declared() -> str:
    """The version that the code has when nothing else is known."""
    text = (HERE / "bastion" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^BASE_VERSION = "([0-9.]+)"$', text, re.MULTILINE)
    assert found is not None, "bastion/__init__.py has no BASE_VERSION"
    return found[1]


def version() -> str:
    if CARRIED.exists():
        return CARRIED.read_text(encoding="ascii").strip()
    top = git("rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != HERE:
        return declared()  # an archive, perhaps unpacked inside of somebody's repository
    described = DESCRIBED.fullmatch(
        git("describe", "--tags", "--long", "--abbrev=7", "--dirty=.dirty", "--match", "v[0-9]*")
    )
    if described is None:
        commit = git("rev-parse", "--short=7", "HEAD")
        return f"{declared()}+g{commit}" if commit else declared()
    if described["beyond"] == "0" and not described["dirty"]:
        return described["tag"]
    return f"{described['tag']}.post{described['beyond']}+g{described['commit']}{described['dirty'] or ''}"


class BuildWithVersion(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # a checkout is not written to
            return
        code = Path(self.build_lib) / "bastion" / "__init__.py"
        line = f'__version__ = "{VERSION}"'
        text, count = re.subn(
            r"^__version__ = .*$", line, code.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        assert count == 1, f"{code} has {count} lines with __version__"
        code.write_text(text, encoding="utf-8")


class SdistWithVersion(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        (Path(base_dir) / "bastion" / "VERSION").write_text(VERSION + "\n", encoding="ascii")


VERSION = version()
setup(version=VERSION, cmdclass={"build_py": BuildWithVersion, "sdist": SdistWithVersion})
