"""What commands on the reading index share (L4): where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bastion.cli.output import printable
from bastion.indexing.store import IndexFile, IndexUnfit, place_in
from bastion.recording.listing import Recordings

F = TypeVar("F", bound=Callable[..., Any])


def index_option(command: F) -> F:
    """Adds `--index`; the command gets `index`."""
    return click.option(
        "--index",
        type=click.Path(path_type=Path),
        envvar="BASTION_INDEX",
        metavar="FILE",
        help="The reading index (or BASTION_INDEX). Default: index/reading.db in the folder of recordings.",
    )(command)


def place_of(index: Path | None, store: Recordings) -> Path:
    """Where the index is."""
    return index or place_in(store.directory)


def index_there(index: Path | None, store: Recordings) -> IndexFile | None:
    """The index, if there is one that can be read; one that cannot is told, and the files say what there is."""
    place = place_of(index, store)
    if index is None and not place.exists():
        return None
    try:
        return IndexFile(place)
    except IndexUnfit as error:
        click.echo(f"bastion: the reading index is not used: {printable(error.text)}", err=True)
        return None
