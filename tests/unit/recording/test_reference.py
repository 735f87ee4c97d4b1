"""Text equals what the reference terminal showed, after every key: real programs, terminals and sizes.

The traces were made by tests/support/make_traces.py; xterm.js, where it is there, says again what it showed.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from bastion.recording.screen import DisplayFilter
from bastion.recording.terminal import Terminal
from tests.support.xterm import reference, xterm_missing

FOLDER = Path(__file__).parent / "traces"
NAMES = sorted(path.name.removesuffix(".json.z") for path in FOLDER.glob("*.json.z"))


def traces(name: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(zlib.decompress((FOLDER / f"{name}.json.z").read_bytes()))
    return made


def shown(trace: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """What our terminal shows, in the reference's form; and what of each line stands where every window so far was."""
    terminal = Terminal(trace["cols"], trace["rows"], lambda row, lost: None)
    narrowest = terminal.cols
    for step in trace["steps"]:
        if "data" in step:
            terminal.feed(base64.b64decode(step["data"]), 0.0)
        elif "size" in step:
            terminal.resize(*step["size"])
            narrowest = min(narrowest, terminal.cols)
        else:
            lines, always = (
                ["".join(row.cells[:cols]).rstrip(" ") for row in terminal.screen]
                for cols in (terminal.cols, narrowest)
            )
            yield {"lines": lines, "x": terminal.x, "y": terminal.y, "alternate": terminal.alternate}, always


def same(ours: str, theirs: str, always: str) -> bool:
    """Is it the same line, but for what one of them has left blank beyond the edge of a window that was narrower? What
    a narrower window cuts off terminals keep, or not; programs draw it anew.
    """
    if ours == theirs:
        return True
    beyond = zip_longest(ours[len(always) :], theirs[len(always) :], fillvalue=" ")
    return theirs.startswith(always) and all(mine == other or " " in (mine, other) for mine, other in beyond)


def replayed(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same, with what replay and casts give of the output."""
    display = DisplayFilter()
    for step in steps:
        if "data" in step:
            text = display.feed(base64.b64decode(step["data"]))
            yield {"data": base64.b64encode(text.encode()).decode()}
        else:
            yield step


def test_there_are_traces_of_what_people_use() -> None:
    assert {"readline", "wide", "python", "vim", "less", "htop", "dialog", "tmux", "sequences"} <= set(NAMES)
    assert sum(len(traces(name)) for name in NAMES) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_every_screen_is_that_of_the_reference(name: str) -> None:
    for trace in traces(name):
        expected = trace["shown"]
        for screen in expected:
            screen["lines"] = [line.rstrip(" ") for line in screen["lines"]]
        where = f"{name} on {trace['terminal']}, {trace['cols']}x{trace['rows']}"
        assert len(expected) > 1 and any(any(screen["lines"]) for screen in expected), where
        for number, ((ours, always), theirs) in enumerate(zip(shown(trace), expected, strict=True)):
            if "resized" in name and len(ours["lines"]) == len(theirs["lines"]):
                together = zip(ours["lines"], theirs["lines"], always, strict=True)
                theirs["lines"] = [
                    mine if same(mine, other, kept) else other for mine, other, kept in together
                ]
            assert ours == theirs, f"{where}, screen {number}"


@pytest.mark.slow
@pytest.mark.skipif(bool(xterm_missing()), reason=xterm_missing() or "there")
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_still_says_so_and_shows_the_same_of_what_replay_lets_through(name: str) -> None:
    made = traces(name)
    jobs = [{**trace, "steps": [*replayed(trace["steps"])]} for trace in made]
    assert reference(made + jobs) == 2 * [trace["shown"] for trace in made]
