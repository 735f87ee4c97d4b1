"""`bastion drill`: proves that an identity opens what this gateway records (L4)."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import click

from bastion.age import Recipient, seal
from bastion.ca.identities import read_recipients
from bastion.cli.output import fail, printable, write_json
from bastion.cli.recordings import given_unwrap, open_store, recordings_options, tell_unreadable
from bastion.clock import SystemClock
from bastion.config.outputs import Recording, read_section
from bastion.errors import ConfigError
from bastion.recording.format import FormatError, Header
from bastion.recording.keys import Sealing
from bastion.recording.listing import Recordings
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.recording.store import new_session_id
from bastion.recording.unwrapping import DataKeys, Unwrap
from bastion.sides import Side

NEWEST: Final = 20
"""Recordings that are tried beside the fresh one."""

EXIT_CODES = "Exit codes: 0 it opens everything; 1 it does not; 2 the call or a file is wrong."


@dataclass(frozen=True, slots=True)
class _Tried:
    what: str
    problem: str


@click.command(epilog=EXIT_CODES)
@recordings_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def drill(config: Path | None, recordings: Path | None, as_json: bool) -> None:
    """Prove that --identity opens recordings: a fresh one, made now as the gateway would, and the newest there are.

    Nothing is written, and nothing of a recording is shown. Do it with every identity, before the day on which it is
    needed: what is encrypted to a lost identity is lost.

    Example: bastion drill -c /etc/bastion/bastion.toml -i key.txt
    """
    unwrap = given_unwrap()
    if unwrap is None:
        fail("which identity? Give --identity FILE")
    if config is None:
        fail("whose recipients? Give --config FILE")
    tried = [_fresh(_recipients(config), unwrap), *_newest(open_store(config, recordings), unwrap)]
    failed = [one for one in tried if one.problem]
    if as_json:
        write_json({"tried": len(tried), "failed": {one.what: one.problem for one in failed}})
    else:
        for one in failed:
            click.echo(f"{one.what}: {printable(one.problem)}")
        newest = len(tried) - 1
        click.echo(f"{len(tried) - len(failed)} of {len(tried)} open: a fresh one and the newest {newest}")
    if failed:
        sys.exit(1)


def _recipients(config: Path) -> list[Recipient]:
    try:
        path = read_section(config, Recording).recipients
        if path is None:
            fail(f"{config}: recordings are not encrypted: recording.recipients is not set")
        return read_recipients(path)
    except ConfigError as error:
        fail(str(error))


def _fresh(recipients: list[Recipient], unwrap: Unwrap) -> _Tried:
    """A recording as the gateway would make it now, in memory, and read back."""
    clock, word = SystemClock(), secrets.token_bytes(32)
    names = tuple(recipient.text for recipient in recipients)
    try:
        keys = DataKeys.new(names, lambda both: seal(both, recipients))
    except ValueError as error:
        fail(str(error))
    header = Header(new_session_id(), "drill", "", "drill", "drill", clock.time())
    recorder = Recorder(header, clock, sealing=replace(Sealing.alone(), keys=keys))
    file = b"".join(recorder.take() or ())
    recorder.data(1, Side.TARGET, 0, word)
    file += b"".join(recorder.take() or ()) + b"".join(recorder.finish("drill"))
    reader = Reader(io.BytesIO(file), header.session_id, unwrap=unwrap)
    opened = any(event.payload == word for event in reader)
    return _Tried("a fresh recording", "" if opened else reader.sealed or "does not come out as it was")


def _newest(store: Recordings, unwrap: Unwrap) -> Iterator[_Tried]:
    for entry in islice(store.sessions(None, tell_unreadable), NEWEST):
        try:
            with store.open(entry) as reader:
                if reader.wrapped is not None:
                    next(iter(reader), None)
        except FormatError as error:
            yield _Tried(entry.path.stem, error.text)
            continue
        except OSError as error:
            yield _Tried(entry.path.stem, str(error.strerror))
            continue
        yield _Tried(entry.path.stem, reader.damage[0].text if reader.damage else "")
