"""`bastion status`, `penalties` and `log-level`: how the running gateway is, and small orders to it (L4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.live import count
from bastion.cli.output import colour, duration_text, fail, printable, size_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.cli.stores import stored_of
from bastion.clock import SystemClock
from bastion.config.detections import Detections
from bastion.config.outputs import read_section
from bastion.control.codec import to_json
from bastion.control.node import NodeStatus, StatusAsked
from bastion.control.orders import ClearPenalties, LogLevel, PenaltiesAsked, PenaltyList, SetLogLevel
from bastion.errors import ConfigError
from bastion.observe.audit import timestamp
from bastion.state.database import StateDown
from bastion.state.findings import Tally, mutes, tallied

DAY: Final = 86400.0

COLOURS = {"ok": "green", "running": "green", "degraded": "yellow", "draining": "yellow", "refusing": "red",
           "silent": "red"}  # fmt: skip


@click.command(epilog="Exit 0: it runs and sessions begin; 1: they do not; 3: no gateway answers.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(config_file: Path, as_json: bool) -> None:
    """Say how the gateway is: its processes, since when, sessions, disk, directory, penalties, locks, findings.

    Example: bastion status --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        nodes = client.ask(StatusAsked()).nodes
    now = SystemClock().time()
    well, found = any(_is_well(node) for node in nodes), _findings(config_file, now)
    if as_json:
        write_json({"well": well, "nodes": [to_json(node) for node in nodes], "findings": found})
    else:
        for node in nodes:
            _show(node, now)
        if found is not None:
            _show_findings(found)
    if not well:
        raise SystemExit(1)


def _is_well(node: NodeStatus) -> bool:
    return node.state == "running" and all(part.state != "refusing" for part in node.parts)


def _show(node: NodeStatus, now: float) -> None:
    state = (
        colour(node.state, COLOURS.get(node.state, ""), bold=True) if node.state in COLOURS else node.state
    )
    click.echo(f"{printable(node.name)}  {state}")
    if node.state == "silent":
        return
    runs = f"version {node.version}, pid {node.pid}, for {duration_text(now - node.started_at)}"
    open_now = ", ".join((
        count(node.sessions, "session"), count(node.tunnels, "tunnel"), count(node.connections, "connection"),
        count(node.watchers, "watcher"),
    ))  # fmt: skip
    lines = [
        ("runs", runs),
        ("configuration", f"{node.config}, put in force {count(node.reloads, 'time')}"),
        ("open", open_now),
        ("disk", f"{size_text(node.disk_free)} free, {size_text(node.disk_floor)} needed"),
        (
            "held",
            f"{count(node.penalties, 'penalty').replace('penaltys', 'penalties')}, {count(node.locks, 'lock')}",
        ),
        ("log", node.log_level),
    ]
    for name, text in lines:
        if text:
            click.echo(f"  {name + ':':15}{printable(text)}")
    for part in node.parts:
        shown = colour(part.state, COLOURS.get(part.state, "white"))
        click.echo(f"  {part.part + ':':15}{shown}{': ' + printable(part.text) if part.text else ''}")


def _findings(config_file: Path, now: float) -> dict[str, Any] | None:
    """What the store has of the last day, by detection; `trouble` when that is not known. None: nothing detects."""
    try:
        if not read_section(config_file, Detections).run:
            return None
        stored = stored_of(config_file)
    except ConfigError as error:
        return {"trouble": str(error)}
    try:
        found = tallied(stored.database, now - DAY)
        return {"since": timestamp(now - DAY), **_counts(found), "mutes": len(mutes(stored.database, now))}
    except (StateDown, OSError) as error:
        return {"trouble": f"the state store cannot be asked: {error}"}
    finally:
        stored.database.close()


def _counts(found: Sequence[Tally]) -> dict[str, Any]:
    kinds: dict[str, dict[str, int]] = {}
    for one in found:
        of_kind = kinds.setdefault(one.kind, {"alert": 0, "notice": 0, "muted": 0})
        of_kind["muted" if one.muted else one.level] += one.count
    muted = sum(one.count for one in found if one.muted)
    return {"open": sum(one.count for one in found) - muted, "muted": muted, "kinds": kinds}


def _show_findings(found: dict[str, Any]) -> None:
    if "trouble" in found:
        click.echo(f"findings: not known: {printable(found['trouble'])}")
        return
    held = f"{found['open']} open, {found['muted']} muted; {count(found['mutes'], 'mute')} in force"
    click.echo(f"findings of the last 24 h: {held}")
    for kind, counts in found["kinds"].items():
        told = [count(counts[level], level) for level in ("alert", "notice") if counts[level]]
        told += [f"{counts['muted']} muted"] if counts["muted"] else []
        click.echo(f"  {printable(kind) + ':':20}{', '.join(told)}")


@click.command(epilog="Exit 0: done; 1: you may not; 2: the call is wrong; 3: no gateway answers.")
@config_option
@click.argument("order", required=False, type=click.Choice(["clear"]))
@click.option("--source", default="", help="clear: those of this address.")
@click.option("--account", default="", help="clear: those of this account.")
@click.option("--all", "everything", is_flag=True, help="clear: all of them.")
@click.option("--reason", default="", help="clear: it stands in the audit log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def penalties(
    config_file: Path,
    order: str | None,
    source: str,
    account: str,
    everything: bool,
    reason: str,
    as_json: bool,
) -> None:
    """List who must wait after failed logins, or forget it: penalties clear.

    Example: bastion penalties clear --config /etc/bastion/bastion.toml --account alice
    """
    if order is None and (source or account or everything):
        fail("--source, --account and --all are of: bastion penalties clear")
    if order and not (source or account or everything):
        fail("name whose: --source, --account, both of these, or --all")
    with ControlClient(config_file) as client:
        found = client.ask(ClearPenalties(source, account, reason) if order else PenaltiesAsked())
    if as_json:
        write_json(to_json(found))
    elif order:
        click.echo(f"cleared {found.all}")
    else:
        _list(found)


def _list(found: PenaltyList) -> None:
    rows: list[tuple[str, ...]] = [
        (one.source or "anywhere new", one.account or "any", duration_text(one.left), str(one.failures))
        for one in found.penalties
    ]
    columns: tuple[str, ...] = ("SOURCE", "ACCOUNT", "FOR", "FAILURES")
    if any(one.nodes for one in found.penalties):
        columns += ("GATEWAYS",)
        rows = [(*row, ", ".join(one.nodes)) for row, one in zip(rows, found.penalties, strict=True)]
    write_table(columns, rows, right=("FOR", "FAILURES"), flexible=("SOURCE", "ACCOUNT"))
    if found.all > len(rows):
        click.echo(f"bastion: {found.all - len(rows)} more are not shown", err=True)


@click.command("log-level", epilog="Exit 0: done; 1: you may not; 3: no gateway answers.")
@config_option
@click.argument("level", type=click.Choice([str(level) for level in LogLevel]))
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def log_level(config_file: Path, level: str, as_json: bool) -> None:
    """Let the operator's log tell more or less, until the next start.

    Example: bastion log-level --config /etc/bastion/bastion.toml warn
    """
    with ControlClient(config_file) as client:
        done = client.ask(SetLogLevel(LogLevel(level)))
    if as_json:
        write_json(to_json(done))
    else:
        click.echo(f"log level {done.level}, was {done.before}")
