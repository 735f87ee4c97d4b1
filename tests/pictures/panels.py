"""The dashboards as they are shipped, and what Prometheus answers to their queries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
DASHBOARDS: Final = sorted((ROOT / "etc" / "grafana").glob("*.json"))
PICTURES: Final = ROOT / "docs" / "pictures"
STEP: Final = 2.0
"""Seconds between two points of a line."""

RATE: Final = "10s"
"""What stands for Grafana's $__rate_interval where the page is read every second."""

Range = Callable[[str, float, float, float], list[dict[str, Any]]]
"""Asks a query over a time: (query, from, to, step) -> Prometheus' result of `query_range`."""


@dataclass(frozen=True)
class Line:
    """One series: its name in the legend, and its points (seconds since the beginning, value)."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One panel with its answers; `queries` are as they stand in the dashboard."""

    title: str
    stat: bool
    unit: str
    place: tuple[int, int, int, int]
    queries: tuple[str, ...]
    lines: tuple[tuple[Line, ...], ...] = ()

    @property
    def shown(self) -> tuple[Line, ...]:
        return tuple(line for answer in self.lines for line in answer)

    @property
    def most(self) -> float:
        """The largest value that is drawn."""
        return max((value for line in self.shown for _, value in line.points), default=0.0)


@dataclass(frozen=True)
class Dashboard:
    """One file of etc/grafana."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def asked(query: str) -> str:
    """As Prometheus takes it, for all gateways."""
    return query.replace("$instance", ".*").replace("$__rate_interval", RATE)


def legend(pattern: str, labels: dict[str, str]) -> str:
    """Grafana's `{{label}}`."""
    if pattern:
        return re.sub(r"\{\{ *(\w+) *\}\}", lambda found: labels.get(found[1], ""), pattern)
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__")


def _lines(answer: list[dict[str, Any]], pattern: str, since: float) -> Iterator[Line]:
    for series in answer:
        points = [(at - since, float(value)) for at, value in series["values"]]
        kept = tuple((at, value) for at, value in points if value == value and abs(value) != float("inf"))
        if kept:
            yield Line(legend(pattern, series["metric"]), kept)


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    return dashboard, dashboard["panels"]


def answered(path: Path, ask: Range, since: float, until: float) -> Dashboard:
    """The dashboard with what its queries gave between two moments (seconds since the epoch)."""
    dashboard, described = read(path)
    panels = []
    for one in described:
        grid = one["gridPos"]
        targets = one["targets"]
        panels.append(
            Panel(
                one["title"],
                one["type"] == "stat",
                one.get("fieldConfig", {}).get("defaults", {}).get("unit", "short"),
                (grid["x"], grid["y"], grid["w"], grid["h"]),
                tuple(target["expr"] for target in targets),
                tuple(
                    tuple(
                        _lines(
                            ask(asked(target["expr"]), since, until, STEP),
                            target.get("legendFormat", ""),
                            since,
                        )
                    )
                    for target in targets
                ),
            )
        )
    return Dashboard(path.stem, dashboard["title"], tuple(panels))
