"""`bastion index`: finished recordings read into the index that `bastion search` asks (L4)."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bastion.cli.bucket import Elsewhere, IndexAway, known_in_bucket
from bastion.cli.copies import Copies
from bastion.cli.output import fail, size_text, write_json
from bastion.cli.reading import index_option, place_of
from bastion.cli.recordings import (
    FOUND_CODES,
    copies_of,
    open_store,
    opener,
    recordings_options,
    tell_unreadable,
    use_identities_of_console,
)
from bastion.cli.redaction import redaction_of
from bastion.cli.stores import leave_word
from bastion.indexing.filling import Filled, fill, plan
from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.recording.listing import Recordings


@click.command(epilog=FOUND_CODES.replace("0 found; 1 nothing", "0 the index is up to date"))
@recordings_options
@index_option
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Recordings read at once."
)
@click.option("--json", "as_json", is_flag=True, help="What was done, as one JSON object.")
def index(config: Path | None, recordings: Path | None, index: Path | None, jobs: int, as_json: bool) -> None:
    """Read recordings that have ended, and are not in it yet, into the reading index.

    It needs what is needed to read the recordings (without --identity the identities of [console], for whoever may read
    those), and holds what they show: lines as a terminal showed them, and
    commands, with the secrets masked that [redact] knows; when that changes they are read again. Keep it where the
    recordings are read. What was deleted leaves it. It may be stopped at any time: the next run goes on, as it does
    after a crash. Sessions that run are read once they have ended. With --config recordings in
    the bucket are read too, each fetched once into TMPDIR, no more than --jobs and one at a time; what was read
    before it went there is not fetched.

    Example: bastion index --config /etc/bastion/bastion.toml --jobs 2
    """
    redaction = redaction_of(config)
    if recordings is None:
        use_identities_of_console(config)
    store = open_store(config, recordings)
    place = place_of(index, store)
    copies, away = _in_bucket(None if recordings else config)
    problems, text, size = 0, 0, 0
    try:
        file = IndexFile(place, make=True)
        with _alone(place):
            sizes = {one.session: (one.url, one.size) for one in away.values()}
            todo = plan(file, store, tell_unreadable, sizes, redaction)
            for session in todo.forget:
                file.remove(session)
            if todo.forget:
                file.settle()
            with _bar(sum(one[1] for one in todo.read)) as bar:
                bring = None if copies is None else lambda url: copies.bring(away[url])
                for done in fill(place, store.directory, todo.read, jobs, opener(), bring, redaction):
                    bar.update(done.size)
                    text, size = text + done.text, size + done.size
                    if done.problem:
                        problems += 1
                        _tell_problem(store, copies, away.get(done.path), done)
        if copies is not None:
            copies.conclude()
        file.close()
    except IndexUnfit as error:
        fail(error.text)
    _tell(as_json, len(todo.read), len(todo.forget), todo.running, problems, text, size)
    leave_word(None if recordings else config, "index", problems)
    sys.exit(3 if problems else 0)


def _in_bucket(config: Path | None) -> tuple[Copies | None, dict[str, Elsewhere]]:
    """What is in the bucket, by url. Ends the command when nobody can say: what is not known would be forgotten."""
    copies = copies_of(config)
    if copies is None:
        return None, {}
    try:
        return copies, {one.url: one for one in known_in_bucket(config, "")}
    except IndexAway as error:
        fail(f"what is in the bucket is not known: the state store cannot be read: {error}")


def _tell_problem(store: Recordings, copies: Copies | None, one: Elsewhere | None, done: Filled) -> None:
    if one is None:
        tell_unreadable(store.directory / done.path, done.problem)
    elif copies is not None:
        copies.miss(one, done.problem)


def _tell(
    as_json: bool, read: int, forgotten: int, running: int, problems: int, text: int, size: int
) -> None:
    if as_json:
        names = ("read", "forgotten", "running", "problems", "text", "size")
        values = (read, forgotten, running, problems, text, size)
        write_json(dict(zip(names, values, strict=True)))
        return
    left = f", {running} still running" if running else ""
    gone = f", {forgotten} left it" if forgotten else ""
    click.echo(f"{read} recordings read ({size_text(size)}, {size_text(text)} of text){gone}{left}")


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time fills an index; a lock of the kernel's, so that none outlives its process."""
    try:
        lock = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        fail(f"{place}: another `bastion index` is at work on it")
    finally:
        os.close(lock)


class _Silent:
    def update(self, size: int) -> None:
        """Nobody looks."""


@contextmanager
def _bar(size: int) -> Iterator[_Silent | click.termui.ProgressBar[int]]:  # type: ignore[name-defined]
    if not sys.stderr.isatty() or not size:
        yield _Silent()
        return
    with click.progressbar(length=size, label="reading", file=sys.stderr) as bar:
        yield bar
