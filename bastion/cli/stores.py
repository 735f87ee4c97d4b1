"""What the commands on the state store share (L4): where it is, and one way to fail."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from bastion.cli.auditing import is_console, log_of
from bastion.cli.output import fail, printable
from bastion.clock import SystemClock
from bastion.config.console import Console
from bastion.config.outputs import Audit, Recording, State, read_section
from bastion.errors import ConfigError
from bastion.recording.listing import Recordings
from bastion.state.database import Database, Place, StateDown, password_of
from bastion.state.runs import Run, leave_run
from bastion.state.schema_version import check_schema


@dataclass(frozen=True, slots=True)
class Stored:
    """A configuration's store: the database, the recordings it is about, what this gateway is called in it, its log."""

    database: Database
    recordings: Recordings
    node: str
    audit: Path


def stored_of(config: Path, of_console: bool = False) -> Stored:
    """The store that a configuration names, which nobody has asked anything yet: close its database. `of_console`: for
    the console's own account its role, and its log. Raises ConfigError."""
    state, folder = read_section(config, State), read_section(config, Recording).directory
    url, password_file, audit = state.url, state.password_file, read_section(config, Audit).file
    if of_console and is_console(config):
        own, audit = read_section(config, Console), log_of(config)
        if url is not None and own.state_url is not None:
            url, password_file = own.state_url, own.state_password_file
    place = Place.chosen(folder, state.directory, url, password_file)
    return Stored(Database(place, password_of(place)), Recordings(folder), state.name, audit)


@contextmanager
def open_state(config: Path, fit: bool = True, of_console: bool = False) -> Iterator[Stored]:
    """The store that a configuration names. Ends the command when it cannot be used: 2 the file, 3 the store.

    `fit`: its schema is this program's. `of_console` as of `stored_of`.
    """
    try:
        stored = stored_of(config, of_console)
    except ConfigError as error:
        fail(str(error))
    with using(stored, check_schema if fit else None):
        yield stored


@contextmanager
def using(stored: Stored, check: Callable[[Database], object] | None) -> Iterator[None]:
    """Close its database at the end. Ends the command with 3 when the store cannot be used, as `check` may say too."""
    place = stored.database.place
    try:
        if check is not None:
            check(stored.database)
        yield
    except StateDown as error:
        fail(f"{place}: {error.text}", 3)
    except OSError as error:
        fail(f"{error.filename or place}: {error.strerror}", 3)
    finally:
        stored.database.close()


def leave_word(config: Path | None, task: str, faults: int) -> None:
    """How a command over all recordings ended, for the gateway's metrics. Where that cannot be written it is said, and
    is no fault: the command may run elsewhere, over copies."""
    if config is None:
        return
    try:
        state, folder = read_section(config, State), read_section(config, Recording).directory
        place = Place.chosen(folder, state.directory, state.url, state.password_file).folder
        leave_run(place, task, Run(SystemClock().time(), faults))
    except FileNotFoundError:
        return  # no gateway has its state here
    except (ConfigError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        click.echo(f"bastion: the gateway's metrics do not tell of this run: {printable(str(why))}", err=True)


class Alone:
    """One command at a time that changes what is kept, on one folder; the second ends at once. Given up with the
    process, however it ends."""

    def __init__(self, stored: Stored) -> None:
        self._file = stored.database.place.folder / "prune.lock"

    def __enter__(self) -> None:
        self._held = open(self._file, "wb")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            fail("another prune or rewrap is running", 3)

    def __exit__(self, *_: object) -> None:
        self._held.close()
