"""`bastion policy`: look at a policy before it is in force, and at those that were (L4)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bastion.cli.output import colour, fail, printable, write_json
from bastion.cli.runtime import config_option, load_or_fail
from bastion.cli.versions import show, versions
from bastion.clock import SystemClock
from bastion.config.document import open_document
from bastion.errors import ConfigError
from bastion.options import Problems
from bastion.policy.expectations import Judged, judge, parse_expectations, verdict_of

EXIT_CODES = "Exit 0: as expected; 1: it is not; 2: the call or a file is wrong."


@click.group()
def policy() -> None:
    """Look at a policy before it is in force, and at those that were: docs/policy.md."""


policy.add_command(versions)
policy.add_command(show)


@policy.command(epilog=EXIT_CODES)
@config_option
@click.argument("expectations", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write every answer as one JSON document.")
def test(config_file: Path, expectations: Path, as_json: bool) -> None:
    """Make the decisions that the table EXPECTATIONS asks for, and tell those that are other ones.

    No gateway and no directory is asked: it runs wherever the three files are, as in CI.

    Example: bastion policy test expectations.toml --config etc/bastion.toml
    """
    config, problems = load_or_fail(config_file), Problems()
    try:
        read = open_document(expectations, problems)
        problems.raise_any()
        assert read is not None
        expected = parse_expectations(*read)
    except ConfigError as error:
        fail(str(error))
    now = SystemClock().time()
    judged = [judge(config.rules, config.inventory, one, now) for one in expected]
    wrong = [one for one in judged if one.differences]
    if as_json:
        write_json({"ok": not wrong, "expectations": [_as_json(one) for one in judged]})
    else:
        for one in wrong:
            for difference in one.differences:
                place, asked = printable(one.expectation.origin), printable(str(one.expectation))
                click.echo(f"{place}: {colour(asked, 'red', bold=True)}: {printable(difference)}")
        click.echo(f"{len(judged) - len(wrong)} of {len(judged)} as expected")
    sys.exit(1 if wrong else 0)


def _as_json(judged: Judged) -> dict[str, object]:
    expected, answer = judged.expectation, judged.answer
    return {
        "origin": expected.origin,
        "user": expected.user,
        "target": expected.target,
        "login": expected.login,
        "expected": expected.verdict,
        "verdict": verdict_of(answer),
        "reason": str(answer.reason),
        "text": answer.text,
        "rules": [] if answer.grant is None else list(answer.grant.rules),
        "differences": list(judged.differences),
    }
