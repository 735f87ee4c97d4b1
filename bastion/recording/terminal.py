"""A terminal as text (L1, pure): what a screen of the recorded size shows of what was written to it.

The reference is xterm as xterm.js reads it (tests/unit/recording/test_reference.py compares the screens); left and
right margins, which that lacks, are those of a VT420.

Invariant: memory is that of the cells (grid.py); one sequence costs at most one pass over the screen, and what all of
them cost is bounded by the bytes that came (`Spent`), whatever numbers stand in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bastion.recording.controls import ControlParser, Token
from bastion.recording.grid import Buffer, Grid, Row
from bastion.recording.pens import changed
from bastion.recording.screen import CHARACTER_SETS

_CSI = re.compile(r"([<=>?]?)([0-9;:]*)([ -/]*)([@-~])")
_LARGEST = 1 << 31
_GROUPS = {"(": 0, ")": 1, "*": 2, "+": 3, "-": 1, ".": 2}
_LEVELS = {"n": 2, "o": 3, "|": 3, "}": 2, "~": 1}

# Sequences in a row without a row's change cost nothing; a character repeated is as many cells.
_CELLS_PER_ROW = 100


class Terminal(Grid):
    """Feed it output; look at `screen`, `x` and `y`."""

    def __init__(self, cols: int, rows: int, leaves: Callable[[Row, bool], None]) -> None:
        super().__init__(cols, rows, leaves)
        self.switched: Callable[[], None] = lambda: (
            None
        )  # told before the alternate screen is entered or left
        self.cleared: Callable[[], None] = lambda: None  # told before the whole screen is cleared
        self._parser = ControlParser()

    def feed(self, data: bytes, now: float) -> list[Token]:
        """Output that came at `now`, in seconds. Gives back the tokens of strings that some terminals show
        (controls.py).

        Raises Spent.
        """
        self.now = now
        self.paid(len(data))
        shown: list[Token] = []
        for token in self._parser.feed(data):
            kind, body = token
            if kind == "text":
                self.write(body)
                continue
            if kind == "csi":
                self._csi(body)
            elif kind == "control":
                self._control(body)
            elif kind == "escape":
                self._escape(body)
            else:
                shown.append(token)
            self._before = None
        return shown

    def skip(self) -> None:
        """Bytes are missing here."""
        self._parser.restart()

    # -- controls and escapes

    def _control(self, char: str) -> None:
        if char in "\n\v\f":
            if self._newline:
                self.x = 0
            self._down(False)
            self.x = min(self.x, self.cols - 1)
        elif char == "\r":
            self.x = self._left if self.x >= self._left else 0
        elif char == "\b":
            self._backspace()
        elif char == "\t":
            self._tab([1])
        elif char in "\x0e\x0f":
            self._shift_to(int(char == "\x0e"))

    def _shift_to(self, level: int) -> None:
        self._level, self._set = level, self._sets[level]

    def _backspace(self) -> None:
        rows, buffer = self._buffer.rows, self._buffer
        self._restrict(0 if self._reverse else 1)
        if self.x > self._left or 0 < self.x < self._left:
            self.x -= 1
        elif self._reverse and self.x == 0 and buffer.top < self.y <= buffer.bottom and rows[self.y].wrapped:
            rows[self.y].wrapped = False
            self.y -= 1
            self.x = self.cols - 1
        self._restrict()

    def _tab(self, numbers: list[int]) -> None:
        if self.x < self.cols:
            stops = sorted(stop for stop in self._buffer.tabs if self.x < stop < self.cols)
            count = numbers[0] or 1
            self.x = stops[count - 1] if count <= len(stops) else self.cols - 1

    def _tab_back(self, numbers: list[int]) -> None:
        if self.x < self.cols:
            stops = sorted((stop for stop in self._buffer.tabs if stop < self.x), reverse=True)
            count = numbers[0] or 1
            self.x = stops[count - 1] if count <= len(stops) else 0

    def _escape(self, body: str) -> None:
        head, final = body[:-1], body[-1]
        if head in _GROUPS:
            group = _GROUPS[head]
            self._sets[group] = final if final in CHARACTER_SETS else "B"
            if group == self._level:
                self._set = self._sets[group]
        elif body in _LEVELS:
            self._shift_to(_LEVELS[body])
        elif body in _ESCAPES:
            _ESCAPES[body](self)

    def _align(self) -> None:
        self._spend(self.rows)
        for row in self._buffer.rows:
            row.cells, row.wrapped, row.time, row.told = ["E"] * self.cols, False, self.now, False
            row.rest = ""
        self.x = self.y = 0
        self._to(0, 0)

    def _index(self) -> None:
        self._restrict()
        wrapped = self._buffer.rows[min(self.y + 1, self.rows - 1)].wrapped
        moved = self.y
        self._down(False)
        if self.y != moved:
            self._buffer.rows[self.y].wrapped = wrapped

    def _next_line(self) -> None:
        self.x = self._left
        self._index()

    def _reverse_index(self) -> None:
        self._restrict()
        if self.y == self._buffer.top:
            self._unscroll(1)
        else:
            self.y -= 1
            self._restrict()

    def _set_tab(self) -> None:
        if self.x < self.cols:
            self._buffer.tabs.add(self.x)

    def _save(self) -> None:
        self._buffer.saved = (self.x, self.y, self._set, self._pen)

    def _restore(self) -> None:
        self.x, self.y, self._set, self._pen = self._buffer.saved
        self._restrict()

    def _reset(self) -> None:
        """RIS: all is as in the beginning."""
        self._spend(self.rows)
        if self.alternate:
            self._leave()
        self.cleared()
        self._fresh()

    # -- sequences

    def _csi(self, body: str) -> None:
        match = _CSI.fullmatch(body)
        if match is None:
            return
        private, parameters, between, final = match.groups()
        if final == "m" and not private and not between:
            self._pen = changed(self._pen, parameters)
            return
        act = _SEQUENCES.get(private + between + final)
        if act is not None:
            # the first of each group of subparameters; as many as xterm reads
            words = parameters.split(";", 32)[:32]
            act(self, [min(int(word.partition(":")[0] or 0), _LARGEST) for word in words])

    def _up(self, n: list[int]) -> None:
        self._restrict()
        low = self._buffer.top if self.y >= self._buffer.top else 0
        self.y = max(self.y - (n[0] or 1), low)

    def _below(self, n: list[int]) -> None:
        self._restrict()
        high = self._buffer.bottom if self.y <= self._buffer.bottom else self.rows - 1
        self.y = min(self.y + (n[0] or 1), high)

    def _forward(self, n: list[int]) -> None:
        self._restrict()
        high = self._right if self.x < self._right else self.cols
        self.x = min(self.x + (n[0] or 1), high - 1)

    def _back(self, n: list[int]) -> None:
        self._restrict()
        low = self._left if self.x >= self._left else 0
        self.x = max(self.x - (n[0] or 1), low)

    def _lines_below(self, n: list[int]) -> None:
        self._below(n)
        self.x = 0

    def _lines_up(self, n: list[int]) -> None:
        self._up(n)
        self.x = 0

    def _column(self, n: list[int]) -> None:
        self._restrict()
        self.x = min((self._left if self._origin else 0) + (n[0] or 1), self.cols) - 1

    def _line(self, n: list[int]) -> None:
        self.y = (self._buffer.top if self._origin else 0) + (n[0] or 1) - 1
        self._restrict()

    def _right_by(self, n: list[int]) -> None:
        self._restrict()
        self.x = min(self.x + (n[0] or 1), self.cols - 1)

    def _down_by(self, n: list[int]) -> None:
        self._restrict()
        self.y += n[0] or 1
        self._restrict()

    def _position(self, n: list[int]) -> None:
        self._to((n[1] or 1) - 1 if len(n) > 1 else 0, (n[0] or 1) - 1)

    def _erase_display(self, n: list[int]) -> None:
        self._restrict(0)
        self._spend(self.rows)
        y, rows = self.y, self._buffer.rows
        if n[0] == 0:
            if self.x == y == 0:
                self.cleared()
            self._erase(y, self.x, self.cols, self.x == 0)
            self._blank(rows[y + 1 :])
        elif n[0] == 1:
            self._erase(y, 0, self.x + 1, True)
            if self.x + 1 >= self.cols and y + 1 < self.rows:
                rows[y + 1].wrapped = False
            self._blank(rows[:y])
        elif n[0] == 2:
            self.cleared()
            self._blank(rows)
        elif n[0] == 3 and not self.alternate:
            self.flush()
            self.history.clear()

    def _erase_line(self, n: list[int]) -> None:
        self._restrict(0)
        if n[0] == 0:
            self._erase(self.y, self.x, self.cols, self.x == 0)
        elif n[0] == 1:
            self._erase(self.y, 0, self.x + 1)
        elif n[0] == 2:
            self._erase(self.y, 0, self.cols, True)

    def _erase_characters(self, n: list[int]) -> None:
        self._restrict()
        self._erase(self.y, self.x, min(self.x + (n[0] or 1), self.cols))

    def _insert_characters(self, n: list[int]) -> None:
        self._restrict()
        if self._left <= self.x < self._right:
            self._push(self.x, n[0] or 1)

    def _delete_characters(self, n: list[int]) -> None:
        self._restrict()
        if self._left <= self.x < self._right:
            self._pull(self.y, self.x, n[0] or 1)

    def _insert_lines(self, n: list[int]) -> None:
        self._within(n[0] or 1, -1)

    def _delete_lines(self, n: list[int]) -> None:
        self._within(n[0] or 1, 1)

    def _within(self, count: int, way: int) -> None:
        """Lines put in or taken out at the cursor: the part below it scrolls."""
        self._restrict()
        buffer = self._buffer
        if buffer.top <= self.y <= buffer.bottom and self._left <= self.x < max(self._right, self._left + 1):
            kept, buffer.top = buffer.top, self.y
            try:
                if way > 0:
                    self._scroll(count, keep=False)
                else:
                    self._unscroll(count)
            finally:
                buffer.top = kept
            self.x = self._left

    def _scroll_up(self, n: list[int]) -> None:
        self._scroll(n[0] or 1, keep=False)

    def _scroll_down(self, n: list[int]) -> None:
        if len(n) == 1:
            self._unscroll(n[0] or 1)

    def _columns_in(self, n: list[int]) -> None:
        self._columns(self.x, n[0] or 1, push=True)

    def _columns_out(self, n: list[int]) -> None:
        self._columns(self.x, n[0] or 1, push=False)

    def _scroll_left(self, n: list[int]) -> None:
        self._columns(0, n[0] or 1, push=False)

    def _scroll_right(self, n: list[int]) -> None:
        self._columns(0, n[0] or 1, push=True)

    def _columns(self, x: int, count: int, push: bool) -> None:
        buffer = self._buffer
        if not buffer.top <= self.y <= buffer.bottom:
            return
        self._spend(buffer.bottom - buffer.top + 1)
        here = self.y
        for y in range(buffer.top, buffer.bottom + 1):
            self.y = y
            if push:
                self._push(min(x, self.cols - 1), count)
            else:
                self._pull(y, min(x, self.cols - 1), count)
            buffer.rows[y].wrapped = False
        self.y = here

    def _repeat(self, n: list[int]) -> None:
        before = self._before
        if not before or self.x < before:
            return
        cells = self._buffer.rows[self.y].cells
        char = cells[self.x - before] if self.x - before < len(cells) else ""
        count = min(n[0] or 1, self.cols * self.rows)
        self._spend(count // _CELLS_PER_ROW)
        self.write(char * count)

    def _margins_set(self, n: list[int]) -> None:
        top, bottom = n[0] or 1, n[1] if len(n) > 1 else 0
        if bottom == 0 or bottom > self.rows:
            bottom = self.rows
        if bottom > top:
            self._buffer.top, self._buffer.bottom = top - 1, bottom - 1
            self._to(0, 0)

    def _sides_or_save(self, n: list[int]) -> None:
        if not self._margins:
            self._save()
            return
        left, right = n[0] or 1, n[1] if len(n) > 1 else 0
        if right == 0 or right > self.cols:
            right = self.cols
        if right > left:
            self._left, self._right = left - 1, right
            self._to(0, 0)

    def _clear_tabs(self, n: list[int]) -> None:
        if n[0] == 0:
            self._buffer.tabs.discard(self.x)
        elif n[0] == 3:
            self._buffer.tabs.clear()

    def _soft_reset(self, n: list[int]) -> None:
        self._modes()
        self._buffer.top, self._buffer.bottom = 0, self.rows - 1
        self._buffer.saved = (0, 0, "B", "")

    def _mode(self, n: list[int], on: bool) -> None:
        if 4 in n:
            self._insert = on
        if 20 in n:
            self._newline = on

    def _private_mode(self, n: list[int], on: bool) -> None:
        for number in n:
            if number == 6:
                self._origin = on
                self._to(0, 0)
            elif number == 7:
                self._wraps = on
            elif number == 5:
                self._inverse = on
            elif number == 25:
                self._visible = on
            elif number == 45:
                self._reverse = on
            elif number == 69:
                self._margins, self._left, self._right = on, 0, self.cols
            elif number == 2 and on:
                self._sets, self._set = ["B"] * 4, "B"
            elif number in (47, 1047, 1048, 1049):
                self._other_screen(number, on)

    def _other_screen(self, number: int, on: bool) -> None:
        if on and number >= 1048:
            self._save()
        if number != 1048:
            if on:
                self._enter()
            else:
                self._leave()
        if not on and number >= 1048:
            self._restore()

    def _enter(self) -> None:
        if not self.alternate:
            self._spend(self.rows)
            self.switched()
            self._buffer, self.alternate = Buffer(self.cols, self.rows), True
            self._blank(self._buffer.rows)

    def _leave(self) -> None:
        if self.alternate:
            self.switched()
            self._buffer, self.alternate = self._main, False


_ESCAPES: dict[str, Callable[[Terminal], None]] = {
    "7": Terminal._save,
    "8": Terminal._restore,
    "D": Terminal._index,
    "E": Terminal._next_line,
    "H": Terminal._set_tab,
    "M": Terminal._reverse_index,
    "c": Terminal._reset,
    "#8": Terminal._align,
}

_SEQUENCES: dict[str, Callable[[Terminal, list[int]], None]] = {
    "@": Terminal._insert_characters,
    "A": Terminal._up,
    "B": Terminal._below,
    "C": Terminal._forward,
    "D": Terminal._back,
    "E": Terminal._lines_below,
    "F": Terminal._lines_up,
    "G": Terminal._column,
    "H": Terminal._position,
    "I": Terminal._tab,
    "J": Terminal._erase_display,
    "?J": Terminal._erase_display,
    "K": Terminal._erase_line,
    "?K": Terminal._erase_line,
    "L": Terminal._insert_lines,
    "M": Terminal._delete_lines,
    "P": Terminal._delete_characters,
    "S": Terminal._scroll_up,
    "T": Terminal._scroll_down,
    "X": Terminal._erase_characters,
    "Z": Terminal._tab_back,
    "`": Terminal._column,
    "a": Terminal._right_by,
    "b": Terminal._repeat,
    "d": Terminal._line,
    "e": Terminal._down_by,
    "f": Terminal._position,
    "g": Terminal._clear_tabs,
    "h": lambda self, n: self._mode(n, True),
    "l": lambda self, n: self._mode(n, False),
    "?h": lambda self, n: self._private_mode(n, True),
    "?l": lambda self, n: self._private_mode(n, False),
    "r": Terminal._margins_set,
    "s": Terminal._sides_or_save,
    "u": lambda self, n: self._restore(),
    "!p": Terminal._soft_reset,
    " @": Terminal._scroll_left,
    " A": Terminal._scroll_right,
    "'}": Terminal._columns_in,
    "'~": Terminal._columns_out,
}
