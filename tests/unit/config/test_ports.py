"""Each listener needs a port of its own."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.config.load import load
from bastion.config.ports import port_faults


@pytest.mark.parametrize(
    ("ssh", "metrics", "clash"),
    [
        ('"127.0.0.1:2222"', "127.0.0.1:9722", False),
        ('"127.0.0.1:9722"', "127.0.0.1:9722", True),
        ('"0.0.0.0:9722"', "127.0.0.1:9722", True),
        ('"[::]:9722"', "127.0.0.1:9722", True),
        ('"[::1]:9722"', "127.0.0.1:9722", False),
        ('"127.0.0.1:0"', "127.0.0.1:0", False),
    ],
)
def test_the_metrics_page_beside_the_door(site: Any, ssh: str, metrics: str, clash: bool) -> None:
    lines = f'[listen]\naddresses = [{ssh}]\n[metrics]\nlisten = "{metrics}"\n[audit]'
    site.edit("[audit]", lines)
    faults = list(port_faults(load(site.config)))
    assert [key for key, _, _ in faults] == [("metrics", "listen")] * clash


def test_two_doors(site: Any) -> None:
    site.edit("[audit]", '[listen]\naddresses = ["127.0.0.1:22", "0.0.0.0:22"]\n[audit]')
    ((key, problem, _),) = port_faults(load(site.config))
    assert key == ("listen", "addresses", 1) and "listen.addresses[1]" in problem  # as people count
