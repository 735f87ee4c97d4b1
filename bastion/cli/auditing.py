"""What commands write into the gateway's audit log (L4): who runs them, and what they were shown of recordings.

Invariant: with the gateway's configuration nothing of a recording is shown before the line about it stands in the log.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from click.core import ParameterSource

from bastion.cli.output import fail
from bastion.clock import SystemClock
from bastion.config.console import Console
from bastion.config.outputs import Audit, read_section
from bastion.errors import ConfigError
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.events import About
from bastion.observe.events.reading import RecordingsRead
from bastion.observe.meters import Meters
from bastion.recording.format import REF_LENGTH
from bastion.recording.listing import Recordings, SessionEntry, Unreadable
from bastion.recording.unwrapping import Unwrap

# What is said of where a command looked; the others are what it looked for.
_PLACES = frozenset(("config", "recordings"))


def account() -> str:
    """Who runs this command, for what is written down about it: behind sudo the one who typed it too,
    and always the account itself, which no variable can hide.
    """
    name = os.environ.get("SUDO_USER", "")
    try:
        own = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        own = f"uid {os.getuid()}"
    return f"{name} as {own}" if name and name != own else own


@contextmanager
def audited(file: Path) -> Iterator[AuditLog]:
    """The gateway's audit log, to which every line of this command must go. Ends the command with 3 when it cannot."""
    is_new = not file.exists()
    try:
        log = AuditLog(str(file), SystemClock(), Meters(), required=True)
        if is_new and os.geteuid() == 0:
            folder = file.parent.stat()
            os.chown(file, folder.st_uid, folder.st_gid)  # the gateway is to write it too
    except AuditFailed as error:
        fail(str(error), 3)
    try:
        yield log
    except AuditFailed as error:
        fail(f"{error}: nothing more is done", 3)
    finally:
        log.close()


class AuditedRecordings(Recordings):
    """Recordings whose being looked at is written down: a session when it is asked for by its id."""

    def __init__(self, directory: Path, config: Path, unwrap: Unwrap | None = None) -> None:
        super().__init__(directory, unwrap=unwrap)
        self._config = config

    def find(self, prefix: str, unreadable: Unreadable | None = None) -> list[SessionEntry]:
        found = super().find(prefix, unreadable)
        if found:
            tell_read(self._config, found[0].path.stem if len(found) == 1 else "")
        return found


def tell_read(config: Path, session: str) -> None:
    """Write down that this command reads recordings, or one session. Ends the command with 3 when that cannot be."""
    context = click.get_current_context()
    try:
        file = log_of(config)
    except ConfigError as error:
        fail(str(error))
    with audited(file) as log:
        event = RecordingsRead(account(), str(context.info_name), _asked(context))
        log.emit(event, About(session, session[:REF_LENGTH]))


def log_of(config: Path) -> Path:
    """The gateway's; the console's own for its account, which may not write to that. Raises ConfigError."""
    own = read_section(config, Console).audit_file
    return own if own is not None and is_console(config) else read_section(config, Audit).file


def is_console(config: Path) -> bool:
    """Is this the account of a console that has one of its own? Raises ConfigError."""
    file, own = read_section(config, Audit).file, read_section(config, Console).audit_file
    return own is not None and _is_closed(file) and not _is_closed(own)


def _is_closed(file: Path) -> bool:
    """Is it there, and not to be written to by this process?"""
    try:
        file.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not os.access(file, os.W_OK, effective_ids=True)


def _asked(context: click.Context) -> str:
    """The options that were given, as `name=value`."""
    given = [
        f"{name}={value}"
        for name, value in context.params.items()
        if name not in _PLACES and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    return " ".join(sorted(given))
