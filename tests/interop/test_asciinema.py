"""asciinema's own player and command take our casts, of both versions: sizes, text and times as they were recorded."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bastion.recording.channels import choose_channel, survey
from bastion.recording.render import asciicast
from bastion.relay import events as relay
from tests.support.asciinema import cli, cli_missing, played, player_missing
from tests.support.xterm import reference
from tests.unit.recording.samples import Tape
from tests.unit.recording.test_reference import traces
from tests.unit.recording.test_render import open_shell, shell

pytestmark = pytest.mark.interop

STEP = 0.25
NAMES = ("resized-vim", "resized-bash", "wide", "tmux", "sequences")
VERSIONS = (2, 3)


def recorded(trace: dict[str, Any]) -> Tape:
    """A session in which that program ran."""
    tape = Tape()
    open_shell(tape, 1, trace["cols"], trace["rows"])
    for step in trace["steps"]:
        tape.clock.advance(STEP)
        if "data" in step:
            tape.out(base64.b64decode(step["data"]))
        elif "size" in step:
            tape.recorder.event(relay.WindowChanged(1, *step["size"]))
    tape.recorder.event(relay.ExitStatus(1, 3))
    return tape.end()


def casts(tape: Tape, version: int) -> str:
    found = survey(tape.reader())
    chosen = choose_channel(found.channels, None)
    return "".join(f"{line}\n" for line in asciicast(tape.reader(), found, chosen, version=version))


def told(cast: str) -> tuple[list[Any], float]:
    """What a cast of ours has for a screen, pieces of text that follow each other as one; and when the last was."""
    header, *events = map(json.loads, cast.splitlines())
    term = header.get("term", {"cols": header.get("width"), "rows": header.get("height")})
    shown: list[Any] = [["size", [term["cols"], term["rows"]]]]
    at = 0.0
    for time, code, text in events:
        at = at + time if header["version"] == 3 else time
        if code == "r":
            shown.append(["size", [int(part) for part in text.split("x")]])
        elif code == "o":
            shown.append(["data", text])
    return shown, at


def in_pieces(shown: list[Any]) -> list[Any]:
    """The same, with pieces of text that follow each other as one."""
    found: list[Any] = []
    for what, value in shown:
        if what == "data" and found and found[-1][0] == "data":
            value = found.pop()[1] + value
        found.append([what, value])
    return found


@pytest.mark.slow
@pytest.mark.skipif(bool(player_missing()), reason=player_missing() or "there")
def test_the_player_shows_what_was_recorded() -> None:
    made = [trace for name in NAMES for trace in traces(name)[:1]]
    texts = [casts(recorded(trace), version) for trace in made for version in VERSIONS]
    found = played(texts)
    jobs = []
    for text, play in zip(texts, found, strict=True):
        shown, at = told(text)
        assert not play["failed"]
        assert in_pieces(play["shown"]) == in_pieces(shown)
        assert play["duration"] == pytest.approx(at, abs=1e-5)
        (_, (cols, rows)), *steps = play["shown"]
        steps = [[what, _encoded(value) if what == "data" else value] for what, value in steps]
        jobs.append({"cols": cols, "rows": rows, "steps": [*map(_step, steps), {"snap": True}]})
    screens = [trace["shown"][-1] for trace in made for _ in VERSIONS]
    assert [last for (last,) in reference(jobs)] == screens


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _step(pair: list[Any]) -> dict[str, Any]:
    return {pair[0]: pair[1]}


def output(cast: str) -> bytes:
    return "".join(value for what, value in told(cast)[0] if what == "data").encode()


def test_the_command_of_version_2_takes_version_2(tmp_path: Path) -> None:
    file = tmp_path / "a.cast"
    for tape in (shell().end(), recorded(traces("resized-vim")[0])):
        file.write_text(casts(tape, 2))
        command = [sys.executable, "-m", "asciinema", "cat", str(file)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
        assert done.stdout == output(file.read_text())


@pytest.mark.soak
@pytest.mark.skipif(bool(cli_missing()), reason=cli_missing() or "there")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_version_3_takes_both(tmp_path: Path, name: str, version: int) -> None:
    file, raw, again = tmp_path / "a.cast", tmp_path / "a.raw", tmp_path / "again.cast"
    file.write_text(casts(recorded(traces(name)[0]), version))
    convert = [cli(), "convert", str(file)]
    subprocess.run(
        [*convert, str(raw), "--output-format", "raw"], capture_output=True, timeout=60, check=True
    )
    assert output(file.read_text()) in raw.read_bytes()
    other = 5 - version
    form = ["--output-format", f"asciicast-v{other}"]
    subprocess.run([*convert, str(again), *form], capture_output=True, timeout=60, check=True)
    (shown, at), (kept, passed) = told(again.read_text()), told(file.read_text())
    assert in_pieces(shown) == in_pieces(kept) and at == pytest.approx(passed, abs=1e-3)
