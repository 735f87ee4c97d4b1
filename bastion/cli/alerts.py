"""`bastion alerts`: what in the audit log somebody should look at (L4)."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from pathlib import Path
from typing import Any, Final

import click

from bastion.cli import moments
from bastion.cli.explain import configured_log
from bastion.cli.findings import explain, listed, mute, mutes, tell_finding, unmute
from bastion.cli.output import fail, printable, time_text, write_json, write_table
from bastion.clock import SystemClock
from bastion.config.detections import Detections
from bastion.config.outputs import State, read_section
from bastion.detect.detector import Detector
from bastion.detect.findings import Finding
from bastion.detect.lines import WANTED, Timed, parsed
from bastion.detect.posting import Poster, places
from bastion.detect.whereabouts import NoDatabase
from bastion.errors import ConfigError, Detection
from bastion.observe.audit import timestamp
from bastion.observe.log_files import LogUnreadable, log_files, read_lines
from bastion.observe.tail import Tail

MOST_KEPT: Final = 10_000  # findings that are shown; the others are counted
WEEK: Final = 7 * 86400.0
FOLLOW_PAUSE: Final = 1.0  # s between two looks at the log
OVERLAP: Final = 3600.0  # s before the start whose alerts are posted (again): a restart loses none

Wait = Callable[[float], bool]
"""Waits so many seconds; True when it is to end."""


@dataclass(slots=True)
class Replayed:
    """What a log shows."""

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[Detection, str]] = field(default_factory=Counter)
    lines: int = 0
    people: int = 0
    first: float = 0.0  # the first line, and the last one
    last: float = 0.0
    unread: dict[str, str] = field(default_factory=dict)  # file -> why it could not be read (to its end)
    unreadable: int = 0


class Logs:
    """The lines of one or several audit logs, in the order of time; what cannot be read is noted in `into`."""

    def __init__(self, into: Replayed) -> None:
        self._into = into

    def lines(self, logs: Iterable[list[Path]]) -> Iterator[Timed]:
        """Of each log its files, oldest first."""
        yield from merge(*map(self._of_log, logs), key=lambda timed: timed[0])

    def _of_log(self, files: list[Path]) -> Iterator[Timed]:
        for path in files:
            try:
                yield from self.parsed(read_lines(path))
            except LogUnreadable as error:
                self._into.unread[str(path)] = str(error)

    def parsed(self, lines: Iterable[bytes]) -> Iterator[Timed]:
        """Those of the lines that are of interest."""
        for line in lines:
            if WANTED.search(line):
                try:
                    yield parsed(line)
                except ValueError:
                    self._into.unreadable += 1


def replay(
    settings: Detections, logs: list[list[Path]], since: float | None, until: float | None
) -> Replayed:
    """Everything the logs show; what lies before `since` is only learned from. Raises NoDatabase."""
    found = Replayed()
    detector = Detector(settings, settings.locate())
    for at, event in Logs(found).lines(logs):
        if until is not None and at >= until:
            break
        found.lines += 1
        found.first, found.last = found.first or at, at
        for one in detector.see(event, at):
            if since is None or at >= since:
                found.counts[one.kind, one.level] += 1
                if len(found.findings) < MOST_KEPT:
                    found.findings.append(one)
    found.people = len(detector.people)
    return found


@click.group(invoke_without_command=True)
@click.option("--explain", "name", metavar="ID", help="As `explain ID`.")
@click.option("--config", "-c", envvar="BASTION_CONFIG", metavar="FILE", help="The gateway's config file.")
@click.pass_context
def alerts(context: click.Context, name: str | None, config: str | None) -> None:
    """What in the audit log somebody should look at: docs/detections.md says what is looked for."""
    if context.invoked_subcommand is None:
        if name is None:
            raise click.UsageError("give a command, or --explain ID")
        if config is None:
            fail("where is the store? Give --config FILE")
        tell_finding(Path(config), name, False)


for _command in (listed, explain, mute, mutes, unmute):
    alerts.add_command(_command)


@alerts.command()
@click.option(
    "--config",
    "-c",
    envvar="BASTION_CONFIG",
    metavar="FILE",
    help="The gateway's config file (or BASTION_CONFIG).",
)
@click.option(
    "--log",
    "given",
    multiple=True,
    metavar="FILE",
    help="An audit log instead of the one that --config names; several gateways' logs are read as one.",
)
@click.option(
    "--since", metavar="WHEN", help=f"What is told; the log before it is learned from. {moments.FORMS}."
)
@moments.UNTIL
@click.option("--user", metavar="NAME", help="Only of this person.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def backtest(
    config: str | None,
    given: tuple[str, ...],
    since: str | None,
    until: str | None,
    user: str | None,
    as_json: bool,
) -> None:
    """Replay the audit log, rotated and compressed files too: what would have been told, by each detection.

    Detections that are off are replayed as notices, so that you see what they would say. Nothing is sent or written.

    \b
    Exit codes: 0 replayed, 2 the call or a file is wrong, 3 there is no audit log or not all of it can be read.
    """
    own = _settings(config)
    off: dict[str, Any] = {kind.value: "notice" for kind in Detection if own.level(kind) == "off"}
    settings = replace(own, **off)
    logs = [log_files(path) for path in map(Path, given or [str(configured_log(config))])]
    if not all(logs):
        fail("there is no audit log at " + " or ".join(given or [str(configured_log(config))]), 3)
    now = SystemClock().time()
    begin = moments.since(since, now)
    try:
        found = replay(settings, logs, begin, moments.until(until, now))
    except NoDatabase as error:
        fail(f"{config}: detections: {error}")
    if user is not None:
        found.findings = [one for one in found.findings if one.user == user]
        found.counts = Counter((one.kind, one.level) for one in found.findings)
    if as_json:
        write_json(_document(own, found, begin))
    else:
        _print(own, found, begin)
    if found.unread:
        sys.exit(3)


def _settings(config: str | None) -> Detections:
    """The section of the configuration, or what stands for none. Ends the command for a fault in it."""
    if config is None:
        return Detections()
    try:
        return read_section(config, Detections)
    except ConfigError as error:
        fail(str(error))


def _weeks(found: Replayed, since: float | None) -> float:
    return max((found.last - max(found.first, since or 0.0)) / WEEK, 1 / 7)


def _document(own: Detections, found: Replayed, since: float | None) -> dict[str, Any]:
    return {
        "lines": found.lines,
        "people": found.people,
        "first": timestamp(found.first),
        "last": timestamp(found.last),
        "weeks": round(_weeks(found, since), 2),
        "unread_files": found.unread,
        "unreadable_lines": found.unreadable,
        "detections": {
            kind.value: {
                "level": own.level(kind),
                "alerts": found.counts[kind, "alert"],
                "notices": found.counts[kind, "notice"],
            }
            for kind in Detection
        },
        "findings": [{"ts": timestamp(one.at), **one.document()} for one in found.findings],
    }


def _print(own: Detections, found: Replayed, since: float | None) -> None:
    for one in found.findings:
        who = f" {one.user}" if one.user else ""
        click.echo(printable(f"{time_text(one.at)}  {one.id}  {one.level:6}  {one.kind}{who}"))
        click.echo(printable(f"    expected: {one.expected}"))
        click.echo(printable(f"    came:     {one.came}"))
        if one.sessions:
            click.echo(printable(f"    look at:  {' '.join(one.sessions)}"))
    if found.findings:
        click.echo("")
    if sum(found.counts.values()) > len(found.findings):
        click.echo(f"only the first {len(found.findings)} are shown\n")
    rows = [
        (kind.value, own.level(kind), str(found.counts[kind, "alert"]), str(found.counts[kind, "notice"]))
        for kind in Detection
    ]
    write_table(("DETECTION", "LEVEL", "ALERTS", "NOTICES"), rows, right=("ALERTS", "NOTICES"))
    weeks = _weeks(found, since)
    total = sum(count for (_, level), count in found.counts.items() if level == "alert")
    click.echo(
        f"\n{found.lines} lines about {found.people} people; {total / weeks:.1f} alerts a week over {weeks:.1f} weeks"
    )
    if found.unreadable:
        click.echo(f"{found.unreadable} torn or unreadable lines were left out", err=True)
    for path, problem in found.unread.items():
        click.echo(f"bastion: {printable(path)}: cannot be read to its end: {printable(problem)}", err=True)


@alerts.command()
@click.option(
    "--config",
    "-c",
    envvar="BASTION_CONFIG",
    required=True,
    metavar="FILE",
    help="The gateway's config file (or BASTION_CONFIG).",
)
def follow(config: str) -> None:
    """Follow the audit log and post its alerts to whom the configuration names, until it is stopped.

    For a log that no gateway here follows itself (`[detections] run`): it keeps nothing, and knows of no mutes. It
    learns from the log that is there, rotated files too, then reads what is written. Alerts of the last hour are posted
    at the start: those that an Alertmanager has are the same ones to it. Each alert is a line of JSON on standard
    output too; what cannot be posted is tried again, and told on standard error.

    \b
    Exit codes: 0 stopped, 2 the call or a file is wrong, 3 there is no audit log.
    """
    settings = _settings(config)
    if settings.run:
        fail(f"{config}: detections.run: the gateway's own process does that: bastion alerts list")
    clock = SystemClock()
    posters = [Poster(one, clock) for one in places(*settings.ways, read_section(config, State).name)]
    if not posters:
        fail(
            f'{config}: detections.alertmanager: is not set (allowed: "http://127.0.0.1:9093"), nor is webhook'
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    path = configured_log(config)
    try:
        tail = Tail(path)
    except OSError as error:
        fail(f"audit log {path}: {error.strerror}", 3)
    try:
        detector = Detector(settings, settings.locate())
        follow_log(path, tail, detector, posters, clock.time() - OVERLAP, stop.wait)
    except NoDatabase as error:
        fail(f"{config}: detections: {error}")
    finally:
        tail.close()


def follow_log(
    path: Path, tail: Tail, detector: Detector, posters: Sequence[Poster], begin: float, wait: Wait
) -> None:
    """Learn from the rotated files, then from what `tail` reads; alerts since `begin` (epoch seconds) are posted."""
    found = Replayed()
    logs = Logs(found)
    rotated = [file for file in log_files(path) if not tail.is_file(file)]
    for timed in logs.lines([rotated]):
        _take(detector, timed, posters, begin)
    for file, problem in found.unread.items():
        click.echo(f"bastion: {printable(file)}: cannot be read to its end: {printable(problem)}", err=True)
    told = dict.fromkeys(posters, "")
    while True:
        for timed in logs.parsed(tail.lines()):
            _take(detector, timed, posters, begin)
        for poster in posters:
            poster.flush()
            if poster.told.fault != told[poster]:
                told[poster] = poster.told.fault
                state = (
                    f"{told[poster]}; {poster.waiting} alerts wait" if told[poster] else "takes alerts again"
                )
                click.echo(f"bastion: {poster.where.name}: {printable(state)}", err=True)
            poster.take_settled()
        if wait(FOLLOW_PAUSE):
            return


def _take(detector: Detector, timed: Timed, posters: Sequence[Poster], begin: float) -> None:
    at, event = timed
    for one in detector.see(event, at):
        if one.level == "alert" and at >= begin:
            for poster in posters:
                poster.put(one)
            write_json({"ts": timestamp(at), **one.document()})
            sys.stdout.flush()
