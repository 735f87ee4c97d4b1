"""A key that has logged in for too long raises an alarm; a store of the test answers when it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from bastion.auth.identity import Identity
from bastion.clock import FixedClock
from bastion.observe.audit import AuditLog
from bastion.observe.meters import OLD_KEYS, Meters
from bastion.session import key_ages
from bastion.session.key_ages import KeyAges
from bastion.state.database import StateDown
from bastion.state.key_ages import AGAIN

YEAR = 365 * 86400.0


class Store:
    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []
        self.keys: list[tuple[str, str, float]] = []

    def decide(self, decision: Any, asker: Any) -> Deferred[Any]:
        self.keys.append(
            (decision.keywords["uid"], decision.keywords["fingerprint"], decision.keywords["longest"])
        )
        self.asked.append(Deferred())
        return self.asked[-1]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.store, self.clock, self.meters = Store(), FixedClock(), Meters()
        self.log = folder / "audit.jsonl"
        audit = AuditLog(str(self.log), self.clock, self.meters)
        store: Any = self.store
        self.ages = KeyAges(store, self.clock, self.meters, audit, lambda: YEAR)

    def login(self, key: str = "SHA256:a", uid: str = "u-1") -> None:
        facts = ("alice", uid, frozenset[str](), "embedded", ("publickey",), None, "192.0.2.1")
        identity = Identity(*facts, key_fingerprint=key)
        self.ages.logged_in(identity, "aaaa")

    def told(self) -> list[dict[str, Any]]:
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if line["event"] == "old_key"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_old_key_is_told_of(bench: Bench) -> None:
    bench.login()
    assert bench.store.keys == [("u-1", "SHA256:a", YEAR)]
    bench.store.asked[0].callback((bench.clock.time() - 400 * 86400, True))
    (line,) = bench.told()
    assert (line["user"], line["uid"], line["key"], line["days"]) == ("alice", "u-1", "SHA256:a", 400)
    assert bench.meters.value(OLD_KEYS) == 1


def test_a_young_one_and_one_that_another_has_told_of_are_not(bench: Bench) -> None:
    bench.login()
    bench.store.asked[0].callback((bench.clock.time(), False))
    assert bench.told() == [] and bench.meters.value(OLD_KEYS) == 0


def test_a_key_is_looked_up_once_a_day(bench: Bench) -> None:
    for _ in range(3):
        bench.login()
    bench.login(uid="u-2")
    assert len(bench.store.keys) == 2
    bench.clock.advance(AGAIN)
    bench.login()
    assert len(bench.store.keys) == 3


def test_a_login_without_a_key_asks_nothing(bench: Bench) -> None:
    bench.login(key="")
    assert bench.store.keys == []


def test_a_store_that_does_not_answer_is_asked_at_the_next_login(bench: Bench) -> None:
    bench.login()
    bench.store.asked[0].errback(StateDown("away"))
    bench.login()
    assert len(bench.store.keys) == 2


def test_what_is_known_of_today_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ages, "MOST_KNOWN", 4)
    for number in range(6):
        bench.login(f"SHA256:{number}")
    bench.login("SHA256:5")
    assert len(bench.store.keys) == 6
    bench.login("SHA256:0")
    assert len(bench.store.keys) == 7 and len(bench.ages._looked_up) == 4
