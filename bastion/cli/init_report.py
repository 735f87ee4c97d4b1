"""What `bastion init` says when it is done (L4): what was made, what is shown once, what the check found, what next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bastion.cli.init_questions import Gathered
from bastion.cli.output import colour, printable, write_json, write_table
from bastion.install.gateway import Made
from bastion.install.layout import Layout
from bastion.install.program import command
from bastion.install.units import Unit

HOST_CA = (
    "The target host CA is not made here: it signs your hosts' keys and belongs to whoever runs them. When there is\n"
    "one, put its public half into known_hosts as @cert-authority; without it, targets are pinned one by one."
)


@dataclass(slots=True)
class Report:
    """What has been done so far. `scanned` and `pinned` are by target name."""

    layout: Layout
    gathered: Gathered
    user: str
    units: tuple[Unit, ...] = ()
    scan_all: bool = False
    systemd: bool = False
    made: Made = field(default_factory=lambda: Made({}))
    scanned: dict[str, list[str]] = field(default_factory=dict)
    pinned: dict[str, str] = field(default_factory=dict)
    checked: dict[str, Any] = field(default_factory=dict)

    def scanning(self, name: str, fingerprints: Mapping[str, str]) -> bool:
        """Is target `name` to be asked for its keys?"""
        return self.scan_all or name in fingerprints


@dataclass(frozen=True, slots=True)
class Step:
    """One of the next commands, and what it is for."""

    what: str
    line: str


def next_steps(report: Report) -> tuple[Step, ...]:
    """Five commands that work when pasted, in the order in which they are needed."""
    config, answers = report.layout.config, report.gathered.answers
    options = ("--config", config)
    serve = command("serve", *options)
    if report.systemd:
        more = " bastion-console.service" if report.layout.console else ""
        serve = f"systemctl daemon-reload && systemctl enable --now bastion.service{more}"
    elif os.geteuid() == 0 and report.user != "root":
        serve = f"runuser -u {shlex.quote(report.user)} -- {serve}"
    login = answers.logins[0] if answers.logins else "root"
    public = answers.public
    if answers.targets:
        target = answers.targets[0].name
        trust = [
            Step(f"a script for root on {target}, which is to trust the gateway",
                 command("target-config", *options, "--script"))
        ]  # fmt: skip
        if target in report.pinned:
            trust.append(
                Step(f"the whole way to {target}", command("target", "test", *options, target, login))
            )
        else:
            trust.append(Step(f"the host keys of {target}, to be compared and pinned",
                              command("target", "scan", *options, target)))  # fmt: skip
        who = f"{answers.account}+{login}+{target}"
    else:
        trust = [
            Step(f"after a first target was written into {report.layout.folder / 'targets.toml'}",
                 command("check", *options)),
            Step("what targets have to trust", command("target-config", *options)),
        ]  # fmt: skip
        who = answers.account
    return (
        *trust,
        Step("run the gateway" + (" (in another terminal)" if not report.systemd else ""), serve),
        Step("log in", f"ssh -p {public.port} {who}@{public.host}"),
        Step("what was recorded", command("sessions", *options)),
    )


def show(report: Report, as_json: bool) -> None:
    """All of it, as text or as one JSON object."""
    if as_json:
        write_json(_as_json(report))
        return
    layout, answers = report.layout, report.gathered.answers
    click.echo(
        f"{colour('made', 'green')} {printable(str(layout.folder))}, for a gateway that runs as {report.user}\n"
    )
    made = [place for place in (*layout.files(), *layout.folders()[1:]) if place.path.exists()]
    rows = [
        (layout.written(place.path) + ("/" if place.folder else ""), f"{place.mode:04o}", place.what)
        for place in made
        if place.path.suffix != ".pub"
    ]
    write_table(("PATH", "MODE", "WHAT"), rows, flexible=("WHAT",))
    for unit in report.units:
        click.echo(f"made {unit.path}")
    click.echo(f"\nHost key of the gateway, for engineers who see it the first time:\n{_host_keys(report)}")
    if report.gathered.password:
        click.echo(
            f"Password of {answers.account}, shown once: {colour(report.gathered.password, 'yellow', bold=True)}\n"
        )
    for name, keys in report.scanned.items():
        if name not in report.pinned:
            click.echo(
                f"{name} holds {', '.join(map(printable, keys))}: not trusted yet, nobody has compared it.\n"
            )
    for name, fingerprint in report.pinned.items():
        click.echo(f"Pinned for {name}: {fingerprint}\n")
    if "login_ca" in report.made.keys:
        click.echo(
            f"{layout.keys / 'login_ca'} signs engineers' certificates; the gateway needs only its .pub. Move it to\n"
            "where certificates are signed.\n"
        )
    click.echo(HOST_CA + "\n")
    if answers.recipients:
        click.echo("Recordings are encrypted. Prove it with each identity: bastion drill --identity FILE\n")
    show_check(layout, report.checked)
    click.echo("\nNext:")
    for step in next_steps(report):
        click.echo(f"\n  # {step.what}\n  {step.line}")


def _host_keys(report: Report) -> str:
    keys = (key for name, key in report.made.keys.items() if name.startswith("ssh_host_"))
    return "".join(f"  {key.type:12} {key.fingerprint()}\n" for key in keys)


def show_check(layout: Layout, checked: Mapping[str, Any]) -> None:
    """The findings of `bastion check`, and one line of summary."""
    for word, name in (("error", "red"), ("warning", "yellow")):
        for found in checked[f"{word}s"]:
            where = ":".join(str(part) for part in (found["file"], found["line"]) if part)
            click.echo(
                f"{colour(word, name)}: {printable(where)}: {printable(found['key'])}: {printable(found['problem'])}"
            )
    verdict = colour("valid", "green") if checked["ok"] else colour("not valid", "red")
    click.echo(f"bastion check: {printable(str(layout.config))} is {verdict} for {checked['tried_as']}")


def _as_json(report: Report) -> dict[str, Any]:
    layout, answers = report.layout, report.gathered.answers
    return {
        "changed": True,
        "folder": str(layout.folder),
        "user": report.user,
        "made": [str(place.path) for place in (*layout.folders(), *layout.files()) if place.path.exists()],
        "units": [str(unit.path) for unit in report.units],
        "fingerprints": {name: key.fingerprint() for name, key in report.made.keys.items()},
        "account": answers.account,
        "password": report.gathered.password or None,
        "egress": list(answers.egress),
        "scanned": report.scanned,
        "pinned": report.pinned,
        "check": report.checked,
        "next": [step.line for step in next_steps(report)],
    }


def show_existing(
    layout: Layout,
    there: Mapping[Path, str],
    units: Sequence[Unit],
    checked: Mapping[str, Any],
    as_json: bool,
) -> None:
    """There is a gateway already: what is there of what would be made."""
    if as_json:
        write_json({
            "changed": False,
            "folder": str(layout.folder),
            "there": {str(path): state for path, state in there.items()},
            "check": dict(checked),
        })  # fmt: skip
        return
    click.echo(f"{printable(str(layout.config))} is there: nothing {'of it ' if units else ''}was changed.\n")
    for unit in units:
        click.echo(f"made {unit.path}")
    places = {place.path: place for place in (*layout.folders(), *layout.files())}
    rows = [
        (layout.written(path), state, places[path].what)
        for path, state in there.items()
        if path != layout.folder
    ]
    write_table(("PATH", "MODE", "WHAT"), rows, flexible=("WHAT",), colours={"MODE": {"missing": "yellow"}})
    click.echo()
    show_check(layout, checked)
    click.echo(
        f"\nTo change something, edit the files in {printable(str(layout.folder))}. To add a target: docs/operators.md."
    )
