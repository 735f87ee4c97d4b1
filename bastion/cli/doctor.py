"""`bastion doctor`: what is wrong around a gateway, and what to type (L4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click

from bastion.cli.output import colour, fail, printable, write_json
from bastion.cli.runtime import RunInReactor, config_option, load_or_fail
from bastion.clock import SystemClock
from bastion.doctor.examination import Examination, Wanted
from bastion.doctor.findings import Area, Finding, Level
from bastion.doctor.subject import ServiceUser, Subject, usual_user
from bastion.install.program import command, program

CHECK_SECONDS: Final = 120.0
STATUS_SECONDS: Final = 30.0
COLOURS: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command(
    epilog="""\b
Exit codes: 0 nothing fails (there may be warnings), 1 something fails, 2 the call or the configuration is wrong.

\b
Examples:
  bastion doctor --config /etc/bastion/bastion.toml
  bastion doctor --config /etc/bastion/bastion.toml --only targets --login deploy"""
)
@config_option
@click.option(
    "--user", metavar="NAME", help="Whom the gateway runs as. As root: the owner of the recordings."
)
@click.option(
    "--only", multiple=True, type=click.Choice([area.value for area in Area]), help="One part; repeatable."
)
@click.option(
    "--login", metavar="ACCOUNT", help="Try targets with this account, not with one that a rule names."
)
@click.option("--quiet", is_flag=True, help="Only what is not right.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def doctor(
    run: RunInReactor,
    /,
    config_file: Path,
    user: str | None,
    only: tuple[str, ...],
    login: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Look at everything that the gateway needs: owners, ports, directory, disks, clock, names, targets.

    Run it as root, which sees most, or as the gateway's own user. It changes nothing but a probe file that is
    removed at once, and needs no gateway that runs. Targets are logged in to, and nothing is opened there.
    """
    config = load_or_fail(config_file)
    name = user or usual_user(config)
    try:
        subject = Subject(config, ServiceUser.of(name), SystemClock())
    except KeyError:
        fail(f"--user {name}: there is no such user here")
    wanted = Wanted(frozenset(map(Area, only)) or frozenset(Area), login)
    progress = _Progress(sys.stderr.isatty() and not as_json)
    found: list[Finding] = run(lambda reactor: Examination(reactor, subject, wanted, progress.told).run())
    progress.end()
    if Area.CONFIG in wanted.areas:
        found = [*_checked(config_file, name), *found]
    if Area.GATEWAY in wanted.areas:
        found = [*found, *_asked(config_file, any(one.subject.startswith("pid ") for one in found))]
    if wanted.areas & {Area.CONFIG, Area.GATEWAY}:
        order = list(Area)
        found.sort(key=lambda finding: order.index(finding.area))
    if as_json:
        _write_json(found, name)
    else:
        _write_text(found, name, quiet)
    sys.exit(1 if any(finding.level is Level.FAIL for finding in found) else 0)


class _Progress:
    """One line on the terminal while it takes its time."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def told(self, done: int, of: int) -> None:
        if self._shown:
            click.echo(f"\rlooked at {done} of {of}", nl=False, err=True)

    def end(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _checked(config_file: Path, user: str) -> list[Finding]:
    """What `bastion check` says, with the rights of the gateway's user when they can be taken."""
    options = ["--user", user] if os.geteuid() == 0 else []
    words = [*program(), "check", "--config", str(config_file), "--json", *options]
    line = command("check", "--config", config_file, *options)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=CHECK_SECONDS)
        told: dict[str, Any] = json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return [Finding(Area.CONFIG, Level.FAIL, str(config_file), "bastion check cannot be run", line)]
    found = [
        Finding(Area.CONFIG, level, ":".join(str(part) for part in (one["file"], one["line"]) if part),
                f"{one['key']}: {one['problem']}", line)
        for level, faults in ((Level.FAIL, told["errors"]), (Level.WARN, told["warnings"]))
        for one in faults
    ]  # fmt: skip
    if not found:
        found = [Finding(Area.CONFIG, Level.OK, str(config_file), f"is valid for {told['tried_as']}")]
    return found


def _asked(config_file: Path, runs: bool) -> list[Finding]:
    """What the gateway that runs says of itself (`bastion status`)."""
    line = command("status", "--config", config_file)
    words = [*program(), "status", "--config", str(config_file), "--json"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=STATUS_SECONDS)
        nodes = json.loads(done.stdout)["nodes"]
    except subprocess.TimeoutExpired:
        return [Finding(Area.GATEWAY, Level.FAIL, str(config_file), "the gateway does not answer", line)]
    except (ValueError, KeyError):
        said = done.stderr.strip().removeprefix("bastion: ")
        return [Finding(Area.GATEWAY, Level.WARN, str(config_file), said, line)] if runs else []
    found = []
    for node in nodes:
        about = f"{node['name']} of the gateway"
        ill = [part for part in node["parts"] if part["state"] != "ok"]
        for part in ill:
            level = Level.FAIL if part["state"] == "refusing" else Level.WARN
            found.append(
                Finding(Area.GATEWAY, level, about, f"{part['part']} {part['state']}: {part['text']}", line)
            )
        if node["state"] != "running":
            found.append(Finding(Area.GATEWAY, Level.WARN, about, f"is {node['state']}", line))
        elif not ill:
            text = f"version {node['version']}, {node['sessions']} sessions, nothing is wrong"
            found.append(Finding(Area.GATEWAY, Level.OK, about, text))
    return found


def _write_json(found: list[Finding], user: str) -> None:
    write_json({
        "ok": not any(finding.level is Level.FAIL for finding in found),
        "user": user,
        "findings": [
            {"area": str(one.area), "level": str(one.level), "subject": one.subject, "text": one.text, "type": one.type}
            for one in found
        ],
    })  # fmt: skip


def _write_text(found: list[Finding], user: str, quiet: bool) -> None:
    click.echo(f"for a gateway that runs as {user}\n")
    for finding in found:
        if quiet and finding.level is Level.OK:
            continue
        word = colour(f"{finding.level:4}", COLOURS[finding.level], bold=finding.level is Level.FAIL)
        click.echo(f"{word}  {finding.area:9}  {printable(finding.subject)}: {printable(finding.text)}")
        if finding.type and finding.level is not Level.OK:
            click.echo(f"                 {printable(finding.type)}")
    counts = {level: sum(finding.level is level for finding in found) for level in Level}
    click.echo(f"\n{counts[Level.OK]} right, {counts[Level.WARN]} to look at, {counts[Level.FAIL]} wrong")
