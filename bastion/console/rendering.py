"""Pages from templates (L4). Invariant: every value is escaped; no template says otherwise, which a test looks at."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2

from bastion.console.answers import POLICY, Answer
from bastion.console.routes import STATIC

_DATA: Final = Path(str(resources.files("bastion").joinpath("data")))
TEMPLATES: Final = _DATA / "console" / "templates"

PLAYER: Final = frozenset(("player.js", "reel.js"))
"""Files that lie beside the player's of an exported page."""

STREAM: Final = "\x00stream\x00"
"""Stands in a page where a stream goes: no value can hold it."""


class Pages:
    """All templates, and the files that every browser gets."""

    def __init__(self) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "time": time_text,
            "size": size_text,
            "took": duration_text,
            "clock": clock_text,
        }
        for name in self._templates.list_templates():
            self._templates.get_template(name)  # once, and not when somebody waits for it
        self.files = {
            name: (_DATA / ("player" if name in PLAYER else "console") / name).read_bytes() for name in STATIC
        }

    def text(self, template: str, **values: Any) -> str:
        """A page as text."""
        return self._templates.get_template(template).render(values)

    def page(self, template: str, status: int = 200, **values: Any) -> Answer:
        """A page as an answer."""
        return Answer(status, body=self.text(template, **values).encode(), policy=POLICY)

    def around(self, template: str, **values: Any) -> tuple[bytes, bytes]:
        """What stands before and behind the stream of a page."""
        before, _, behind = self.text(template, stream=STREAM, **values).partition(STREAM)
        return before.encode(), behind.encode()

    def file(self, name: str) -> Answer:
        """One of the files, which a browser keeps for a while."""
        kept = ("cache-control", "public, max-age=300")
        return Answer(200, STATIC[name], self.files[name], (kept,))


def time_text(timestamp: float | None) -> str:
    """`2026-11-23 10:00:00` in UTC; a dash for no time."""
    if not timestamp:
        return "–"
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "?"


def duration_text(seconds: float) -> str:
    """`3 s`, `2 min 5 s`, `1 h 12 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60} min"
    return f"{whole // 86400} d {whole // 3600 % 24} h"


def clock_text(seconds: float) -> str:
    """`1:02:03`."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def size_text(size: int) -> str:
    """`12 B`, `3.4 KiB`."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
