"""Where traces go, and of how many connections."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.config.load import load
from bastion.options import ConfigErrors


def test_none_unless_told(site: Any) -> None:
    wanted = load(site.config).traces
    assert (wanted.endpoint, wanted.ratio) == (None, 1.0)


def test_a_collector_and_a_part_of_all(site: Any) -> None:
    site.edit("[audit]", '[traces]\nendpoint = "https://otel.example.com:4318"\nratio = 0.05\n[audit]')
    wanted = load(site.config).traces
    assert (wanted.endpoint, wanted.ratio) == ("https://otel.example.com:4318", 0.05)


@pytest.mark.parametrize(
    "line",
    [
        'endpoint = "http://otel.example.com:4318"',
        "ratio = 0",
        "ratio = 1.01",
        "ratio = true",
        "ratio = nan",
        'ratio = "0.5"',
        'token_file = "x"',
    ],
)
def test_what_cannot_be_meant(site: Any, line: str) -> None:
    site.edit("[audit]", f"[traces]\n{line}\n[audit]")
    with pytest.raises(ConfigErrors, match="traces"):
        load(site.config)
