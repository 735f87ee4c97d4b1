"""What is looked at (L4): a configuration, and the user whom its gateway runs as."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from bastion.clock import Clock
from bastion.config.load import Config


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """Whom the gateway runs as. `as_root`: whether who looks can act for it."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]
    as_root: bool

    @classmethod
    def of(cls, name: str) -> ServiceUser:
        """Raises KeyError when there is no such user."""
        account = pwd.getpwnam(name)
        groups = frozenset(os.getgrouplist(name, account.pw_gid))
        return cls(name, account.pw_uid, account.pw_gid, groups, os.geteuid() == 0)

    @property
    def group(self) -> str:
        try:
            return grp.getgrgid(self.gid).gr_name
        except KeyError:
            return str(self.gid)

    def may(self, status: os.stat_result, want: int) -> bool:
        """By owner, group and mode: `want` is of 4 read, 2 write, 1 search or run. Root may read and write all."""
        mode = stat.S_IMODE(status.st_mode)
        if self.uid == 0:
            return True
        if status.st_uid == self.uid:
            mode >>= 6
        elif status.st_gid in self.groups:
            mode >>= 3
        return mode & want == want


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything that an examination gets."""

    config: Config
    user: ServiceUser
    clock: Clock


def usual_user(config: Config) -> str:
    """Whom the gateway most likely runs as: root asks the owner of the recordings, anybody else means himself."""
    uid = os.geteuid()
    if uid == 0:
        try:
            uid = Path(config.recording.directory).stat().st_uid
        except OSError:
            uid = 0
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return pwd.getpwuid(os.geteuid()).pw_name
