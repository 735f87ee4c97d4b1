"""The state store and the audit log as the console has them (L4): its own role and its own file, where it has them.

For the process that serves, and for commands that are run as its user.
"""

from __future__ import annotations

from pathlib import Path

from bastion.config.console import Console
from bastion.config.outputs import State
from bastion.errors import ConfigError
from bastion.state.database import Database, Place, StateDown
from bastion.state.schema_version import check_fit


def place_for(file: Path, recordings: Path, state: State, own: Console) -> Place:
    """Where the console finds the store that `state` names. `file` is the configuration, for what is said of a fault.
    Raises ConfigError."""
    url, password_file = state.url, state.password_file
    if own.state_url is not None:
        if url is None:
            text = "is PostgreSQL, and `state.url` is not set: the gateway's is SQLite"
            raise ConfigError(str(file), 0, "console.state_url", text)
        url, password_file = own.state_url, own.state_password_file
    return Place.chosen(recordings, state.directory, url, password_file)


def check_there(database: Database) -> None:
    """It is there and fits. Nothing is made: a console may have no right to. Raises StateDown."""
    place = database.place
    if place.embedded and not place.file.exists():
        raise StateDown(f"there is no {place.file}: a gateway makes it at its start")
    with database.read() as connection:
        check_fit(connection)
