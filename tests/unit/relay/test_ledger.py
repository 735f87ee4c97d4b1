"""Replies come in the order of the requests, whoever gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.relay.ledger import Ledger


def test_what_is_owed_is_settled_oldest_first() -> None:
    ledger = Ledger(10)
    ledger.add_forwarded("pty-req")
    assert ledger.add_asked("keepalive@openssh.com")
    ledger.add_forwarded("tcpip-forward", 8080)
    entries = [ledger.settle() for _ in range(3)]
    assert [(e.name, e.ours, e.place) for e in entries if e] == [
        ("pty-req", False, None),
        ("keepalive@openssh.com", True, None),
        ("tcpip-forward", False, 8080),
    ]
    assert ledger.settle() is None


def test_a_refusal_is_said_at_once_when_nothing_is_under_way() -> None:
    ledger = Ledger(10)
    assert ledger.add_refused()
    assert ledger.add_asked("ours"), "our own request is not what the asking side waits for"
    assert ledger.add_refused()
    assert len(ledger) == 1


def test_a_refusal_waits_behind_the_newest_forwarded_request() -> None:
    ledger = Ledger(10)
    ledger.add_forwarded("first")
    ledger.add_forwarded("second")
    ledger.add_asked("ours")
    assert not ledger.add_refused()
    assert not ledger.add_refused()
    assert len(ledger) == 5
    refusals = [(entry.name, entry.refusals) for _ in range(3) if (entry := ledger.settle())]
    assert refusals == [("first", 0), ("second", 2), ("ours", 0)]
    assert len(ledger) == 0
    assert ledger.add_refused(), "all that was under way has been answered"


def test_a_full_ledger_takes_no_request_of_a_peer_and_none_of_ours() -> None:
    ledger = Ledger(2)
    ledger.add_forwarded("one")
    assert not ledger.add_refused()
    for add in (lambda: ledger.add_forwarded("two"), ledger.add_refused):
        with pytest.raises(ProtocolError, match="too many requests without an answer"):
            add()
    assert not ledger.add_asked("ours")
    assert ledger.settle() is not None
    assert ledger.add_asked("ours")


@given(st.integers(1, 6), st.lists(st.sampled_from("farsss")))
def test_the_asking_side_gets_an_answer_to_each_request_in_its_order(limit: int, steps: list[str]) -> None:
    """A model: the requests of the asking side, and the answers as they reach it."""
    ledger, asked, answered, made = Ledger(limit), list[str](), list[str](), 0
    for step in steps:
        made += 1
        name = f"{step}{made}"
        if step == "s":
            entry = ledger.settle()
            if entry is not None and not entry.ours:
                answered += [entry.name, *["r"] * entry.refusals]
        elif step == "a":
            room = len(ledger) < limit
            assert ledger.add_asked(name) is room
        else:
            try:
                if step == "f":
                    ledger.add_forwarded(name)
                elif ledger.add_refused():
                    answered.append("r")
            except ProtocolError:
                assert len(ledger) == limit
                continue
            asked.append(name if step == "f" else "r")
        assert len(ledger) <= limit
    assert answered == asked[: len(answered)]
