"""`bastion adopt`: what a gateway that does not come back has left on its disk is written, ended and uploaded (L4)."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from bastion.archive.spool import LOCK_NAME as UPLOADS
from bastion.assembly.inheriting import SEEN, Estate, Left, seen_at
from bastion.assembly.sending import LOCK_NAME as SINKS
from bastion.assembly.sending import send_what_is_left
from bastion.ca.ledger import KeyName
from bastion.cli.auditing import account, audited
from bastion.cli.output import fail, printable, write_json
from bastion.cli.runtime import config_option, load_or_fail
from bastion.cli.stores import Alone, Stored, open_state
from bastion.clock import SystemClock
from bastion.config.key_slots import load_staged, recording_key_path
from bastion.config.outputs import Recording, read_section
from bastion.config.start import read_sections
from bastion.errors import ConfigError, StoreFault
from bastion.observe.events.nodes import NodeAdopted
from bastion.recording.booking import Books
from bastion.recording.keys import Sealing
from bastion.recording.ledger_file import ledger_path, ledgers_in
from bastion.recording.store import Store
from bastion.sinks.report import Report
from bastion.state.adopting import give_up
from bastion.state.folder import HOME, give_to_owner_of
from bastion.state.journal import living

SHOWN = 20
EXIT_CODES = (
    "Exit codes: 0 all of it is where it belongs; 1 that gateway lives, or nothing of it is here; 2 the call or a file "
    "is wrong; 3 the store, the log or the bucket cannot be used, or something is left: mend it and run this again."
)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Recordings that went to the bucket, and that wait still: None when nobody can tell."""

    gone: int = 0
    waiting: int | None = None


@click.command(epilog=EXIT_CODES)
@config_option
@click.option(
    "--off", is_flag=True, help="Its machine is off, although the store has seen it a moment ago: go on."
)
@click.option(
    "--lost",
    metavar="NAME",
    help="The disk of that gateway is lost: run it at another one, and its sessions are `live` no more.",
)
@click.option("--json", "as_json", is_flag=True, help="What was done and what is left, as one JSON object.")
def adopt(config_file: Path, off: bool, lost: str | None, as_json: bool) -> None:
    """Bring to its end what a gateway that does not come back has left: run it where its disk is now.

    With that gateway's own configuration and key, and nothing else of it running: rows that it owed are written to
    the state store, sessions that died with it are ended, their recordings get their end by its key, all that waits
    goes to the bucket, and its audit log to its sinks. It lets nobody in, listens nowhere, and speaks to no other
    gateway. What it has done is not done again: run it as often as you like. On the machine on which the gateway
    starts again it is not needed.

    With --lost nothing is left but rows: sessions of that gateway that say `live` become `incomplete`.

    Example: bastion adopt --config /etc/bastion/bastion.toml
    """
    if lost is not None:
        _give_up(config_file, lost, off, as_json)
        return
    sealing = _sealing(config_file)
    with open_state(config_file) as stored:
        _look(stored, off)
        with Alone(stored), _held(stored, UPLOADS), _held(stored, SINKS), audited(stored.audit) as audit:
            books = Books(stored.recordings.directory, stored.node, SystemClock())
            store = Store(stored.recordings.directory, sealing=lambda: sealing, books=books)
            folder = stored.database.place.folder
            estate = Estate(stored.database, folder, stored.node, store, books, audit, SystemClock())
            left = estate.take(account())
            uploaded = _upload(config_file, stored)
        reports = _send(config_file)
    _show(stored.node, left, uploaded, reports, as_json)
    unsent = any(one.lines or one.failing for one in reports)
    if left.unended or unsent or (uploaded is not None and uploaded.waiting != 0):
        sys.exit(3)


def _give_up(config_file: Path, node: str, off: bool, as_json: bool) -> None:
    """Of a gateway whose disk is lost."""
    with open_state(config_file) as stored:
        if node == stored.node:
            fail(f"{node} is this gateway: --lost is for another one", 1)
        if not seen_at(stored.database, node):
            fail(f"the store has never seen a gateway {node}", 1)
        _not_seen(stored, node, off)
        with audited(stored.audit) as audit:
            sessions = give_up(stored.database, node)
            audit.emit(NodeAdopted(node, account(), 0, sessions, 0, 0))
    _show(node, Left(sessions=sessions), None, [], as_json)


