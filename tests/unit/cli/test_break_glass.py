"""`bastion break-glass`, with a gateway that answers as the test says."""

from __future__ import annotations

import json

import pytest

from bastion.cli.break_glass import close_glass, open_glass, status
from bastion.control.glass import Glass

from .test_control_commands import gateway

__all__ = ["gateway"]

OPENED = Glass(1_800_000_000.0, "INC-7\x1b[2J", "sec (uid 1000)", names=("emergency",))


def test_opened_for_a_time_with_a_reason(gateway):
    gateway.answers = [OPENED]
    done = gateway.run(open_glass, "--reason", "INC-7", "--for", "1h")
    ((command, asked),) = gateway.questions
    assert (command, asked["reason"], asked["seconds"]) == ("break_glass_open", "INC-7", 3600)
    assert (
        done.exit_code == 0
        and "open until 2027-01-15" in done.output
        and "by sec (uid 1000): INC-7" in done.output
    )
    assert "accounts: emergency" in done.output and "\x1b" not in done.output


@pytest.mark.parametrize("words", [("--for", "1h"), ("--reason", "x"), ("--reason", "x", "--for", "soon")])
def test_what_is_missing_is_not_asked(gateway, words):
    assert gateway.run(open_glass, *words).exit_code == 2 and gateway.questions == []


@pytest.mark.parametrize(
    ("glass", "line"),
    [
        (Glass(), "closed\naccounts: none\n"),
        (Glass(down=True, names=("a", "b")), "open: no server of the directory answers\naccounts: a, b\n"),
    ],
)
def test_how_they_are(gateway, glass, line):
    gateway.answers = [glass, glass]
    assert gateway.run(status).output == line
    assert json.loads(gateway.run(status, "--json").output)["down"] is glass.down


def test_closed_again(gateway):
    gateway.answers = [
        Glass(names=("emergency",)),
        ("not_found", "nobody has opened the break-glass accounts"),
    ]
    assert gateway.run(close_glass).output == "closed\naccounts: emergency\n"
    refused = gateway.run(close_glass)
    assert refused.exit_code == 1 and "nobody has opened" in refused.output
