"""Where a gateway's files are, who owns them and with which mode (L3).

One folder holds everything (`beside`), or it lies where a distribution expects it (`system`). The gateway's own
user owns what it writes and its private keys; whoever configures it owns the rest, so that a gateway that was
broken into cannot change its own rules. With a console of its own user, that one's group reads recordings, state and
accounts, and nothing else.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

CONFIG = "bastion.toml"
CONSOLE_USER = "bastion-console"
INDEX = "index"  # of what recordings show, in their folder


class Belongs(Enum):
    """To whom: who configures, with the service's group; the service; or nobody but who configures. For a console with
    its own user `SHARED` is the service's, `SHOWN` who configures', both with the console's group, `CONSOLE` its
    own."""

    CONFIGURES = "configures"
    SERVICE = "service"
    PRIVATE = "private"
    SHARED = "shared"
    SHOWN = "shown"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or a file, as it has to be: `what` it is in words."""

    path: Path
    what: str
    mode: int
    belongs: Belongs
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders. `folder` has the configuration and everything that it names by a relative path."""

    folder: Path
    recordings: Path
    log: Path
    state: Path
    run: Path
    home: Path | None = None  # of the service, when it has one: what it writes lies there
    console: bool = False  # the console has a user of its own

    @classmethod
    def beside(cls, folder: Path) -> Layout:
        """All of it in one folder."""
        recordings, log, state, run = (folder / name for name in ("recordings", "log", "state", "run"))
        return cls(folder, recordings, log, state, run)

    @classmethod
    def system(cls, folder: Path, root: Path = Path("/"), console: bool = False) -> Layout:
        """As Debian has it, below `root`."""
        var = root / "var"
        library = var / "lib" / "bastion"
        run = root / "run" / "bastion"
        return cls(
            folder, library / "recordings", var / "log" / "bastion", library / "state", run, library, console
        )

    @property
    def config(self) -> Path:
        return self.folder / CONFIG

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def folders(self) -> tuple[Place, ...]:
        """All folders, parents before children."""
        kept = (0o2750, Belongs.SHARED) if self.console else (0o700, Belongs.SERVICE)
        keys = (
            0o751 if self.console else 0o750
        )  # whose public halves prove recordings; what is private is closed itself
        index = Place(self.recordings / INDEX, "the console's reading index", 0o700, Belongs.CONSOLE, True)
        return (
            Place(self.folder, "configuration", 0o755, Belongs.CONFIGURES, True),
            Place(self.keys, "keys", keys, Belongs.CONFIGURES, True),
            *([Place(self.home, "what is kept", 0o711, Belongs.SERVICE, True)] if self.home else []),
            Place(self.recordings, "recordings", *kept, True),
            *([index] if self.console else []),
            Place(self.log, "audit log", 0o750, Belongs.SERVICE, True),
            Place(self.state, "state", *kept, True),
            Place(self.run, "control socket", 0o755, Belongs.SERVICE, True),
        )

    def files(self) -> tuple[Place, ...]:
        """All files that `bastion init` makes, those that hold secrets with the mode that keeps them."""
        text = [
            (CONFIG, "every option, with its help"),
            ("policy.toml", "who may reach what"),
            ("targets.toml", "the inventory"),
            ("known_hosts", "host keys of targets"),
            ("recipients.txt", "who can open encrypted recordings"),
        ]
        keys = [
            ("login_ca", "signs engineers' certificates", Belongs.PRIVATE),
            ("upstream_ca", "signs logins to targets", Belongs.SERVICE),
            ("front_host_ca", "signs stand-in host certificates", Belongs.SERVICE),
            ("recording", "vouches for recordings", Belongs.SERVICE),
            ("ssh_host_ed25519_key", "the gateway's host key", Belongs.SERVICE),
            ("ssh_host_rsa_key", "the same, for old clients", Belongs.SERVICE),
        ]
        accounts = Belongs.SHOWN if self.console else Belongs.CONFIGURES
        return (
            *(Place(self.folder / name, what, 0o644, Belongs.CONFIGURES) for name, what in text),
            Place(self.folder / "users.toml", "accounts", 0o640, accounts),
            *(Place(self.keys / name, what, 0o600, belongs) for name, what, belongs in keys),
            Place(self.keys / "keys.toml", "which key is in force since when", 0o644, Belongs.CONFIGURES),
            *(
                Place(self.keys / f"{name}.pub", "public half", 0o644, Belongs.CONFIGURES)
                for name, _, _ in keys
            ),
        )

    def written(self, path: Path) -> str:
        """A path as the configuration has it: relative when it lies in its folder."""
        return str(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)


@dataclass(frozen=True, slots=True)
class Owners:
    """Numbers for `Belongs`; None where this process cannot give anything away, and everything is its own."""

    service: tuple[int, int] | None = None
    console: tuple[int, int] | None = None

    @classmethod
    def of(cls, user: str, console: str = "") -> Owners:
        """The service runs as `user`, the console as `console`, "" when it has no user of its own. Raises KeyError when
        there is no such user, PermissionError when only root could do that."""
        account = pwd.getpwnam(user)
        if os.geteuid() == 0:
            other = pwd.getpwnam(console) if console else None
            ids = None if other is None else (other.pw_uid, other.pw_gid)
            return cls((account.pw_uid, account.pw_gid), ids)
        if os.geteuid() != account.pw_uid:
            raise PermissionError(user)
        return cls()

    def give(self, path: Path, belongs: Belongs) -> None:
        """Set the owner of one thing that was just made. Raises OSError."""
        if self.service is None or belongs is Belongs.PRIVATE:
            return
        uid, gid = self.service
        own, shown = self.console or self.service
        whose = {
            Belongs.SERVICE: (uid, gid),
            Belongs.CONFIGURES: (os.geteuid(), gid),
            Belongs.SHARED: (uid, shown),
            Belongs.SHOWN: (os.geteuid(), shown),
            Belongs.CONSOLE: (own, shown),
        }
        os.chown(path, *whose[belongs], follow_symlinks=False)