def _sealing(config_file: Path) -> Sealing:
    """The key of that gateway. None is made here: an end that is signed by a key of today proves nothing."""
    sections = read_sections(config_file)
    if sections is None:
        load_or_fail(config_file)  # which tells them
        fail(f"{config_file}: has faults: `bastion check --config {config_file}`")
    try:
        staged = load_staged(sections, KeyName.RECORDING)
    except ConfigError as error:
        fail(str(error))
    if not staged:
        fail(f"{recording_key_path(sections)}: is not there; ends are signed with that gateway's own key")
    return Sealing(staged[0].at(SystemClock().time()), sections.state.name)


def _look(stored: Stored, off: bool) -> None:
    """Is there something of this gateway here, and does it not live? Ends the command otherwise."""
    folder, node = stored.database.place.folder, stored.node
    if not (folder / HOME).is_file():
        fail(f"{folder}: no gateway has had its state here: is its disk mounted there?", 1)
    ledgers = ledgers_in(stored.recordings.directory)
    if ledgers and ledger_path(stored.recordings.directory, node) not in ledgers:
        fail(f"{ledgers[-1]}: is of another gateway than {node}: give this configuration its [state] node", 1)
    if living(folder):
        fail(f"{folder}: the gateway {node} runs here: what died before it, it ends by itself", 1)
    _not_seen(stored, node, off)


def _not_seen(stored: Stored, node: str, off: bool) -> None:
    ago = SystemClock().time() - seen_at(stored.database, node)
    if not off and 0 <= ago < SEEN and not stored.database.place.embedded:
        fail(
            f"{node} was seen {ago:.0f} s ago: wait until it has not been seen for {SEEN:.0f} s, or, when its machine "
            "is off, say --off",
            1,
        )


@contextmanager
def _held(stored: Stored, name: str) -> Iterator[None]:
    """Nothing else uploads from this folder meanwhile, or sends its log on."""
    file = stored.database.place.folder / name
    with open(file, "ab") as held:
        give_to_owner_of(file.parent, file)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"{file}: somebody holds it: does the gateway {stored.node} run?", 1)
        yield


def _upload(config_file: Path, stored: Stored) -> Uploaded | None:
    """What waits; None where there is no bucket. A store that cannot be used leaves it waiting, and says why."""
    try:
        place = read_section(config_file, Recording).store.place()
        if place is None:
            return None
        from bastion.archive.bucket import Bucket  # boto3, for a bucket alone
        from bastion.assembly.uploading import upload_what_waits

        tell = partial(click.echo, err=True)
        done = upload_what_waits(
            Bucket(place),
            stored.recordings,
            stored.database,
            lambda text: tell(f"bastion: {printable(text)}"),
        )
    except (ConfigError, StoreFault) as error:
        click.echo(f"bastion: {printable(str(error))}", err=True)
        return Uploaded()
    return Uploaded(*done)


def _send(config_file: Path) -> list[Report]:
    """What of the log its sinks have not got, those lines too that were just written."""
    try:
        return send_what_is_left(config_file)
    except ConfigError as error:
        fail(str(error))


def _show(node: str, left: Left, uploaded: Uploaded | None, reports: list[Report], as_json: bool) -> None:
    if as_json:
        write_json(
            {
                "node": node,
                "rows": left.rows,
                "sessions": left.sessions,
                "recordings": left.sealed,
                "unended": left.unended,
                "sinks": {one.name: one.lines for one in reports},
                **({} if uploaded is None else {"uploaded": uploaded.gone, "waiting": uploaded.waiting}),
            }
        )
        return
    click.echo(f"{printable(node)}: {left.rows} rows were owed, {left.sessions} sessions had died with it")
    click.echo(f"{left.sealed} recordings have got their end")
    for line in left.unended[:SHOWN]:
        click.echo(printable(f"no end: {line}"))
    if len(left.unended) > SHOWN:
        click.echo(f"and {len(left.unended) - SHOWN} more")
    for one in reports:
        has = (
            f"{one.lines} lines of the log wait: {one.reason}: {one.text}"
            if one.lines
            else "has the whole log"
        )
        click.echo(printable(f"{one.name}: {has}"))
    if uploaded is None:
        return
    waiting = "nobody can tell how many" if uploaded.waiting is None else str(uploaded.waiting)
    click.echo(f"{uploaded.gone} recordings have gone to the bucket, {waiting} wait")
