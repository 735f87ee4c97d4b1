"""What was typed is found as the shells themselves have it: real programs on a pty, with and without recorded input.

The traces were made by tests/support/make_command_traces.py. What is not found, or found and was not run, stands here
by name, and the figures stand in docs/commands.md.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.command_cases import CASES
from tests.support.command_score import NAMES, found_in, score, trace

ROOT = Path(__file__).resolve().parents[3]

COMMENT = "# " + "x" * 170

MISSED = {
    "dash-pasted": ["echo two"],
    "old-wrapped": [COMMENT],
    "zsh-wide": ["echo 한국어 😀🚀 naïve e\u0301", "echo 😀🚀 naïve e\u0301"],
}
"""Case -> what was run and is not found."""

FALSE = {
    "old-wrapped": ["# " + "x" * 166],
    "zsh-wide": ["echo 한국어 😀🚀 naïve e<0301>", "echo 😀🚀 naïve e<0301>"],
}
"""Case -> what is found and was not run."""

both = pytest.mark.parametrize("with_input", [False, True], ids=["output-alone", "with-input"])


def test_there_are_the_cases_that_people_meet() -> None:
    assert [case.name for case in CASES if case.name not in NAMES] == []
    assert len(NAMES) >= 40 and {trace(name)["group"] for name in NAMES} == {case.group for case in CASES}
    assert all(trace(name)["truth"] for name in NAMES)


@both
@pytest.mark.parametrize("name", NAMES)
def test_what_was_run_is_found_and_nothing_else(name: str, with_input: bool) -> None:
    result = score(trace(name), with_input)
    assert result.missed == MISSED.get(name, [])
    assert result.false == FALSE.get(name, [])
    assert result.wrong_status == []


@both
def test_what_was_not_echoed_is_never_in_it(with_input: bool) -> None:
    secret = [name for name in NAMES if "s3cret-one" in trace(name)["unseen"]]
    assert len(secret) >= 3
    for name in secret:
        assert [one.text for one in found_in(trace(name), with_input) if "s3cret" in one.text] == [], name


def test_a_shell_that_marks_its_commands_gives_their_exit_statuses() -> None:
    found = {one.text: one for one in found_in(trace("osc-plain"), False)}
    assert found["false"].source == "osc133" and found["false"].exit_status == 1
    assert found["(exit 7)"].exit_status == 7 and found["ls"].exit_status == 0


def test_the_replay_opens_where_the_prompt_stood_and_ends_are_in_order() -> None:
    for name in ("bash-plain", "zsh-plain", "old-plain"):
        commands = found_in(trace(name), False)
        for one, following in pairwise(commands):
            assert one.offset < one.start, name
            assert one.end is not None and one.start <= one.end <= following.start, name


@pytest.mark.parametrize("column, with_input", [(0, False), (3, True)], ids=["output-alone", "with-input"])
def test_the_figures_in_the_document_are_these(column: int, with_input: bool) -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE
    )
    said = {row[0]: [int(cell) for cell in (row[1], row[2], *row[3 + column // 3 * 2 :][:2])] for row in rows}
    figures: dict[str, list[int]] = {}
    for name in NAMES:
        case = trace(name)
        result = score(case, with_input)
        for group in (case["group"], "all"):
            sums = figures.setdefault(group, [0, 0, 0, 0])
            for at, one in enumerate((1, len(case["truth"]), len(result.found), len(result.false))):
                sums[at] += one
    assert said == figures
