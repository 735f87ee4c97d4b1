"""`bastion deletions`, with a gateway that answers as the test says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bastion.cli.deletions import deletions
from bastion.control.deletion import DeletionRow, DeletionRows
from tests.unit.cli.test_control_commands import Gateway, gateway  # noqa: F401 - a fixture

ROW = DeletionRow(
    "k3v2m5q7p2k3v2m5", "aaaabbbbccccdddd", "open", "a\x1b[31m password", "ada", 1_800_000_000.0
)


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(deletions, [*words, "--config", str(config)], input="123456\n")


def test_they_are_listed(gateway: Gateway) -> None:  # noqa: F811
    gateway.answers = [DeletionRows((ROW,)), DeletionRows((ROW,))]
    shown = run(gateway.config, "list")
    assert ROW.id in shown.stdout and "\x1b" not in shown.stdout and "password" in shown.stdout
    (one,) = json.loads(run(gateway.config, "list", "--json").stdout)["deletions"]
    assert (one["id"], one["state"], one["asked_by"]) == (ROW.id, "open", "ada")


@pytest.mark.parametrize(
    ("words", "command", "args", "said"),
    [
        (("ask", "aaaa", "--reason", "x"), "deletion_ask", {"session": "aaaa", "why": "x"}, "somebody else has"),
        (("agree", ROW.id), "deletion_answer", {"id": ROW.id, "yes": True}, "bastion prune --yes"),
        (("keep", ROW.id), "deletion_answer", {"id": ROW.id, "yes": False}, "the recording stays"),
    ],
)  # fmt: skip
def test_each_step_takes_a_code(
    gateway: Gateway,  # noqa: F811
    words: tuple[str, ...],
    command: str,
    args: dict[str, object],
    said: str,
) -> None:
    gateway.answers = [ROW, ROW, ("no_role", "you may not")]
    done = run(gateway.config, *words)
    assert done.exit_code == 0 and said in done.stdout and "123456" not in done.output
    asked, given = gateway.questions[0]
    assert asked == command and given["code"] == "123456" and args.items() <= given.items()
    assert json.loads(run(gateway.config, *words, "--json").stdout)["id"] == ROW.id
    refused = run(gateway.config, *words)
    assert refused.exit_code == 1 and "you may not" in refused.stderr


def test_a_reason_is_needed(gateway: Gateway) -> None:  # noqa: F811
    assert run(gateway.config, "ask", "aaaa").exit_code == 2 and gateway.questions == []
