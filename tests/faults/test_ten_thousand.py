"""Ten thousand sessions over two workers for half an hour, a tenth of them typing, while others log in."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.bench.process_cost import own_cpu, pss
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

SESSIONS = int(os.environ.get("CROWD_SESSIONS", "10000"))
TYPING = SESSIONS // 10
SECONDS = float(os.environ.get("CROWD_SECONDS", "1800"))
EVERY = 2.0
"""Seconds between two logins that are measured."""

WARM = 1 / 6
"""The share of the time in which caches fill; not judged."""

MOST_GROWN = 0.01
"""Of the memory of all processes, an hour."""

MIB, KIB = 1 << 20, 1 << 10


class Crowd:
    """The process that has all the sessions."""

    def __init__(self, world: World, target: str) -> None:
        where = {"port": world.port, "user": f"alice+deploy+{target}", "key": str(world.keys / "alice")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crowd", json.dumps(where)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *words: object) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the crowd is gone"
        return dict(json.loads(answer))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def crowded() -> Iterator[tuple[World, Crowd]]:
    limits = f"startups_per_source = 1000\nstartups = '1000:30:1000'\nsessions = {2 * SESSIONS}"
    world = World(workers=2, limits=limits)
    target = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.echo_target"),
            *(str(world.sshd.folder / "host_key"), str(world.keys / "upstream_ca.pub")),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    crowd = None
    try:
        assert target.stdout is not None
        world.add_target("echo", LOOPBACK, int(target.stdout.readline()), world.sshd.host_public)
        world.start()
        crowd = Crowd(world, "echo")
        yield world, crowd
    finally:
        if crowd is not None:
            crowd.close()
        target.kill()
        target.communicate()
        world.close()


def login(world: World) -> float:
    begun = time.perf_counter()
    done = world.ssh("true")
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begun


def growth_an_hour(samples: list[tuple[float, int]]) -> float:
    """The slope of the line through what is judged, as a share of its middle."""
    judged = [one for one in samples if one[0] >= SECONDS * WARM]
    slope, _ = statistics.linear_regression([at for at, _ in judged], [size for _, size in judged])
    return slope * 3600 / statistics.fmean(size for _, size in judged)


@dataclass
class Held:
    """What was seen in the time in which they were held."""

    logins: list[float] = field(default_factory=list)  # seconds
    memory: list[tuple[float, int]] = field(
        default_factory=list
    )  # (seconds from the beginning, bytes of PSS)
    looked: list[dict[str, Any]] = field(default_factory=list)  # what the crowd said each half minute
    cpu: float = 0.0  # of one processor

    def told(self) -> str:
        last, first_size, last_size = self.looked[-1], self.memory[0][1] / MIB, self.memory[-1][1] / MIB
        p50 = statistics.median(one["p50"] for one in self.looked) * 1e3
        p99, most = (max(one[name] for one in self.looked) * 1e3 for name in ("p99", "most"))
        return (
            f"{self.lines} lines typed by {TYPING} in {SECONDS:.0f} s: p50 {p50:.1f} ms, p99 of the worst half minute"
            f" {p99:.1f}, longest {most:.0f}; wrong {last['wrong']}, lost {last['lost']}\n"
            f"{len(self.logins)} logins beside them: {spread(self.logins)}\n"
            f"processors of the gateway: {self.cpu * 100:.0f} % of one; memory {first_size:.0f} -> {last_size:.0f} MiB,"
            f" {growth_an_hour(self.memory) * 100:+.2f} % an hour"
        )

    @property
    def lines(self) -> int:
        return sum(one["lines"] for one in self.looked)


def hold(world: World, crowd: Crowd) -> Held:
    """Log in every so often, look at memory, and let the crowd type."""
    held, pids, pause = Held(), world.pids, threading.Event()
    begun, cpu = time.monotonic(), sum(map(own_cpu, pids))
    while (at := time.monotonic() - begun) < SECONDS:
        held.logins.append(login(world))
        held.memory.append((at, pss(pids)))
        if len(held.memory) % 15 == 0:
            held.looked.append(crowd.ask("look"))
        pause.wait(max(0.0, begun + len(held.memory) * EVERY - time.monotonic()))
    held.looked.append(crowd.ask("look"))
    held.cpu = (sum(map(own_cpu, pids)) - cpu) / (time.monotonic() - begun)
    return held


def spread(seconds: list[float]) -> str:
    middle, longest = statistics.median(seconds) * 1e3, sorted(seconds)[int(len(seconds) * 0.99)] * 1e3
    return f"p50 {middle:.0f} ms, p99 {longest:.0f}"


def test_ten_thousand_sessions_are_held(capsys: pytest.CaptureFixture[str]) -> None:
    def show(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    with crowded() as (world, crowd):
        show("\nlogins alone: " + spread([login(world) for _ in range(50)]))
        base, begun = pss(world.pids), time.monotonic()
        for count in range(SESSIONS // 10, SESSIONS + 1, SESSIONS // 10):
            assert crowd.ask("open", count)["open"] == count
        opened = time.monotonic() - begun
        poll(lambda: world.metric("bastion_connections_live") == SESSIONS, 60, "not all are there")
        size = pss(world.pids)
        show(
            f"{SESSIONS} sessions opened in {opened:.0f} s: {base / MIB:.0f} -> {size / MIB:.0f} MiB,"
            f" {(size - base) / SESSIONS / KIB:.1f} KiB each"
        )
        crowd.ask("type", TYPING)
        held = hold(world, crowd)
        show(held.told())
        assert held.looked[-1]["wrong"] == held.looked[-1]["lost"] == 0
        assert held.lines >= TYPING * SECONDS * 0.9
        assert world.metric("bastion_connections_live") >= SESSIONS
        assert growth_an_hour(held.memory) < MOST_GROWN
