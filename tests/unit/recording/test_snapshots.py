"""A terminal's state, taken away and brought back in the middle of anything."""

from __future__ import annotations

import base64
import random
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastion.recording.channels import LARGEST_SIZE
from bastion.recording.grid import Spent
from bastion.recording.screen import DisplayFilter
from bastion.recording.snapshots import KeptTerminal
from tests.support.xterm import reference, xterm_missing
from tests.unit.recording.test_reference import NAMES, traces

ESCAPES = r"""
(0lqk (B )0 n 7 8 H D M E c #8 ]0;title\x07 kname\x1b\\ ]2;cut [3
[31;1m [44m [38;5;200;7m [48:2::1:2:3m [m [4:3;58;2;9;9;9m [s [u [3g [g [!p [?1049h [?1049l [?47h [?47l [?6h [?6l
[?7l [?7h [?25l [?5h [?45h [4h [4l [20h [2;4r [r [?69h\x1b[2;7s [?69l [J [1J [2J [3J [K [1K [2K [2;3H [H [99;99H
[A [3C [2@ [2P [2X [L [2M [2S [T [4b [2'} [1'~ [2\x20@ [\x20A
"""
PIECES = [
    *(b"plain words ", b"0123456789" * 3, "你好 e\u0301 👍\u202e ".encode(), b"\xe4\xbd", b"\xc2"),
    *(bytes([control]) for control in b"\r\n\b\t\x0e\x0f"),
    *(b"\x1b" + text.encode().decode("unicode_escape").encode() for text in ESCAPES.split()),
]


def fresh(cols: int = 10, rows: int = 5) -> KeptTerminal:
    return KeptTerminal(cols, rows, lambda row, lost: None)


def act(terminal: KeptTerminal, piece: bytes | tuple[int, int]) -> None:
    if isinstance(piece, tuple):
        terminal.resize(*piece)
    else:
        terminal.feed(piece, 0.0)


STEPS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.tuples(st.integers(1, 14), st.integers(1, 8))), max_size=40
)


@given(STEPS, STEPS)
@settings(max_examples=100, deadline=None)
def test_one_that_was_brought_back_cannot_be_told_from_the_other(
    before: list[bytes | tuple[int, int]], after: list[bytes | tuple[int, int]]
) -> None:
    one = fresh()
    for piece in before:
        act(one, piece)
    other = KeptTerminal.unpack(one.pack())
    assert other.state() == one.state()
    for piece in after:
        act(one, piece)
        act(other, piece)
        assert other.state() == one.state()


def visible(terminal: KeptTerminal) -> dict[str, Any]:
    """What another terminal can be made to show, and how it goes on."""
    state = terminal.state()
    for gone in ("work", "history", "parser", "sets"):
        del state[gone]
    state["cursor"] = state["cursor"][:2]
    state["tabs"] = [stop for stop in (state["other"] or state["main"])["tabs"] if stop < terminal.cols]
    for name in ("main", "other"):
        if state[name] is not None:
            del state[name]["tabs"]
            rows = terminal.main if name == "main" else terminal.screen
            state[name]["rows"] = [_looks(row, terminal.cols) for row in rows]
    return state


def _looks(row: Any, cols: int) -> list[tuple[str, str]]:
    cells = [(str(cell), getattr(cell, "pen", "")) for cell in row.cells[:cols]]
    return cells + [(" ", row.rest)] * (cols - len(cells))


# What the filter does not let through, or writes in another width.
ALTERED = (b"?45h", b"[20h", b"?69", b"\xe2\x80", b"\xae")
SHOWN = [piece for piece in PIECES if not any(part in piece for part in ALTERED)]


@given(st.lists(st.sampled_from(SHOWN), max_size=40))
@settings(max_examples=100, deadline=None)
def test_what_is_painted_is_what_was_shown(steps: list[bytes]) -> None:
    one = fresh()
    for piece in steps:
        act(one, piece)
    shown, other = DisplayFilter(), fresh()
    other.feed(b"\x1b[?1049h\x1b[31mrubbish\x1b[2;3r\x1b[?6h", 0.0)
    other.feed(shown.feed(one.paint().encode()).encode(), 0.0)
    ours, theirs = visible(other), visible(one)
    for state in (ours, theirs):
        for name in ("main", "other"):
            if state[name] is not None:
                x, y, _, pen = state[name]["saved"]  # restoring leads onto the screen
                state[name]["saved"] = [min(x, one.cols - 1), y, pen]
        if state["other"] is not None:
            del state["main"]["margins"]  # those of the screen that is not shown
            del state["main"]["saved"]
    assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_real_programs_go_on_as_they_would_have(name: str) -> None:
    chance = random.Random(name)
    for trace in traces(name):
        data = b"".join(base64.b64decode(step["data"]) for step in trace["steps"] if "data" in step)
        cuts = sorted(chance.randrange(len(data)) for _ in range(4))
        whole = fresh(trace["cols"], trace["rows"])
        parts = fresh(trace["cols"], trace["rows"])
        for low, high in zip([0, *cuts], [*cuts, len(data)], strict=True):
            whole.feed(data[low:high], 0.0)
            parts = KeptTerminal.unpack(parts.pack())
            parts.feed(data[low:high], 0.0)
            assert parts.state() == whole.state(), f"{name} at byte {high}"


