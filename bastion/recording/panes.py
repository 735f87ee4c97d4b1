"""What was typed inside tmux and screen (L1, pure): `Panes`, which looks at the screen whenever nothing more comes.

A multiplexer draws its windows by addressing cells, so that no line feed says where Enter was. What does: a line
behind a known prompt in the cursor's pane, and later the cursor below it while the line still stands there, or has gone
without the window having been changed.

Invariant: MOST_PANES panes with one open command each; text comes from the screen alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bastion.recording.prompts import LONGEST_PROMPT, SHORTEST_SURE, continues, is_prompt
from bastion.recording.running import LONGEST_COMMAND, MOST_PROMPTS, Typed
from bastion.recording.terminal import Terminal

MOST_PANES = 64

# Rows above a line by which it is known again.
ROWS_ABOVE = 8

_UPRIGHT = frozenset("│┃┤├┼┬┴┐┌┘└")
_LEVEL = frozenset("─━┬┴┼├┤┐┌┘└")
_COPYING = re.compile(r"\[\d+/\d+\]\Z")
_WINDOW = re.compile(r"\A\[[^\]]*\] (?:.*? )?(\d+):\S*\*")
_LEAVES = re.compile(r"(?:exit|logout)\b")

Place = tuple[int, int, int, int]
"""Left, top, and behind right and bottom, in cells."""


@dataclass(slots=True)
class _Pane:
    """One pane, as it was looked at last: `y` is the row in which `prompt` stands with `text` behind it."""

    prompt: str = ""
    text: str = ""
    y: int = -1
    since: float = 0.0
    above: tuple[str, ...] = ()
    window: str = ""
    last: Typed | None = None
    bottom: int = -1  # the last row of `last`, while more of it may come


class Panes:
    """Call `look` when nothing more has come; `tell` gets each command once all is known of it."""

    def __init__(self, terminal: Terminal, tell: Callable[[Typed], None]) -> None:
        self._terminal = terminal
        self._tell = tell
        self._panes: dict[Place, _Pane] = {}
        self._prompts: dict[str, None] = {}
        self._here: _Pane | None = None

    def close(self, now: float) -> None:
        """The multiplexer has left the screen; a last `exit` went with it."""
        if self._here is not None and self._here.y >= 0 and _LEAVES.match(self._here.text):
            self._tell(Typed(self._here.text, now, self._here.since, self._here.prompt))
        for pane in self._panes.values():
            if pane.last is not None:
                self._tell(pane.last)
        self._panes.clear()

    def look(self, now: float) -> None:
        """The screen as it is at rest."""
        place = self._place()
        if _COPYING.search(self._row(place, place[1])):
            return
        pane = self._panes.get(place)
        if pane is None:
            if len(self._panes) >= MOST_PANES:
                return
            pane = self._panes[place] = _Pane()
        if pane is not self._here and pane.y >= 0 and not self._intact(pane, place):
            pane.y, pane.text = -1, ""  # other panes were opened or closed meanwhile
        self._here = pane
        y, text = self._line(place)
        prompt = self._prompt(place, y, text)
        above = tuple(self._row(place, one) for one in range(max(place[1], y - ROWS_ABOVE), y))
        if pane.y >= 0 and not (prompt == pane.prompt and self._same(pane, text[len(prompt) :], y, above)):
            self._left(pane, place, now)
        pane.above = above
        pane.window = self._window()
        if prompt:
            self._stands(pane, prompt, text[len(prompt) :].rstrip(), y, now)

    # -- the screen

    def _window(self) -> str:
        """The number of the window that is shown, in tmux's usual status line."""
        found = _WINDOW.match(self._terminal.screen[-1].text)
        return found[1] if found else ""

    def _place(self) -> Place:
        """The pane that the cursor is in, by the lines drawn around it."""
        terminal = self._terminal
        cells, x, y = terminal.screen[terminal.y].cells, terminal.x, terminal.y
        left = next((at + 1 for at in range(min(x, len(cells)) - 1, -1, -1) if cells[at] in _UPRIGHT), 0)
        right = next((at for at in range(x, len(cells)) if cells[at] in _UPRIGHT), terminal.cols)
        bottom = terminal.rows - (1 if self._window() else 0)
        top = next((at + 1 for at in range(y - 1, -1, -1) if self._level(at, left, right)), 0)
        bottom = next((at for at in range(y + 1, bottom) if self._level(at, left, right)), bottom)
        return left, top, right, bottom

    def _level(self, y: int, left: int, right: int) -> bool:
        cells = self._terminal.screen[y].cells[left:right]
        return len(cells) == right - left and all(cell in _LEVEL for cell in cells)

    def _row(self, place: Place, y: int) -> str:
        return "".join(self._terminal.screen[y].cells[place[0] : place[2]]).rstrip()

    def _full(self, place: Place, y: int) -> bool:
        cells = self._terminal.screen[y].cells[place[0] : place[2]]
        return len(cells) == place[2] - place[0] and cells[-1] != " "

    def _line(self, place: Place) -> tuple[int, str]:
        """The row in which the cursor's line begins, and the line."""
        y = self._terminal.y
        while y > place[1] and self._full(place, y - 1) and not self._begins(place, y):
            y -= 1
        return y, self._from_prompt(self._from(place, y))

    def _from_prompt(self, line: str) -> str:
        """Without what was echoed before its prompt came."""
        places = [line.find(prompt) for prompt in self._prompts if len(prompt.strip()) >= SHORTEST_SURE]
        return line[min((at for at in places if at >= 0), default=0) :]

    def _begins(self, place: Place, y: int) -> bool:
        """A prompt begins the row."""
        return (self._row(place, y) + " ").startswith(tuple(self._prompts))

    def _from(self, place: Place, y: int) -> str:
        text, left, right = "", place[0], place[2]
        while True:
            cells = self._terminal.screen[y].cells[left:right]
            text += "".join(cells)
            y += 1
            if (
                y >= place[3]
                or not self._full(place, y - 1)
                or not self._row(place, y)
                or self._begins(place, y)
            ):
                return text

    def _prompt(self, place: Place, y: int, text: str) -> str:
        """What of a line is a prompt: one seen before, or what is one by its looks while nothing is behind it."""
        known = [prompt for prompt in self._prompts if (text + " ").startswith(prompt)]
        if known:
            return max(known, key=len)
        terminal = self._terminal
        size = terminal.x - place[0]
        before = text[:size].ljust(size) if y == terminal.y else ""
        if not before.strip() or len(before) > LONGEST_PROMPT or not is_prompt(before) or text[size:].strip():
            return ""
        if any(self._row(place, below) for below in range(terminal.y + 1, place[3])):
            return ""
        return before

    # -- what it means

    def _same(self, pane: _Pane, text: str, y: int, above: tuple[str, ...]) -> bool:
        """It is the line of before, edited: in its row below the same rows, or drawn again elsewhere as it was."""
        return (y == pane.y and above == pane.above) or (bool(pane.text) and text.startswith(pane.text))

    def _intact(self, pane: _Pane, place: Place) -> bool:
        """Its line stands where it stood."""
        line = self._from_prompt(self._from(place, pane.y)) if pane.y < place[3] else ""
        return line.rstrip() == (pane.prompt + pane.text).rstrip()

    def _stands(self, pane: _Pane, prompt: str, text: str, y: int, now: float) -> None:
        """The cursor stands in a line behind a prompt."""
        last = pane.last
        if (pane.prompt, pane.y) != (prompt, y) or (not text and not pane.text):
            pane.since = now
            if last is not None and not self._goes_on(pane, last, prompt, y):
                last.end = now
                self._tell(last)
                pane.last = None
        if not (pane.last is not None and self._goes_on(pane, pane.last, prompt, y)):
            self._prompts.setdefault(prompt)
            while len(self._prompts) > MOST_PROMPTS:
                del self._prompts[next(iter(self._prompts))]
        pane.prompt, pane.text, pane.y = prompt, text, y

    def _goes_on(self, pane: _Pane, last: Typed, prompt: str, y: int) -> bool:
        return y == pane.bottom + 1 and continues(prompt, last.prompt, last.text)

    def _left(self, pane: _Pane, place: Place, now: float) -> None:
        """The cursor is in the same pane and not in the line of before: Enter, unless another window is shown."""
        text, bottom = self._stood(pane, place)
        prompt, y = pane.prompt, pane.y
        pane.y, pane.text = -1, ""
        if text is None or not text.strip() or text.endswith("^C"):
            if pane.last is not None and text is not None and self._goes_on(pane, pane.last, prompt, y):
                pane.last, pane.bottom = None if text.endswith("^C") else pane.last, bottom
            return
        last = pane.last
        if last is not None and self._goes_on(pane, last, prompt, y):
            last.add(text)
            pane.bottom = bottom
            return
        if last is not None:
            self._tell(last)
        pane.last, pane.bottom = Typed(text[:LONGEST_COMMAND], now, pane.since, prompt), bottom

    def _stood(self, pane: _Pane, place: Place) -> tuple[str | None, int]:
        """The line that was left as it is now, and its last row; None when it was not left by Enter."""
        terminal, width = self._terminal, place[2] - place[0]
        for y in range(min(pane.y, terminal.y - 1), place[1] - 1, -1):
            line = self._from_prompt(self._from(place, y))
            if not line.startswith(pane.prompt) or (y > place[1] and self._full(place, y - 1)):
                continue
            text = line[len(pane.prompt) :].rstrip()
            if text.startswith(pane.text) and (pane.text or y == pane.y):
                return text, y + max(0, len(line.rstrip()) - 1) // width
        if self._window() != pane.window:
            return None, -1
        return (pane.text or None), -1
