"""Service units, users and groups (L3): what `systemd/` of the checkout has, fitted to where things are.

What a distribution's package has brought is left to it: a file in /usr/lib keeps its counterpart in /etc from being
made. Users and groups are those of the sysusers file, made with useradd and groupadd, which every Debian has.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from bastion.install.layout import Layout

PROGRAM: Final = "/usr/bin/bastion"  # in the units, as they are in the checkout
FOLDER: Final = "/etc/bastion"
USER: Final = "bastion"
USER_SECONDS: Final = 60.0

# suffix -> (where who configures puts it, where a package puts it); the name is that of the unit, or `bastion.conf`
_PLACES: Final = {
    ".service": ("/etc/systemd/system", "/usr/lib/systemd/system"),
    ".socket": ("/etc/systemd/system", "/usr/lib/systemd/system"),
    ".timer": ("/etc/systemd/system", "/usr/lib/systemd/system"),
    ".sysusers": ("/etc/sysusers.d", "/usr/lib/sysusers.d"),
    ".tmpfiles": ("/etc/tmpfiles.d", "/usr/lib/tmpfiles.d"),
    ".logrotate": ("/etc/logrotate.d", "/etc/logrotate.d"),
}
HIDDEN: Final = ("/home/", "/root/", "/run/user/")
"""What ProtectHome= hides from the service."""


class CannotMake(Exception):
    """A user or group could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One file to be, with its text."""

    path: Path
    text: str


def missing_units(layout: Layout, user: str, program: str) -> tuple[Unit, ...]:
    """Those that are there neither from us nor from a package. `program` is the line's first word."""
    found = []
    for name, text in _sources():
        stem, suffix = os.path.splitext(name)
        ours, packaged = _PLACES[suffix]
        file = name if suffix in (".service", ".socket", ".timer") else stem
        file = file if suffix != ".sysusers" and suffix != ".tmpfiles" else f"{stem}.conf"
        if os.path.lexists(f"{ours}/{file}") or os.path.lexists(f"{packaged}/{file}"):
            continue
        found.append(Unit(Path(ours, file), _fitted(text, layout, user, program)))
    return tuple(found)


def _sources() -> Iterator[tuple[str, str]]:
    folder = resources.files("bastion").joinpath("data", "systemd")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if os.path.splitext(entry.name)[1] in _PLACES:
            yield entry.name, entry.read_text(encoding="utf-8")


def _fitted(text: str, layout: Layout, user: str, program: str) -> str:
    """The text for this program, folder and user."""
    text = text.replace(PROGRAM, program).replace(FOLDER, str(layout.folder))
    return re.sub(rf"(?m)^((?:User|Group)=){USER}$", rf"\g<1>{user}", text)


def make_users(user: str) -> list[str]:
    """The service's user and the groups of the control socket; the names of those that were made. Raises CannotMake."""
    made = []
    for name, text in _sources():
        if name.endswith(".sysusers"):
            for line in text.splitlines():
                words = shlex.split(line, comments=True)
                if words and (one := _make(words, user)):
                    made.append(one)
    return made


def _make(words: list[str], user: str) -> str:
    """One line of sysusers.d(5); "" when it is there already."""
    kind, name = words[0], words[1]
    if kind == "m":
        return _join(user if name == USER else name, words[2])
    if kind == "g":
        if _there("group", name):
            return ""
        _run(["groupadd", "--system", name])
        return f"group {name}"
    name = user if name == USER else name
    if kind != "u" or _there("passwd", name):
        return ""
    comment, home, shell = (*words[3:6], *("",) * 3)[:3]
    _run(
        [
            "useradd",
            "--system",
            "--user-group",
            "--comment",
            comment,
            "--home-dir",
            home,
            "--shell",
            shell,
            name,
        ]
    )
    return f"user {name}"


def _join(name: str, group: str) -> str:
    """Make a user a member of a group; "" when it is one. Both were made by earlier lines."""
    try:
        gid = grp.getgrnam(group).gr_gid
        if gid in os.getgrouplist(name, pwd.getpwnam(name).pw_gid):
            return ""
    except KeyError as error:
        raise CannotMake(f"{name} cannot join {group}: {error.args[0]}") from None
    _run(["usermod", "--append", "--groups", group, name])
    return f"{name} a member of {group}"


def _there(table: str, name: str) -> bool:
    return subprocess.run(["getent", table, name], capture_output=True, timeout=USER_SECONDS).returncode == 0


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=USER_SECONDS)
    except OSError as error:
        raise CannotMake(f"{words[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise CannotMake(f"{shlex.join(words)}: {done.stderr.strip()[:200]}")
