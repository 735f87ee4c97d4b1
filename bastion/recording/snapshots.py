"""The whole state of a terminal as a value (L1, pure): packed, unpacked, and painted on another terminal.

Invariant: a terminal that was unpacked shows what the one that was packed shows, and does the same with whatever
comes, but for what is told of its rows (their times, marks, and whether they were given out). What `paint` makes is
text like any that was recorded: it goes through the filter (screen.py) before a reader's terminal gets it.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

import orjson

from bastion.recording.channels import LARGEST_SIZE
from bastion.recording.grid import HISTORY, LONGEST_CELL, Buffer, Row
from bastion.recording.pens import LONGEST_PEN, Styled, changed, pen_of, styled
from bastion.recording.terminal import Terminal
from bastion.wire.printable import in_order

LONGEST_STATE: Final = 96 << 20
"""Bytes that a packed state may unpack to: two screens of the largest size with the longest cells are fewer."""

_SETS: Final = frozenset("B0A")


class KeptTerminal(Terminal):
    """A terminal whose state can be taken away."""

    def pack(self) -> bytes:
        """All of it."""
        return zlib.compress(orjson.dumps(self.state()), 1)

    @classmethod
    def unpack(cls, data: bytes) -> KeptTerminal:
        """`pack` read back. Raises ValueError for what is no state of a terminal."""
        try:
            unpacker = zlib.decompressobj()
            whole = unpacker.decompress(data, LONGEST_STATE)
            if not unpacker.eof:
                raise ValueError("too long")
            state = orjson.loads(whole)
            cols, rows = (
                _bounded(state["size"][0], 1, LARGEST_SIZE[0]),
                _bounded(state["size"][1], 1, LARGEST_SIZE[1]),
            )
            made = cls(cols, rows, lambda row, lost: None)
            made._restore_state(state)
        except (zlib.error, orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"no terminal's state ({type(error).__name__})") from None
        return made

    def state(self) -> dict[str, Any]:
        """The same as JSON values; equal for terminals that cannot be told apart."""
        modes = [self._insert, self._origin, self._reverse, self._newline, self._margins, self._wraps]
        return {
            "size": [self.cols, self.rows],
            "work": [self._bytes, self._work],
            "main": _buffer_state(self._main),
            "other": _buffer_state(self._buffer) if self.alternate else None,
            "history": [_row_state(row) for row in self.history],
            "cursor": [self.x, self.y, self._before],
            "modes": [*modes, self._visible, self._inverse],
            "sides": [self._left, self._right],
            "sets": ["".join(self._sets), self._level, self._set],
            "pen": self._pen,
            "parser": self._parser.kept(),
        }

    def _restore_state(self, state: dict[str, Any]) -> None:
        self._bytes, self._work = (_bounded(one, 0, 1 << 62) for one in state["work"])
        self._main = self._buffer = self._buffer_of(state["main"])
        self.alternate = state["other"] is not None
        if self.alternate:
            self._buffer = self._buffer_of(state["other"])
        self.history = deque(map(_row_of, state["history"][:HISTORY]))
        x, y, self._before = state["cursor"]
        # A cursor may stand above the screen: behind a margin of both sides, in one corner of xterm's own making.
        self.x, self.y = _bounded(x, 0, self.cols), _bounded(y, 0, self.rows - 1)
        insert, origin, reverse, newline, margins, wraps, visible, inverse = map(bool, state["modes"])
        self._insert, self._origin, self._reverse, self._newline = insert, origin, reverse, newline
        self._margins, self._wraps, self._visible, self._inverse = margins, wraps, visible, inverse
        self._left, self._right = (_bounded(one, 0, self.cols) for one in state["sides"])
        sets, level, shown = state["sets"]
        self._sets, self._level, self._set = [_set(one) for one in sets], _bounded(level, 0, 3), _set(shown)
        if len(self._sets) != 4:
            raise ValueError("a terminal has four character sets")
        self._pen = _pen(state["pen"])
        self._parser.resume(state["parser"])

    def _buffer_of(self, state: dict[str, Any]) -> Buffer:
        buffer = Buffer(self.cols, 0)
        buffer.rows = [_row_of(row) for row in state["rows"]]
        if len(buffer.rows) != self.rows:
            raise ValueError("a screen has rows of its size")
        buffer.top, buffer.bottom = (_bounded(one, 0, self.rows - 1) for one in state["margins"])
        x, y, charset, pen = state["saved"]
        buffer.saved = (
            _bounded(x, 0, LARGEST_SIZE[0]),
            _bounded(y, 0, LARGEST_SIZE[1]),
            _set(charset),
            _pen(pen),
        )
        buffer.tabs = {_bounded(stop, 0, LARGEST_SIZE[0]) for stop in state["tabs"]}
        return buffer

    # -- painting

    def paint(self, lines: int | None = None) -> str:
        """What makes another terminal, of as many columns and of `lines` lines, show this screen and go on from here:
        screens, cursor, colours, margins, character sets. Whatever that one showed is gone.

        On fewer lines the part around the cursor is shown, unless the alternate screen is. Margins of the sides are
        not passed on, as the filter passes none.
        """
        text = [_PLAIN, "\x1b[?7l"]
        main, (x, y) = self._main, (self.x, self.y)
        if self.alternate:
            x, y = main.saved[:2]
        from_row = max(0, y - lines + 1) if lines is not None and not self.alternate else 0
        text += _painted(main.rows[from_row : None if lines is None else from_row + lines])
        if self.alternate:
            text += ["\x1b[0m", _to(x, y), _pen_text(main.saved[3]), "\x1b[?1049h\x1b[0m\x1b[2J"]
            text += _painted(self._buffer.rows)
        if (stops := {stop for stop in self._buffer.tabs if stop < self.cols}) != set(range(0, self.cols, 8)):
            text.append("\x1b[3g" + "".join(f"{_to(stop, 0)}\x1bH" for stop in sorted(stops)))
        text += self._saved_text(from_row)
        buffer = self._buffer
        if (buffer.top, buffer.bottom) != (0, self.rows - 1):
            text.append(f"\x1b[{buffer.top + 1};{buffer.bottom + 1}r")
        text.append("\x1b[?7h")
        text += self._cursor_text(from_row)
        switches = (
            (not self._wraps, "?7l"),
            (self._insert, "4h"),
            (not self._visible, "?25l"),
            (self._inverse, "?5h"),
        )
        text += [f"\x1b[{mode}" for on, mode in switches if on]
        first, second, shift = self._sets[0], self._sets[1], self._level == 1
        if self._level > 1:
            first = self._set
        text += [f"\x1b({first}\x1b){second}", "\x0e" if shift else "\x0f"]
        return "".join(text)

    def _saved_text(self, from_row: int) -> list[str]:
        """What ESC 8 leads back to."""
        x, y, charset, pen = self._buffer.saved
        return [_pen_text(pen), _to(x, max(0, y - from_row)), f"\x1b({charset}\x1b7\x1b(B"]

    def _cursor_text(self, from_row: int) -> list[str]:
        """The cursor where it stands; behind the last column it gets by writing there what stands there."""
        y = self.y - from_row
        top = 0
        text = []
        if self._origin:
            text.append("\x1b[?6h")
            top = self._buffer.top
        row = self._buffer.rows[self.y]
        if self.x < self.cols:
            return [*text, _to(self.x, y - top), _pen_text(self._pen)]
        at = self.cols - 1
        while at and at < len(row.cells) and not row.cells[at]:
            at -= 1
        cell = row.cells[at] if at < len(row.cells) else styled(" ", row.rest)
        return [*text, _to(at, y - top), _pen_text(pen_of(cell)), in_order(cell), _pen_text(self._pen)]

    @property
    def strings(self) -> tuple[int, int]:
        """How many control strings some terminals show, and how many none does, since this terminal was made."""
        return self._parser.hidden, self._parser.swallowed

    def going_on(self) -> list[Any]:
        """What is half read: for the filter that goes on behind `paint`."""
        return self._parser.kept()


_PLAIN: Final = "\x1b[?47l\x1b[0m\x1b[4l\x1b[?5l\x1b[?6l\x1b[r\x1b[?25h\x1b(B\x1b)B\x0f\x1b[H\x1b[2J"


def _to(x: int, y: int) -> str:
    return f"\x1b[{y + 1};{x + 1}H"


def _pen_text(pen: str) -> str:
    return f"\x1b[0;{pen}m" if pen else "\x1b[0m"


def _painted(rows: Iterable[Row]) -> Iterator[str]:
    for y, row in enumerate(rows):
        if not row.cells and not row.rest:
            continue
        yield _to(0, y)
        if row.rest:
            yield f"{_pen_text(row.rest)}\x1b[K"
        yield "\x1b[0m"
        pen = ""
        for x, cell in enumerate(row.cells):
            if not cell:
                continue  # behind a wide one
            if pen_of(cell) != pen:
                pen = pen_of(cell)
                yield _pen_text(pen)
            yield cell
            if not cell.isascii():
                yield f"\x1b[{y + 1};{x + 2 + _wide(row, x)}H"  # terminals disagree on widths
        yield "\x1b[0m"


def _wide(row: Row, x: int) -> int:
    return int(x + 1 < len(row.cells) and not row.cells[x + 1])


# -- values


def _row_state(row: Row) -> list[Any]:
    """`[text or cells, [[columns, pen], ...], flags, rest]`."""
    cells = row.cells
    text = "".join(cells)
    plain = len(text) == len(cells) and "" not in cells
    runs: list[list[Any]] = []
    if Styled in set(map(type, cells)):
        runs = [[len(list(run)), pen] for pen, run in groupby(map(pen_of, cells))]
    return [
        text if plain else [str(cell) for cell in cells],
        runs,
        int(row.wrapped) + 2 * int(row.goes_on),
        row.rest,
    ]


def _row_of(state: list[Any]) -> Row:
    text, runs, flags, rest = state
    if len(text) > LARGEST_SIZE[0]:
        raise ValueError("a row is longer than any screen")
    row = Row(bool(flags & 1), _pen(rest))
    row.goes_on = bool(flags & 2)
    if any(type(cell) is not str or len(cell) > LONGEST_CELL for cell in text):
        raise ValueError("no cell")
    at = 0
    for count, pen in runs:
        row.cells += (styled(cell, _pen(pen)) if cell else "" for cell in text[at : at + count])
        at += count
    row.cells += text[at:]
    return row


def _buffer_state(buffer: Buffer) -> dict[str, Any]:
    return {
        "rows": [_row_state(row) for row in buffer.rows],
        "margins": [buffer.top, buffer.bottom],
        "saved": list(buffer.saved),
        "tabs": sorted(buffer.tabs),
    }


def _bounded(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{str(value)[:20]} is no number from {low} to {high}")
    return value


def _set(name: Any) -> str:
    if name not in _SETS:
        raise ValueError("no character set")
    return str(name)


def _pen(pen: Any) -> str:
    if not isinstance(pen, str) or len(pen) > LONGEST_PEN or (pen and changed("", pen) != pen):
        raise ValueError("no pen")
    return pen
