"""`bastion sessions` from the index of the state store (L4).

The index is loaded when there is one: SQLAlchemy takes a seventh of a second, which a folder of recordings alone need
not cost.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bastion.cli.output import printable
from bastion.config.console import Console
from bastion.config.outputs import Recording, State, read_section
from bastion.errors import ConfigError
from bastion.recording.listed import Listed, Wanted
from bastion.recording.listing import Recordings

if TYPE_CHECKING:
    from bastion.state.database import Database

Told = Callable[[Path, str], None]


@dataclass(frozen=True, slots=True)
class Reviews:
    """What else chooses sessions: that an alert names them, how far their review is, a tag. "" and False: nothing."""

    alert: bool = False
    state: str = ""
    tag: str = ""

    @property
    def any(self) -> bool:
        return self != NO_REVIEWS


NO_REVIEWS: Final = Reviews()


def from_index(
    config: Path | None,
    recordings: Recordings,
    wanted: Wanted,
    now: float,
    whole: bool,
    unreadable: Told,
    reviews: Reviews = NO_REVIEWS,
) -> Iterator[Listed] | None:
    """The sessions that are wanted, None when there is no index, or one that cannot be read.

    The latter is told, and the files say what there is. They do not say what `reviews` chooses by.
    """
    if config is None:
        return None
    try:
        state, folder = read_section(config, State), read_section(config, Recording).directory
        console = read_section(config, Console) if reviews.any else None
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
        found = listed(database, recordings, state.name, wanted, now, whole, unreadable)
        if console is not None:
            names = _chosen(database, console, reviews, now)
            found = (one for one in found if one.id in names)
        return iter(list(found))
    except StateDown as error:
        _without(error.text)
    except ConfigError as error:
        _without(str(error))
    finally:
        gc.enable()
    return None


def _chosen(database: Database, console: Console, reviews: Reviews, now: float) -> set[str]:
    """The sessions that are chosen by what alerts and reviewers say of them. Raises StateDown."""
    from bastion.state.review_queue import Rules, names_among

    rules = Rules(console.review_within, frozenset(console.review_by_two))
    return names_among(database, rules, reviews.alert, reviews.state, reviews.tag, now)


def _without(why: str) -> None:
    click.echo(
        f"bastion: the index cannot be read, so this is what the files say: {printable(why)}", err=True
    )
