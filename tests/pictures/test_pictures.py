"""The pictures in docs/ show the dashboards as shipped: every panel, every query, with data where there was any."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.pictures.draw import NAMES, POINTS, number, svg, thinned, top
from tests.pictures.panels import (
    DASHBOARDS,
    PICTURES,
    ROOT,
    Dashboard,
    Line,
    Panel,
    answered,
    asked,
    legend,
    read,
)

SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 160 * 1024

STILL = {
    # What the office of tests/pictures/scene.py does not do: a line at zero is right there.
    "Directory: servers, threads, queue",
    "Penalties",
    "Turned away by a limit",
    "Approvals, break-glass, certificates",
    "Budgets refused",
    "Locks, watchers, control",
    "Held for peers that take nothing",
    "Who takes nothing",
    "Waiting for the bucket",
    "Uploads",
    "Found wrong",
    "Failures and refusals",
    "What is not well",
    "Promises broken, last hour",
    "Recordings without their end, last day",
    "Ready",
    "Age of keys, days",
    "Configuration: age, and what waits for a restart",
}
"""Panels that may show nothing but zero. All others must have moved."""


def drawn(path: Path) -> dict[str, dict[str, object]]:
    """By title what a picture says of its panels."""
    root = ElementTree.fromstring((PICTURES / f"{path.stem}.svg").read_text(encoding="utf-8"))
    found = {}
    for group in root.iter(f"{SVG}g"):
        title, desc = group.find(f"{SVG}title"), group.find(f"{SVG}desc")
        assert title is not None and desc is not None and title.text and desc.text
        found[title.text] = json.loads(desc.text)
    return found


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_is_drawn_with_the_queries_that_it_has(path: Path) -> None:
    pictured = drawn(path)
    _, panels = read(path)
    assert list(pictured) == [panel["title"] for panel in panels], "draw them anew: make pictures"
    for panel in panels:
        queries = [one["query"] for one in pictured[panel["title"]]["queries"]]  # type: ignore[attr-defined]
        assert queries == [target["expr"] for target in panel["targets"]], f"{panel['title']}: make pictures"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_returned_something_and_panels_moved(path: Path) -> None:
    for title, told in drawn(path).items():
        for one in told["queries"]:  # type: ignore[attr-defined]
            assert one["series"] > 0, f"{title}: {one['query']}"
        if title not in STILL:
            assert told["most"] > 0, title  # type: ignore[operator]


def test_what_may_stand_still_is_a_panel() -> None:
    assert {panel["title"] for path in DASHBOARDS for panel in read(path)[1]} >= STILL


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_picture_is_small_loads_nothing_and_is_shown(path: Path) -> None:
    picture = PICTURES / f"{path.stem}.svg"
    text = picture.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    assert (
        "<script" not in text
        and "href" not in text
        and text.count("http") == text.count("http://www.w3.org/2000/svg")
    )
    assert f"](pictures/{picture.name})" in (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")


# -- how they are drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0, "short", "0"), (1234.5, "short", "1,234"), (0.25, "s", "250 ms"), (90, "s", "90 s"), (7200, "s", "2 h"),
     (86400 * 3, "s", "3 d"), (2048, "bytes", "2 KiB"), (3 << 20, "Bps", "3 MiB/s"), (0.5, "percentunit", "50 %"),
     (1.5, "reqps", "1.5/s")],
)  # fmt: skip
def test_numbers_have_units(value: float, unit: str, shown: str) -> None:
    assert number(value, unit) == shown


@pytest.mark.parametrize(
    ("most", "rounded"), [(0, 1), (1, 1), (1.1, 2), (2.3, 2.5), (7, 10), (0.03, 0.05), (420, 500)]
)
def test_axes_end_at_round_numbers(most: float, rounded: float) -> None:
    assert top(most) == pytest.approx(rounded)


def test_axes_of_bytes_end_at_round_numbers_of_kib() -> None:
    assert top(3000, "bytes") == 5 * 1024 and top(3 << 20, "Bps") == 5 << 20 and top(3000) == 5000


def test_a_peak_is_not_thinned_away() -> None:
    line = Line("x", tuple((float(at), 9.0 if at == 317 else 1.0) for at in range(1000)))
    kept = thinned(line)
    assert len(kept) <= POINTS and max(value for _, value in kept) == 9.0


def test_legends_are_grafanas() -> None:
    assert legend("{{phase}} of {{ door }}", {"phase": "dial", "door": "jump"}) == "dial of jump"
    assert legend("", {"__name__": "x", "b": "2", "a": "1"}) == "a=1, b=2"
    assert asked('rate(x{instance=~"$instance"}[$__rate_interval])') == 'rate(x{instance=~".*"}[10s])'


def test_what_prometheus_answers_is_what_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "bastion-x.json"
    panel = {
        "title": "A & B", "type": "timeseries", "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": "s"}}, "targets": [{"expr": "up", "legendFormat": "{{n}}"}],
    }  # fmt: skip
    path.write_text(json.dumps({"title": "T", "panels": [panel]}))
    result = [
        {"metric": {"n": str(n)}, "values": [[100, "1"], [110, "NaN"], [120, str(n)]]} for n in range(9)
    ]
    dashboard = answered(
        path, lambda query, since, until, step: result if query == "up" else [], 100.0, 120.0
    )
    (made,) = dashboard.panels
    assert made.lines[0][3].points == ((0.0, 1.0), (20.0, 3.0)) and made.most == 8.0
    text = svg(dashboard, 20.0)
    assert "A &amp; B" in text and text.count("<path") == 5 + 9
    assert ElementTree.fromstring(text) is not None
    assert text.count('height="3"') <= NAMES


def test_a_panel_without_data_says_so_where_it_is_looked_for() -> None:
    panel = Panel("Empty", False, "s", (0, 0, 12, 8), ("up",), ((),))
    text = svg(Dashboard("x", "X", (panel,)), 10.0)
    assert "&quot;series&quot;: 0" in text
