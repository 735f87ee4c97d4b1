"""`bastion sessions` from the index of the state store (L4).

The index is loaded when there is one: SQLAlchemy takes a seventh of a second, which a folder of recordings alone need
not cost.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bastion.cli.output import duration_text, printable, size_text, time_text
from bastion.cli.ran import Look
from bastion.config.outputs import Recording, State, read_section
from bastion.errors import ConfigError
from bastion.recording.listing import Recordings

if TYPE_CHECKING:
    from bastion.state.index import Listed

Told = Callable[[Path, str], None]


def from_index(
    config: Path | None,
    recordings: Recordings,
    wanted: tuple[float | None, str, str, bool],
    now: float,
    whole: bool,
    unreadable: Told,
) -> Iterable[Listed] | None:
    """The sessions that are wanted (`state.index.Wanted`), None when there is no index, or one that cannot be read.

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
    from bastion.state.index import Wanted, listed
    from bastion.state.schema_version import check_schema

    gc.disable()  # 100,000 rows are no garbage, and the command ends soon
    try:
        place = Place.chosen(folder, state.directory, state.url, state.password_file)
        database = Database(place, password_of(place))
        check_schema(database)
        node = state.node or socket.gethostname()
        return list(listed(database, recordings, node, Wanted(*wanted), now, whole, unreadable))
    except StateDown as error:
        _without(error.text)
    except ConfigError as error:
        _without(str(error))
    return None


def _without(why: str) -> None:
    click.echo(
        f"bastion: the index cannot be read, so this is what the files say: {printable(why)}", err=True
    )


def indexed_row(one: Listed, look: Look) -> tuple[str, ...]:
    """The cells of one line."""
    login = f"{one.login}@" if one.login else ""
    return (
        one.id,
        time_text(one.started_at) if one.started_at else "?",
        one.identity,
        f"{login}{one.target}",
        duration_text(one.duration),
        size_text(one.bytes),
        one.state,
        look.text(look.place(one.path)),
    )


def indexed_document(one: Listed, look: Look) -> dict[str, Any]:
    """All that is known, as JSON values: as `sessions.document`, and what only the index knows."""
    return {
        "problem": "",
        **(one.more or {}),
        "session_id": one.id,
        "identity": one.identity,
        "target": one.target,
        "login": one.login,
        "started_at": one.started_at,
        "state": one.state,
        "duration": one.duration,
        "bytes": one.bytes,
        "file": str(look.place(one.path) or ""),
        **look.document(look.place(one.path)),
    }
