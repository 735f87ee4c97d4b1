"""systemd's credentials (L2): secrets that a unit hands to the gateway alone (`LoadCredential=`, systemd.exec(5)).

They stand in a folder in memory that only the service's user can enter, read-only, and are gone with the service.
"""

from __future__ import annotations

import os
from typing import Final

DEFAULT_FOLDER: Final = "/run/credentials/bastion.service"
"""Where they are for commands that a person runs (`bastion check`), while the service does."""


def credentials_folder() -> str:
    """The folder of this process's credentials, or of the service's."""
    return os.environ.get("CREDENTIALS_DIRECTORY") or DEFAULT_FOLDER


def is_credential(path: str, owner: int) -> bool:
    """Is the file at `path`, which belongs to the uid `owner`, one that systemd has put there?

    Where the folder's file system has access lists, the file is root's and its group bits stand for the service's
    user (mode 0440); where it has none, the file is the service's own (0400).
    """
    return owner == 0 and os.path.dirname(path) == credentials_folder().rstrip("/")
