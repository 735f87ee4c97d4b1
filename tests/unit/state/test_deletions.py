"""A recording is deleted by two people, neither of whom was in the session, and never one that is held or too young."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from bastion.state.changes import ADD, Change, Value, apply
from bastion.state.database import Database
from bastion.state.deletions import (
    LASTS,
    Deletion,
    Person,
    answer,
    ask,
    check_hold,
    deletions,
    due,
    find,
    settle,
    stays,
    still_due,
    too_young,
    two_people,
)
from bastion.state.pruning import Hold, hold, unhold
from bastion.state.reviewing import NotTaken
from bastion.state.schema import DELETIONS, RECORDINGS
from tests.unit.state.test_reviewing import NOW, ONE, session

ADA, BEA = Person("u-ada", "ada", "totp"), Person("u-bea", "bea", "passkey")
CAT, ALICE = Person("u-cat", "cat", "totp"), Person("u-alice", "alice", "totp")
DAY = 86400.0


def silent(_: Deletion) -> None:
    """No line."""


@pytest.fixture
def there(database: Database) -> Database:
    session(database)
    recording(database)
    return database


def recording(database: Database, name: str = ONE, **values: Value) -> None:
    with database.write() as connection:
        apply(connection, [Change(ADD, "recordings", {"session_id": name, "state": "ended"} | values)])


def asked(database: Database, by: Person = ADA, now: float = NOW, reason: str = "a password") -> Deletion:
    return ask(database, ONE, by, reason, now, 0.0, silent)


def answered(database: Database, name: str, by: Person = BEA, yes: bool = True, now: float = NOW) -> Deletion:
    return answer(database, name, by, yes, now, 0.0, silent)


def test_one_asks_another_agrees_and_it_is_due(there: Database) -> None:
    told: list[Deletion] = []
    one = ask(there, ONE, ADA, " a  password ", NOW, 0.0, told.append)
    assert one.reason == "a password" and one.is_open(NOW) and not one.is_due(NOW) and due(there, NOW) == []
    done = answer(there, one.id, BEA, True, NOW + 1, 0.0, told.append)
    assert told == [one, done] and done.is_due(NOW + 1) and not done.is_open(NOW + 1)
    assert (done.asked_by, done.asked_factor, done.answered_by, done.answered_factor) == (
        "ada", "totp", "bea", "passkey",
    )  # fmt: skip
    ((found),) = due(there, NOW + 1)
    assert found.deletion == done == find(there, one.id)
    assert (found.uid, found.identity, done.rule) == ("u-alice", "alice", "people ada, bea")
    with pytest.raises(NotTaken, match="is agreed"):
        answered(there, one.id, CAT)


@pytest.mark.parametrize(
    "by",
    [ADA, replace(ADA, name="renamed"), replace(ADA, uid="u-other"), ALICE, replace(ALICE, name="renamed"),
     replace(ALICE, uid="u-other")],
)  # fmt: skip
def test_neither_whoever_asked_nor_whoever_was_there_agrees(there: Database, by: Person) -> None:
    one = asked(there)
    with pytest.raises(NotTaken) as refused:
        answered(there, one.id, by)
    assert refused.value.own and due(there, NOW) == []
    if by.uid == "u-alice" or by.name == "alice":
        with pytest.raises(NotTaken) as refused:
            answered(there, one.id, by, yes=False)
        assert refused.value.own, "nor keeps it"
        with pytest.raises(NotTaken) as refused:
            asked(there, by)
        assert refused.value.own, "nor asks"


def test_whoever_asked_takes_it_back_and_what_was_agreed_to_is_stopped(there: Database) -> None:
    one = asked(there)
    with pytest.raises(NotTaken, match="asked for that already"):
        asked(there, CAT)
    assert answered(there, one.id, ADA, yes=False).state == "refused"
    two = asked(there, CAT, NOW + 1)
    answered(there, two.id, BEA, now=NOW + 2)
    with pytest.raises(NotTaken, match="asked for that already"):
        asked(there, ADA, NOW + 3)
    stopped = answered(there, two.id, ADA, yes=False, now=NOW + 3)
    assert stopped.state == "refused" and stopped.answered_by == "ada" and due(there, NOW + 3) == []
    with pytest.raises(NotTaken, match="is refused"):
        answered(there, two.id, BEA, now=NOW + 4)


def test_it_lapses_before_and_after_the_second_one(there: Database) -> None:
    one = asked(there)
    with pytest.raises(NotTaken, match="has lapsed"):
        answered(there, one.id, now=NOW + LASTS)
    two = asked(there, ADA, NOW + LASTS)
    answered(there, two.id, now=NOW + LASTS + 1)
    assert [found.deletion.id for found in due(there, NOW + 2 * LASTS)] == [two.id]
    assert due(there, NOW + 2 * LASTS + 1) == []
    assert find(there, two.id).said(NOW + 2 * LASTS + 1) == "has lapsed"  # type: ignore[union-attr]


def test_what_is_held_is_not_asked_for_nor_agreed_to_and_a_hold_ends_all_of_it(there: Database) -> None:
    one = asked(there)
    assert hold(there, Hold(ONE, "case 7", "cat", NOW + 1), lambda: None)
    with pytest.raises(NotTaken, match="void: a hold was placed"):
        answered(there, one.id, now=NOW + 2)
    with pytest.raises(NotTaken, match="it is held"):
        asked(there, ADA, NOW + 2)
    assert unhold(there, ONE, lambda: None)
    with pytest.raises(NotTaken, match="void"):
        answered(there, one.id, now=NOW + 3)
    two = asked(there, ADA, NOW + 3)
    done = answered(there, two.id, now=NOW + 4)
    assert hold(there, Hold(ONE, "case 8", "cat", NOW + 5), lambda: None)
    assert unhold(there, ONE, lambda: None)
    assert due(there, NOW + 6) == [], "two people have to want it anew"
    settle(there)
    ended = [(one.state, one.outcome) for one in deletions(there)]
    assert ended == [("stayed", "a hold was placed")] * 2
    with there.write() as connection:
        assert not still_due(connection, done.id, NOW + 6)
        assert not still_due(connection, "zzzzzzzzzzzzzzzz", NOW + 6)


def test_a_hold_that_undoes_itself_voids_nothing(there: Database) -> None:
    one = asked(there)

    def fails() -> None:
        raise RuntimeError("the log is full")

    with pytest.raises(RuntimeError):
        hold(there, Hold(ONE, "case 7", "cat", NOW + 1), fails)
    assert find(there, one.id) == one


@pytest.mark.parametrize(
    ("sessions", "recordings", "at_least", "why"),
    [
        ({"state": "live"}, {}, 0.0, "runs still"),
        ({}, {"state": "deleted"}, 0.0, "deleted already"),
        ({"ended_at": NOW - DAY}, {}, 2 * DAY, r"younger than retention.at_least \(2 days\)"),
        ({"started_at": NOW - DAY, "ended_at": None}, {}, 2 * DAY, "younger"),
        ({"kind": "tunnel"}, {}, 0.0, "no such recording"),
    ],
)
def test_what_may_not_go_is_not_asked_for_nor_agreed_to(
    database: Database, sessions: dict[str, Value], recordings: dict[str, Value], at_least: float, why: str
) -> None:
    session(database, **sessions)
    recording(database, **recordings)
    with pytest.raises(NotTaken, match=why):
        ask(database, ONE, ADA, "x", NOW, at_least, silent)
    row = Deletion("a" * 16, ONE, "open", "x", "u-ada", "ada", "totp", NOW)
    with database.write() as connection:
        connection.execute(DELETIONS.insert().values({name: getattr(row, name) for name in row.__slots__}))
    with pytest.raises(NotTaken, match=why):
        answer(database, row.id, BEA, True, NOW, at_least, silent)


def test_what_a_passkey_signed_asks_once(there: Database) -> None:
    signed = replace(ADA, factor="passkey", since=NOW - 30)
    one = asked(there, signed)
    answered(there, one.id, BEA, yes=False)
    for again in (signed, replace(signed, name="renamed"), replace(signed, since=NOW)):
        with pytest.raises(NotTaken, match="a moment ago"):
            asked(there, again, NOW + 60)
    assert asked(there, replace(signed, since=NOW + 1), NOW + 60).state == "open"


def test_what_is_removed_is_kept_by_nobody(there: Database) -> None:
    one = answered(there, asked(there).id)
    with there.write() as connection:
        connection.execute(update(RECORDINGS).values(state="deleted"))
    with pytest.raises(NotTaken, match="deleted already"):
        answered(there, one.id, CAT, yes=False)
    assert find(there, one.id) == one


def test_without_its_line_nothing_is_kept(there: Database) -> None:
    def fails(_: Deletion) -> None:
        raise RuntimeError("the log is full")

    with pytest.raises(RuntimeError):
        ask(there, ONE, ADA, "x", NOW, 0.0, fails)
    assert deletions(there) == []
    one = asked(there)
    with pytest.raises(RuntimeError):
        answer(there, one.id, BEA, True, NOW, 0.0, fails)
    assert find(there, one.id) == one


GOOD = Deletion("a" * 16, ONE, "agreed", "x", "u-ada", "ada", "totp", NOW, "u-bea", "bea", "totp", NOW)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"answered_uid": "u-ada"}, False),
        ({"answered_by": "ada"}, False),
        ({"answered_uid": "", "answered_by": ""}, False),
        ({"answered_uid": ""}, False),
        ({"asked_uid": "", "asked_by": ""}, False),
        ({"asked_by": "alice"}, False),
        ({"answered_uid": "u-alice"}, False),
        ({"answered_by": "alice"}, False),
        ({"asked_uid": "u-alice"}, False),
    ],
)
def test_a_row_is_two_peoples(changes: dict[str, str], good: bool) -> None:
    assert two_people(replace(GOOD, **changes), "u-alice", "alice") is good  # type: ignore[arg-type]


def test_what_came_of_it_is_kept(there: Database) -> None:
    one = answered(there, asked(there).id)
    stays(there, one, "object lock keeps it", False)
    assert find(there, one.id) == replace(one, outcome="object lock keeps it") and due(there, NOW) != []
    with there.write() as connection:
        connection.execute(update(RECORDINGS).values(state="deleted"))
    settle(there)
    assert find(there, one.id) == replace(one, state="done") and due(there, NOW) == []
    stays(there, one, "late", True)
    assert find(there, one.id) == replace(one, state="done"), "it is over"
    assert "7 days" in too_young(7 * DAY)


def test_nobody_keeps_a_recording_of_a_session_of_his_own_by_a_hold(there: Database) -> None:
    check_hold(there, ONE, ALICE.reviewer, NOW)
    one = asked(there)
    for now in (NOW, NOW + 1):
        check_hold(there, ONE, ADA.reviewer, now)
        with pytest.raises(NotTaken, match="session of his own") as refused:
            check_hold(there, ONE, ALICE.reviewer, now)
        assert refused.value.own
        if now == NOW:
            answered(there, one.id)
    check_hold(there, ONE, ALICE.reviewer, NOW + 2 * LASTS)


def test_what_waits_is_listed_before_what_is_over(there: Database) -> None:
    over = asked(there)
    answered(there, over.id, yes=False)
    waits = asked(there, now=NOW - 5)
    assert [one.id for one in deletions(there)] == [waits.id, over.id]


def test_words_are_needed_and_bounded(there: Database) -> None:
    for reason in (" ", "x" * 801):
        with pytest.raises(NotTaken):
            asked(there, reason=reason)
    for name in ("zzzzzzzzzzzzzzzz", ""):
        with pytest.raises(NotTaken):
            answered(there, name)
        with pytest.raises(NotTaken):
            ask(there, name, ADA, "x", NOW, 0.0, silent)
