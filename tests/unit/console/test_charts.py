"""Bars lie within their chart, whatever the numbers are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bastion.console.charts import LEAST, WIDE, columns, lines, spans

NUMBERS = st.lists(st.floats(0, 1e15, allow_nan=False), max_size=40)


@given(NUMBERS)
def test_bars_lie_within_the_chart_and_what_is_there_is_seen(numbers: list[float]) -> None:
    values = [(str(number), number) for number in numbers]
    for bar in columns(values, 120.0):
        assert bar.x >= 0 and bar.x + bar.width <= WIDE + 0.1
        assert 0 <= bar.y <= 120 and abs(bar.y + bar.height - 120) < 0.02
        assert (bar.height >= LEAST) is (bar.value > 0)
    for bar in lines(values):
        assert 0 <= bar.width <= WIDE and (bar.width >= LEAST) is (bar.value > 0)


def channel(began: float, ended: float, kind: str = "shell") -> dict[str, Any]:
    return {"began": began, "ended": ended, "kind": kind, "label": "x"}


@example([(0.0, -1.0)], 0.0)
@given(st.lists(st.tuples(st.floats(-10, 1e6), st.floats(-10, 1e6)), max_size=20), st.floats(0, 1e6))
def test_channels_lie_on_the_time_line(times: list[tuple[float, float]], length: float) -> None:
    for span in spans([channel(*one) for one in times], length):
        assert span.bar.x >= 0 and span.bar.x + span.bar.width <= WIDE + 0.1 and span.bar.width >= LEAST


def test_kinds_have_their_colours_and_unknown_times_no_line() -> None:
    found = spans([channel(0, 10, "scp"), channel(5, 10, "direct-tcpip"), channel(5, 5, "x11")], 10.0)
    assert [(one.bar.group, one.bar.x) for one in found] == [
        ("files", 0.0),
        ("tunnel", 500.0),
        ("other", 500.0),
    ]
    assert found[0].bar.width == pytest.approx(1000)
    assert spans([channel(0, 0)], 10.0) == [] == spans([], 10.0)
