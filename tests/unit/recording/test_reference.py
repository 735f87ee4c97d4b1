"""Text equals what the reference terminal showed, after every key: real programs, terminals and sizes.

The traces were made by tests/support/make_traces.py; xterm.js, where it is there, says again what it showed.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from bastion.recording.terminal import Terminal
from tests.support.xterm import reference, xterm_missing

FOLDER = Path(__file__).parent / "traces"
NAMES = sorted(path.name.removesuffix(".json.z") for path in FOLDER.glob("*.json.z"))


def traces(name: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(zlib.decompress((FOLDER / f"{name}.json.z").read_bytes()))
    return made


def shown(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """What our terminal shows, in the reference's form."""
    terminal = Terminal(trace["cols"], trace["rows"], lambda row, lost: None)
    found = []
    for step in trace["steps"]:
        if "data" in step:
            terminal.feed(base64.b64decode(step["data"]), 0.0)
        else:
            lines = [row.text for row in terminal.screen]
            found.append({"lines": lines, "x": terminal.x, "y": terminal.y, "alternate": terminal.alternate})
    return found


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
        for number, (ours, theirs) in enumerate(zip(shown(trace), expected, strict=True)):
            assert ours == theirs, f"{where}, screen {number}"


@pytest.mark.slow
@pytest.mark.skipif(bool(xterm_missing()), reason=xterm_missing() or "there")
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_still_says_so(name: str) -> None:
    made = traces(name)
    assert reference(made) == [trace["shown"] for trace in made]
