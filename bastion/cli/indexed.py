"""`bastion sessions` from the index of the state store (L4).

The index is loaded when there is one: SQLAlchemy takes a seventh of a second, which a folder of recordings alone need
not cost.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from bastion.cli.output import printable
from bastion.config.outputs import Recording, State, read_section
from bastion.errors import ConfigError
from bastion.recording.listed import Listed, Wanted
from bastion.recording.listing import Recordings

Told = Callable[[Path, str], None]


def from_index(
    config: Path | None,
    recordings: Recordings,
    wanted: Wanted,
    now: float,
    whole: bool,
    unreadable: Told,
) -> Iterator[Listed] | None:
    """The sessions that are wanted, None when there is no index, or one that cannot be read.

    The latter is told, and the files say what there is.
    """
    if config is None:
        return None
    try:
        state, folder = read_section(config, State), read_section(config, Recording).directory
    except ConfigError as error:
        _without(str(error))
        return None
    if state.url is None and not ((state.directory or folder / "state") / "state.db").exists():
        return None
    from bastion.state.database import Database, Place, StateDown, password_of
    from bastion.state.index import listed
    from bastion.state.schema_version import check_schema

    gc.disable()  # while they become so many objects: 100,000 rows are no garbage
    try:
        place = Place.chosen(folder, state.directory, state.url, state.password_file)
        database = Database(place, password_of(place))
        check_schema(database)
        return iter(list(listed(database, recordings, state.name, wanted, now, whole, unreadable)))
    except StateDown as error:
        _without(error.text)
    except ConfigError as error:
        _without(str(error))
    finally:
        gc.enable()
    return None


def _without(why: str) -> None:
    click.echo(
        f"bastion: the index cannot be read, so this is what the files say: {printable(why)}", err=True
    )
