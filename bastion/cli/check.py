"""`bastion check`: validate the configuration, the policy and every file they name (L4)."""

from __future__ import annotations

import os
import pwd
import sys

import click

from bastion.cli.output import colour, fail, printable, time_text, write_json
from bastion.config.check import Report, inspect
from bastion.config.places import tried_as
from bastion.config.render import render_values
from bastion.errors import ConfigError

Fault = dict[str, str | int]


def _fault(error: ConfigError) -> Fault:
    return {
        "file": error.file,
        "line": error.line,
        "key": error.key,
        "problem": error.problem,
        "allowed": error.allowed,
    }


def _exit_code(report: Report, strict: bool) -> int:
    if not report.readable:
        return 2
    return 1 if report.errors or (strict and report.warnings) else 0


@click.command()
@click.option("--config", "-c", "config_path", required=True, help="The configuration file.")
@click.option("--user", metavar="NAME", help="Try it with the rights of this user (only for root).")
@click.option("--json", "as_json", is_flag=True, help="Write the findings as one JSON object.")
@click.option("--show", is_flag=True, help="Write the values in effect, defaults included, as TOML.")
@click.option("--strict", is_flag=True, help="Count warnings as faults.")
def check(config_path: str, user: str | None, as_json: bool, show: bool, strict: bool) -> None:
    """Validate a configuration: options, keys, file modes, policy and inventory, and what must be writable.

    Every fault is named with its file, line and key. Nothing is changed and nobody is contacted: of inventories that
    are asked it takes what they answered last. What the gateway
    will write is tried with the rights of whoever runs this: as root, name the gateway's own user with --user.

    \b
    Exit codes: 0 valid, 1 faults found, 2 the configuration could not be read.
    """
    if user is not None:
        _become(user)
    report = inspect(config_path)
    if as_json:
        _print_json(report, strict)
    else:
        _print_findings(report, config_path, quiet=show)
        if show and report.config is not None:
            click.echo(render_values(report.config), nl=False)
    sys.exit(_exit_code(report, strict))


def _become(name: str) -> None:
    """Give up root's rights for those of `name`, for good. The command ends when that cannot be."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        fail(f"--user {name}: there is no such user here")
    if os.geteuid() == account.pw_uid:
        return
    try:
        os.initgroups(name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    except PermissionError:
        fail(f"--user {name}: only root can try it as somebody else")


def _print_json(report: Report, strict: bool) -> None:
    write_json(
        {
            "ok": _exit_code(report, strict) == 0,
            "tried_as": tried_as(),
            "errors": [_fault(error) for error in report.errors],
            "warnings": [_fault(error) for error in report.warnings],
            "inventories": {
                one.name: one.answered_at or None for one in (report.config.kept if report.config else ())
            },
        }
    )


def _print_findings(report: Report, config_path: str, quiet: bool) -> None:
    """Faults and warnings to stderr; one line of summary to stdout, unless the dump goes there."""
    for word, name, found in (("error", "red", report.errors), ("warning", "yellow", report.warnings)):
        for error in found:
            click.echo(f"{colour(word, name)}: {printable(str(error))}", err=True)
    if quiet:
        return
    counts = f"{_count(len(report.errors), 'error')}, {_count(len(report.warnings), 'warning')}"
    config = report.config
    if config is None or report.errors:
        click.echo(f"{printable(config_path)}: not valid: {counts}")
        return
    for one in config.kept:
        if one.counts:
            text = (
                f"inventory {one.name}: as it answered at {time_text(one.answered_at)}; nobody was asked now"
            )
            click.echo(f"{colour('note', 'yellow')}: {text}", err=True)
    rules, targets = len(config.rules.rules), len(config.inventory)
    has = f"{_count(rules, 'rule')}, {_count(targets, 'target')}"
    click.echo(f"{printable(config_path)}: valid for {tried_as()}: {has}; {counts}")
    if os.geteuid() == 0:
        text = "root may write everywhere: check again with --user and the name of the gateway's own user"
        click.echo(f"{colour('note', 'yellow')}: {text}", err=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
