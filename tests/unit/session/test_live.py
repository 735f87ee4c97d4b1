"""The table of the sessions that are open, and which of them are asked about again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bastion.auth.identity import Identity
from bastion.session.live import LiveSessions, Right, right_of

ALICE = Identity("alice", "u-1", frozenset({"ops"}), "t", ("publickey",), None, "192.0.2.1")
RIGHT = Right(ALICE, "web1", "root")


def session(session_id: str) -> Any:
    return SimpleNamespace(session_id=session_id)


def test_a_session_is_in_it_from_its_start_to_its_end() -> None:
    live, one, two = LiveSessions(), session("one"), session("two")
    live.add(one)
    live.add(two)
    assert (len(live), live.find("one"), live.find("three")) == (2, one, None)
    live.remove(one)
    live.remove(one)
    assert (list(live), live.find("one")) == ([two], None)


def test_one_may_end_while_all_are_walked() -> None:
    live = LiveSessions()
    for name in ("one", "two", "three"):
        live.add(session(name))
    seen = []
    for found in live:
        seen.append(found.session_id)
        live.remove(found)
    assert seen == ["one", "two", "three"] and len(live) == 0


def test_only_what_may_be_withdrawn_has_a_right() -> None:
    live, one, two = LiveSessions(), session("one"), session("two")
    live.add(one, RIGHT)
    live.add(two)
    assert live.rights() == [(one, RIGHT)]
    live.remove(one)
    assert live.rights() == []


@pytest.mark.parametrize("withdrawn", [True, False])
def test_a_rule_says_so(withdrawn: bool) -> None:
    grant: Any = SimpleNamespace(target=SimpleNamespace(name="web1"), login="root", end_withdrawn=withdrawn)
    assert right_of(grant, ALICE) == (RIGHT if withdrawn else None)
