"""Requests in the store: one answer, one use, for exactly what was asked, whoever tries at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from bastion.errors import ApprovalReason, Refused
from bastion.policy.approval import as_text
from bastion.state import approvals as module
from bastion.state.approvals import (
    Approver,
    Bound,
    State,
    answer,
    claim,
    file,
    found,
    give_back,
    listed,
    withdraw,
)
from bastion.state.database import Database, Place
from bastion.state.schema import APPROVALS
from tests.support.state import rows

NOW = 1_700_000_000.0
BOUND = Bound("u-alice", "web1", "root", "exec,shell", "192.0.2.1", as_text((("group:leads",),)))
BOB = Approver("bob", "u-bob", frozenset({"leads"}), "totp")


def filed(database: Database, bound: Bound = BOUND, state: State = State.OPEN, now: float = NOW) -> str:
    request, fresh = file(database, bound, "alice", "INC-42", state, now, 600.0)
    assert fresh and request.state == state
    return request.id


def approved(database: Database) -> str:
    request = filed(database)
    assert answer(database, request, BOB, True, "fine", NOW, 60.0).state == State.APPROVED
    return request


def refused(work: Callable[[], object]) -> object:
    with pytest.raises(Refused) as error:
        work()
    return error.value.reason


def test_a_draft_becomes_a_request_under_its_own_name(database: Database) -> None:
    draft = filed(database, state=State.DRAFT)
    assert file(database, BOUND, "alice", "", State.DRAFT, NOW, 600.0)[0].id == draft
    assert listed(database, NOW) == [] and refused(
        lambda: answer(database, draft, BOB, True, "", NOW, 60.0)
    ) == (ApprovalReason.NOT_FOUND)
    request, fresh = file(database, BOUND, "alice", "INC-1", State.OPEN, NOW + 5, 600.0)
    assert (request.id, fresh, request.why, request.expires_at) == (draft, True, "INC-1", NOW + 605)
    again, fresh = file(database, BOUND, "alice", "INC-2", State.OPEN, NOW + 6, 600.0)
    assert (again, fresh) == (request, False)
    other, fresh = file(database, BOUND, "alice", "", State.OPEN, NOW + 605, 600.0)
    assert fresh and other.id != draft, "what has expired is not asked again"


def test_it_is_answered_once_and_used_once(database: Database) -> None:
    request = approved(database)
    assert refused(lambda: answer(database, request, BOB, False, "", NOW, 60.0)) is ApprovalReason.ANSWERED
    used = claim(database, BOUND, "session-1", NOW + 59)
    assert used is not None
    assert (used.id, used.state, used.answered_by, used.answered_uid, used.answer_why) == (
        request, State.USED, "bob", "u-bob", "fine",
    )  # fmt: skip
    assert claim(database, BOUND, "session-2", NOW + 59) is None


@pytest.mark.parametrize("name", list(Bound.__dataclass_fields__))
def test_it_is_good_for_nothing_else(database: Database, name: str) -> None:
    approved(database)
    other = replace(BOUND, **{name: as_text((("group:leads", "user:eve"),)) if name == "needed" else "other"})
    assert claim(database, other, "session-1", NOW) is None
    assert claim(database, BOUND, "session-1", NOW) is not None


def test_it_expires_before_and_after_the_answer(database: Database) -> None:
    request = filed(database)
    assert (
        refused(lambda: answer(database, request, BOB, True, "", NOW + 600, 60.0)) is ApprovalReason.EXPIRED
    )
    assert claim(database, BOUND, "session-1", NOW) is None
    other = filed(database, replace(BOUND, target="web2"))
    answer(database, other, BOB, True, "", NOW, 60.0)
    assert claim(database, replace(BOUND, target="web2"), "session-1", NOW + 60) is None
    assert [one.state for one in listed(database, NOW + 1)] == [State.OPEN, State.APPROVED]
    assert listed(database, NOW + 700) == []


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        (replace(BOB, name="alice"), ApprovalReason.OWN),
        (replace(BOB, uid="u-alice"), ApprovalReason.OWN),  # a second name of the same person
        (replace(BOB, groups=frozenset({"ops"})), ApprovalReason.NOT_APPROVER),
        (replace(BOB, groups=frozenset({"ops"}), factor=""), ApprovalReason.NOT_APPROVER),
        (replace(BOB, factor=""), ApprovalReason.NO_FACTOR),
    ],
)
def test_who_may_not_answer(database: Database, by: Approver, reason: ApprovalReason) -> None:
    request = filed(database)
    assert refused(lambda: answer(database, request, by, True, "", NOW, 60.0)) is reason
    assert [one.state for one in found(database, [request, "nothing"])] == [State.OPEN]


def test_what_could_not_open_is_given_back(database: Database) -> None:
    approved(database)
    assert claim(database, BOUND, "session-1", NOW) is not None
    assert give_back(database, "session-2") == 0 and give_back(database, "session-1") == 1
    assert claim(database, BOUND, "session-2", NOW + 61) is None, "it lasts no longer for that"
    assert claim(database, BOUND, "session-2", NOW + 1) is not None


def test_what_nobody_waits_for_is_answered_no_more(database: Database) -> None:
    request = filed(database)
    assert withdraw(database, request) and not withdraw(database, request)
    assert refused(lambda: answer(database, request, BOB, True, "", NOW, 60.0)) is ApprovalReason.ANSWERED


def at_once(place: Place, work: Callable[[Database], object], count: int = 4) -> list[object]:
    """`work` by several processes' databases at the same moment; None where it was refused."""
    results: list[object] = []
    ready = threading.Barrier(count)

    def run() -> None:
        own = Database(place)
        ready.wait(10)
        try:
            results.append(work(own))
        except Refused:
            results.append(None)
        own.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_of_all_who_answer_or_use_it_at_the_same_moment_one_does(database: Database, place: Place) -> None:
    for _ in range(5):
        request = filed(database)
        done = at_once(place, lambda own, one=request: answer(own, one, BOB, True, "", NOW, 60.0))
        assert sum(one is not None for one in done) == 1
        used = at_once(place, lambda own: claim(own, BOUND, "session", NOW))
        assert sum(one is not None for one in used) == 1


