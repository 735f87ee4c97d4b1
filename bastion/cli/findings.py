"""`bastion alerts list`, `explain`, `mute`, `mutes`, `unmute`: findings that a gateway keeps (L4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from bastion.cli import moments
from bastion.cli.auditing import account, audited
from bastion.cli.output import fail, printable, time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.cli.stores import open_state
from bastion.clock import SystemClock
from bastion.errors import Detection
from bastion.observe.audit import timestamp
from bastion.observe.events.detections import DetectionMuted, DetectionUnmuted
from bastion.options.kinds import seconds_of
from bastion.state import findings as rows
from bastion.state.findings import WAITING, Mute, Row, TooMany, Wanted
from bastion.state.index import Known, known_sessions

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 there is no such finding or mute; 2 the call or a file is wrong; 3 the state store "
    "cannot be used."
)
MOST_SHOWN: Final = 10_000
LONGEST_MUTE: Final = 366 * 86400.0
REASON_MAX: Final = 500
NAME_MAX: Final = 128  # of a person or a target, as findings have them

KIND: Final = click.Choice([str(kind) for kind in Detection])
STATES: Final = ("open", "muted")

_HEADINGS: Final = ("WHEN", "ID", "LEVEL", "STATE", "DETECTION", "USER", "CAME")


@click.command("list", epilog=EXIT_CODES)
@config_option
@click.option("--since", metavar="WHEN", help=f"Only what was seen at or after this: {moments.FORMS}.")
@click.option("--kind", type=KIND, help="Only of this detection.")
@click.option("--user", default="", metavar="NAME", help="Only about this person.")
@click.option("--level", type=click.Choice(["alert", "notice"]), help="Only those.")
@click.option("--state", type=click.Choice(STATES), help="Only those that are muted, or are not.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def listed(
    config_file: Path,
    since: str | None,
    kind: str | None,
    user: str,
    level: str | None,
    state: str | None,
    as_json: bool,
) -> None:
    """List what the gateway's own process has found and kept, oldest first.

    Example: bastion alerts list --since 7d --config /etc/bastion/bastion.toml
    """
    begin = moments.since(since, SystemClock().time())
    muted = None if state is None else state == "muted"
    wanted = Wanted(begin, kind or "", user, level or "", muted)
    with open_state(config_file) as stored:
        found = rows.listed(stored.database, wanted, MOST_SHOWN)
    if as_json:
        write_json({"findings": [document_of(row) for row in found]})
        return
    write_table(_HEADINGS, [_cells(row) for row in found], flexible=("CAME", "USER"))
    if len(found) == MOST_SHOWN:
        click.echo(
            f"only the newest {MOST_SHOWN} are shown: --since, --kind and --user show others", err=True
        )


def _cells(row: Row) -> tuple[str, ...]:
    return time_text(row.at), row.id, row.level, _state(row), row.kind, row.identity, row.came


def _state(row: Row) -> str:
    return "muted" if row.mute else "open"


def document_of(row: Row) -> dict[str, Any]:
    """One finding of `--json`: docs/detections.md. Fields are added, never changed."""
    return {
        "ts": timestamp(row.at),
        "id": row.id,
        "kind": row.kind,
        "level": row.level,
        "state": _state(row),
        "mute": row.mute,
        "user": row.identity,
        "target": row.target,
        "expected": row.expected,
        "came": row.came,
        "sessions": sessions_of(row),
        "gateway": row.node,
        "kept_at": timestamp(row.made_at),
        "posts": {way: getattr(row, way) for way in rows.WAYS if way != "audited" and getattr(row, way)},
    }


def sessions_of(row: Row) -> list[str]:
    """Sessions or connections, oldest first."""
    return [name for name in row.sessions.split(",") if name]


@click.command(epilog=EXIT_CODES)
@config_option
@click.argument("finding", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def explain(config_file: Path, finding: str, as_json: bool) -> None:
    """Tell what a finding is about: what was expected, what came, in which sessions, and how to look at those.

    ID may be the beginning of one.

    Example: bastion alerts explain k3v2m5q7 --config /etc/bastion/bastion.toml
    """
    tell_finding(config_file, finding, as_json)


def tell_finding(config_file: Path, name: str, as_json: bool) -> None:
    """As `bastion alerts explain`."""
    with open_state(config_file) as stored:
        prefix = name.strip().lower()
        found = rows.named(stored.database, prefix, 2) if prefix else []
        if len(found) != 1:
            fail(f"{name} means more than one finding" if found else f"no finding {name}", 1)
        row = found[0]
        known = known_sessions(stored.database, sessions_of(row))
        mute = next((one for one in rows.all_mutes(stored.database) if one.id == row.mute), None)
    if as_json:
        write_json(
            {
                **document_of(row),
                "look": [_look(one, known.get(one), config_file) for one in sessions_of(row)],
            }
        )
        return
    for line in _story(row, known, mute, config_file):
        click.echo(printable(line))


def _story(row: Row, known: dict[str, Known], mute: Mute | None, config: Path) -> list[str]:
    about = f" about {row.identity}" if row.identity else ""
    lines = [
        f"{row.id}: {row.kind}, {row.level}{about}, {time_text(row.at)}, gateway {row.node}",
        "",
        f"  expected:  {row.expected}",
        f"  came:      {row.came}",
    ]
    if row.target:
        lines.append(f"  target:    {row.target}")
    lines += [
        f"  {way}: {_how(getattr(row, way))}" for way in rows.WAYS if way != "audited" and getattr(row, way)
    ]
    if row.mute:
        why = f" by {mute.made_by} until {time_text(mute.until)}: {mute.reason}" if mute else ""
        lines.append(f"  muted:     {row.mute}{why}")
    if sessions_of(row):
        lines += ["", "look at"]
    for name in sessions_of(row):
        look = _look(name, known.get(name), config)
        lines.append(f"  {look['what']}")
        lines += [f"    {command}" for command in look["commands"]]
    return lines


def _how(state: str) -> str:
    return "is to be posted" if state == WAITING else state


def _look(name: str, one: Known | None, config: Path) -> dict[str, Any]:
    """One session or connection of a finding, and what shows more of it."""
    story = f"bastion explain {name} --config {config}"
    if one is None:
        return {"session": name, "what": f"{name}, a connection", "commands": [story]}
    what = f"{name}, {one.identity} on {one.target} as {one.login}, {time_text(one.started_at)}"
    if one.recording == "deleted":
        return {"session": name, "what": f"{what} (its recording was removed)", "commands": [story]}
    return {"session": name, "what": what, "commands": [f"bastion replay {name} --config {config}", story]}


# -- mutes -----------------------------------------------------------------------------------------------------------


@click.command(epilog=EXIT_CODES)
@config_option
@click.argument("kind", type=KIND, required=False, metavar="[DETECTION]")
@click.option("--user", default="", metavar="NAME", help="Only findings about this person.")
@click.option(
    "--target", default="", metavar="NAME", help="Only those of this target, or of tunnels to this host."
)
@click.option("--reason", required=True, metavar="TEXT", help="It stands in the audit log and in the list.")
@click.option("--for", "how_long", required=True, metavar="30d", help="How long: 12h, 30d; a year at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def mute(
    config_file: Path, kind: str | None, user: str, target: str, reason: str, how_long: str, as_json: bool
) -> None:
    """Post no findings of DETECTION, about a person or of a target; several together must all fit.

    They are kept, written into the audit log and counted as before, and marked. Whoever may write the gateway's store
    and its log may do that.

    Example: bastion alerts mute sftp_data --user backup --reason "nightly copy" --for 30d -c /etc/bastion/bastion.toml
    """
    if not (kind or user or target):
        fail("say what is muted: a detection, --user or --target")
    if max(len(user), len(target)) > NAME_MAX:
        fail(f"a name has more than {NAME_MAX} characters")
    seconds, now = seconds_of(how_long), SystemClock().time()
    if seconds is None or not 0 < seconds <= LONGEST_MUTE:
        fail(f"--for {how_long}: give a time such as 12h or 30d, a year at most")
    by = account()
    one = Mute(rows.new_id(), kind or "", user, target, _reason(reason), by, now, now + seconds)
    event = DetectionMuted(
        by=by,
        mute=one.id,
        reason=one.reason,
        until=timestamp(one.until),
        kind=Detection(kind) if kind else None,
        user=user,
        target=target,
    )
    with open_state(config_file) as stored, audited(stored.audit) as log:
        try:
            rows.mute(stored.database, one, lambda: log.emit(event))
        except TooMany as error:
            fail(str(error), 1)
    if as_json:
        write_json(_mute_document(one))
    else:
        click.echo(f"muted until {time_text(one.until)}: {one.id}")


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def mutes(config_file: Path, as_json: bool) -> None:
    """List the mutes that are in force.

    Example: bastion alerts mutes --config /etc/bastion/bastion.toml
    """
    with open_state(config_file) as stored:
        found = rows.mutes(stored.database, SystemClock().time())
    if as_json:
        write_json({"mutes": [_mute_document(one) for one in found]})
        return
    cells = [
        (one.id, one.kind, one.identity, one.target, time_text(one.until), one.made_by, one.reason)
        for one in found
    ]
    write_table(
        ("ID", "DETECTION", "USER", "TARGET", "UNTIL", "BY", "REASON"), cells, flexible=("REASON", "BY")
    )


def _mute_document(one: Mute) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "user": one.identity,
        "target": one.target,
        "reason": one.reason,
        "by": one.made_by,
        "since": timestamp(one.made_at),
        "until": timestamp(one.until),
    }


@click.command(epilog=EXIT_CODES)
@config_option
@click.argument("name", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="It stands in the audit log.")
def unmute(config_file: Path, name: str, reason: str) -> None:
    """Post again what the mute ID has covered, from now on.

    Example: bastion alerts unmute k3v2m5q7 --config /etc/bastion/bastion.toml
    """
    event = DetectionUnmuted(by=account(), mute=name, reason=reason[:REASON_MAX])
    with open_state(config_file) as stored, audited(stored.audit) as log:
        if not rows.unmute(stored.database, name, SystemClock().time(), lambda: log.emit(event)):
            fail(f"no mute {name} is in force", 1)
    click.echo(f"{name} is a mute no longer")


def _reason(text: str) -> str:
    words = text.strip()
    if not words:
        fail('--reason "..." is required: it stands in the audit log')
    if len(words) > REASON_MAX:
        fail(f"--reason has more than {REASON_MAX} characters")
    return words
