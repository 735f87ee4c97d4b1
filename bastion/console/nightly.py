"""`bastion searches`: the searches that people saved in the console, run, and what is new posted (L4).

Invariants: the line about a search stands in the audit log before it is run; a post says which sessions, and nothing
that was recorded; a session is posted once for each search, or again where the answer to its post was not written
down; each search finds a bounded number of sessions at a time.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import click
import orjson

from bastion.cli.auditing import audited
from bastion.cli.output import fail, printable, write_json
from bastion.cli.runtime import config_option
from bastion.cli.stores import Stored, using
from bastion.clock import SystemClock
from bastion.config.console import Console
from bastion.config.detections import Detections
from bastion.config.outputs import Audit, Recording, State, read_section
from bastion.console.filters import filters_of, search_path
from bastion.console.own_store import check_there, place_for
from bastion.detect.posting import PATIENCE, fault_of, result_of, signature
from bastion.errors import ConfigError
from bastion.indexing.store import IndexFile, IndexUnfit, place_in
from bastion.indexing.words import Question
from bastion.net.posting import Post
from bastion.observe.events.reading import RecordingsRead
from bastion.recording.listed import Listed
from bastion.recording.listing import Recordings
from bastion.state.database import Database, password_of
from bastion.state.saved import LOOKED_BACK, Hit, Saved, all_searches, note_run, told_of

MOST_NEW: Final = 100
"""Sessions that one search tells at a time; the others are told the next time."""

MOST_LINES: Final = 200_000
"""Lines that one search looks at."""

DAY: Final = 86400.0

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 something could not be posted: it is tried again the next time; 2 the call or a file is "
    "wrong; 3 the index, the state store or the audit log cannot be used."
)


@dataclass(frozen=True, slots=True)
class Hook:
    """Where news are posted, by whom, and where the console is."""

    url: str
    secret_file: Path | None
    gateway: str
    console: str


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="What was found, one JSON object a line.")
def searches(config_file: Path, as_json: bool) -> None:
    """Run the searches that people saved in the console, over the reading index, and post what is new.

    For a timer, behind `bastion index`, as the console's own user where it has one: then it uses the state store and
    the audit log that [console] names. What is new goes to the webhook of [detections], if there is one, and stands on
    the page Saved searches.

    Example: bastion searches --config /etc/bastion/bastion.toml
    """
    clock = SystemClock()
    failed = 0
    try:
        console, wanted = read_section(config_file, Console), read_section(config_file, Detections)
        stored = _stored(config_file, console)
    except ConfigError as error:
        fail(str(error))
    with using(stored, check_there), audited(stored.audit) as audit:
        hook = None
        if wanted.webhook is not None:
            hook = Hook(wanted.webhook, wanted.webhook_secret_file, stored.node, console.origin)
        file = _index(stored)
        try:
            sessions = file.sessions()
            for one in all_searches(stored.database):
                asked = f"words={one.words} {one.query}".strip()
                audit.emit(RecordingsRead(f"{one.name}, by a saved search", "searches", asked))
                now = clock.time()
                hits, more = new_hits(file, sessions, one, told_of(stored.database, one.id), now)
                fault = post(hook, one, hits, more, now) if hook is not None and hits else ""
                if fault:
                    failed += 1
                    click.echo(f"bastion: {printable(one.title)}: {printable(fault)}", err=True)
                    continue
                note_run(stored.database, one.id, hits, now)
                _tell(one, hits, as_json)
        except IndexUnfit as error:
            fail(error.text, 3)
        finally:
            file.close()
    sys.exit(1 if failed else 0)


def _stored(config_file: Path, console: Console) -> Stored:
    """As the console has it. Raises ConfigError."""
    state = read_section(config_file, State)
    folder = read_section(config_file, Recording).directory
    place = place_for(config_file, folder, state, console)
    audit = console.audit_file or read_section(config_file, Audit).file
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


def post(hook: Hook, one: Saved, hits: list[Hit], more: bool, now: float) -> str:
    """Why it could not be posted, "" when it was. Blocks."""
    body = orjson.dumps(document_of(hook, one, hits, more))
    try:
        headers = {}
        if hook.secret_file is not None:
            headers = {"Bastion-Signature": signature(hook.secret_file, body, now)}
        return result_of(Post(hook.url, body, PATIENCE).send(headers))[1]
    except (OSError, http.client.HTTPException, ConfigError, ValueError) as error:
        return fault_of(error)[1]


def document_of(hook: Hook, one: Saved, hits: list[Hit], more: bool) -> dict[str, Any]:
    """What is posted: docs/console.md. Fields are added, never changed."""
    return {
        "event": "saved_search",
        "gateway": hook.gateway,
        "search": {
            "id": one.id,
            "title": one.title,
            "by": one.name,
            "url": hook.console + search_path(one.words, one.query),
        },
        "sessions": [
            {
                "id": hit.session_id,
                "who": hit.who,
                "started_at": hit.started_at,
                "url": f"{hook.console}/sessions/{hit.session_id}",
            }
            for hit in hits
        ],
        "more": more,
    }


def _tell(one: Saved, hits: list[Hit], as_json: bool) -> None:
    if as_json:
        sessions = [hit.session_id for hit in hits]
        write_json({"search": one.id, "title": one.title, "by": one.name, "sessions": sessions})
    else:
        click.echo(printable(f"{one.title} ({one.name}): {len(hits)} new"))
