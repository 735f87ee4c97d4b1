"""A terminal as text, where no program of the traces goes: margins, resizing, and what was made to cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording import grid
from bastion.recording.grid import HISTORY, LONGEST_CELL, Row, Spent
from bastion.recording.terminal import Terminal


class Seen(Terminal):
    """A terminal that remembers what left it."""

    def __init__(self, cols: int = 10, rows: int = 4) -> None:
        self.left: list[str] = []
        super().__init__(cols, rows, lambda row, lost: self.left.append(row.text))

    def shows(self, data: bytes) -> list[str]:
        self.feed(data, 0.0)
        return [row.text for row in self.screen]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"pass=a\x1b[5bz", ["pass=aaaaa", "az"]),
        (b"\x1b(0lqqk\x1b(B", ["┌──┐"]),
        ("你好\x1b[2D\x1b[2DX".encode(), ["X 好"]),
        ("e\u0301x".encode(), ["e\u0301x"]),
        (b"0123456789ab\b\b\b\bX", ["0123456789", "Xb"]),
        (b"0123456789\rX", ["X123456789"]),
        (b"0123456789\x1b[Kx", ["0123456789", "x"]),
        (b"\x1b[?7l0123456789ab", ["012345678b"]),
        (b"ab\x1b[4h\x1b[1Gxy\x1b[4l", ["xyab"]),
        (b"a\tb", ["a       b"]),
        (b"\x1b[3g\x1b[4GX\x1b[4G\x1bH\ra\tb", ["a  b"]),
        (b"one\r\ntwo\x1b[!p\x1b[1;1Hx", ["xne", "two"]),
        (b"one\x1bctwo", ["two"]),
        (b"\x1b[?69h\x1b[3;6s\x1b[1;3Habcdef", ["  abcd", "  ef"]),
        (b"0123456789\x1b[?69h\x1b[3;6s\x1b[1;3H\x1b[2@", ["01  236789"[:2] + "  23" + "6789"]),
        (b"0123456789\x1b[?69h\x1b[3;6s\x1b[1;3H\x1b[1P", ["01345 6789"]),
        (b"0123456789\r\nabcdefghij\x1b[?69h\x1b[3;6s\x1b[1;3H\x1b[M", ["01cdef6789", "ab    ghij"]),
        (b"\x1b[8mhidden", ["hidden"]),
        (b"\x1b#8\x1b[2;1H\x1b[2M", ["EEEEEEEEEE", "EEEEEEEEEE"]),
    ],
)
def test_what_the_screen_shows(data: bytes, lines: list[str]) -> None:
    shown = Seen().shows(data)
    assert [line for line in shown if line] == lines


def test_rows_that_scroll_off_come_back_when_the_window_grows() -> None:
    terminal = Seen(10, 3)
    assert terminal.shows(b"1\r\n2\r\n3\r\n4\r\n5") == ["3", "4", "5"]
    terminal.resize(10, 4)
    assert terminal.shows(b"") == ["2", "3", "4", "5"] and terminal.y == 3
    terminal.resize(10, 2)
    assert terminal.shows(b"") == ["4", "5"] and terminal.left == []
    terminal.flush()
    assert terminal.left == ["1", "2", "3"]
    terminal.flush()
    assert terminal.left == ["1", "2", "3"], "given out once"


def test_what_a_narrower_window_cuts_off_is_not_lost() -> None:
    terminal = Seen(10, 2)
    terminal.shows(b"0123456789")
    terminal.resize(4, 2)
    assert terminal.shows(b"")[0] == "0123456789"


def test_history_is_bounded_and_a_cell_too() -> None:
    terminal = Seen(10, 2)
    terminal.shows(b"x\r\n" * (HISTORY + 50))
    assert len(terminal.history) == HISTORY and len(terminal.left) == 49
    assert len(terminal.shows(b"a" + "\u0301".encode() * 1000)[-1]) == LONGEST_CELL


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b#8\x1b[2J",
        b"x\x1b[9999b",
        b"\x1b[?1049h\x1b[?1049l",
        b"\x1b[999999999L",
        b"\x1b[999999999@x",
        b"\x1bc",
    ],
)
def test_numbers_cost_no_more_than_a_screen_and_all_of_them_no_more_than_the_bytes_are_worth(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequence is one pass over the screen at most; what repeats for ever is refused in the end, or is cheap."""
    monkeypatch.setattr(grid, "ROWS_FREE", 20_000)
    terminal = Terminal(100, 50, lambda row, lost: None)
    try:
        for _ in range(5):
            terminal.feed(data * 500, 0.0)
    except Spent:
        assert terminal._work > 20_000
    assert terminal._work <= 20_100 + grid.ROWS_PER_BYTE * terminal._bytes
    assert len(terminal.screen) == 50 and all(len(row.cells) <= 100 for row in terminal.screen)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.text(alphabet="ab 你e\u0301😀\t\r\n\b", max_size=12).map(str.encode),
        st.builds(
            lambda private, numbers, final: f"\x1b[{private}{numbers}{final}".encode(),
            st.sampled_from(["", "?"]),
            st.sampled_from(["", "0", "1", "2", "3;7", "999", "69", "6", "45", "1049", "7", "4"]),
            st.sampled_from([*"@ABCDEFGHIJKLMPSTXZ`abdefghlrsu", "!p", " @", " A", "'}", "'~"]),
        ),
        st.sampled_from(
            [b"\x1b7", b"\x1b8", b"\x1bM", b"\x1bD", b"\x1bc", b"\x1b#8", b"\x1b(0", b"\x0e", b"\x1bH"]
        ),
        st.tuples(st.integers(1, 30), st.integers(1, 12)),
    ),
    max_size=30,
)


@given(PIECES)
def test_whatever_comes_the_cursor_and_the_cells_stay_on_the_screen(
    pieces: list[bytes | tuple[int, int]],
) -> None:
    left: list[Row] = []
    terminal = Terminal(9, 4, lambda row, lost: left.append(row))
    for piece in pieces:
        if isinstance(piece, bytes):
            terminal.feed(piece, 0.0)
        else:
            terminal.resize(*piece)
        assert 0 <= terminal.x <= terminal.cols and 0 <= terminal.y < terminal.rows == len(terminal.screen)
    for row in [*terminal.screen, *left]:
        assert "\n" not in row.text and "\x1b" not in row.text
