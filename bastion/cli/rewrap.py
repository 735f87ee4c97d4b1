"""`bastion rewrap`: recordings for other recipients (L4)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bastion.age import parse_recipient
from bastion.ca.identities import read_recipients
from bastion.cli.bucket import Elsewhere, IndexAway, is_url, known_in_bucket
from bastion.cli.copies import OF_ONE
from bastion.cli.output import fail, printable, write_json
from bastion.cli.progress import counting
from bastion.cli.recordings import (
    copies_of,
    find_session,
    given_unwrap,
    open_store,
    recordings_options,
    tell_unreadable,
)
from bastion.clock import SystemClock
from bastion.errors import ConfigError, StoreFault
from bastion.recording.format import FormatError
from bastion.recording.listing import Recordings
from bastion.recording.rewrapping import Change, sweep
from bastion.recording.rewrapping import rewrap as rewrap_file
from bastion.recording.unwrapping import Unwrap

EXIT_CODES = (
    "Exit codes: 0 all have the recipients now; 1 some could not be rewrapped, and stay as they were; "
    "2 the call or a file is wrong; 3 the index or the bucket cannot be used."
)


@click.command(epilog=EXIT_CODES)
@click.argument("which", nargs=-1, metavar="[SESSION]...")
@recordings_options
@click.option("--all", "everything", is_flag=True, help="Every recording in the folder, and in the bucket.")
@click.option("--add", multiple=True, metavar="AGE1...", help="Somebody who shall open them too; repeatable.")
@click.option("--drop", multiple=True, metavar="AGE1...", help="Somebody who shall not any more; repeatable.")
@click.option(
    "--to",
    "listed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Exactly those in FILE, one per line, instead of --add and --drop.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def rewrap(
    which: tuple[str, ...],
    config: Path | None,
    recordings: Path | None,
    everything: bool,
    add: tuple[str, ...],
    drop: tuple[str, ...],
    listed: Path | None,
    as_json: bool,
) -> None:
    """Let others open encrypted recordings, or fewer: the keys are wrapped anew, the recording itself stays as it is.

    Needs an --identity that opens them, so it is done where one is, on a copy of the folder or over a mount, and never
    by the gateway. Who was dropped and has a copy of the file from before can still open that copy.

    With --config, and without --recordings, those in the bucket too: each is fetched, put in the place of the one
    before, and proved there. What object lock keeps stays as it is, and is named. What dies in the middle leaves the
    old one or the new one: run it again.

    \b
    Examples:
      bastion rewrap --recordings /mnt/recordings -i key.txt --all --add age1... --drop age1...
      bastion rewrap -c bastion.toml -i key.txt --to recipients.txt k3v2m5q7p2r4t6wa
      bastion rewrap -c bastion.toml -i key.txt --all --drop age1...
    """
    if everything == bool(which):
        fail("name sessions, or say --all")
    change = _change(add, drop, listed)
    unwrap = given_unwrap()
    if unwrap is None:
        fail("which identity opens them now? Give --identity FILE")
    store = open_store(config, recordings)
    paths, objects = _wanted(store, None if recordings is not None else config, which)
    work = _Work(unwrap, change)
    work.files(paths)
    if objects and config is not None:
        work.objects(config, objects)
    if everything:
        _sweep(store.directory)
    if as_json:
        count = len(paths) + len(objects)
        write_json({"rewrapped": work.done, "looked_at": count, "failed": work.problems})
    else:
        for name, problem in work.problems.items():
            click.echo(f"bastion: {name}: {printable(problem)}", err=True)
        click.echo(f"{work.done} of {len(paths) + len(objects)} recordings have other recipients now")
    if work.problems:
        sys.exit(1)


def _wanted(
    store: Recordings, config: Path | None, which: Sequence[str]
) -> tuple[list[Path], list[Elsewhere]]:
    """What is in the folder, and what is in the bucket; all of it without names. Ends the command for a name that means
    none, or several, and when the index cannot say what is in the bucket."""
    try:
        away = known_in_bucket(config, "")
    except IndexAway as error:
        fail(f"the index cannot be read, so what is in the bucket is not known: {error}", 3)
    if not which:
        files = dict(store.names(None, tell_unreadable))
        paths = sorted(store.directory / place for place in files.values())
        return paths, [one for one in away if one.session not in files]
    paths, objects = list[Path](), list[Elsewhere]()
    for name in which:
        mine = [one for one in away if name in (one.url, one.session) or _begins(one, name)]
        here = {entry.path.stem for entry in store.find(name.strip().lower())} if not is_url(name) else set()
        mine = [one for one in mine if one.session not in here]
        if len(mine) + len(here) > 1:
            fail(f"{name} means {len(mine) + len(here)} sessions")
        if is_url(name) and not mine:
            fail(f"{name}: the index has no such recording in the bucket", 1)
        if mine:
            objects += mine
        else:
            paths.append(find_session(store, name).path)
    return paths, objects


def _begins(one: Elsewhere, name: str) -> bool:
    return not is_url(name) and one.session.startswith(name.strip().lower())


def _sweep(folder: Path) -> None:
    """What is left of recordings that are gone, by runs that were cut off."""
    try:
        left = sweep(folder)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}", 1)
    if left:
        click.echo(f"bastion: {left} unfinished files of recordings that are gone were removed", err=True)


class _Work:
    """What was done, and why the rest was not: by session."""

    def __init__(self, unwrap: Unwrap, change: Change) -> None:
        self.done = 0
        self.problems: dict[str, str] = {}
        self._unwrap, self._change = unwrap, change

    def files(self, paths: Sequence[Path]) -> None:
        """Those in the folder."""
        for path in paths:
            try:
                self.done += rewrap_file(path, self._unwrap, self._change)
            except FormatError as error:
                self.problems[path.stem] = error.text
            except OSError as error:
                self.problems[path.stem] = str(error.strerror)

    def objects(self, config: Path, wanted: Sequence[Elsewhere]) -> None:
        """Those in the bucket. A store that is away is asked once."""
        from bastion.archive.rewrapping import RewrappedObjects  # boto3 and SQLAlchemy, for a bucket alone
        from bastion.cli.stores import Alone, open_state
        from bastion.state.stored import Stored

        copies = copies_of(config)
        assert copies is not None  # some are there
        away: StoreFault | None = None
        with open_state(config) as stored, Alone(stored), counting("rewrapping in the bucket") as told:
            job = RewrappedObjects(copies.bucket, stored.database, SystemClock(), self._unwrap, self._change)
            for number, one in enumerate(wanted, 1):
                try:
                    if away is not None:
                        raise away
                    with TemporaryDirectory(prefix="bastion-") as folder:
                        at = Stored(one.session, one.url, one.version, one.size, one.sha256)
                        self.done += job.rewrap(at, Path(folder))
                except FormatError as error:
                    self.problems[one.session] = error.text
                except StoreFault as fault:
                    self.problems[one.session] = fault.text
                    away = None if fault.reason in OF_ONE else fault
                told(number, len(wanted))


def _change(add: Sequence[str], drop: Sequence[str], listed: Path | None) -> Change:
    if bool(add or drop) == (listed is not None):
        fail("say whom: --add and --drop, or --to FILE")
    try:
        if listed is not None:
            texts = tuple(one.text for one in read_recipients(listed))
            return lambda _: texts
        for text in add:
            parse_recipient(text)
    except ConfigError as error:
        fail(str(error))
    except ValueError as error:
        fail(f"--add: {error}")
    return lambda before: [*(one for one in before if one not in drop), *add]
