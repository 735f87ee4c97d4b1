"""What was typed at shells, read off the screen (L1, pure): `Typing`, for one channel with a terminal.

How: a terminal of the recorded size is drawn. Where a program waits behind something that is a prompt, a line begins;
when Enter is echoed there, what stands behind the prompt was typed. Line editors of today frame their lines with
bracketed paste (`CSI ? 2004 h` and `l`), shells may mark them (OSC 133); without either the prompt is a guess
(prompts.py) and Enter is the line feed in its row.

Invariant: text comes from the screen alone, never from what the client sent: what was not echoed is not in it. Memory
is that of a screen, MOST_OPEN commands and MOST_PROMPTS prompts; no command is longer than LONGEST_COMMAND.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bastion.recording.grid import Row, Spent
from bastion.recording.panes import Panes
from bastion.recording.prompts import (
    LONGEST_PROMPT,
    SHORTEST_SURE,
    continuation,
    continues,
    is_complaint,
    is_prompt,
    is_strong,
    split_prompt,
)
from bastion.recording.running import LONGEST_COMMAND, Running, Typed
from bastion.recording.screen_lines import (
    column,
    goes_on_below,
    joined,
    prompt_of,
    rows_below,
    rows_from,
    text_before,
)
from bastion.recording.terminal import Terminal

LONGEST_MARK = 512

_MARK = re.compile(
    rb"\n|\x1b\[\?(2004|1)([hl])|\x1b\](?:133|633);([A-D][^\x07\x1b]{0,%d})(?:\x07|\x1b\\)" % LONGEST_MARK
)
# A mark whose end has not come yet.
_BEGUN = re.compile(
    rb"\x1b(?:\[(?:\?(?:1|2(?:0(?:04?)?)?)?)?|\](?:[136]{0,3}|(?:133|633);[^\x07\x1b]{0,512}\x1b?))?\Z"
)
_STATUS_LINE = re.compile(r"\A\[[^\]]{1,40}\] \d+:\S")
_MULTIPLEXER = re.compile(r"(?:\A|[\s;&|/])(?:tmux|screen|byobu|zellij|abduco)\b")
_STATUS = re.compile(r"D;(\d{1,3})")


@dataclass(slots=True)
class _Line:
    """A line that is being typed, behind a prompt that ends at `x` of `row`."""

    row: Row
    x: int
    prompt: str
    since: float
    framed: bool = False  # by bracketed paste
    marked: bool = False  # by OSC 133
    settled: bool = True  # the prompt is known to end there
    right: str = ""  # what stands at the right edge
    head: Typed | None = None  # it continues this one
    tentative: bool = False


class Typing:
    """Feed it what one terminal got and showed; `tell` gets each command once all is known of it."""

    def __init__(self, size: tuple[int, int], input_kept: bool, tell: Callable[[Typed], None]) -> None:
        self._terminal = Terminal(*size, lambda row, lost: None)
        self._tell = tell
        self._input_kept = input_kept
        self._enters = 0
        self._held = b""
        self._line: _Line | None = None
        self._editing = False
        self._keypad = False  # a line editor has it, until Enter
        self._running = Running(tell)
        self._awaiting: Typed | None = None  # for the shell's mark that it runs
        self._has_marks = False
        self._panes: Panes | None = None  # while a multiplexer has the terminal
        self._last_right = ""
        self._done: Row | None = None  # the last row of the line before
        self._lost = False  # bytes are missing in this line
        self._spent = False

    # -- what comes

    def typed(self, data: bytes) -> None:
        """The client sent this."""
        self._enters += data.count(b"\r") + data.count(b"\n")

    def resize(self, size: tuple[int, int]) -> None:
        """The window has another size."""
        try:
            self._terminal.resize(*size)
        except Spent:
            self._spent = True

    def gap(self) -> None:
        """Bytes are missing here."""
        self._terminal.skip()
        self._line, self._lost = None, True

    def output(self, data: bytes, now: float) -> bool:
        """The terminal showed this. False, once, when it was made to cost too much: nothing is known from here on."""
        if self._spent:
            return True
        try:
            self._output(self._held + data if self._held else data, now)
        except Spent:
            self._spent, self._line = True, None
        return not self._spent

    def close(self, now: float) -> None:
        """Nothing more comes."""
        if self._panes is not None:
            self._panes.close(now)
        self._running.close()

    def _output(self, data: bytes, now: float) -> None:
        begun = _BEGUN.search(data, max(0, len(data) - LONGEST_MARK))
        self._held = data[begun.start() :] if begun else b""
        end = begun.start() if begun else len(data)
        at, shown = 0, False
        for mark in _MARK.finditer(data, 0, end):
            piece = data[at : mark.start()]
            if piece:
                self._terminal.feed(piece, now)
                shown = shown or _text_in(piece)
            at = mark.start()
            if mark[1] == b"1":
                self._keypad = mark[2] == b"h"
            elif mark[1]:
                self._frame(mark[2] == b"h", now)
            elif mark[3]:
                self._shell_mark(mark[3].decode("ascii", "replace"), now)
            else:
                self._line_end(now, not shown)
        if at < end:
            self._terminal.feed(data[at:end], now)
        self._boundary(now)

    # -- a program waits

    def _multiplexer(self) -> Panes | None:
        """What reads tmux and screen, once one of them has the alternate screen."""
        terminal = self._terminal
        if self._panes is None and (
            _MULTIPLEXER.search(self._running.newest()) or _STATUS_LINE.match(terminal.screen[-1].text)
        ):
            self._panes = Panes(terminal, self._tell)
        return self._panes

    def _boundary(self, now: float) -> None:
        """The end of what came at once: perhaps somebody is waited for."""
        terminal = self._terminal
        if self._lost:
            return
        if terminal.alternate:
            if (panes := self._multiplexer()) is not None:
                terminal.looked(terminal.rows)
                panes.look(now)
            return
        if self._panes is not None:
            self._panes.close(now)
            self._panes = None
        line = self._line
        if line is not None and line.row in terminal.screen[: terminal.y + 1]:
            if not line.settled:
                self._settle(line)
            elif line.row is not terminal.screen[terminal.y]:
                self._moved(line, now)
            else:
                self._again(line, now)
            return
        text = text_before(terminal)[1]
        if terminal.x == 0 or not text.strip() or self._known(text, now, line) or line is not None:
            return
        if (
            self._editing
            or (is_prompt(text) and not self._below())
            or any(text.endswith(prompt) for prompt in self._running.prompts(False))
        ):
            self._arm(terminal.screen[terminal.y], terminal.x, text, now)

    def _again(self, line: _Line, now: float) -> None:
        """A known prompt stands in the row behind the first: what was there before is no command, or no prompt."""
        if line.framed or self._terminal.x <= line.x:
            return
        text = "".join(line.row.cells[: self._terminal.x])
        for prompt in self._running.prompts(False) if line.tentative else (line.prompt,):
            at = text.rfind(prompt) if len(prompt.strip()) >= SHORTEST_SURE else -1
            x = column(line.row, text[: at + len(prompt)])
            if at >= 0 and x > line.x:
                self._arm(line.row, x, prompt, now, False)
                return

    def _below(self) -> bool:
        terminal = self._terminal
        terminal.looked(terminal.rows)
        return any(row.text for row in terminal.screen[terminal.y + 1 :])

    def _known(self, text: str, now: float, line: _Line | None) -> bool:
        """The cursor's line begins with a prompt seen before: after a clear, or a list of completions."""
        prompts = (line.prompt,) if line is not None else self._running.prompts(self._editing)
        found = prompt_of(self._terminal, prompts, line is None, self._done)
        if found is None:
            return False
        row, x, prompt = found
        if line is not None:
            line.row, line.x = row, x
            return True
        rest = text.rpartition(prompt)[2]
        last = self._running.last if rest.strip() and not self._editing else None
        if (
            last is not None
            and last.prompt == prompt
            and rest.startswith(last.text)
            and x == column(row, prompt)
        ):
            self._running.drop(last)  # it was no Enter: completions were listed
        self._arm(row, x, prompt, now, rest.strip() == "")
        return True

    def _settle(self, line: _Line) -> None:
        """The first rest after a frame began: the prompt may have been written behind the mark."""
        terminal, row = self._terminal, line.row
        moved = terminal.screen[terminal.y] is not row or terminal.x > line.x
        if not moved and not is_prompt(line.prompt) and not self._running.knows(line.prompt):
            return
        line.settled = True
        if self._split(line, "".join(row.cells[line.x :]), 0):
            pass
        elif terminal.screen[terminal.y] is not row and terminal.x:  # a prompt of several rows
            line.row, line.x, line.prompt = terminal.screen[terminal.y], terminal.x, text_before(terminal)[1]
        elif terminal.screen[terminal.y] is row and terminal.x > line.x:
            more = "".join(row.cells[line.x : terminal.x]).ljust(terminal.x - line.x)
            begins = 0 if is_prompt(line.prompt) else split_prompt(more)
            self._split(line, more, len(more) if is_prompt(more) else begins)
        self._right(line)
        self._learn(line)

    def _moved(self, line: _Line, now: float) -> None:
        """The cursor left the row of the prompt: a long line, several, or the prompt was drawn again below."""
        found = prompt_of(self._terminal, (line.prompt,), False, self._done) if line.prompt.strip() else None
        if found is not None:
            line.row, line.x = found[:2]
        elif not line.framed and not line.marked:
            _first, text = text_before(self._terminal)
            if self._terminal.x and is_prompt(text) and not self._below() and not self._connected(line):
                self._arm(self._terminal.screen[self._terminal.y], self._terminal.x, text, now)

    def _connected(self, line: _Line) -> bool:
        rows = rows_from(self._terminal, line.row)
        return rows is not None and "\n" not in joined(rows, 0, self._terminal.cols)

    def _right(self, line: _Line) -> None:
        """A prompt at the right edge."""
        cells = line.row.cells[line.x :]
        text = "".join(cells).strip()
        if text and self._terminal.x == line.x and self._terminal.screen[self._terminal.y] is line.row:
            line.right = text if cells[0] == " " else ""

    def _arm(self, row: Row, x: int, prompt: str, now: float, settled: bool = True) -> None:
        """A line begins."""
        prompt = prompt[-LONGEST_PROMPT:]
        for known in self._running.prompts(self._editing):  # output without a line end stands before it
            if prompt.endswith(known):
                prompt = known
        line = self._line = _Line(row, x, prompt, now, framed=self._editing)
        if self._continued(line):
            return
        if settled:
            self._right(line)
        running = self._running
        line.tentative = not (line.framed or running.first or running.times(prompt) or is_strong(prompt))
        self._learn(line)

    def _continued(self, line: _Line) -> bool:
        """Its prompt asks for more of the last command."""
        last = self._running.last
        if last is None or last.row is None or last.feeds or not self._next(last.row, line.row):
            return False
        if continues(line.prompt, last.prompt, last.text):
            line.head, line.settled = last, True
        return line.head is not None

    def _next(self, above: Row, row: Row) -> bool:
        rows = rows_from(self._terminal, above)
        if rows is None:
            return False
        place = next((at for at, one in enumerate(rows) if one is row), None)
        return place is not None and all(not one.text for one in rows[1:place])

    def _learn(self, line: _Line) -> None:
        self._running.back(line.prompt, line.framed, line.since, not line.tentative)

    # -- Enter

    def _line_end(self, now: float, first: bool) -> None:
        """Before a line feed. `first`: nothing else came with it."""
        if self._running.last is not None:
            self._running.last.feeds += 1
        if self._terminal.alternate or self._lost:
            self._lost = False
            return
        if self._line is None:
            self._ahead(now)
        line, terminal = self._line, self._terminal
        if line is None or line.framed:
            return
        if goes_on_below(terminal):
            return  # to another row of the same line
        rows = rows_from(terminal, line.row)
        if rows is None or not self._intact(line):
            found = prompt_of(terminal, (line.prompt,), False, self._done)
            if found is None:
                self._line = None
                return
            line.row, line.x = found[:2]
            rows = rows_from(terminal, line.row) or []
        if self._input_kept:
            if self._enters == 0:
                self._line = None
                return
            self._enters -= 1
        text = self._text(line, rows)
        self._line = None
        if "\n" in text:
            return  # other lines stand between
        line.tentative = line.tentative or (
            not first and not line.marked and self._running.times(line.prompt) < 2
        )
        self._entered(line, text, rows, now)

    def _ahead(self, now: float) -> None:
        """A line that was typed before its prompt came is drawn together with it."""
        terminal, last, framed = self._terminal, self._running.last, self._editing
        row = terminal.screen[terminal.y]
        if not row.text or (last is not None and last.row is row):
            return
        text = "".join(row.cells)
        if last is not None and last.row is not None and last.feeds <= 1:
            size = continuation(text, last.prompt, last.text)
            if size:
                last.feeds = 0
                self._arm(row, size, text[:size], now, False)
                return
        prompts = self._running.prompts(framed)
        if not framed:  # what begins with `# ` may be any line of any file
            prompts = tuple(prompt for prompt in prompts if len(prompt.strip()) >= SHORTEST_SURE)
        found = prompt_of(terminal, prompts, False, self._done)
        if found is not None:
            self._arm(*found, now, False)
        elif framed and (size := split_prompt(text)):
            self._arm(row, column(row, text[:size]), text[:size], now, False)

    def _intact(self, line: _Line) -> bool:
        """Before the place where the text begins stands still what stood there, or something as long that ends so."""
        before = "".join(line.row.cells[: line.x]).ljust(line.x)
        tail = line.prompt.strip()[-1:]
        return before.endswith(line.prompt) or (line.marked or before.rstrip().endswith(tail))

    def _text(self, line: _Line, rows: list[Row]) -> str:
        """What stands behind the prompt, without what stands at the right edge: there, or at the prompt before."""
        text, right = joined(rows, line.x, self._terminal.cols), line.right or self._last_right
        self._last_right = right
        if right:
            first, feed, rest = text.partition("\n")
            if first == right or first.endswith("  " + right):
                text = first.removesuffix(right).rstrip() + feed + rest
        return text

    def _frame(self, on: bool, now: float) -> None:
        """Bracketed paste goes on, as a line begins, or off, as it ends."""
        self._editing = on
        if self._terminal.alternate:
            return
        terminal = self._terminal
        if on:
            if self._line is not None and self._line.marked:
                self._line.framed = True
                self._running.framed(self._line.prompt)
                return
            self._line = None
            found = prompt_of(terminal, self._running.prompts(True), True, self._done)
            if found is not None:
                self._arm(*found, now)
            elif terminal.x and text_before(terminal)[1].strip():
                self._line = _Line(
                    terminal.screen[terminal.y], terminal.x, text_before(terminal)[1], now, True
                )
                self._line.settled = False
                self._continued(self._line)
            return
        line, self._line = self._line, None
        if line is None or not line.framed:
            return
        if not line.settled:
            text = "".join(line.row.cells[line.x :])
            self._split(line, text, 0 if is_prompt(line.prompt) else split_prompt(text))
            self._learn(line)
        rows = rows_from(terminal, line.row)
        ended = terminal.x == 0
        if rows is None or (self._keypad and not ended):
            self._given_up(line)
            return
        rows = rows[:-1] if ended else [*rows, *rows_below(terminal)]
        self._entered(line, self._text(line, rows), rows, now, 0 if ended else -1)

    def _split(self, line: _Line, text: str, otherwise: int) -> bool:
        """What was taken for the prompt is the rest of other output: the prompt begins `text`, behind it."""
        known = [prompt for prompt in self._running.prompts(True) if text.startswith(prompt)]
        size = len(max(known, key=len)) if known else otherwise
        if size:
            line.prompt, line.x = text[:size], column(line.row, text[:size], line.x)
        return size > 0

    def _entered(self, line: _Line, text: str, rows: list[Row], now: float, feeds: int = 0) -> None:
        """Enter was typed in a line, or it was given up. `feeds`: line feeds of it that have come, from -1."""
        bottom, head = rows[-1] if rows else line.row, line.head
        self._done = bottom
        if text.endswith("^C"):
            self._given_up(line)
            return
        if head is not None:
            head.add(text)
            head.row, head.feeds = bottom, feeds
            self._running.last = head
            return
        if not text.strip() or is_complaint(text):
            self._running.last = None
            return
        typed = Typed(text[:LONGEST_COMMAND], now, line.since, line.prompt, tentative=line.tentative)
        typed.row, typed.feeds = bottom, feeds
        self._running.begun(typed)
        if line.marked:
            self._awaiting = typed

    def _given_up(self, line: _Line) -> None:
        """Ctrl-C: nothing of it was run."""
        self._running.drop(line.head)
        self._running.last = self._awaiting = None

    # -- the shell's own marks

    def _shell_mark(self, mark: str, now: float) -> None:
        if self._terminal.alternate:
            return
        kind = mark[0]
        if kind == "B":
            terminal = self._terminal
            self._arm(terminal.screen[terminal.y], terminal.x, text_before(terminal)[1], now)
            assert self._line is not None
            self._line.marked, self._line.tentative = True, False
        elif kind == "C":
            self._has_marks = True
            if self._awaiting is not None:
                self._awaiting.marked = True
            self._awaiting = None
        elif kind == "D":
            self._unmarked()
            status = _STATUS.match(mark)
            self._running.marked_end(int(status[1]) if status else None, now)
        elif kind == "A" and self._line is None:
            self._unmarked()

    def _unmarked(self) -> None:
        """A line of a shell that marks what it runs was not run."""
        if self._has_marks:
            self._running.drop(self._awaiting)
        self._awaiting = None


def _text_in(data: bytes) -> bool:
    """Something visible stands in it, beside sequences."""
    return bool(re.sub(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()].|[=>])|[\x00-\x20]", b"", data))
