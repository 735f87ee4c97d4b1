"""Cases of typed commands as recordings, and how many of their commands are found."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastion.recording.commands import Command, commands_of
from tests.unit.recording.samples import CLIENT, TARGET, Tape, full, header

FOLDER = Path(__file__).resolve().parents[1] / "unit" / "recording" / "command_traces"
NAMES = sorted(path.name.removesuffix(".json.z") for path in FOLDER.glob("*.json.z"))


@dataclass(frozen=True)
class Score:
    """Of one case: what was run and found, what was run and not found, what was found and not run."""

    found: list[str]
    missed: list[str]
    false: list[str]
    wrong_status: list[str]


def trace(name: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(zlib.decompress((FOLDER / f"{name}.json.z").read_bytes()))
    return made


def recorded(case: dict[str, Any], with_input: bool) -> Tape:
    """The trace as a recording of a shell on channel 1."""
    tape = Tape(full(input=with_input), header(input=with_input))
    detail = {"term": case["term"], "cols": case["cols"], "rows": case["rows"]}
    tape.recorder.note("channel_opened", 1, {"kind": "session"})
    tape.recorder.note("request_forwarded", 1, {"name": "pty-req", "detail": detail})
    tape.recorder.terminal(1)
    tape.recorder.note("request_forwarded", 1, {"name": "shell", "detail": {}})
    now = 0.0
    for time, kind, data in case["steps"]:
        tape.clock.advance(max(0.0, time - now))
        now = time
        if kind == "r":
            cols, _, rows = data.partition("x")
            tape.recorder.note("window_changed", 1, {"cols": int(cols), "rows": int(rows)})
        elif kind == "o":
            tape.recorder.data(1, TARGET, 0, base64.b64decode(data))
        else:
            tape.recorder.data(1, CLIENT, 0, base64.b64decode(data))
        tape.burst()
    tape.recorder.note("channel_closed", 1, {})
    tape.burst()
    return tape.end()


def found_in(case: dict[str, Any], with_input: bool) -> list[Command]:
    return list(commands_of(recorded(case, with_input).reader()))


def score(case: dict[str, Any], with_input: bool) -> Score:
    """Texts are compared as shells keep them: without a backslash before a line's end, without the blanks that fish and
    python put at the beginning of a line. What was entered at once counts by its lines where the shell counts so.
    """
    truth = Counter(_plain(text) for _, text in case["truth"])
    statuses = {_plain(text): status for status, text in case["truth"]}
    ours: Counter[str] = Counter()
    wrong = []
    for command in found_in(case, with_input):
        text = _plain(command.text)
        lines = [line for line in text.split("\n") if line]
        if text not in truth and all(line in truth for line in lines):
            ours.update(lines)
            continue
        ours[text] += 1
        if command.exit_status is not None and truth[text] == 1 and statuses[text] != command.exit_status:
            wrong.append(text)
    found, missed, false = truth & ours, truth - ours, ours - truth
    return Score(sorted(found.elements()), sorted(missed.elements()), sorted(false.elements()), wrong)


def _plain(text: str) -> str:
    return re.sub(r"\n[ \t]+", "\n", re.sub(r"\\\n", "", text)).strip()