def test_what_was_spent_stays_spent() -> None:
    one = fresh()
    with pytest.raises(Spent):
        for _ in range(100):
            one.feed(b"\x1b[2J" * 4000, 0.0)
    with pytest.raises(Spent):
        KeptTerminal.unpack(one.pack()).feed(b"\x1b[2J" * 1000, 0.0)


def test_a_smaller_terminal_shows_what_is_around_the_cursor() -> None:
    one = fresh(10, 5)
    one.feed(b"1\r\n2\r\n3\r\n4\r\n5", 0.0)
    other = fresh(10, 3)
    other.feed(one.paint(3).encode(), 0.0)
    assert [row.text for row in other.screen] == ["3", "4", "5"] and (other.x, other.y) == (1, 2)


def test_the_largest_state_is_within_the_bound() -> None:
    cols, rows = LARGEST_SIZE
    one = fresh(cols, rows)
    one._main.rows[0].cells = ["e" + "\u0301" * 15] * cols
    row = len(orjson.dumps(one.state()["main"]["rows"][0]))
    assert row * (2 * rows + 500) < 96 << 20


WRONG: dict[str, list[Any]] = {
    "size": [[10**9, 5], [10, 6]],
    "work": [[1]],
    "pen": ["31m\x1b[6n", 3],
    "sets": [["BBBX", 0, "B"], ["BB", 0, "B"]],
    "cursor": [[11, 0, None], [0, 5, None]],
    "sides": [[0, 99]],
    "modes": [[]],
    "parser": [["00" * 9, "text", "", "", 0, 0, 0, 0], ["", "lost", "", "", 0, 0, 0, 0]],
    "main": [{}, None],
    "history": [5],
}


@pytest.mark.parametrize("change", [{name: value} for name, values in WRONG.items() for value in values])
def test_what_is_no_state_is_refused(change: dict[str, Any]) -> None:
    state = {**fresh().state(), **change}
    with pytest.raises(ValueError):
        KeptTerminal.unpack(zlib.compress(orjson.dumps(state)))
    for data in (b"", b"rubbish", zlib.compress(b"[]"), zlib.compress(b"{}")):
        with pytest.raises(ValueError):
            KeptTerminal.unpack(data)


def _step(data: bytes) -> dict[str, Any]:
    return {"data": base64.b64encode(data).decode()}


@pytest.mark.slow
@pytest.mark.skipif(bool(xterm_missing()), reason=xterm_missing() or "there")
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_shows_the_same_painted_as_played(name: str) -> None:
    """Colours and attributes too, in the middle of what real programs draw, and at the end when it is played on."""
    chance = random.Random(name)
    snap, played, painted, places = {"snap": True, "looks": True}, [], [], []
    for trace in traces(name):
        data = b"".join(base64.b64decode(step["data"]) for step in trace["steps"] if "data" in step)
        for cut in (chance.randrange(len(data)) for _ in range(3)):
            size = {"cols": trace["cols"], "rows": trace["rows"]}
            one, filtered, resumed = fresh(*size.values()), DisplayFilter(), DisplayFilter()
            before = filtered.feed(data[:cut]).encode()
            steps = [_step(before), snap, _step(filtered.feed(data[cut:]).encode()), snap]
            played.append({**size, "steps": steps})
            one.feed(data[:cut], 0.0)
            there = resumed.painted(one.paint(), one.going_on()).encode()
            steps = [_step(there), snap, _step(resumed.feed(data[cut:]).encode()), snap]
            painted.append({**size, "steps": steps})
            places.append(f"{name}, {trace['cols']}x{trace['rows']}, byte {cut}")
    for place, ours, theirs in zip(places, reference(painted), reference(played), strict=True):
        for ours_then, theirs_then in zip(ours, theirs, strict=True):
            del ours_then["lines"], theirs_then["lines"]  # blanks at an end, written or not, look alike
            assert ours_then == theirs_then, place
