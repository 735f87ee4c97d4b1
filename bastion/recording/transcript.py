"""Output of channels as lines of text (L1, pure): what a terminal of the recorded size showed, and plain output as
it came.

Invariant: a line is given out once for each state in which it left the screen; what is cleared, and what scrolls
out of the alternate screen, is given out before it goes. Marks of ours stand where they came. Nothing grows with
the recording.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bastion.recording.controls import ControlParser, Token
from bastion.recording.grid import Row, Spent
from bastion.recording.snapshots import KeptTerminal
from bastion.wire.printable import escaped, in_order

# A line longer than this is given out in pieces: no program draws such a line to be read.
LONGEST_LINE = 64 << 10

# The echo of Enter: what a terminal's line discipline or a line editor sends first.
_ENTER = re.compile(rb"(?:\x1b\[[0-?]*[ -/]*[@-~])*\r?\n")

_OURS = re.compile(r"\[(?=bastion\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One line, safe to show. `time` in seconds: when it changed last. `wrapped`: it continues the line before.
    `lost`: no terminal keeps it (cleared, or scrolled out of the alternate screen).
    """

    time: float
    text: str
    wrapped: bool = False
    alternate: bool = False
    lost: bool = False
    ends: bool = True  # false for a piece of a line that goes on


@dataclass(frozen=True, slots=True)
class Mark:
    """Words of ours: a notice, text that the gateway put in, a string that some terminals show."""

    time: float
    text: str


@dataclass(frozen=True, slots=True)
class Screen:
    """The whole screen at one time. `why`: enter, alternate (it is left), end. The cursor is counted from 0."""

    time: float
    why: str
    alternate: bool
    cursor: tuple[int, int]
    size: tuple[int, int]
    lines: tuple[str, ...]


Record = Line | Mark | Screen


def safe(text: str) -> str:
    """A target's line: nothing in it reorders or poses as a line of ours."""
    return _OURS.sub(r"\\x5b", in_order(text))


class Hidden:
    """Strings that some terminals show, put together again as one mark each, as long as they are of a length to
    read.
    """

    def __init__(self) -> None:
        self._name = ""
        self._parts: list[str] = []
        self._size = 0

    def add(self, token: Token) -> str:
        """The words of a mark when one is complete, else ""."""
        if token.kind == "hidden-begin":
            self._name = token.body
        elif token.kind == "hidden":
            self._parts.append(token.body)
            self._size += len(token.body)
            if self._size > LONGEST_LINE:
                return self._told(", and more")
        elif self._parts or token.kind == "hidden-end":
            return self._told("")
        return ""

    def _told(self, more: str) -> str:
        text, self._parts, self._size = "".join(self._parts), [], 0
        return f"hidden by {self._name} in some terminals: {in_order(text)}{more}"


class PlainLines:
    """Output without a terminal: lines as they came. Carriage returns end a line, other controls are written out."""

    cols = 0  # nothing wraps
    terminal: KeptTerminal | None = None

    def __init__(self) -> None:
        self._parser = ControlParser()
        self._hidden = Hidden()
        self._parts: list[str] = []
        self._size = 0
        self._returned = False
        self.now = 0.0

    def output(self, data: bytes, now: float) -> list[Record]:
        """What the bytes complete."""
        self.now = now
        out: list[Record] = []
        for token in self._parser.feed(data):
            if token.kind == "text":
                self._add(token.body, out)
            elif token.kind == "control":
                self._control(token.body, out)
            elif token.kind.startswith("hidden") and (text := self._hidden.add(token)):
                out.append(Mark(now, text))
        return out

    def _add(self, text: str, out: list[Record]) -> None:
        self._returned = False
        self._parts.append(text)
        self._size += len(text)
        if self._size > LONGEST_LINE:
            self._end(out, ends=False)

    def _control(self, char: str, out: list[Record]) -> None:
        if char == "\n":
            if not self._returned:
                self._end(out)
            self._returned = False
        elif char == "\r":
            if self._parts:
                self._end(out)
                self._returned = True
        elif char == "\t":
            self._add(char, out)
        elif char != "\x07" and char != "\0":
            self._add(escaped(char), out)

    def _end(self, out: list[Record], ends: bool = True) -> None:
        text, self._parts, self._size = "".join(self._parts), [], 0
        out.append(Line(self.now, safe(text), ends=ends))

    @property
    def strings(self) -> tuple[int, int]:
        """How many control strings some terminals show, and how many none does."""
        return self._parser.hidden, self._parser.swallowed

    def mark(self, text: str, now: float, missing: bool = True) -> list[Record]:
        """Words of ours, on a line of their own. `missing`: bytes may be, so that nothing goes on behind it."""
        out = self.settle()
        if missing:
            self._parser.restart()
        return [*out, Mark(now, text)]

    def settle(self) -> list[Record]:
        """Whatever stands on the last line."""
        out: list[Record] = []
        if self._parts:
            self._end(out)
        return out

    def scrolled(self) -> list[Record]:
        """Nothing waits that is whole."""
        return []

    def finish(self) -> list[Record]:
        """The rest, at the end."""
        return self.settle()


