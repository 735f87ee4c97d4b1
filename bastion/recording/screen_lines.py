"""Lines of a screen as a shell's user typed them (L1, pure): over several rows, with and without a prompt.

A row that was written to its last column goes on in the next one: line editors move from one to the other with a line
feed, so the terminal's own mark (`Row.wrapped`) is not enough.
"""

from __future__ import annotations

from itertools import islice

from bastion.recording.grid import HISTORY, READ_FOR_ONE, Row
from bastion.recording.prompts import SHORTEST_SURE
from bastion.recording.terminal import Terminal

# Rows of one command that are read: a screen and its history.
MOST_ROWS = HISTORY


def is_full(row: Row, cols: int) -> bool:
    """Text stands in its last column, or a wide character had no room there."""
    return row.goes_on if len(row.cells) == cols - 1 else len(row.cells) >= cols


def text_before(terminal: Terminal) -> tuple[int, str]:
    """The first row of the line that the cursor stands in, and what stands in it before the cursor."""
    rows = terminal.screen
    first = terminal.y
    while first > 0 and rows[first].wrapped:
        first -= 1
    parts = ["".join(row.cells) for row in rows[first : terminal.y]]
    cells = rows[terminal.y].cells
    parts.append("".join(cells[: terminal.x]) + " " * (terminal.x - len(cells)))
    return first, "".join(parts)


def prompt_of(
    terminal: Terminal, prompts: tuple[str, ...], inside: bool, done: Row | None
) -> tuple[Row, int, str] | None:
    """The prompt nearest before the cursor in its line: its row, the column behind it, and which one it is.

    It begins a row, or, with `inside`, stands behind what was echoed before it came. `done` is where the line before
    ended.
    """
    if not prompts:
        return None
    rows, y = terminal.screen, terminal.y
    terminal.looked(1)
    while True:
        text = "".join(rows[y].cells)
        found = [prompt for prompt in prompts if (text + " ").startswith(prompt)]
        if found:
            prompt = max(found, key=len)
            return rows[y], column(rows[y], prompt), prompt
        for prompt in prompts if inside else ():
            at = text.rfind(prompt) if len(prompt.strip()) >= SHORTEST_SURE else -1
            if at >= 0:
                return rows[y], column(rows[y], text[: at + len(prompt)]), prompt
        if y == 0 or rows[y - 1] is done or not (rows[y].wrapped or is_full(rows[y - 1], terminal.cols)):
            return None
        y -= 1
        terminal.looked(READ_FOR_ONE // 2)


def column(row: Row, text: str, x: int = 0) -> int:
    """The column behind a text that begins at column `x` of a row: wide characters take two."""
    size = len(text)
    while size > 0 and x < len(row.cells):
        size -= len(row.cells[x])
        x += 1
    while x < len(row.cells) and row.cells[x] == "":
        x += 1
    return x + max(0, size)


def rows_from(terminal: Terminal, anchor: Row) -> list[Row] | None:
    """The rows from `anchor` to the cursor's; None when it is on no screen any more."""
    terminal.looked(terminal.y)
    above = list(terminal.screen[: terminal.y + 1])
    for at in range(len(above) - 1, -1, -1):
        if above[at] is anchor:
            return above[at:]
    if terminal.alternate:
        return None
    terminal.looked(len(terminal.history))
    for back, row in enumerate(islice(reversed(terminal.history), MOST_ROWS), 1):
        if row is anchor:
            return [*list(terminal.history)[-back:], *above]
    return None


def goes_on_below(terminal: Terminal) -> bool:
    """The cursor's line goes on in the row below it."""
    rows, y = terminal.screen, terminal.y
    return y + 1 < len(rows) and is_full(rows[y], terminal.cols) and bool(rows[y + 1].text)


def rows_below(terminal: Terminal) -> list[Row]:
    """The rows in which the cursor's line goes on."""
    rows, y = terminal.screen, terminal.y
    end = y + 1
    while end < len(rows) and (rows[end].wrapped or is_full(rows[end - 1], terminal.cols)) and rows[end].text:
        end += 1
    return rows[y + 1 : end]


def joined(rows: list[Row], x: int, cols: int) -> str:
    """What stands in rows from column `x` of the first on; rows that go on are one line."""
    lines, text = list[str](), ""
    for at, row in enumerate(rows):
        cells = row.cells[x:] if at == 0 else row.cells
        text += "".join(cells)
        after = rows[at + 1] if at + 1 < len(rows) else None
        if after is not None and (after.wrapped or is_full(row, cols)) and after.cells:
            if _padded(row.cells, after.cells):
                text = text[:-1]
            continue
        lines.append(text.rstrip())
        text = ""
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(_unindented(lines, x))


def _padded(cells: list[str], after: list[str]) -> bool:
    """A blank fills the last column, since the wide character behind it had no room (zsh)."""
    return cells[-1:] == [" "] and cells[-2:-1] == [""] and after[1:2] == [""]


def _unindented(lines: list[str], x: int) -> list[str]:
    """Without the blanks that an editor puts under its prompt before each further line (fish)."""
    rest = lines[1:]
    if x and rest and all(not line[:x].strip() for line in rest):
        return [lines[0], *(line[x:] for line in rest)]
    return lines
