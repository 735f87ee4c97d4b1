"""Recordings that are in the bucket, for the commands that read them (L4): found in the index, fetched, proved.

boto3 and SQLAlchemy are loaded when a bucket is named and a recording is not in the folder, and not before.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from bastion.archive.place import S3Place, parse_url
from bastion.cli.output import fail, printable, size_text
from bastion.config.outputs import Recording, State, read_section
from bastion.errors import ConfigError, StoreFault
from bastion.recording.format import is_session_id
from bastion.recording.listing import SCHEME, SUFFIX, Recordings, SessionEntry

SHOWN_FROM = 4 << 20
"""Bytes from which a fetch shows how far it is."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A recording in the bucket: what is known of it without asking there."""

    session: str
    url: str
    version: str = ""
    sha256: str = ""


def in_bucket(config: Path | None, prefix: str) -> list[Elsewhere]:
    """Those that the index knows in the bucket, and whose id begins so. Nothing without --config or a bucket.

    An index that cannot be read is told, on standard error.
    """
    if config is None or _named(config) is None:
        return []
    from bastion.state.database import Database, Place, StateDown, password_of
    from bastion.state.stored import stored_beginning

    try:
        state, folder = read_section(config, State), read_section(config, Recording).directory
        place = Place.chosen(folder, state.directory, state.url, state.password_file)
        if place.embedded and not place.file.exists():
            return []
        database = Database(place, password_of(place))
        try:
            found = stored_beginning(database, prefix)
        finally:
            database.close()
    except (StateDown, ConfigError) as error:
        why = printable(str(error))
        click.echo(f"bastion: the index cannot be read, so the bucket is not looked into: {why}", err=True)
        return []
    return [Elsewhere(one.session, one.url, one.version, one.sha256) for one in found]


def of_url(config: Path | None, url: str) -> Elsewhere:
    """The recording at s3://bucket/key, as far as the index knows it. Ends the command when that names none."""
    session = url.rpartition("/")[2].removesuffix(SUFFIX)
    if not url.endswith(SUFFIX) or not is_session_id(session):
        fail(f"{url}: is not s3://BUCKET/.../SESSION{SUFFIX}")
    if config is None:
        fail(f"{url}: --config FILE says how to reach the bucket")
    known = (one for one in in_bucket(config, session) if one.url == url)
    return next(known, Elsewhere(session, url))


def fetched(config: Path | None, one: Elsewhere) -> SessionEntry:
    """The recording as a file of this command alone, which is removed at its end. Ends the command when it cannot."""
    from bastion.archive.bucket import Bucket
    from bastion.archive.fetching import fetch

    place, at = None if config is None else _named(config), parse_url(one.url)
    if place is None or at is None or at[0] != place.bucket:
        fail(f"{one.url}: [recording.store] names no such bucket")
    folder = Path(tempfile.mkdtemp(prefix="bastion-"))
    click.get_current_context().call_on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
    file = folder / (one.session + SUFFIX)
    try:
        fetch(Bucket(place), at[1], file, one.version, one.sha256, _progress())
    except StoreFault as fault:
        fail(printable(fault.text), 1)
    except ConfigError as error:
        fail(str(error))
    entry = Recordings(folder).entry(file)
    assert entry is not None
    return entry


def _named(config: Path) -> S3Place | None:
    try:
        return read_section(config, Recording).store.place()
    except ConfigError as error:
        fail(str(error))


def _progress() -> Callable[[int, int], None]:
    """A line on the terminal, for what takes its time."""
    if not sys.stderr.isatty():
        return lambda done, of: None

    def show(done: int, of: int) -> None:
        if of >= SHOWN_FROM:
            text = "\r\x1b[K" if done >= of else f"\rfetching {size_text(done)} of {size_text(of)}\x1b[K"
            click.echo(text, nl=False, err=True)

    return show


def is_url(session: str) -> bool:
    """It names an object, and no id."""
    return session.startswith(SCHEME)
