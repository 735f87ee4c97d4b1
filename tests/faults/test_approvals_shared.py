"""Requests for approval in PostgreSQL, which several gateways share: one answer and one use, whoever is first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from bastion.errors import ApprovalReason, Refused
from bastion.policy.approval import as_text
from bastion.state.approvals import Approver, Bound, State, answer, claim, file, found, give_back, listed
from bastion.state.database import Database, Place
from bastion.state.migrating import migrate
from tests.support.postgres import PASSWORD, Postgres

NOW = 1_700_000_000.0
BOUND = Bound("u-alice", "web1", "root", "exec", "192.0.2.1", as_text((("group:leads",),)))
BOB = Approver("bob", "u-bob", frozenset({"leads"}), "totp")


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    with Postgres() as server:
        place = Place(tmp_path_factory.mktemp("state"), server.url, server.password_file)
        made = [Database(place, PASSWORD) for _ in range(4)]
        migrate(made[0])
        yield made
        for one in made:
            one.close()


def at_once(gateways: list[Database], work: Callable[[Database], object]) -> list[object]:
    """What each of them gets at the same moment; None where it was refused."""
    results: list[object] = []
    ready = threading.Barrier(len(gateways))

    def run(own: Database) -> None:
        ready.wait(10)
        try:
            results.append(work(own))
        except Refused as refused:
            assert refused.reason is ApprovalReason.ANSWERED
            results.append(None)

    threads = [threading.Thread(target=run, args=(one,)) for one in gateways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == len(gateways)
    return results


def test_of_all_gateways_one_is_first(gateways: list[Database]) -> None:
    first = gateways[0]
    for turn in range(10):
        request = file(first, BOUND, "alice", "INC-42", State.OPEN, NOW, 600.0)[0].id
        assert [one.id for one in listed(gateways[1], NOW)] == [request]
        done = at_once(
            gateways, lambda own, one=request, yes=turn % 2 == 0: answer(own, one, BOB, yes, "", NOW, 60.0)
        )
        assert sum(one is not None for one in done) == 1
        used = at_once(gateways, lambda own: claim(own, BOUND, "session", NOW))
        approved = turn % 2 == 0
        assert sum(one is not None for one in used) == approved
        if approved:
            assert give_back(gateways[2], "session") == 1
            assert claim(gateways[3], BOUND, "another", NOW) is not None
        (row,) = found(first, [request])
        assert row.state == (State.USED if approved else State.DENIED)
