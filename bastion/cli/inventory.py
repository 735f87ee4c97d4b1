"""`bastion inventory`: which targets there are and who says so, and the inventories that are asked (L4)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from bastion.cli.output import fail, printable, write_json, write_table
from bastion.cli.runtime import config_option, load_or_fail
from bastion.clock import SystemClock
from bastion.config.check import inspect
from bastion.config.document import parse_document
from bastion.config.load import Config, load_into
from bastion.errors import ConfigError
from bastion.inventories.answers import Inventoried, read_answer, text_of
from bastion.inventories.fetching import Asking, NoAnswer
from bastion.inventories.kept import Kept, text_in
from bastion.inventories.report import left
from bastion.options import Problems, Source
from bastion.options.kinds import show_seconds
from bastion.policy.targets import Target, parse_targets

EXIT_CODES = "Exit codes: 0 listed; 1 there are none; 2 the call or a file is wrong."


@click.group()
def inventory() -> None:
    """List targets with who says so, and look at inventories that are asked: docs/targets.md."""


@inventory.command("list", epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def list_targets(config_file: Path, as_json: bool) -> None:
    """List all targets, each with the file or the inventory that it comes from. Nobody is asked.

    Example: bastion inventory list --config /etc/bastion/bastion.toml
    """
    problems, sources = Problems(), dict[Path, Source]()
    config = load_into(config_file, problems, sources)
    if config is None or problems.errors:
        fail("\n".join(map(str, problems.errors)))
    come_from = _origins(config, sources)
    rows = [_row(target, come_from.get(target.name, "?")) for target in config.inventory]
    if as_json:
        write_json({"targets": rows})
    else:
        write_table(
            ("NAME", "ADDRESS", "LABELS", "FROM"),
            [
                (
                    row["name"],
                    row["address"],
                    " ".join(f"{k}={v}" for k, v in row["labels"].items()),
                    row["from"],
                )
                for row in rows
            ],
            flexible=("LABELS",),
        )
    sys.exit(0 if rows else 1)


def _origins(config: Config, sources: Mapping[Path, Source]) -> dict[str, str]:
    """Name of a target -> where it comes from."""
    asked = {one.file: f"inventory {one.name}" for one in config.kept}
    return {
        str(path[1]): asked.get(file, file.name)
        for file in config.documents
        if file in sources
        for path in sources[file].lines
        if len(path) == 2 and path[0] == "targets"
    }


def _row(target: Target, come_from: str) -> dict[str, Any]:
    return {
        "name": target.name,
        "address": target.address,
        "aliases": list(target.aliases),
        "labels": dict(target.labels),
        "logins": list(target.logins),
        "from": come_from,
    }


@inventory.command("sources", epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def list_sources(config_file: Path, as_json: bool) -> None:
    """List the inventories that are asked: when each has answered, and what came of the last question.

    Example: bastion inventory sources --config /etc/bastion/bastion.toml
    """
    config = load_or_fail(config_file)
    now = SystemClock().time()
    rows = [_source_row(one, config, now) for one in config.kept]
    if as_json:
        write_json({"inventories": rows})
    else:
        write_table(
            ("NAME", "STATE", "ANSWERED", "TARGETS", "LAST QUESTION"),
            [
                (
                    row["name"],
                    row["state"],
                    "never" if row["answered_at"] is None else f"{show_seconds(row['age'])} ago",
                    str(row["targets"]),
                    row["text"] or row["reason"] or "none is known",
                )
                for row in rows
            ],
            flexible=("LAST QUESTION",),
        )
    sys.exit(0 if rows else 1)


def _source_row(one: Kept, config: Config, now: float) -> dict[str, Any]:
    report = left(one.file.with_suffix(".json"))
    told = report is not None and not report.well
    text = text_in(one.file) if one.counts else None
    return {
        "name": one.name,
        "state": "expired"
        if one.expired
        else "empty"
        if not one.answered_at
        else "failing"
        if told
        else "ok",
        "answered_at": one.answered_at or None,
        "age": round(one.age(now)) if one.answered_at else None,
        "targets": len(_targets(one, text)),
        "asked_at": report.at if report else None,
        "reason": str(report.reason) if report else None,
        "text": report.text if report else "",
        "url": config.inventories[one.name].url,
        "command": list(config.inventories[one.name].command),
    }


def _targets(one: Kept, text: str | None) -> dict[str, Target]:
    problems = Problems()
    opened = None if text is None else parse_document(one.file, text, problems)
    return {} if opened is None else {target.name: target for target in parse_targets(*opened, problems)}


@inventory.command(
    epilog="Exit codes: 0 it would be taken; 1 it would not; 2 the call or a file is wrong; 3 no answer."
)
@config_option
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def ask(config_file: Path, name: str, as_json: bool) -> None:
    """Ask the inventory NAME now, as whoever runs this, and say what a gateway would make of the answer.

    Nothing is kept, and no gateway hears of it. What a program says on standard error is shown.

    Example: bastion inventory ask cmdb --config /etc/bastion/bastion.toml
    """
    config = load_or_fail(config_file)
    section = config.inventories.get(name)
    if section is None:
        fail(f"there is no [inventories.{printable(name)}]")
    try:
        found = read_answer(name, section, Asking(section, errors=None).answer())
    except NoAnswer as none:
        fail(f"{none.reason}: {printable(none.text)}", 3)
    except ConfigError as error:
        fail(str(error), 1)
    report = inspect(config_file, {name: text_of(name, found.targets)})
    if report.errors:
        fail("\n".join(map(str, report.errors)), 1)
    one = next(one for one in config.kept if one.name == name)
    changes = list(_changes(_targets(one, text_in(one.file) if one.counts else None), found))
    if as_json:
        rows = [_row(target, f"inventory {name}") for target in found.targets]
        write_json({"targets": rows, "left_out": found.left_out, "changes": changes})
        return
    for change in changes:
        click.echo(printable(change))
    left_out = f", {found.left_out} names are left out" if found.left_out else ""
    click.echo(f"{len(found.targets)} targets{left_out}; {len(changes)} changes against what is kept")


def _changes(before: Mapping[str, Target], found: Inventoried) -> Iterator[str]:
    now = {target.name: target for target in found.targets}
    yield from (f"target {name}: removed" for name in before if name not in now)
    yield from (f"target {name}: added" for name in now if name not in before)
    yield from (f"target {name}: changed" for name, one in now.items() if before.get(name, one) != one)
