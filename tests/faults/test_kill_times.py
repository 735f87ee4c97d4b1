"""How long a kill takes, measured: a hundred of each kind, from the order until every ssh of it has exited."""

from __future__ import annotations

import contextlib
import statistics

import pytest

from bastion.control.node import Kill, Selection
from tests.support.killing import KINDS, KillWorld, ended_in, running
from tests.support.sshd import sshd_missing

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

COUNT = 100
MOST = 1.0
"""Seconds, at the 99th percentile."""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_kill_takes_less_than_a_second(workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    slow = []
    with contextlib.closing(KillWorld(workers=workers, limits="startups_per_source = 1000")) as world:
        world.start()
        for kind in KINDS:
            took = []
            for _ in range(COUNT):
                with running(world, kind) as processes:
                    seconds, ended = ended_in(world, processes, Kill(Selection(user="alice"), "measured"))
                assert ended.all
                took.append(seconds)
            took.sort()
            p50, p99 = statistics.median(took), took[COUNT - 2]
            with capsys.disabled():
                print(
                    f"kill of {kind:8}  workers {workers}  p50 {p50:.3f} s  p99 {p99:.3f} s  most {took[-1]:.3f} s"
                )
            if p99 > MOST:
                slow.append(f"{kind}: {p99:.3f} s")
    assert slow == []
