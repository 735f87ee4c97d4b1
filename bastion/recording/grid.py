"""The cells of a terminal (L1, pure): rows, the two screens, margins, and where a character comes to stand.

`terminal.Terminal` reads the sequences and moves the cursor. Colours stand beside the text (pens.py): text that a
terminal hides is text here.

Invariant: memory is that of the screen (at most LARGEST_SIZE) and HISTORY rows; one sequence costs at most one pass
over the screen, and what all of them cost is bounded by the bytes that came (`Spent`), whatever numbers stand in
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache

from wcwidth import wcwidth

from bastion.errors import BastionError
from bastion.recording.pens import background, cells_of, pen_of, styled
from bastion.recording.screen import CHARACTER_SETS

# Rows above the screen that come back when it grows. No screen has more rows (LARGEST_SIZE).
HISTORY = 500

# Code points of one cell: a letter and its marks. More are dropped; they would draw over each other.
LONGEST_CELL = 16

# Rows that may be touched at once for each byte that came, and for nothing. Programs clear a screen and then fill it,
# with some twenty bytes a row.
ROWS_PER_BYTE, ROWS_FREE = 1, 200_000

# Rows that are read for the price of one that is drawn: a look at a whole screen for each key that is pressed.
READ_FOR_ONE = 32


class Spent(BastionError):
    """What came costs more to draw than a screen is worth: it was made to."""


class Row:
    """One line of the screen. `cells` has a string for each column up to the last that was written: a character
    with its marks, "" behind a wide one; `rest` is the pen of the blanks behind them. `wrapped`: it goes on from the
    row above. `time` is that of its last change, `told` that it was given out as it is.
    """

    __slots__ = ("cells", "goes_on", "marks", "rest", "time", "told", "wrapped")

    def __init__(self, wrapped: bool = False, rest: str = "") -> None:
        self.cells: list[str] = []
        self.rest = rest
        self.wrapped = wrapped
        self.goes_on = False  # what was written passed its end: blanks there are part of it
        self.time = 0.0
        self.told = False
        self.marks: list[tuple[bool, float, str]] | None = None  # (behind it, time, words), of whoever reads

    @property
    def text(self) -> str:
        """What stands in it, without blanks at its end."""
        return "".join(self.cells).rstrip(" ")


class Buffer:
    """One of the two screens, with what belongs to it alone."""

    def __init__(self, cols: int, rows: int) -> None:
        self.rows = [Row() for _ in range(rows)]
        self.top, self.bottom = 0, rows - 1
        self.saved = (0, 0, "B", "")  # column, row, character set, pen
        self.tabs = set(range(0, cols, 8))


@lru_cache(1 << 14)
def width(char: str) -> int:
    """Columns of one character: 0, 1 or 2."""
    return max(0, wcwidth(char)) if char != "\xad" else 1


class Grid:
    """The screens and the cursor. `leaves` gets each row that leaves the screen (the row, and whether it is gone
    for good: scrolled out of the alternate screen, or cut off), in order; rows of the main screen leave when
    HISTORY is full.
    """

    def __init__(self, cols: int, rows: int, leaves: Callable[[Row, bool], None]) -> None:
        self.cols, self.rows = cols, rows
        self.now = 0.0
        self.history: deque[Row] = deque()
        self.alternate = False
        self._leaves = leaves
        self._bytes = self._work = 0
        self._fresh()

    def _fresh(self) -> None:
        self._main = self._buffer = Buffer(self.cols, self.rows)
        self.x = self.y = 0
        self._inverse = False  # the whole screen, dark on light
        self._modes()

    def _modes(self) -> None:
        """Modes, margins of the sides and character sets as a terminal starts."""
        self._insert = self._origin = self._reverse = self._newline = self._margins = False
        self._wraps = self._visible = True
        self._pen = ""
        self._left, self._right = 0, self.cols
        self._sets, self._level, self._set = ["B", "B", "B", "B"], 0, "B"
        self._before: int | None = (
            None  # columns of the character just printed, None when something else came
        )

    @property
    def screen(self) -> list[Row]:
        """The rows from top to bottom."""
        return self._buffer.rows

    @property
    def main(self) -> list[Row]:
        """The rows of the main screen, whichever is shown."""
        return self._main.rows

    def resize(self, cols: int, rows: int) -> None:
        """The window has another size. Text beyond a narrower edge stays in its row until it is overwritten."""
        for buffer in {id(one): one for one in (self._main, self._buffer)}.values():
            self._spend(rows)
            if buffer is self._buffer:
                self.y = self._fit(buffer, rows, self.y)
            else:
                self._fit(buffer, rows, rows - 1)
            buffer.tabs |= set(range((self.cols + 7) // 8 * 8, cols, 8))
            buffer.top, buffer.bottom = 0, rows - 1
            x, y, charset, pen = buffer.saved
            buffer.saved = (min(x, cols - 1), y, charset, pen)
        self.cols, self.rows = cols, rows
        self.x, self.y = min(self.x, cols - 1), min(self.y, rows - 1)
        self._left, self._right, self._margins = 0, cols, False

    def _fit(self, buffer: Buffer, rows: int, y: int) -> int:
        """Rows come from the history, or at the bottom; they go below the cursor first. The cursor's new row."""
        lines = buffer.rows
        while len(lines) < rows:
            if buffer is self._main and self.history and len(lines) <= y + 1:
                lines.insert(0, self.history.pop())
                y += 1
            else:
                lines.append(Row())
        while len(lines) > rows:
            if len(lines) > y + 1:
                self._gone(lines.pop())
            else:
                self._off(buffer, lines.pop(0))
                y -= 1
        return y

    def told_to(self, leaves: Callable[[Row, bool], None]) -> None:
        """Rows that leave go there from now on."""
        self._leaves = leaves

    def flush(self) -> None:
        """Give out what has scrolled off, and keep it for a larger screen."""
        for row in self.history:
            self.tell(row, False)

    def tell(self, row: Row, lost: bool) -> None:
        """Give a row out, unless it was as it is."""
        if not row.told or row.marks:
            self._leaves(row, lost)
            row.told = True

    def _gone(self, row: Row) -> None:
        if row.cells or row.marks:
            self.tell(row, True)

    def _off(self, buffer: Buffer, row: Row) -> None:
        """A row leaves at the top."""
        if buffer is not self._main:
            self._gone(row)
            return
        self.history.append(row)
        if len(self.history) > HISTORY:
            self.tell(self.history.popleft(), False)

    def paid(self, size: int) -> None:
        """So many bytes came."""
        self._bytes += size

    def looked(self, rows: int) -> None:
        """So many rows are read: that costs as well, and raises Spent like drawing."""
        self._spend(1 + rows // READ_FOR_ONE)

    def _spend(self, rows: int) -> None:
        self._work += rows
        if self._work > ROWS_FREE + ROWS_PER_BYTE * self._bytes:
            raise Spent

    # -- writing

    def _row(self) -> Row:
        row = self._buffer.rows[self.y]
        row.time, row.told = self.now, False
        return row

    def write(self, text: str) -> None:
        """Text without controls, at the cursor."""
        if self._set != "B":
            text = text.translate(CHARACTER_SETS[self._set])
        if not text.isascii() or self._insert:
            for char in text:
                self._put(char)
            return
        at, size = 0, len(text)
        right = self._edge()
        while at < size:
            if self.x >= right:
                if not self._wraps:
                    self.x, at = right - 1, size - 1
                else:
                    self._wrap()
                    right = self._edge()
            piece = text[at : at + right - self.x]
            self._place(cells_of(piece, self._pen), len(piece))
            at += len(piece)
        self._before = 1

    def _edge(self) -> int:
        """The column behind the last that the cursor may write to here."""
        return self._right if self.x <= self._right else self.cols

    def _place(self, piece: str | list[str], size: int) -> None:
        """Cells from the cursor on, which fit."""
        row = self._row()
        x, cells = self.x, row.cells
        end = x + size
        if len(cells) < x:
            self._extend(row, x)
        elif 0 < x < len(cells) and not cells[x]:
            cells[x - 1] = " "  # the left half of a wide character without its right
        cells[x:end] = piece
        if end < len(cells) and not cells[end]:
            cells[end] = " "
        self.x = end

    def _wrap(self) -> None:
        self._buffer.rows[self.y].goes_on = True
        self.x = self._left if self.x == self._right else 0
        self._down(True)

    def _down(self, wrapped: bool) -> None:
        """To the next row, scrolling at the bottom margin."""
        if self.y == self._buffer.bottom:
            self._scroll(1, wrapped)
        elif self.y < self.rows - 1:
            self.y += 1
            self._buffer.rows[self.y].wrapped = wrapped

    def _put(self, char: str) -> None:
        """One character of any width."""
        size = width(char)
        if size == 0 and self._before and self.x:
            cells = self._row().cells
            at = self.x - 1 if cells[self.x - 1] else self.x - 2
            if len(cells[at]) < LONGEST_CELL:
                cells[at] = styled(cells[at] + char, pen_of(cells[at]))
            return
        right = self._edge()
        if self.x + size > right:
            if self._wraps:
                del self._row().cells[self.x :]
                self.x = right
                self._wrap()
            else:
                self.x = right - 1
                if size == 2:
                    return
        self._before = size
        if self.x >= self.cols:
            return  # a mark without a letter, in no column
        if self._insert:
            self._push(self.x, size)
        char = styled(char, self._pen)
        self._place([char, ""] if size == 2 else [char], 2 if size == 2 else 1)

    def _extend(self, row: Row, end: int) -> None:
        """The row's cells reach to column `end`."""
        row.cells.extend(cells_of(" " * (end - len(row.cells)), row.rest))

    def _blanks(self, count: int) -> str | list[str]:
        """So many cells as they are behind an erasure: with the background of now."""
        return cells_of(" " * count, background(self._pen))

    def _push(self, x: int, count: int) -> None:
        """Blanks before a cell of the cursor's row; what passes the right margin is lost."""
        row = self._row()
        cells = row.cells
        if x >= len(cells):
            if row.rest == background(self._pen):
                return
            self._extend(row, x)
        if x < len(cells) and x and not cells[x]:
            cells[x - 1] = cells[x] = " "
        tail = cells[self._right :]
        del cells[self._right :]
        cells[x:x] = self._blanks(min(count, self._right - x))
        if len(cells) >= self._right:
            cut = len(cells) > self._right and not cells[self._right]
            del cells[self._right :]
            if cut:
                cells[-1] = " "  # half of a wide character
            cells.extend(tail)

    def _pull(self, y: int, x: int, count: int) -> None:
        """Cells of a row are taken out; blanks come at the right margin."""
        row = self._buffer.rows[y]
        row.time, row.told = self.now, False
        cells = row.cells
        same = row.rest == background(self._pen)
        if not same and len(cells) < self._right:
            self._extend(row, self._right)
        if x >= len(cells):
            return
        if x and not cells[x]:
            cells[x - 1] = " "
        count = min(count, self._right - x)
        if not same or len(cells) > self._right:
            cells[self._right : self._right] = self._blanks(count)
        del cells[x : x + count]
        if x < len(cells) and not cells[x]:
            cells[x] = " "

    def _erase(self, y: int, start: int, end: int, unwrap: bool = False) -> None:
        """Blanks from column `start` to before `end`; to the edge is beyond it too."""
        row = self._buffer.rows[y]
        row.time, row.told = self.now, False
        if unwrap:
            row.wrapped = False
        cells, pen = row.cells, background(self._pen)
        if row.rest != pen:
            self._extend(row, start if end >= self.cols else end)
        if end >= self.cols:
            row.rest = pen
        if start >= len(cells):
            return
        if start and not cells[start]:
            cells[start - 1] = " "
        if row.rest == pen and (end >= len(cells) or end >= self.cols):
            del cells[start:]
            return
        if end < len(cells) and not cells[end]:
            cells[end] = " "
        cells[start:end] = self._blanks(end - start)

    def _blank(self, rows: list[Row]) -> None:
        pen = background(self._pen)
        for row in rows:
            row.rest = pen
            row.cells, row.wrapped, row.time, row.told = [], False, self.now, False
            row.goes_on = False

    def _restrict(self, last: int = 1) -> None:
        """The cursor on the screen; `last` 0 lets it stand behind the last column."""
        buffer = self._buffer
        low, high = (buffer.top, buffer.bottom) if self._origin else (0, self.rows - 1)
        self.x = min(max(self.x, 0), self.cols - last)
        self.y = min(max(self.y, low), high)

    def _to(self, x: int, y: int) -> None:
        """The cursor to a place, counted from the margins in origin mode."""
        if self._origin:
            x, y = x + self._left, y + self._buffer.top
        self.x, self.y = x, y
        self._restrict()

    def _scroll(self, count: int, wrapped: bool = False, keep: bool = True) -> None:
        """Rows between the margins go up, new ones come at the bottom."""
        buffer, top, bottom = self._buffer, self._buffer.top, self._buffer.bottom
        count = min(count, bottom - top + 1)
        self._spend(count - 1)
        if self._left > 0 or self._right < self.cols:
            self._scroll_columns(top, bottom, count)
            return
        rows, pen = buffer.rows, background(self._pen)
        for _ in range(count):
            row = rows.pop(top)
            if keep and top == 0:
                self._off(buffer, row)
            else:
                self._gone(row)
            rows.insert(bottom, Row(wrapped, pen))

    def _scroll_columns(self, top: int, bottom: int, count: int) -> None:
        """The same between left and right margins; up when `count` is positive, else down."""
        self._spend(bottom - top + 1)
        left, right, rows = self._left, self._right, self._buffer.rows
        pieces = [self._cut(row, left, right) for row in rows[top : bottom + 1]]
        blank = list(self._blanks(right - left))
        if count > 0:
            pieces = [*pieces[count:], *([blank] * count)]
        else:
            pieces = [*([blank] * -count), *pieces[:count]]
        for row, piece in zip(rows[top : bottom + 1], pieces[: bottom - top + 1], strict=True):
            row.cells[left:right] = piece
            row.time, row.told = self.now, False

    def _cut(self, row: Row, left: int, right: int) -> list[str]:
        if len(row.cells) < right:
            self._extend(row, right)
        return row.cells[left:right]

    def _unscroll(self, count: int) -> None:
        """Rows between the margins go down."""
        top, bottom = self._buffer.top, self._buffer.bottom
        count = min(count, bottom - top + 1)
        self._spend(count - 1)
        if self._left > 0 or self._right < self.cols:
            self._scroll_columns(top, bottom, -count)
            return
        pen = background(self._pen)
        for _ in range(count):
            row = self._buffer.rows.pop(bottom)
            if row.marks:
                self.tell(row, True)
            self._buffer.rows.insert(top, Row(False, pen))
