"""`bastion searches`: the searches that people saved in the console, run, and what is new told (L4).

Invariants: the line about a search stands in the audit log before it is run; it runs for somebody who may search now
(`owners`); a session is told once for each search and way, or again where it was not written down that it had been;
what could not be told is kept and told the next time; each search finds a bounded number of sessions at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import click

from bastion.cli.auditing import audited
from bastion.cli.output import fail, printable, write_json
from bastion.cli.runtime import config_option, load_or_fail
from bastion.cli.stores import Stored, using
from bastion.clock import SystemClock
from bastion.config.load import Config
from bastion.config.mail import Mail
from bastion.console.filters import filters_of
from bastion.console.own_store import check_there, place_for
from bastion.console.owners import SILENT, STOPS, Run, unfit
from bastion.console.telling import Gateway, Hook, mail, post
from bastion.errors import ConfigError
from bastion.indexing.store import IndexFile, IndexUnfit, place_in
from bastion.indexing.words import Question
from bastion.observe.audit import AuditLog
from bastion.observe.events import About
from bastion.observe.events.reading import RecordingsRead
from bastion.observe.events.reviewing import SearchSaved
from bastion.policy.locks import LockSet
from bastion.recording.listed import Listed
from bastion.recording.listing import Recordings
from bastion.state.database import Database, password_of
from bastion.state.saved import (
    LOOKED_BACK,
    Hit,
    Saved,
    Way,
    all_searches,
    note_run,
    owed,
    settle,
    stop,
    told_of,
)
from bastion.state.shared_locks import in_force, kept_locks

MOST_NEW: Final = 100
"""Sessions that one search tells at a time; the others are told the next time."""

MOST_LINES: Final = 200_000
"""Lines that one search looks at."""

DAY: Final = 86400.0

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 something could not be told, or somebody's account not be asked for: it is tried again the "
    "next time; 2 the call or a file is wrong; 3 the index, the state store or the audit log cannot be used."
)


@dataclass(frozen=True, slots=True)
class Night:
    """What one run has. `hook` is None and `mail` without a server where nobody is told so."""

    database: Database
    audit: AuditLog
    gateway: Gateway
    hook: Hook | None
    mail: Mail

    def ways(self, one: Saved) -> list[Way]:
        """How somebody is told of what it finds."""
        found = [] if self.hook is None else [Way.POST]
        return [*found, Way.MAIL] if one.mail and self.mail.server is not None else found

    def tell(self, one: Saved, more: bool, now: float) -> list[str]:
        """Tell what is owed, in each way; why that could not be."""
        faults = []
        for way in self.ways(one):
            hits, left = owed(self.database, one.id, way, MOST_NEW)
            if not hits:
                continue
            if way is Way.POST and self.hook is not None:
                fault = post(self.hook, self.gateway, one, hits, more or left, now)
            else:
                fault = mail(self.mail, self.gateway, one, hits, more or left, now)
            if fault:
                faults.append(fault)
            else:
                settle(self.database, one.id, way, hits)
        return faults


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="What was found, one JSON object a line.")
@click.pass_obj
def searches(run: Run, config_file: Path, as_json: bool) -> None:
    """Run the searches that people saved in the console, over the reading index, and tell what is new.

    For a timer, behind `bastion index`, as the console's own user where it has one: then it uses the state store and
    the audit log that [console] names. What is new stands on the page Saved searches, and goes to the webhook of
    [detections], if there is one, and by [mail] to who asked for that. Searches of somebody who is gone are stopped.

    Example: bastion searches --config /etc/bastion/bastion.toml
    """
    config = load_or_fail(config_file)
    wanted, clock = config.detections, SystemClock()
    failed = 0
    try:
        stored = _stored(config)
    except ConfigError as error:
        fail(str(error))
    with using(stored, check_there), audited(stored.audit) as audit:
        hook = None if wanted.webhook is None else Hook(wanted.webhook, wanted.webhook_secret_file)
        gateway = Gateway(stored.node, config.console.origin)
        night = Night(stored.database, audit, gateway, hook, config.mail)
        file = _index(stored)
        try:
            fit, silent = _fit(run, config, night, clock.time())
            failed += silent
            sessions = file.sessions()
            for one in fit:
                faults = _search(night, file, sessions, one, clock.time(), as_json)
                failed += bool(faults)
                for fault in faults:
                    click.echo(f"bastion: {printable(one.title)}: {printable(fault)}", err=True)
        except IndexUnfit as error:
            fail(error.text, 3)
        finally:
            file.close()
    sys.exit(1 if failed else 0)


def _search(
    night: Night, file: IndexFile, sessions: Mapping[int, Listed], one: Saved, now: float, as_json: bool
) -> list[str]:
    """Run one and tell of it; why that could not be."""
    asked = f"words={one.words} {one.query}".strip()
    night.audit.emit(RecordingsRead(f"{one.name}, by a saved search", "searches", asked))
    hits, more = new_hits(file, sessions, one, told_of(night.database, one.id), now)
    note_run(night.database, one.id, hits, now, night.ways(one))
    _show(one, hits, as_json)
    return night.tell(one, more, now)


def _fit(run: Run, config: Config, night: Night, now: float) -> tuple[list[Saved], bool]:
    """The searches that run, and whether somebody could not be asked for. Those of whoever is gone are stopped."""
    found = [one for one in all_searches(night.database) if one.stopped_at is None]
    locks = LockSet(in_force(kept_locks(night.database, now)))
    try:
        whys = unfit(run, config, found, locks)
    except ConfigError as error:
        fail(str(error))
    silent = False
    for one in found:
        why = whys.get(one.uid, "")
        if not why:
            continue
        click.echo(f"bastion: {printable(one.title)} ({printable(one.name)}) does not run: {why}", err=True)
        if why in STOPS:
            _stop(night, one, why, now)
        else:
            silent = silent or why == SILENT
    return [one for one in found if not whys.get(one.uid)], silent


def _stop(night: Night, one: Saved, why: str, now: float) -> None:
    event = SearchSaved("stopped", one.uid, one.id, why)
    stop(night.database, one.id, why, now, lambda: night.audit.emit(event, About(user=one.name)))


def _stored(config: Config) -> Stored:
    """As the console has it. Raises ConfigError."""
    state, folder, own = config.state, config.recording.directory, config.console
    place = place_for(config.file, folder, state, own)
    audit = own.audit_file or config.audit.file
    return Stored(Database(place, password_of(place)), Recordings(folder), state.name, audit)


def _index(stored: Stored) -> IndexFile:
    place = place_in(stored.recordings.directory)
    if not place.exists():
        fail(f"there is no index at {place}: run `bastion index` first", 3)
    try:
        return IndexFile(place)
    except IndexUnfit as error:
        fail(error.text, 3)


def new_hits(
    file: IndexFile, sessions: Mapping[int, Listed], one: Saved, told: set[str], now: float
) -> tuple[list[Hit], bool]:
    """Of these sessions of the index those in which it is found and that were not told, newest first, and whether there
    may be more. Raises IndexUnfit."""
    wanted = filters_of(dict(parse_qsl(one.query)), now).wanted
    begin = max(one.made_at - DAY, now - LOOKED_BACK)
    chosen = {
        number: session
        for number, session in sessions.items()
        if session.started_at >= begin and session.id not in told and wanted.takes(session)
    }
    found: dict[str, Hit] = {}
    with closing(file.search(Question.of(one.words), chosen, 0)) as lines:
        for number, line in enumerate(lines):
            session = line.session
            if wanted.spans(session.started_at + line.time) and session.id not in found:
                if len(found) == MOST_NEW:
                    return list(found.values()), True
                who = f"{session.identity}, {session.login}@{session.target}"
                found[session.id] = Hit(one.id, session.id, who, session.started_at, now)
            if number >= MOST_LINES:
                return list(found.values()), True
    return list(found.values()), False


def _show(one: Saved, hits: list[Hit], as_json: bool) -> None:
    if as_json:
        sessions = [hit.session_id for hit in hits]
        write_json({"search": one.id, "title": one.title, "by": one.name, "sessions": sessions})
    else:
        click.echo(printable(f"{one.title} ({one.name}): {len(hits)} new"))