def test_nobody_asks_for_more_than_may_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_OF_ONE", 2)
    monkeypatch.setattr(module, "OPEN_IN_ALL", 3)

    def ask(uid: str, target: str, now: float = NOW) -> str:
        return filed(database, replace(BOUND, uid=uid, target=target), now=now)

    ask("a", "1"), ask("a", "2")
    assert refused(lambda: ask("a", "3")) is ApprovalReason.LIMIT
    ask("b", "1")
    assert refused(lambda: ask("c", "1")) is ApprovalReason.LIMIT
    assert ask("c", "1", NOW + 601), "what has expired takes no room"


def test_who_hangs_up_and_asks_again_is_told_to_stop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_OF_ONE", 3)
    for _ in range(3):
        assert withdraw(database, filed(database))
    assert refused(lambda: filed(database)) is ApprovalReason.LIMIT
    filed(database, replace(BOUND, uid="u-carol"))
    filed(database, now=NOW + 601)
    assert [row["state"] for row in rows(database, APPROVALS)] == [State.OPEN] * 2, "nothing of it is kept"


@pytest.mark.parametrize("request_id", ["a\0b", "", "k3v2m5q7p2\n", "x" * 500, "\udc80"])
def test_what_is_no_id_is_not_asked_for(database: Database, request_id: str) -> None:
    assert refused(lambda: answer(database, request_id, BOB, True, "", NOW, 60.0)) is ApprovalReason.NOT_FOUND


def test_old_rows_go(database: Database) -> None:
    filed(database, state=State.DRAFT)
    kept = approved(database)
    filed(database, replace(BOUND, target="web2"), now=NOW + 700)
    assert [row["state"] for row in rows(database, APPROVALS) if row["id"] == kept] == [State.APPROVED]
    filed(database, replace(BOUND, target="web3"), now=NOW + module.KEPT + 100)
    assert len(rows(database, APPROVALS)) == 2
