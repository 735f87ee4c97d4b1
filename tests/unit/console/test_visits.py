"""Who is signed in: ids that nobody can choose, and ends that come by themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bastion.auth.identity import Identity
from bastion.clock import FixedClock
from bastion.console import entry
from bastion.console import visits as visits_module
from bastion.console.admission import Place
from bastion.console.visits import ID_LENGTH, MOST_OF_ONE, Visit, Visits
from bastion.control.roles import Role
from bastion.errors import ConsoleReason

AUDITOR = frozenset((Role.AUDITOR,))


class Kept:
    """Visits of ten minutes idle and an hour at most, and how they ended."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.ended: list[tuple[str, ConsoleReason]] = []
        self.visits = Visits(
            self.clock, 600.0, 3600.0, lambda visit, why: self.ended.append((visit.name, why))
        )

    def begin(self, name: str = "alice") -> tuple[str, Visit]:
        return self.visits.begin(name, f"u-{name}", AUDITOR, "192.0.2.1")


def test_an_id_is_random_and_only_its_digest_is_kept() -> None:
    kept = Kept()
    made, visit = kept.begin()
    other, _ = kept.begin()
    assert len(made) == ID_LENGTH and made != other and made not in repr(visit) and visit.token not in made
    assert kept.visits.find(made)[0] is visit


@pytest.mark.parametrize("given", ["", "x", "a" * ID_LENGTH, "\u00e9" * ID_LENGTH, "a" * 10_000])
def test_what_was_never_given_out_is_nobody(given: str) -> None:
    kept = Kept()
    kept.begin()
    assert kept.visits.find(given) == (None, ConsoleReason.NOT_SIGNED_IN)


def test_a_visit_that_asks_for_nothing_ends() -> None:
    kept = Kept()
    made, _ = kept.begin()
    kept.clock.advance(599)
    assert kept.visits.find(made)[0] is not None
    kept.clock.advance(600)
    assert kept.visits.find(made) == (None, ConsoleReason.IDLE)
    assert kept.visits.find(made) == (None, ConsoleReason.NOT_SIGNED_IN)
    assert kept.ended == [("alice", ConsoleReason.IDLE)]


def test_a_visit_ends_whatever_is_asked() -> None:
    kept = Kept()
    made, _ = kept.begin()
    for _ in range(7):
        kept.clock.advance(500)
        assert kept.visits.find(made)[0] is not None
    kept.clock.advance(100)
    assert kept.visits.find(made) == (None, ConsoleReason.EXPIRED)


def test_visits_are_swept_and_end_once() -> None:
    kept = Kept()
    made, visit = kept.begin()
    kept.begin("bob")
    kept.visits.end(visit, ConsoleReason.SIGNED_OUT)
    kept.visits.end(visit, ConsoleReason.SIGNED_OUT)
    assert kept.visits.find(made)[0] is None and len(kept.visits) == 1
    kept.clock.advance(601)
    kept.visits.sweep()
    assert len(kept.visits) == 0
    assert kept.ended == [("alice", ConsoleReason.SIGNED_OUT), ("bob", ConsoleReason.IDLE)]


def test_of_one_person_and_of_all_there_are_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits_module, "MOST_VISITS", MOST_OF_ONE + 2)
    kept = Kept()
    first, _ = kept.begin()
    for _ in range(MOST_OF_ONE):
        kept.begin()
    assert kept.visits.find(first)[0] is None and len(kept.visits) == MOST_OF_ONE
    for name in ("bob", "carol", "dora"):
        kept.begin(name)
    assert len(kept.visits) == MOST_OF_ONE + 2
    assert {why for _, why in kept.ended} == {ConsoleReason.TOO_MANY}


def test_a_token_is_one_visits() -> None:
    kept = Kept()
    _, alice = kept.begin()
    _, bob = kept.begin("bob")
    assert alice.has_token(alice.token) and not alice.has_token(bob.token)
    assert not alice.has_token("") and not alice.has_token("\udc80")


def test_a_visit_keeps_what_a_lock_may_name_of_its_sign_in() -> None:
    """A passkey that is locked later ends what began with it (`standing`)."""
    visits = Visits(FixedClock(), 1e9, 1e9, lambda visit, why: None)
    asked = SimpleNamespace(cookies={}, source="192.0.2.1")
    call: Any = SimpleNamespace(asked=asked, desk=SimpleNamespace(visits=visits, place=Place("https://c")))
    who = Identity(
        "ada", "u-ada", frozenset(), "embedded", ("passkey",), None, "192.0.2.1", key_fingerprint="SHA256:key"
    )
    found, _ = visits.find(entry._begin(call, who, AUDITOR))
    assert found is not None and found.shown == ("SHA256:key",)
