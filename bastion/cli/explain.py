"""`bastion explain REF`: everything the audit log knows about one reference, told in plain words (L4).

A reference is what an engineer reads out of a refusal: six characters, or a whole session id. The log and its
rotated siblings are read oldest first; compressed ones too. Nothing is assumed about a line but that it is
JSON: unknown events are shown as they are, torn lines are counted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from bastion.cli.advice import advice
from bastion.cli.output import fail, printable, write_json
from bastion.config.outputs import Audit, read_section
from bastion.errors import ConfigError
from bastion.observe.events import sentence
from bastion.observe.log_files import LogUnreadable, log_files, read_lines
from bastion.recording.strict_json import parse_object

REFERENCE: Final = re.compile(r"[a-z2-7]{6,16}")
# One story. A session with more events than this (a long Ansible run) is cut with a note.
MAX_EVENTS: Final = 20_000

Event = dict[str, Any]


@dataclass
class Found:
    """What the logs say about one reference."""

    files: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)  # file -> why it could not be read (to its end)
    events: list[Event] = field(default_factory=list)
    unreadable: int = 0
    cut: bool = False

    def add(self, event: Event | None, wanted: Callable[[Event], bool]) -> bool:
        """Take one line's event in; False when the story is full."""
        if event is None:
            self.unreadable += 1
        elif wanted(event):
            if len(self.events) >= MAX_EVENTS:
                self.cut = True
                return False
            self.events.append(event)
        return True


def find(reference: str, files: list[Path]) -> Found:
    """Every event of `reference`, and of the connection that its sessions came through, in order of time."""
    found = _scan(files, (reference,), lambda event: _is_of(event, reference))
    carriers = {str(event["connection"]) for event in found.events if event.get("connection")}
    carriers = {carrier for carrier in carriers if not carrier.startswith(reference)}
    if carriers:
        found = _scan(
            files,
            (reference, *carriers),
            lambda event: _is_of(event, reference) or _is_carried(event, carriers),
        )
    found.events.sort(key=lambda event: str(event.get("ts", "")))  # stable: the files' order decides ties
    return found


def _is_of(event: Event, reference: str) -> bool:
    return any(str(event.get(key, "")).startswith(reference) for key in ("session", "connection", "ref"))


def _is_carried(event: Event, carriers: set[str]) -> bool:
    """An event of the connection itself; not of the other sessions on it."""
    return event.get("connection") in carriers and not event.get("session")


def _scan(files: list[Path], texts: Iterable[str], wanted: Callable[[Event], bool]) -> Found:
    """The wanted events of all files, of the lines that hold one of `texts` (most lines are never parsed)."""
    found = Found(files=[str(path) for path in files])
    needles = [text.encode() for text in texts]
    for path in files:
        try:
            for line in read_lines(path):
                if any(needle in line for needle in needles) and not found.add(_parse(line), wanted):
                    return found
        except LogUnreadable as error:
            found.unread[str(path)] = str(error)
    return found


def _parse(line: bytes) -> Event | None:
    try:
        event = parse_object(line)
    except ValueError:
        return None
    return event if isinstance(event.get("event"), str) else None


def stories(events: list[Event]) -> dict[str, list[Event]]:
    """Events by the session (or connection) they belong to: six characters may, rarely, fit two."""
    grouped: dict[str, list[Event]] = {}
    for event in events:
        key = str(event.get("session") or event.get("connection") or event.get("ref") or "")
        grouped.setdefault(key, []).append(event)
    return grouped


def tell(events: list[Event]) -> Iterator[str]:
    """The story in lines: a heading, a line per event, and what helps when something was refused."""
    identity = next((str(event["session"]) for event in events if event.get("session")), "")
    yield f"session {printable(identity)}" if identity else "a connection that never became a session"
    yield ""
    day = ""
    for event in events:
        date, _, clock = str(event.get("ts", "")).rstrip("Z").partition("T")
        if date != day:
            day = date
            yield f"{printable(date)} (UTC)"
        yield f"  {printable(clock):12}  {printable(sentence(event))}"
    hints = list(_hints(events))
    if hints:
        yield ""
        yield "what helps"
        yield from (f"  {printable(hint)}" for hint in hints)


def _hints(events: list[Event]) -> Iterator[str]:
    """Advice on each refusal, once; who, where and as whom may stand in an earlier event."""
    known: Event = {}
    told = set()
    for event in events:
        known |= {key: event[key] for key in ("user", "target", "login") if event.get(key)}
        hint = advice({**known, "reason": event.get("reason", "")})
        if hint and hint not in told:
            told.add(hint)
            yield hint


@click.command()
@click.argument("reference")
@click.option(
    "--config",
    "-c",
    envvar="BASTION_CONFIG",
    metavar="FILE",
    help="The gateway's config file (or BASTION_CONFIG).",
)
@click.option("--log", metavar="FILE", help="The audit log (instead of the one that --config names).")
@click.option("--json", "as_json", is_flag=True, help="The events as one JSON document.")
def explain(reference: str, config: str | None, log: str | None, as_json: bool) -> None:
    """Tell the full story behind a reference or a session id.

    \b
    Exit codes: 0 told (a file that could not be read is named on standard error), 1 nothing is known of it,
    2 no reference or no log was named, 3 there is no audit log.
    """
    reference = reference.strip().lower()
    if not REFERENCE.fullmatch(reference):
        fail("a reference is 6 to 16 characters of a-z and 2-7, as in (ref 7f3k2a)")
    path = Path(log) if log else configured_log(config)
    files = log_files(path)
    if not files:
        fail(f"there is no audit log at {path}", 3)
    found = find(reference, files)
    for file, problem in found.unread.items():
        click.echo(f"bastion: {printable(file)}: cannot be read to its end: {printable(problem)}", err=True)
    if as_json:
        write_json(
            {
                "reference": reference,
                "files": found.files,
                "unread_files": found.unread,
                "unreadable_lines": found.unreadable,
                "cut": found.cut,
                "events": found.events,
            }
        )
    else:
        _print(found)
    if not found.events:
        if not as_json:
            click.echo(f"nothing is known of {reference} in {', '.join(found.files)}", err=True)
        sys.exit(1)


def _print(found: Found) -> None:
    for number, events in enumerate(stories(found.events).values()):
        if number:
            click.echo("")
        for line in tell(events):
            click.echo(line)
    if found.unreadable:
        click.echo(f"note: {found.unreadable} torn or unreadable lines were left out", err=True)
    if found.cut:
        click.echo(f"note: only the first {MAX_EVENTS} events are shown", err=True)


def configured_log(config_path: str | None) -> Path:
    """Where the configuration puts the audit log."""
    if config_path is None:
        fail("where is the audit log? Give --log FILE or --config FILE")
    try:
        return read_section(config_path, Audit).file
    except ConfigError as error:
        fail(str(error))
