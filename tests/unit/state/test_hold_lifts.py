"""A hold is lifted by two people, neither of whom was in the session."""

from __future__ import annotations

import pytest

from bastion.state.changes import ADD, Change, apply
from bastion.state.database import Database
from bastion.state.hold_lifts import LASTS, Lift, answer_lift, ask_lift, has_recording, held, lifts
from bastion.state.pruning import Hold, hold, holds, unhold
from bastion.state.reviewing import NotTaken, Reviewer
from tests.unit.state.test_reviewing import ADA, BEA, NOW, ONE, session, silent

ALICE = Reviewer("u-alice", "alice")


def nothing(_: Lift) -> None:
    """No line."""


@pytest.fixture
def holding(database: Database) -> Database:
    session(database)
    with database.write() as connection:
        apply(connection, [Change(ADD, "recordings", {"session_id": ONE, "state": "ended"})])
    assert hold(database, Hold(ONE, "case 7", "ada", NOW - 10), lambda: None)
    return database


def test_one_asks_and_another_lifts(holding: Database) -> None:
    told: list[object] = []
    lift = ask_lift(holding, ONE, ADA, " case  closed ", NOW, told.append)
    assert lift.reason == "case closed" and told == [lift.id] and lift.is_open(NOW)
    assert held(holding, ONE) == Hold(ONE, "case 7", "ada", NOW - 10), "it is held until somebody agrees"
    answer_lift(holding, lift.id, BEA, True, NOW + 1, told.append)
    assert told[1] == lift and holds(holding) == {} and held(holding, ONE) is None
    (one,) = lifts(holding)
    assert (one.state, one.answered_by, one.answered_uid, one.answered_at) == (
        "lifted",
        "bea",
        "u-bea",
        NOW + 1,
    )
    assert not one.is_open(NOW)
    with pytest.raises(NotTaken, match="lifted already"):
        answer_lift(holding, lift.id, Reviewer("u-cat", "cat"), True, NOW + 2, nothing)


@pytest.mark.parametrize("by", [ADA, Reviewer("u-ada", "renamed"), Reviewer("u-other", "ada"), ALICE])
def test_neither_whoever_asked_nor_whoever_was_there_agrees(holding: Database, by: Reviewer) -> None:
    lift = ask_lift(holding, ONE, ADA, "x", NOW, silent)
    with pytest.raises(NotTaken) as refused:
        answer_lift(holding, lift.id, by, True, NOW + 1, nothing)
    assert refused.value.own and ONE in holds(holding)


def test_whoever_was_in_the_session_does_not_ask_and_whoever_asked_takes_it_back(holding: Database) -> None:
    with pytest.raises(NotTaken) as refused:
        ask_lift(holding, ONE, ALICE, "x", NOW, silent)
    assert refused.value.own
    lift = ask_lift(holding, ONE, ADA, "x", NOW, silent)
    with pytest.raises(NotTaken, match="asked for that already"):
        ask_lift(holding, ONE, BEA, "x", NOW, silent)
    answer_lift(holding, lift.id, ADA, False, NOW + 1, nothing)
    assert [one.state for one in lifts(holding)] == ["refused"] and ONE in holds(holding)
    assert ask_lift(holding, ONE, BEA, "x", NOW + 2, silent).is_open(NOW + 2)


def test_a_question_lapses(holding: Database) -> None:
    lift = ask_lift(holding, ONE, ADA, "x", NOW, silent)
    with pytest.raises(NotTaken, match="has lapsed"):
        answer_lift(holding, lift.id, BEA, True, NOW + LASTS, nothing)
    assert ONE in holds(holding) and ask_lift(holding, ONE, ADA, "y", NOW + LASTS, silent)


def test_a_hold_that_was_placed_anew_is_not_lifted_by_an_old_question(holding: Database) -> None:
    lift = ask_lift(holding, ONE, ADA, "x", NOW, silent)
    unhold(holding, ONE, lambda: None)
    assert hold(holding, Hold(ONE, "case 8", "cat", NOW + 1), lambda: None)
    with pytest.raises(NotTaken, match="placed anew"):
        answer_lift(holding, lift.id, BEA, True, NOW + 2, nothing)
    assert holds(holding)[ONE].reason == "case 8" and lifts(holding)[0].state == "open"


def test_without_its_line_nothing_is_lifted(holding: Database) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("the log is full")

    with pytest.raises(RuntimeError):
        ask_lift(holding, ONE, ADA, "x", NOW, fails)
    assert lifts(holding) == []
    lift = ask_lift(holding, ONE, ADA, "x", NOW, silent)
    with pytest.raises(RuntimeError):
        answer_lift(holding, lift.id, BEA, True, NOW, fails)
    assert ONE in holds(holding) and lifts(holding)[0].state == "open"


def test_what_is_not_there_is_not_asked_for(holding: Database) -> None:
    assert has_recording(holding, ONE) and not has_recording(holding, "zzzzzzzzzzzzzzzz")
    session(holding, "bbbbbbbbccccdddd")
    for name, reason in (("bbbbbbbbccccdddd", "x"), ("zzzzzzzzzzzzzzzz", "x"), (ONE, " ")):
        with pytest.raises(NotTaken):
            ask_lift(holding, name, ADA, reason, NOW, silent)
    with pytest.raises(NotTaken):
        answer_lift(holding, "zzzzzzzzzzzzzzzz", ADA, False, NOW, nothing)
