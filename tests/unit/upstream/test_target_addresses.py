"""The names of targets are looked up again and again, few at once, and a fault forgets nothing of what they led to."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock

from bastion.policy.patterns import address_of
from bastion.upstream.target_addresses import (
    GAP,
    LOOKUP_TIMEOUT,
    MAX_ADDRESSES,
    PARALLEL,
    REFRESH,
    TargetAddresses,
    names_among,
)


class Names:
    """A resolver that answers when told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, Deferred[list[str]]]] = []
        self.known = TargetAddresses(self.clock, self._resolve)

    def _resolve(self, name: str) -> Deferred[list[str]]:
        answer: Deferred[list[str]] = Deferred()
        self.asked.append((name, answer))
        return answer

    def turn(self, seconds: float) -> None:
        for _ in range(round(seconds / GAP)):
            self.clock.advance(GAP)

    def answer(self, **found: list[str]) -> None:
        """Every question that is open; names that are not in `found` do not exist."""
        asked, self.asked = self.asked, []
        for name, answer in asked:
            if name in found:
                answer.callback(found[name])
            else:
                answer.errback(DNSLookupError())

    def follow(self, hosts: list[str]) -> None:
        self.known.follow_names(names_among(hosts))

    def at(self, address: str) -> set[str]:
        found = address_of(address)
        assert found is not None
        return set(self.known.names_at(found))


@pytest.fixture
def names() -> Names:
    return Names()


def test_a_name_is_known_by_each_of_its_addresses(names: Names) -> None:
    names.follow(["web1", "web2", "10.0.0.9", "::1"])
    assert not names.known.complete
    names.turn(1)
    assert [name for name, _ in names.asked] == ["web1", "web2"]
    names.answer(web1=["10.0.0.1", "2001:db8::1"], web2=["10.0.0.1"])
    assert names.known.complete
    assert (names.at("10.0.0.1"), names.at("2001:db8::1"), names.at("10.0.0.9")) == (
        {"web1", "web2"},
        {"web1"},
        set(),
    )


def test_each_round_asks_again_and_the_new_answer_counts(names: Names) -> None:
    names.follow(["web1"])
    names.turn(1)
    names.answer(web1=["10.0.0.1"])
    names.turn(REFRESH - 2)
    assert not names.asked
    names.turn(2)
    names.answer(web1=["10.0.0.2"])
    assert (names.at("10.0.0.1"), names.at("10.0.0.2")) == (set(), {"web1"})


def test_a_name_that_does_not_answer_keeps_what_it_had(names: Names) -> None:
    names.follow(["web1", "never"])
    names.turn(1)
    names.answer(web1=["10.0.0.1"])
    assert names.known.complete  # asked once, and it leads nowhere
    names.turn(REFRESH)
    names.answer()
    assert names.at("10.0.0.1") == {"web1"}


def test_few_are_asked_at_once_and_a_stuck_one_keeps_its_place(names: Names) -> None:
    names.follow([f"web{number}" for number in range(PARALLEL * 3)])
    names.turn(LOOKUP_TIMEOUT + 1)
    assert len(names.asked) == PARALLEL and not names.known.complete
    names.answer()
    names.turn(1)
    assert len(names.asked) == PARALLEL


def test_a_stuck_look_up_counts_as_asked_after_a_while(names: Names) -> None:
    names.follow(["stuck"])
    names.turn(LOOKUP_TIMEOUT - 1)
    assert not names.known.complete
    names.turn(2)
    assert names.known.complete
    names.answer(stuck=["10.0.0.3"])
    assert names.at("10.0.0.3") == {"stuck"}


def test_a_reload_asks_for_new_names_first_and_forgets_the_others(names: Names) -> None:
    names.follow(["a", "b"])
    names.turn(1)
    names.answer(a=["10.0.0.1"], b=["10.0.0.2"])
    names.follow(["b", "new"])
    assert not names.known.complete and names.at("10.0.0.1") == set()
    names.turn(GAP)
    assert [name for name, _ in names.asked] == ["new"]
    names.turn(1)
    assert [name for name, _ in names.asked] == ["new", "b"]


def test_a_late_answer_for_a_name_that_is_gone_is_dropped(names: Names) -> None:
    names.follow(["a"])
    names.turn(1)
    names.follow([])
    names.answer(a=["10.0.0.1"])
    assert names.at("10.0.0.1") == set() and names.known.complete


def test_no_name_fills_the_memory(names: Names) -> None:
    names.follow(["many"])
    names.turn(1)
    names.answer(many=[f"10.1.{number // 250}.{number % 250}" for number in range(1000)])
    assert len(names.known._names) == MAX_ADDRESSES


def test_nothing_runs_after_the_end(names: Names) -> None:
    names.follow(["a"])
    names.turn(1)
    names.answer(a=["10.0.0.1"])
    names.known.stop()
    assert names.clock.getDelayedCalls() == []
