"""Counters of security keys rise, or somebody is told."""

from __future__ import annotations

import json
from pathlib import Path

from bastion.auth.key_counters import KeyCounters
from bastion.observe.meters import SECURITY_KEY_COUNTERS_FALLEN
from tests.support.authenticator import ED25519_SK
from tests.unit.auth.test_security_keys import KEYS, OK, Engineer


def test_a_counter_that_falls_or_stands_still() -> None:
    counters = KeyCounters()
    told = [counters.note("SHA256:a", counter) for counter in (5, 6, 6, 3, 7, 0, 8)]
    assert told == [None, None, 6, 6, None, 7, None]


def test_keys_that_do_not_count_and_keys_of_others() -> None:
    counters = KeyCounters()
    assert [counters.note("SHA256:a", 0) for _ in range(3)] == [None] * 3
    assert counters.note("SHA256:b", 9) is None and counters.note("SHA256:a", 1) is None


def test_memory_is_bounded_and_the_oldest_goes() -> None:
    counters = KeyCounters(2)
    for name in ("a", "b", "a", "c"):
        counters.note(name, 5 if name != "a" else 0)
    assert counters.note("c", 5) == 5
    assert counters.note("b", 1) is None


def test_a_fallen_counter_lets_in_and_is_alarmed(tmp_path: Path) -> None:
    engineer, key = Engineer(tmp_path), KEYS[ED25519_SK]
    fingerprint = key.public.fingerprint()
    engineer.counters.note(fingerprint, 50)
    assert engineer.ask(key.kind, key.public.blob, lambda data: key.sign(data, counter=49), settled=-2) is OK
    assert engineer.gate.meters.value(SECURITY_KEY_COUNTERS_FALLEN) == 1
    line = json.loads(Path(engineer.gate.audit.path).read_text().splitlines()[-1])
    found = {name: line[name] for name in ("event", "user", "key", "counter", "last")}
    assert found == {
        "event": "security_key_counter", "user": "alice", "key": fingerprint, "counter": 49, "last": 50
    }  # fmt: skip
