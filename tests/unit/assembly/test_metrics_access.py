"""Who may read the metrics: the right password, judged once and in a thread; nothing else, and nothing is kept."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import argon2
import pytest

from bastion.assembly.metrics_access import HEADER_MAX, WAITING, BasicGuard
from tests.unit.auth.threads import StillReactor, outcome

HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Bench:
    def __init__(self) -> None:
        self.reactor = StillReactor()
        self.guard = BasicGuard(self.reactor, {"prometheus": HASH, "grafana": HASH})

    def judged(self, header: str | None) -> Any:
        """What comes of it without a thread: None when one works on it."""
        return outcome(self.guard.admits(header))

    def admits(self, header: str) -> Any:
        waiting = self.guard.admits(header)
        self.reactor.drain()
        return outcome(waiting)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.guard.close()


def test_the_right_password_is_hashed_once(bench: Bench) -> None:
    header = basic("prometheus", "correct horse")
    assert bench.judged(header) is None
    bench.reactor.drain()
    assert bench.judged(header) is True
    assert bench.judged(header.replace("Basic", "basic")) is True
    assert "correct horse" not in repr(vars(bench.guard))
    assert bench.judged(basic("grafana", "correct horse")) is None  # another one's proof is nobody else's


@pytest.mark.parametrize(
    ("name", "password"),
    [("prometheus", "wrong"), ("nobody", "correct horse"), ("", ""), ("prometheus", "correct horse\0")],
)
def test_anything_else_is_refused_every_time_by_a_hash(bench: Bench, name: str, password: str) -> None:
    for _ in range(2):
        assert bench.judged(basic(name, password)) is None
        bench.reactor.drain()
        assert bench.admits(basic(name, password)) is False


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic", "Basic ", "Basic %%%", "Basic " + base64.b64encode(b"no colon").decode(),
     "Basic " + base64.b64encode(b"\xff\xfe:x").decode(), "Bearer abc", "Digest username=x",
     "Basic " + "A" * HEADER_MAX],
)  # fmt: skip
def test_what_is_no_credential_costs_no_hash(bench: Bench, header: str | None) -> None:
    assert bench.judged(header) is False


def test_a_crowd_is_refused_and_not_queued(bench: Bench) -> None:
    waiting = [bench.guard.admits(basic("prometheus", f"guess {number}")) for number in range(WAITING + 4)]
    refused = sum(outcome(one) is False for one in waiting)
    assert refused >= 3
    bench.reactor.drain(len(waiting) - refused)
    assert {outcome(one) for one in waiting} == {False}
