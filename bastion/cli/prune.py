"""`bastion prune`: recordings that are kept no longer go, by the rules of `[retention]` (L4)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import click

from bastion.cli.auditing import account, audited
from bastion.cli.output import fail, printable, size_text, time_text, write_json, write_table
from bastion.cli.retaining import labels_of, rules_of
from bastion.cli.runtime import config_option, load_or_fail
from bastion.cli.stores import Alone, Stored, open_state
from bastion.cli.wanted import Wanted, wanted_gone
from bastion.clock import SystemClock
from bastion.config.load import Config
from bastion.errors import ConfigError, StoreFault
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.events import About, AuditEvent
from bastion.observe.events.retention import DeletionRefused, RecordingDeleted
from bastion.recording.format import REF_LENGTH
from bastion.recording.ledger import MAX_DETAIL, Entry, LedgerEvent
from bastion.recording.ledger_file import LedgerFile, ledger_path
from bastion.state import deletions
from bastion.state.database import StateDown
from bastion.state.pruning import Objects, Removed, Stays, holds, kept, remove, remove_empty_days, sums
from bastion.state.retention import Going, plan

SHOWN = 20
EXIT_CODES = (
    "Exit codes: 0 done, or nothing is to go; 1 some of them could not be removed; 2 the call or a file is wrong; "
    "3 the state store or the audit log cannot be used."
)


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--yes", is_flag=True, help="Remove them. Without it nothing is changed.")
@click.option("--dry-run", is_flag=True, help="Only say what would go: what it does without --yes.")
@click.option("--json", "as_json", is_flag=True, help="Everything that goes, as one JSON object.")
def prune(config_file: Path, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove recordings that are kept no longer, by age, by label of their target, by user, by size in all.

    What two people want gone (`bastion deletions`) goes too. What is held (`bastion hold`) or still being recorded
    stays. What goes leaves a row in the index, with its size and SHA-256, and a line in the audit log.

    Example: bastion prune --config /etc/bastion/bastion.toml --yes
    """
    if yes and dry_run:
        fail("--yes and --dry-run: choose one")
    config = load_or_fail(config_file)
    now = SystemClock().time()
    with open_state(config_file) as stored, Alone(stored):
        going, wanted = _going(config, stored, now)
        if not yes:
            _show(going, as_json, removed=None)
            return
        removed, stayed = _remove(config, stored, going, wanted, now)
        remove_empty_days(stored.recordings, now)
    _show([one.going for one in removed], as_json, removed=removed)
    for line in stayed:
        click.echo(f"bastion: {printable(line)}", err=True)
    if stayed:
        sys.exit(1)


def _going(config: Config, stored: Stored, now: float) -> tuple[list[Going], Wanted]:
    """What goes by the rules, and then what two people want gone."""
    rules = rules_of(config)
    due = deletions.due(stored.database, now)
    if not (rules.any or due):
        return [], Wanted()
    recordings = kept(stored.database, stored.recordings, stored.node, labels_of(config))
    held = holds(stored.database)
    going = plan(rules, recordings, held, now)
    rest = {one.session: one for one in recordings} | dict.fromkeys(one.recording.session for one in going)
    found = wanted_gone(due, rest, held, rules.at_least, now)
    return [*going, *found.going], found


def _objects(config: Config, going: Iterable[Going], audit: AuditLog) -> Objects | None:
    """What removes from the bucket, where something is to go there. Ends the command when it cannot be used."""
    place = config.recording.store.place()
    if place is None or not any(one.recording.stored for one in going):
        return None
    from bastion.archive.bucket import Bucket  # boto3, for recordings in a bucket alone
    from bastion.archive.removing import objects_of

    def refused(one: Going, text: str) -> None:
        _emit(audit, one.recording.session, DeletionRefused(account(), text))

    try:
        return objects_of(Bucket(place), SystemClock(), refused)
    except (ConfigError, StoreFault) as error:
        fail(str(error), 3)


def _remove(
    config: Config, stored: Stored, going: list[Going], wanted: Wanted, now: float
) -> tuple[list[Removed], list[str]]:
    """(what went, why others stay)."""
    by, removed, stayed, there = account(), list[Removed](), list[str](), set[str]()
    ledger = LedgerFile(ledger_path(stored.recordings.directory, stored.node), stored.node)
    with audited(stored.audit) as audit:
        objects = _objects(config, going, audit)
        stayed += wanted.told(stored.database, lambda session, event: _emit(audit, session, event), by)

        def tell(one: Removed) -> None:
            recording = one.going.recording
            event = RecordingDeleted(
                by=by,
                why=one.going.why,
                user=recording.identity,
                target=recording.target,
                size=one.size,
                sha256=one.sha256,
            )
            _emit(audit, recording.session, event)
            ledger.append(
                [Entry(0, now, LedgerEvent.REMOVED, recording.session, detail=one.going.why[:MAX_DETAIL])],
                now,
            )

        for one in going:
            try:
                still = wanted.still(one, now)
                removed.append(remove(stored.database, stored.recordings, one, by, now, tell, objects, still))
            except Stays as error:
                stayed.append(f"{one.recording.session} stays: {error}")
                wanted.stayed(stored.database, one.recording.session, str(error))
            except FileNotFoundError:
                continue  # somebody else was quicker
            except OSError as error:
                stayed.append(f"{one.recording.session} stays: {error.strerror}")
                wanted.stayed(stored.database, one.recording.session, str(error.strerror))
                there.add(one.recording.session)
            except (StateDown, AuditFailed) as error:
                stayed.append(f"{one.recording.session} and what is younger stay: {error}")
                there.add(one.recording.session)
                break
    deletions.settle(stored.database, there & set(wanted.about))
    return removed, stayed


def _emit(audit: AuditLog, session: str, event: AuditEvent) -> None:
    audit.emit(event, About(session, session[:REF_LENGTH]))


def _show(going: list[Going], as_json: bool, removed: list[Removed] | None) -> None:
    digests = {one.going.recording.session: one for one in removed or ()}
    if as_json:
        rows = [
            {
                "session": one.recording.session,
                "user": one.recording.identity,
                "target": one.recording.target,
                "ended_at": one.recording.ended_at,
                "size": one.recording.size,
                "why": one.why,
                **({"sha256": digests[one.recording.session].sha256} if digests else {}),
            }
            for one in going
        ]
        write_json({"removed": removed is not None, "recordings": rows})
        return
    if going:
        write_table(
            ("ID", "ENDED", "WHO", "TARGET", "SIZE", "RULE"),
            [
                (
                    one.recording.session,
                    time_text(one.recording.ended_at),
                    one.recording.identity,
                    one.recording.target,
                    size_text(one.recording.size),
                    one.why,
                )
                for one in islice(going, SHOWN)
            ],
            right=("SIZE",),
            flexible=("WHO", "TARGET"),
        )
        if len(going) > SHOWN:
            click.echo(f"and {len(going) - SHOWN} more")
        for why, (count, size) in sorted(sums(going).items()):
            click.echo(printable(f"by {why}: {count} recordings, {size_text(size)}"))
    total = size_text(sum(one.recording.size for one in going))
    done = "removed" if removed is not None else "would be removed; nothing was changed (--yes removes them)"
    click.echo(f"{len(going)} recordings, {total} {done}")
