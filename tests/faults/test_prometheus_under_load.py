"""A real Prometheus scrapes a gateway that people work on: no scrape fails, and what it has counted is what happened.

Each counter has a test of its own in which its cause happens (tests/support/metric_causes.py). Here they move at the
same time, while two workers, one of which dies, are asked again and again.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from bastion.observe.family import Kind
from bastion.observe.meters import FAMILIES, PREFIX
from tests.support.jump import JumpWorld
from tests.support.net import free_port
from tests.support.prometheus import Prometheus
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "sshd"),
]

SECONDS = 40.0
ENGINEERS = 6
EVERY = {"scrape_interval": "4s", "scrape_timeout": "4s"}
"""A page waits 2 s for a worker that does not answer."""

WARM = 2
"""Scrapes that have seen every series at 0."""

POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["*"]
logins = ["root"]
verbs = ["shell", "exec", "sftp"]
"""


class Crowd:
    """Engineers who do one thing after the other; what they did is counted by what came of it."""

    def __init__(self, world: JumpWorld) -> None:
        self.world, self.done, self._lock = world, Counter[str](), threading.Lock()
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(ENGINEERS)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _count(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def _work(self, number: int) -> None:
        acts = (self._direct, self._jump, self._refused, self._in_vain, self._mistypes)
        turn = number
        while not self.over.is_set():
            acts[turn % len(acts)]()
            turn += 1

    def _direct(self) -> None:
        done = self.world.ssh("head -c 100000 /dev/zero")
        self._count("direct" if done.returncode == 0 else "direct failed")

    def _jump(self) -> None:
        self._count("jump" if self.world.jump("true").returncode == 0 else "jump failed")

    def _refused(self) -> None:
        assert self.world.ssh("true", user="alice+nobody+web1").returncode == 255
        self._count("refused")

    def _in_vain(self) -> None:
        assert self.world.ssh("true", user="alice+root+gone").returncode == 255
        self._count("in vain")

    def _mistypes(self) -> None:
        assert self.world.ask("carol+root+web1", "not " + PASSWORD).returncode == 255
        self._count("mistyped")


def test_what_prometheus_counts_under_load_is_what_happened(tmp_path: Path) -> None:
    world = JumpWorld(policy=POLICY, workers=2, limits="penalties = { free = 1000, accounts = 1000 }")
    world.add_target("gone", "127.0.0.1", free_port())
    try:
        world.start()
        prometheus = Prometheus(tmp_path, world.metrics_port, EVERY)
        try:
            poll(lambda: (prometheus.value("count_over_time(bastion_draining[1m])") or 0) >= WARM, 60)
            with Crowd(world) as crowd:
                crowd.over.wait(SECONDS / 2)
                os.kill(world.worker_pids[0], signal.SIGKILL)
                crowd.over.wait(SECONDS / 2)
            world.quiet()
            _check(prometheus, crowd.done, world)
        finally:
            prometheus.stop()
    finally:
        world.close()


def _check(prometheus: Prometheus, done: Counter[str], world: JumpWorld) -> None:
    """Against what the engineers saw. What the killed worker had counted since it was asked last is lost, and whom it
    took with it saw something else."""
    cut = 2 * ENGINEERS
    assert done["direct failed"] + done["jump failed"] <= ENGINEERS, done
    deaths = 'sum(bastion_worker_deaths_total{reason="died"})'
    poll(lambda: prometheus.value(deaths) == 1, 30, "the death was never scraped")
    poll(lambda: prometheus.value("sum(bastion_connections_live)") == 0, 30, "somebody is there still")
    expected = {
        'sum(bastion_sessions_started_total{door="direct"})': done["direct"],
        'sum(bastion_sessions_started_total{door="jump"})': done["jump"],
        'sum(bastion_authorisations_total{reason="login_not_allowed"})': done["refused"],
        'sum(bastion_upstream_dials_total{reason="connection_refused"})': done["in vain"],
        'sum(bastion_auth_attempts_total{method="password",reason=~"bad_password|throttled"})': done[
            "mistyped"
        ],
    }
    for query, count in expected.items():
        counted = prometheus.value(query) or 0
        assert count > 0 and count - cut <= counted <= count + cut, (query, counted, done)
    assert prometheus.value("min(min_over_time(up[5m]))") == 1, "a scrape failed"
    assert prometheus.value("max(resets(process_cpu_seconds_total[5m]))") == 0, "it is another process's page"
    counters = [PREFIX + family.name for family in FAMILIES if family.kind is Kind.COUNTER]
    fell = [name for name in counters if prometheus.value(f"sum(resets({name}[5m]))") != 0]
    assert fell == [], "they fell when a worker died"
    took = prometheus.value("quantile_over_time(0.95, scrape_duration_seconds[5m])") or 0
    samples = prometheus.value("max_over_time(scrape_samples_scraped[5m])")
    print(f"{dict(done)}; 95 of 100 scrapes took {took:.3f} s, {samples:.0f} samples")
    assert took < 5
    assert len(world.audit("worker_died")) == 1
