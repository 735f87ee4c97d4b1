"""`bastion rewrap`: recordings for other recipients (L4)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bastion.age import parse_recipient
from bastion.ca.identities import read_recipients
from bastion.cli.output import fail, printable, write_json
from bastion.cli.recordings import (
    find_session,
    given_unwrap,
    open_store,
    recordings_options,
    tell_unreadable,
)
from bastion.errors import ConfigError
from bastion.recording.format import FormatError
from bastion.recording.rewrapping import Change
from bastion.recording.rewrapping import rewrap as rewrap_file

EXIT_CODES = (
    "Exit codes: 0 all have the recipients now; 1 some could not be rewrapped, and stay as they were; "
    "2 the call or a file is wrong."
)


@click.command(epilog=EXIT_CODES)
@click.argument("which", nargs=-1, metavar="[SESSION]...")
@recordings_options
@click.option("--all", "everything", is_flag=True, help="Every recording in the folder.")
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

    \b
    Examples:
      bastion rewrap --recordings /mnt/recordings -i key.txt --all --add age1... --drop age1...
      bastion rewrap -c bastion.toml -i key.txt --to recipients.txt k3v2m5q7p2r4t6wa
    """
    if everything == bool(which):
        fail("name sessions, or say --all")
    change = _change(add, drop, listed)
    unwrap = given_unwrap()
    if unwrap is None:
        fail("which identity opens them now? Give --identity FILE")
    store = open_store(config, recordings)
    if everything:
        paths = sorted(store.directory / place for _, place in store.names(None, tell_unreadable))
    else:
        paths = [find_session(store, one).path for one in which]
    done, problems = 0, dict[str, str]()
    for path in paths:
        try:
            done += rewrap_file(path, unwrap, change)
        except FormatError as error:
            problems[path.stem] = error.text
        except OSError as error:
            problems[path.stem] = str(error.strerror)
    if as_json:
        write_json({"rewrapped": done, "looked_at": len(paths), "failed": problems})
    else:
        for name, problem in problems.items():
            click.echo(f"bastion: {name}: {printable(problem)}", err=True)
        click.echo(f"{done} of {len(paths)} recordings have other recipients now")
    if problems:
        sys.exit(1)


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
