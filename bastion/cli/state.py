"""`bastion state`: the schema of the state store, its index against the recordings, the index made again (L4)."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import click

from bastion.cli.ledger import rebuild_ledger
from bastion.cli.output import fail, printable, write_json
from bastion.cli.progress import counting
from bastion.cli.recordings import copies_of
from bastion.cli.runtime import config_option
from bastion.cli.stores import open_state
from bastion.clock import SystemClock
from bastion.errors import StoreFault
from bastion.state.checking import Rebuilt, differences, faults_of
from bastion.state.checking import rebuild as rebuild_from
from bastion.state.journal import SUFFIX

SHOWN = 50
EXIT_CODES = (
    "Exit codes: 0 done, or all is well; 1 index and files differ; 2 the call or a file is wrong; "
    "3 the store or the bucket cannot be reached, or the schema does not fit."
)


@click.group()
def state() -> None:
    """Look after the state store: the index of sessions and recordings, locks and holds."""


@state.command(epilog=EXIT_CODES)
@config_option
def migrate(config_file: Path) -> None:
    """Bring the store's schema to this version.

    A gateway with an SQLite file does so by itself; PostgreSQL is migrated by this, while gateways of the version
    before go on running. The roles bastion_gateway, bastion_reader and bastion_console get their rights, those that
    are there.

    Example: bastion state migrate --config /etc/bastion/bastion.toml
    """
    from bastion.state.migrating import migrate as run  # alembic, for this command alone
    from bastion.state.roles import grant_rights

    with open_state(config_file, fit=False) as stored:
        before, after = run(stored.database)
        if before == after:
            click.echo(f"{stored.database.place}: the schema is {after} already")
        else:
            click.echo(f"{stored.database.place}: the schema was {before or 'not there'} and is {after}")
        granted = grant_rights(stored.database)
        if granted.fault:
            fail(f"{stored.database.place}: the roles have not got their rights: {granted.fault}", 3)
        for role in granted.roles:
            click.echo(f"{stored.database.place}: {role} has its rights")


@state.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Everything that was found, as one JSON object.")
def check(config_file: Path, as_json: bool) -> None:
    """Compare the index with the recordings, and let the database check itself.

    Every recording's head and tail is read. The first 50 differences are shown, --json has all.

    Example: bastion state check --config /etc/bastion/bastion.toml
    """
    with open_state(config_file) as stored:
        faults = faults_of(stored.database)
        found = [*faults, *differences(stored.database, stored.recordings, stored.node)]
        folder = stored.database.place.folder
        owed = sorted(path.name for path in folder.glob(f"*{SUFFIX}") if path.stat().st_size)
        if as_json:
            write_json(
                {
                    "store": str(stored.database.place),
                    "differences": [{"session": one.session, "text": one.text} for one in found],
                    "owed_files": owed,
                }
            )
        else:
            for one in islice(found, SHOWN):
                click.echo(printable(f"{one.session or 'the database'}: {one.text}"))
            if len(found) > SHOWN:
                click.echo(f"and {len(found) - SHOWN} more")
            for name in owed:
                click.echo(f"rows are owed: {name}")
            click.echo(f"{stored.database.place}: {len(found) or 'no'} difference" + "s" * (len(found) != 1))
    if found:
        sys.exit(1)


@state.command("rebuild-index", epilog=EXIT_CODES)
@config_option
@click.option(
    "--ledger",
    "ledger_too",
    is_flag=True,
    help="After the loss of the ledger: write the recordings of the bucket that no ledger knows into this one.",
)
def rebuild_index(config_file: Path, ledger_too: bool) -> None:
    """Make the index again from the recordings, those in the bucket too.

    Rows of recordings are added or corrected, none is removed; a gateway may run meanwhile. Of what is in the bucket
    the head and the end are fetched, not the whole. Tunnels have no recording: theirs are not made again.

    The ledger of recordings is not in the bucket. Recordings there that no ledger knows are counted; --ledger writes
    them into this gateway's, and tells what cannot be proven any more.

    Example: bastion state rebuild-index --config /etc/bastion/bastion.toml
    """
    copies = copies_of(config_file)
    with open_state(config_file) as stored:
        _tell("", rebuild_from(stored.database, stored.recordings, stored.node))
        if copies is not None:
            from bastion.archive.rebuilding import rebuild as rebuild_from_bucket  # boto3, for a bucket alone

            files = {name for name, _ in stored.recordings.names()}
            now = SystemClock().time()
            try:
                with counting("looking into the bucket") as told:
                    done = rebuild_from_bucket(copies.bucket, stored.database, stored.node, files, now, told)
            except StoreFault as fault:
                fail(f"the bucket {copies.place.bucket}: {printable(fault.text)}: run it again", 3)
            _tell(f"the bucket {copies.place.bucket}: ", done)
            rebuild_ledger(config_file, copies, stored, ledger_too)


def _tell(where: str, done: Rebuilt) -> None:
    rows = f"{done.added} rows added, {done.corrected} corrected"
    click.echo(f"{where}{rows}, {done.unreadable} recordings cannot be read")
