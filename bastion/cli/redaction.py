"""What commands that show recordings share about secrets in them (L4): what is masked, and who may see it."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bastion.cli.output import fail
from bastion.config.outputs import read_section
from bastion.config.redact import Redact
from bastion.errors import ConfigError
from bastion.recording.redacting import NOTHING, Redaction

F = TypeVar("F", bound=Callable[..., Any])


def unredacted_option(command: F) -> F:
    """Adds `--unredacted`; the command gets `unredacted`."""
    return click.option(
        "--unredacted", is_flag=True, help="Show secrets that [redact] masks; it stands in the audit log."
    )(command)


def redaction_of(config: Path | None, unredacted: bool = False) -> Redaction:
    """What is masked: as the configuration says, without one what is known. Ends the command for who may not see all.

    Without a configuration there are no roles: who can read the files reads them.
    """
    section = Redact()
    if config is not None:
        try:
            section = read_section(config, Redact)
        except ConfigError as error:
            fail(str(error))
    if not unredacted:
        return section.redaction
    if config is not None and not _may(section.unredacted_group):
        fail(
            f"--unredacted is for members of the group {section.unredacted_group} (redact.unredacted_group)",
            1,
        )
    return NOTHING


def _may(group: str) -> bool:
    """Root, and who belongs to the group; behind sudo the one who typed it."""
    name = os.environ.get("SUDO_USER", "")
    try:
        user = pwd.getpwnam(name) if name else pwd.getpwuid(os.getuid())
        if user.pw_uid == 0:
            return True
        found = grp.getgrnam(group)
    except KeyError:
        return False
    return user.pw_name in found.gr_mem or user.pw_gid == found.gr_gid