class ScreenLines:
    """Output of a terminal: lines as they leave the screen, and screens."""

    def __init__(
        self, size: tuple[int, int], screens: bool = False, terminal: KeptTerminal | None = None
    ) -> None:
        """`terminal` is one that goes on, and then has the size."""
        self._terminal = KeptTerminal(*size, self._left) if terminal is None else terminal
        self._terminal.told_to(self._left)
        self.heard: Callable[[str], None] = lambda text: None  # told of strings that some terminals show
        self._terminal.switched = self._switched
        self._terminal.cleared = self._cleared
        self._hidden = Hidden()
        self._screens = screens
        self._last: tuple[str, ...] = ()
        self._out: list[Record] = []
        self._plain: PlainLines | None = None  # once the screen has cost too much

    @property
    def cols(self) -> int:
        """Columns of the terminal, 0 once there is no screen any more."""
        return self._terminal.cols if self._plain is None else 0

    def output(self, data: bytes, now: float) -> list[Record]:
        """What leaves the screen because of these bytes."""
        if self._plain is not None:
            return self._plain.output(data, now)
        try:
            tokens = self._terminal.feed(data, now)
        except Spent:
            self._plain = PlainLines()
            self._close()
            self._out.append(
                Mark(now, "made to cost too much to draw: from here on as it came, without a screen")
            )
            return [*self._taken(), *self._plain.output(data, now)]
        for token in tokens:
            if text := self._hidden.add(token):
                self._mark(text, now)
                self.heard(text)
        return self._taken()

    def _taken(self) -> list[Record]:
        out, self._out = self._out, []
        return out

    def _mark(self, text: str, now: float) -> None:
        """Before the cursor's row when nothing stands in it, else behind it."""
        terminal = self._terminal
        row = terminal.screen[terminal.y]
        if row.marks is None:
            row.marks = []
        row.marks.append((bool(row.cells), now, text))
        if len(row.marks) > 100:
            self._marks(row, True)
            self._marks(row, False)

    @property
    def terminal(self) -> KeptTerminal | None:
        """The screen, None once it has cost too much."""
        return self._terminal if self._plain is None else None

    @property
    def strings(self) -> tuple[int, int]:
        """As of plain lines."""
        hidden, swallowed = self._terminal.strings
        more = (0, 0) if self._plain is None else self._plain.strings
        return hidden + more[0], swallowed + more[1]

    def mark(self, text: str, now: float, missing: bool = True) -> list[Record]:
        """Words of ours, where the cursor stands. `missing`: bytes may be, so that nothing goes on behind it."""
        if self._plain is not None:
            return self._plain.mark(text, now, missing)
        if missing:
            self._terminal.skip()
        self._mark(text, now)
        return self._taken()

    def resize(self, size: tuple[int, int], now: float) -> list[Record]:
        """The window has another size."""
        if self._plain is None:
            try:
                self._terminal.resize(*size)
            except Spent:
                self._plain = PlainLines()
                self._close()
        return self._taken()

    def entered(self, now: float) -> list[Record]:
        """Enter was typed: the screen as it was then."""
        if self._plain is None:
            self._shot("enter", now)
        return self._taken()

    def _shot(self, why: str, now: float) -> None:
        if not self._screens:
            return
        terminal = self._terminal
        lines = tuple(safe(row.text) for row in terminal.screen)
        if why == "enter" and lines == self._last:
            return
        self._last = lines
        size = (terminal.cols, terminal.rows)
        self._out.append(Screen(now, why, terminal.alternate, (terminal.x, terminal.y), size, lines))

    def settle(self) -> list[Record]:
        """What stands above the cursor."""
        if self._plain is not None:
            return self._plain.settle()
        self._above()
        return self._taken()

    def scrolled(self) -> list[Record]:
        """What has left the screen, and would be held until more has."""
        if self._plain is None:
            self._terminal.flush()
        return self._taken()

    def _above(self) -> None:
        terminal = self._terminal
        if not terminal.alternate:
            terminal.flush()
            for row in terminal.screen[: terminal.y]:
                terminal.tell(row, False)

    def finish(self) -> list[Record]:
        """The rest, at the end."""
        if self._plain is not None:
            return self._plain.finish()
        self._close()
        return self._taken()

    def _close(self) -> None:
        terminal = self._terminal
        self._shot("end", terminal.now)
        if terminal.alternate:
            self._give(terminal.screen, True)
            self._out.append(Mark(terminal.now, "main screen, behind the alternate one"))
        terminal.flush()
        self._give(terminal.main, False)

    def _give(self, rows: list[Row], lost: bool) -> None:
        """Rows as they stand, up to the last that is not blank."""
        last = max((at for at, row in enumerate(rows) if row.cells), default=-1)
        for at, row in enumerate(rows):
            if at > last:
                row.told = True  # nothing but words of ours can stand there
            self._terminal.tell(row, lost)

    def _switched(self) -> None:
        terminal = self._terminal
        if terminal.alternate:
            self._shot("alternate", terminal.now)
            self._give(terminal.screen, True)
            self._out.append(Mark(terminal.now, "main screen again"))
        else:
            self._above()
            self._give(terminal.screen[terminal.y : terminal.y + 1], False)
            self._out.append(Mark(terminal.now, "alternate screen"))

    def _cleared(self) -> None:
        terminal = self._terminal
        if not terminal.alternate:
            terminal.flush()
        if any(row.cells and not row.told for row in terminal.screen):
            self._give(terminal.screen, True)
            self._out.append(Mark(terminal.now, "the screen is cleared here"))

    def _left(self, row: Row, lost: bool) -> None:
        if row.marks:
            self._marks(row, False)
        if not row.told:
            text = "".join(row.cells) if row.goes_on else row.text
            self._out.append(Line(row.time, safe(text), row.wrapped, self._terminal.alternate, lost))
        if row.marks:
            self._marks(row, True)

    def _marks(self, row: Row, behind: bool) -> None:
        kept = []
        for mark in row.marks or ():
            if mark[0] is behind:
                self._out.append(Mark(mark[1], mark[2]))
            else:
                kept.append(mark)
        row.marks = kept or None


def is_enter(data: bytes) -> bool:
    """Output that begins as the echo of Enter does."""
    return _ENTER.match(data, 0, 64) is not None


def typed_enter(data: bytes) -> bool:
    """Input that has Enter in it."""
    return b"\r" in data or b"\n" in data


def as_text(records: Iterator[Record], times: bool) -> Iterator[str]:
    """Lines to read. `times`: each begins with the seconds at which it changed last."""
    begun = False
    for record in records:
        if isinstance(record, Screen):
            continue
        stamp = f"{record.time:10.3f}  " if times and not begun else ""
        if isinstance(record, Mark):
            yield ("\n" if begun else "") + f"{stamp}[bastion: {record.text}]\n"
            begun = False
        else:
            yield stamp + record.text + ("\n" if record.ends else "")
            begun = not record.ends
    if begun:
        yield "\n"
