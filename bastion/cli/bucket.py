"""Recordings that are in the bucket, for the commands that read them (L4): found in the index.

SQLAlchemy is loaded when a bucket is named and a recording is not in the folder, and not before. An account that may
not read the gateway's key for the bucket, or its password for the store, uses the console's where it may read that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click

from bastion.archive.place import S3Place
from bastion.cli.output import fail, printable
from bastion.config.console import Console
from bastion.config.outputs import Recording, State, read_section
from bastion.errors import ConfigError
from bastion.recording.format import is_session_id
from bastion.recording.listing import SCHEME, SUFFIX


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A recording in the bucket: what is known of it without asking there. Times in seconds since the epoch."""

    session: str
    url: str
    version: str = ""
    sha256: str = ""
    size: int = 0
    node: str = ""
    identity: str = ""
    target: str = ""
    started_at: float = 0.0
    ended_at: float | None = None


class IndexAway(Exception):
    """The index, which knows what is in the bucket, cannot be read. Its text is for people."""


def in_bucket(config: Path | None, prefix: str) -> list[Elsewhere]:
    """Those that the index knows in the bucket, and whose id begins so, newest first. Nothing without --config or a
    bucket.

    An index that cannot be read is told, on standard error.
    """
    try:
        return known_in_bucket(config, prefix)
    except IndexAway as error:
        text = f"the index cannot be read, so the bucket is not looked into: {error}"
        click.echo(f"bastion: {text}", err=True)
        return []


def known_in_bucket(config: Path | None, prefix: str) -> list[Elsewhere]:
    """The same, for whom nothing is not enough. Raises IndexAway."""
    if config is None or store_of(config) is None:
        return []
    from bastion.state.database import Database, Place, StateDown, password_of
    from bastion.state.stored import holdings

    try:
        state, folder = read_section(config, State), read_section(config, Recording).directory
        url, password_file = state.url, state.password_file
        if _is_closed(password_file):
            console = read_section(config, Console)
            if console.state_url is not None and not _is_closed(console.state_password_file):
                url, password_file = console.state_url, console.state_password_file
        place = Place.chosen(folder, state.directory, url, password_file)
        if place.embedded and not place.file.exists():
            return []
        database = Database(place, password_of(place))
        try:
            found = holdings(database, prefix)
        finally:
            database.close()
    except (StateDown, ConfigError) as error:
        raise IndexAway(printable(str(error))) from None
    return [
        Elsewhere(
            one.stored.session, one.stored.url, one.stored.version, one.stored.sha256, one.stored.size,
            one.node, one.identity or "", one.target or "", one.started_at or 0.0, one.ended_at,
        )
        for one in found
    ]  # fmt: skip


def of_url(config: Path | None, url: str) -> Elsewhere:
    """The recording at s3://bucket/key, as far as the index knows it. Ends the command when that names none."""
    session = url.rpartition("/")[2].removesuffix(SUFFIX)
    if not url.endswith(SUFFIX) or not is_session_id(session):
        fail(f"{url}: is not s3://BUCKET/.../SESSION{SUFFIX}")
    if config is None:
        fail(f"{url}: --config FILE says how to reach the bucket")
    known = (one for one in in_bucket(config, session) if one.url == url)
    return next(known, Elsewhere(session, url))


def store_of(config: Path) -> S3Place | None:
    """The bucket that a configuration names, None when it names none. Ends the command for a fault in it."""
    try:
        store = read_section(config, Recording).store
        place = store.place()
        if place is not None and _is_closed(place.secret_file):
            other = read_section(config, Console).bucket(store)
            if other is not None and not _is_closed(other.secret_file):
                return other
        return place
    except ConfigError as error:
        fail(str(error))


def _is_closed(file: Path | None) -> bool:
    """It is there, and not for this account."""
    return file is not None and not os.access(file, os.R_OK, effective_ids=True)


def is_url(session: str) -> bool:
    """It names an object, and no id."""
    return session.startswith(SCHEME)
