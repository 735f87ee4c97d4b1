"""Panels as one SVG, without a font, a script or anything else from outside."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from html import escape
from typing import Final

from tests.pictures.panels import Dashboard, Line, Panel

COLUMN: Final = 40
"""Pixels of one of Grafana's 24 columns."""

ROW: Final = 22
GAP: Final = 8
HEAD: Final = 34
COLOURS: Final = (
    "#2f6fb0", "#d1701c", "#3a8a4d", "#a3416f", "#7a5bb5", "#8a6d1f", "#1f8a8a", "#b03a3a",
)  # fmt: skip
NAMES: Final = 6
"""Entries of a legend; more are counted."""

POINTS: Final = 60
"""Points of a line at most: the file is read by people over a network."""

FONT: Final = 'font-family="system-ui, sans-serif"'


def number(value: float, unit: str) -> str:
    """With its unit, in two or three digits."""
    if unit == "percentunit":
        return f"{_short(value * 100)} %"
    if unit in ("bytes", "Bps"):
        ending = "/s" if unit == "Bps" else ""
        for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if abs(value) >= size:
                return f"{_short(value / size)} {name}{ending}"
        return f"{_short(value)} B{ending}"
    if unit == "s":
        if value and abs(value) < 1:
            return f"{_short(value * 1000)} ms"
        for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
            if abs(value) >= 2 * size:
                return f"{_short(value / size)} {name}"
        return f"{_short(value)} s"
    return _short(value) + ("/s" if unit == "reqps" else "")


def _short(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def top(most: float, unit: str = "") -> float:
    """A round number at or above it, for the top of an axis: 1, 2, 2.5 or 5 times a power of ten, of bytes of 1,024."""
    if most <= 0:
        return 1.0
    if unit in ("bytes", "Bps") and most >= 1024:
        size = 1024.0 ** int(math.log(most, 1024))
        return top(most / size) * size
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= most * 0.999999)


def thinned(line: Line) -> list[tuple[float, float]]:
    """No more than POINTS of it; of each run the highest is kept, so that no peak is lost. Level stretches are two."""
    size = max(1, math.ceil(len(line.points) / POINTS))
    runs = (line.points[at : at + size] for at in range(0, len(line.points), size))
    kept = [max(run, key=lambda one: one[1]) for run in runs]
    inner = [
        one
        for before, one, after in zip(kept, kept[1:], kept[2:], strict=False)
        if not before[1] == one[1] == after[1]
    ]
    return [kept[0], *inner, *kept[1:][-1:]]


def svg(dashboard: Dashboard, seconds: float) -> str:
    """The whole dashboard; `seconds` is how long its time axes are."""
    width = 24 * COLUMN
    height = HEAD + ROW * max(panel.place[1] + panel.place[3] for panel in dashboard.panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {FONT} font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#f4f5f7"/>',
        f'<text x="{GAP}" y="22" font-size="16" fill="#222">{escape(dashboard.title)}</text>',
    ]
    for panel in dashboard.panels:
        parts += _panel(panel, seconds)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, seconds: float) -> Iterator[str]:
    x, y, columns, rows = panel.place
    width, height = columns * COLUMN - GAP, rows * ROW - GAP
    told = [
        {"query": query, "series": len(lines)}
        for query, lines in zip(panel.queries, panel.lines, strict=True)
    ]
    yield f'<g transform="translate({x * COLUMN + GAP // 2},{HEAD + y * ROW})">'
    yield f"<title>{escape(panel.title)}</title>"
    yield f"<desc>{escape(json.dumps({'queries': told, 'most': panel.most}))}</desc>"
    yield f'<rect width="{width}" height="{height}" rx="3" fill="#fff" stroke="#d8dade"/>'
    yield f'<text x="8" y="16" font-weight="600" fill="#333">{escape(panel.title)}</text>'
    yield from (_stat if panel.stat else _series)(panel, width, height, seconds)
    yield "</g>"


def _stat(panel: Panel, width: int, height: int, seconds: float) -> Iterator[str]:
    """The last values, large; with their names where there are several, or where the name is what is told."""
    shown = panel.shown[:4]
    for place, line in enumerate(shown):
        middle = round(width * (2 * place + 1) / (2 * len(shown)))
        value = number(line.points[-1][1], panel.unit)
        yield (
            f'<text x="{middle}" y="{height // 2 + 12}" font-size="24" text-anchor="middle" '
            f'fill="{COLOURS[0]}">{escape(value)}</text>'
        )
        if line.name and height > 80:
            place_of_name = f'x="{middle}" y="{height // 2 + 34}"'
            yield f'<text {place_of_name} text-anchor="middle" fill="#666">{escape(line.name)}</text>'


def _series(panel: Panel, width: int, height: int, seconds: float) -> Iterator[str]:
    left, above, right, below = 62, 26, width - 10, height - 34
    most = top(panel.most, panel.unit)
    parts = 5 if number(most, panel.unit).startswith(("5", "25", "2.5")) else 4
    for part in range(parts + 1):
        y = round(below - (below - above) * part / parts, 1)
        yield f'<path d="M{left} {y}H{right}" stroke="#e6e8eb"/>'
        yield (
            f'<text x="{left - 5}" y="{y + 4}" text-anchor="end" fill="#666">'
            f"{escape(number(most * part / parts, panel.unit))}</text>"
        )
    for part in range(1, 4):
        x = round(left + (right - left) * part / 4)
        at = seconds * part / 4
        clock = f"{int(at // 60)}:{int(at % 60):02}"
        yield f'<text x="{x}" y="{below + 13}" text-anchor="middle" fill="#999">{clock}</text>'
    scale_x, scale_y = (right - left) / seconds, (below - above) / most
    for place, line in reversed(list(enumerate(ordered(panel)))):
        way = "L".join(
            f"{left + at * scale_x:.0f} {below - min(value, most) * scale_y:.1f}"
            for at, value in thinned(line)
        )
        colour = COLOURS[place % len(COLOURS)]
        yield f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    yield from _legend(panel, width, height)


def ordered(panel: Panel) -> list[Line]:
    """The highest first: colours go by it, and the legend."""
    return sorted(panel.shown, key=lambda line: -max(value for _, value in line.points))


def _legend(panel: Panel, width: int, height: int) -> Iterator[str]:
    """As many as there is room for."""
    shown = ordered(panel)
    x = 8
    for place, line in enumerate(shown):
        name = line.name or "value"
        size = 18 + round(6.3 * len(name))
        if place == NAMES or x + size > width - 50:
            yield f'<text x="{x}" y="{height - 7}" fill="#999">+{len(shown) - place}</text>'
            return
        yield f'<rect x="{x}" y="{height - 14}" width="8" height="3" fill="{COLOURS[place % len(COLOURS)]}"/>'
        yield f'<text x="{x + 11}" y="{height - 7}" fill="#444">{escape(name)}</text>'
        x += size
