"""`bastion audit`: is the audit log what was written, and what may stand in it? (L4)"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bastion.cli.explain import configured_log
from bastion.cli.output import fail, printable, write_json
from bastion.config.outputs import Recording, read_section
from bastion.errors import ConfigError
from bastion.observe.audit_chain import Link
from bastion.observe.audit_schema import schema
from bastion.observe.audit_verify import Result, Told, Verifier, told_by
from bastion.observe.log_files import LogUnreadable, log_files, read_lines
from bastion.recording.ledger import Entry, LedgerBroken, LedgerEvent, follow
from bastion.recording.ledger_file import ledgers_in
from bastion.recording.ledger_file import read_lines as ledger_lines


@click.group()
def audit() -> None:
    """The audit log: is it what was written?"""


@audit.command("schema")
def print_schema() -> None:
    """Print what a line of this version is, as a JSON Schema (2020-12)."""
    write_json(schema())


@audit.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--config",
    "-c",
    envvar="BASTION_CONFIG",
    metavar="FILE",
    help="The gateway's config file: its log, and the ledger beside its recordings.",
)
@click.option(
    "--ledger",
    "ledgers",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A ledger of recordings, which knows how far the log had come; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def verify(files: tuple[Path, ...], config: str | None, ledgers: tuple[Path, ...], as_json: bool) -> None:
    """Prove that no line of the audit log was changed, removed, doubled, moved or added.

    FILES are the log and its rotated files, oldest first, packed (.gz, .zst) or not; without any those of --config.
    Nothing else is needed, and nothing is asked of a gateway. That the last lines are gone only a ledger shows.

    \b
    Exit codes: 0 all is whole, 2 nothing to look at was named, 3 something is wrong (the first bad line is named
    first), or a file cannot be read.

    Example: bastion audit verify --config /etc/bastion/bastion.toml
    """
    chosen = files or tuple(log_files(configured_log(config)))
    if not chosen:
        fail(f"there is no audit log at {configured_log(config)}", 3)
    try:
        told = [*_told_to(ledgers or _ledgers_of(config))]
        for path in chosen:
            told += told_by(path.name, read_lines(path))
        verifier = Verifier(told, complete=not files)
        for path in chosen:
            for number, line in enumerate(read_lines(path), 1):
                verifier.add(str(path), number, line)
    except LogUnreadable as error:
        fail(f"{path}: cannot be read to its end: {error}", 3)
    result = verifier.finish()
    if as_json:
        write_json(_document(chosen, result, len(told)))
    else:
        _print(chosen, result, len(told))
    if not result.whole:
        sys.exit(3)


def _ledgers_of(config: str | None) -> Sequence[Path]:
    if config is None:
        return ()
    try:
        return ledgers_in(read_section(config, Recording).directory)
    except ConfigError as error:
        fail(str(error))


def _told_to(ledgers: Sequence[Path]) -> Iterator[Told]:
    """What the ledgers know. Ends the command when one is no ledger: `bastion verify --all` says more."""
    for path in ledgers:
        try:
            for entry, _ in follow(ledger_lines(path)):
                if entry.event is LedgerEvent.AUDIT:
                    yield _told(path, entry)
        except LedgerBroken as error:
            if not path.name.endswith(".broken"):
                fail(f"{path}: {error}", 3)
        except OSError as error:
            fail(f"{path}: {error.strerror}", 3)


def _told(path: Path, entry: Entry) -> Told:
    chain, _, serial = entry.detail.partition(" ")
    return Told(path.name, Link(chain, int(serial) if serial.isdecimal() else -1, entry.digest), entry.time)


def _document(files: Sequence[Path], result: Result, told: int) -> dict[str, Any]:
    return {
        "whole": result.whole,
        "files": [str(path) for path in files],
        "lines": result.lines,
        "lines_before_the_chain": result.older,
        "chains": [
            {"chain": one.chain, "first": one.first, "last": one.last, "digest": one.digest}
            for one in result.stories.values()
        ],
        "told": told,
        "findings": [
            {"fault": one.fault.value, "file": one.file, "line": one.line, "text": one.text}
            for one in result.findings
        ],
        "more_findings": result.more,
    }


def _print(files: Sequence[Path], result: Result, told: int) -> None:
    for one in result.findings:
        where = f"{one.file}:{one.line}: " if one.line else ""
        click.echo(printable(f"{where}{one.fault}: {one.text}"))
    if result.more:
        click.echo(f"and {result.more} more")
    for story in result.stories.values():
        begins = " (what was before it is in older files)" if story.first else ""
        click.echo(f"chain {story.chain}: lines {story.first} to {story.last}{begins}")
    if result.older:
        click.echo(f"{result.older} lines are from before there was a chain: nothing proves them")
    if not told:
        click.echo("no ledger was looked at: whether the last lines are there nobody can say")
    state = "whole" if result.whole else "NOT WHOLE"
    click.echo(f"{state}: {result.lines} lines in {len(files)} files, {told} heads compared")
