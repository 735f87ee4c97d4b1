"""Recordings of the bucket read one after the other (L4): each a private copy, proved, and gone when it has been read.

Invariant: never more copies on the disk than are being read, and `archive.fetching.ROOM` is left free beside them; a
store that is away is asked once, and what was not read because of it is told.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bastion.archive.place import S3Place, parse_url
from bastion.cli.bucket import Elsewhere
from bastion.cli.output import fail, printable, size_text
from bastion.errors import ConfigError, StoreFault, StoreReason
from bastion.recording.listing import SUFFIX, Recordings, SessionEntry

if TYPE_CHECKING:
    from bastion.archive.bucket import Bucket

SHOWN_FROM = 4 << 20
"""Bytes from which a fetch shows how far it is."""

OF_ONE = (StoreReason.CHECKSUM, StoreReason.LOCAL_FILE, StoreReason.BAD_ANSWER, StoreReason.LOCKED)
"""Faults of one recording, that say nothing of others."""


class Copies:
    """Of one command. `missed` counts recordings that could not be had."""

    def __init__(self, place: S3Place) -> None:
        self.place = place
        self.missed = 0
        self._fault: StoreFault | None = None
        self._told_away, self._untold = False, 0
        self._bucket: Bucket | None = None
        self._folder: Path | None = None
        self._brought = 0

    @property
    def bucket(self) -> Bucket:
        """The bucket, boto3 loaded for it. Raises StoreFault; ends the command for a file that is wrong."""
        if self._bucket is None:
            from bastion.archive.bucket import Bucket

            try:
                self._bucket = Bucket(self.place)
            except ConfigError as error:
                fail(str(error))
        return self._bucket

    def is_another(self, one: Elsewhere) -> bool:
        """It is in another bucket than the configuration names."""
        at = parse_url(one.url)
        return at is None or at[0] != self.place.bucket

    def bring(self, one: Elsewhere, which: str = "") -> Path:
        """A private copy, which whoever has read it removes; the rest goes with the command. `which` is shown while it
        takes long: `3 of 120`. Raises StoreFault, at once when the store was away before."""
        from bastion.archive.fetching import fetch

        if self._fault is not None:
            raise self._fault
        at = parse_url(one.url)
        if at is None or self.is_another(one):
            text = f"{one.url}: [recording.store] names no such bucket"
            raise StoreFault(StoreReason.BAD_ANSWER, text)
        self._brought += 1
        file = self._place(self._brought) / (one.session + SUFFIX)
        try:
            fetch(self.bucket, at[1], file, one.version, one.sha256, _progress(which))
        except StoreFault as fault:
            if fault.reason not in OF_ONE:
                self._fault = fault
            raise
        return file

    @contextmanager
    def copy(self, one: Elsewhere, which: str = "") -> Iterator[SessionEntry]:
        """The same, for as long as it is read. Raises StoreFault."""
        file = self.bring(one, which)
        try:
            entry = Recordings(file.parent).entry(file)
            assert entry is not None
            yield replace(entry, url=one.url)
        finally:
            file.unlink(missing_ok=True)

    def miss(self, one: Elsewhere, why: str) -> None:
        """One could not be had, or not be read: told now, or when the store is away with all the others by
        `conclude`."""
        self.missed += 1
        is_away = self._fault is not None and why == self._fault.text
        if is_away and self._told_away:
            self._untold += 1
            return
        self._told_away |= is_away
        click.echo(f"bastion: {one.url}: {printable(why)}", err=True)

    def conclude(self) -> None:
        """Tells what nobody has told yet."""
        if self._untold:
            click.echo(f"bastion: and {self._untold} more were not read out of the bucket", err=True)
        self._untold = 0

    def _place(self, number: int) -> Path:
        """A folder for one copy: two of the same session stand beside each other."""
        if self._folder is None:
            folder = self._folder = Path(tempfile.mkdtemp(prefix="bastion-"))
            click.get_current_context().call_on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
        place = self._folder / str(number)
        place.mkdir(mode=0o700)
        return place


def _progress(which: str) -> Callable[[int, int], None]:
    """A line on the terminal, for what takes its time."""
    if not sys.stderr.isatty():
        return lambda done, of: None
    of_all = f" ({which})" if which else ""

    def show(done: int, of: int) -> None:
        if of >= SHOWN_FROM or which:
            text = (
                "\r\x1b[K" if done >= of else f"\rfetching {size_text(done)} of {size_text(of)}{of_all}\x1b[K"
            )
            click.echo(text, nl=False, err=True)

    return show
