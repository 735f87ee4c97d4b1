"""What commands print (L4): tables that fit the terminal, `--json`, colour only there, one way to fail.

Invariant: text that a peer or a file chose goes through `printable` before it reaches a terminal, so that a
name can neither move the cursor nor reorder a line (escapes, C1 controls, bidi overrides).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn

import click

from bastion.wire.printable import escaped

# The narrowest a column is cut to before the table is allowed to be wider than the terminal.
NARROWEST_COLUMN = 6

# Lines of a table that are written together: a listing of 100,000 sessions would be as many system calls.
LINES_AT_ONCE = 512


class CommandFailed(click.ClickException):
    """A command's answer is no, or it could not run. `exit_code` follows the table in `bastion.cli.main`."""

    def __init__(self, text: str, exit_code: int = 2) -> None:
        super().__init__(text)
        # click declares the code on the class and reads it from the instance.
        vars(self)["exit_code"] = exit_code

    def show(self, file: Any = None) -> None:
        """One line on stderr, with control characters escaped."""
        text = printable(self.message, keep="\n")
        click.echo(f"bastion: {text}", file=file, err=True)


def fail(text: str, exit_code: int = 2) -> NoReturn:
    """End the command: 1 = the answer is no, 2 = the call or a file is wrong, 3 = the thing is not there."""
    raise CommandFailed(text, exit_code)


def leave_quietly() -> None:
    """Who read our pipe has gone (BrokenPipeError): no second error when Python flushes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str, keep: str = "") -> str:
    """`text` with C0, C1, DEL, bidi marks, separators and lone surrogates escaped; not those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or char.isprintable() else escaped(char) for char in text)


def is_terminal() -> bool:
    """True when standard output is a terminal."""
    return sys.stdout.isatty()


def colour(text: str, name: str, bold: bool = False) -> str:
    """`text` in a colour when standard output is a terminal and NO_COLOR is not set; else as it is."""
    if not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=name, bold=bold)


def write_json(value: object) -> None:
    """One JSON document on one line: what `--json` prints. ASCII only, so no byte of it is a control."""
    click.echo(json.dumps(value, ensure_ascii=True, separators=(", ", ": ")))


def write_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[str] = (),
    flexible: Iterable[str] = (),
    colours: dict[str, dict[str, str]] | None = None,
    width: int | None = None,
) -> None:
    """Print a table no wider than the terminal (or `width` columns; unlimited when not a terminal).

    `right` names columns aligned right, `flexible` those that are cut first, with an ellipsis. `colours` is
    heading -> cell text -> colour name.
    """
    columns = [_printable_all(column) for column in zip(*rows, strict=True)] or [()] * len(headings)
    if width is None:
        width = shutil.get_terminal_size().columns if is_terminal() else 0
    widths = _fit(headings, columns, set(flexible), width)
    aligned = [heading in set(right) for heading in headings]
    click.echo(_line(headings, widths, aligned).rstrip())
    painted = {place: (colours or {})[name] for place, name in enumerate(headings) if name in (colours or {})}
    form = "  ".join(
        f"{{:{'>' if flag else '<'}{size}}}" for size, flag in zip(widths, aligned, strict=True)
    ).format
    lines = []
    for cells in zip(*columns, strict=True):
        row: Sequence[str] = cells
        if width:
            row = [_cut(cell, size) for cell, size in zip(row, widths, strict=True)]
        if painted and is_terminal():
            lines.append(_painted(row, widths, aligned, painted))
        else:
            lines.append(form(*row).rstrip())
        if len(lines) == LINES_AT_ONCE:
            click.echo("\n".join(lines))
            lines.clear()
    if lines:
        click.echo("\n".join(lines))


def _painted(
    row: Sequence[str], widths: list[int], aligned: list[bool], colours: dict[int, dict[str, str]]
) -> str:
    padded = [_pad(cell, size, flag) for cell, size, flag in zip(row, widths, aligned, strict=True)]
    for place, names in colours.items():
        if row[place] in names:
            padded[place] = colour(padded[place], names[row[place]])
    return "  ".join(padded).rstrip()


def _printable_all(column: Sequence[str]) -> Sequence[str]:
    """`printable` of each, with one look where there is nothing to do."""
    whole = "".join(column)
    return column if whole.isascii() and whole.isprintable() else [printable(cell) for cell in column]


def _fit(
    headings: Sequence[str], columns: Sequence[Sequence[str]], flexible: set[str], width: int
) -> list[int]:
    """Natural widths; then the widest flexible column loses one until it fits or none may shrink."""
    widths = [max(len(name), *map(len, column), 0) for name, column in zip(headings, columns, strict=True)]
    excess = sum(widths) + 2 * (len(widths) - 1) - width if width else 0
    while excess > 0:
        candidates = [
            i for i, name in enumerate(headings) if name in flexible and widths[i] > NARROWEST_COLUMN
        ]
        if not candidates:
            break
        widest = max(candidates, key=lambda i: widths[i])
        widths[widest] -= 1
        excess -= 1
    return widths


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _pad(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def _line(cells: Sequence[str], widths: list[int], aligned: list[bool]) -> str:
    return "  ".join(_pad(_cut(c, w), w, r) for c, w, r in zip(cells, widths, aligned, strict=True))


def size_text(count: int) -> str:
    """Bytes for people, in binary units: `512 B`, `1.5 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def duration_text(seconds: float) -> str:
    """Seconds for people: `0.4s`, `59s`, `12:05`, `3:00:07`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_text(timestamp: float) -> str:
    """A point in time (seconds since the epoch) as UTC, to the second: `2026-11-23 03:10:59Z`."""
    day, second = divmod(int(timestamp // 1), 86400)
    minute, second = divmod(second, 60)
    return f"{_date(day)} {_clock(minute)}:{second:02}Z"


@lru_cache(maxsize=1440)
def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@lru_cache(maxsize=512)
def _date(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m-%d")
