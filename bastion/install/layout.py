"""Where a gateway's files are, who owns them and with which mode (L3).

One folder holds everything (`beside`), or it lies where a distribution expects it (`system`). The gateway's own
user owns what it writes and its private keys; whoever configures it owns the rest, so that a gateway that was
broken into cannot change its own rules.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

CONFIG = "bastion.toml"


class Belongs(Enum):
    """To whom: who configures, with the service's group; the service; or nobody but who configures."""

    CONFIGURES = "configures"
    SERVICE = "service"
    PRIVATE = "private"


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

    @classmethod
    def beside(cls, folder: Path) -> Layout:
        """All of it in one folder."""
        return cls(folder, *(folder / name for name in ("recordings", "log", "state", "run")))

    @classmethod
    def system(cls, folder: Path, root: Path = Path("/")) -> Layout:
        """As Debian has it, below `root`."""
        var = root / "var"
        library = var / "lib" / "bastion"
        run = root / "run" / "bastion"
        return cls(folder, library / "recordings", var / "log" / "bastion", library / "state", run, library)

    @property
    def config(self) -> Path:
        return self.folder / CONFIG

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def folders(self) -> tuple[Place, ...]:
        """All folders, parents before children."""
        return (
            Place(self.folder, "configuration", 0o755, Belongs.CONFIGURES, True),
            Place(self.keys, "keys", 0o750, Belongs.CONFIGURES, True),
            *([Place(self.home, "what is kept", 0o700, Belongs.SERVICE, True)] if self.home else []),
            Place(self.recordings, "recordings", 0o700, Belongs.SERVICE, True),
            Place(self.log, "audit log", 0o750, Belongs.SERVICE, True),
            Place(self.state, "state", 0o700, Belongs.SERVICE, True),
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
        return (
            *(Place(self.folder / name, what, 0o644, Belongs.CONFIGURES) for name, what in text),
            Place(self.folder / "users.toml", "accounts", 0o640, Belongs.CONFIGURES),
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

    @classmethod
    def of(cls, user: str) -> Owners:
        """The service runs as `user`. Raises KeyError when there is no such user, PermissionError when only root
        could do that."""
        account = pwd.getpwnam(user)
        if os.geteuid() == 0:
            return cls((account.pw_uid, account.pw_gid))
        if os.geteuid() != account.pw_uid:
            raise PermissionError(user)
        return cls()

    def give(self, path: Path, belongs: Belongs) -> None:
        """Set the owner of one thing that was just made. Raises OSError."""
        if self.service is None or belongs is Belongs.PRIVATE:
            return
        uid, gid = self.service
        os.chown(path, uid if belongs is Belongs.SERVICE else os.geteuid(), gid, follow_symlinks=False)
