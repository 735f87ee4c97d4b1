"""What crosses between supervisor and workers comes out as it went in, and each side answers only its own."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.auth.throttle import PenaltyLimits
from bastion.control.asking import Done
from bastion.control.codec import from_json, to_json
from bastion.control.node import REQUESTS, Request
from bastion.errors import AuthReason
from bastion.supervisor import questions as ask

SETTINGS = ask.Settings("/var/log/audit.jsonl", True, PenaltyLimits(free=3))
BLOCKS = (ask.Block("00ff", 12.5), ask.Block("aa", 0.0))
EACH: list[Request[Any]] = [
    ask.Checked("digest", SETTINGS),
    ask.Serving(),
    ask.GuessBegun(7, "192.0.2.1", "alice"),
    ask.GuessSettled(7, AuthReason.BAD_PASSWORD),
    ask.AttemptFailed("192.0.2.1", "alice", AuthReason.BAD_SIGNATURE, "publickey"),
    ask.AttemptsSucceeded((ask.Proved("192.0.2.1", "alice"), ask.Proved("192.0.2.1", "bob"))),
    ask.Blocked(BLOCKS),
    ask.Prepare(),
    ask.Take(1_800_000_000.25, "SIGHUP"),
    ask.Forget(),
    ask.HealthAsked(),
    ask.End("TERM", True),
    ask.Adopt(("k3v2m5q7p2r4t6wa",), "died"),
    ask.AdoptAll(),
    ask.Pause(over=True),
    ask.Retire(),
    ask.LogMoved(),
    ask.Keyed("ab" * 32),
    ask.LastCounts({"connections_accepted_total": {"": [3]}}),
]


@pytest.mark.parametrize("request_", EACH, ids=lambda one: one.command)
def test_a_question_comes_out_as_it_went_in(request_: Request[Any]) -> None:
    assert from_json(type(request_), to_json(request_), strict=True) == request_


@pytest.mark.parametrize(
    "answer",
    [
        Done(),
        ask.Turn(True),
        ask.Welcome(BLOCKS, ("127.0.0.1:9722",), 1_800_000_000.25, "reload", "ab" * 32),
        ask.Read(("fault",), ("odd",), "digest", SETTINGS, ("a.b",), ("a.c: 1 -> 2",)),
        ask.Healthy(False, ("refusing", "gateway refusing")),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_answer_too(answer: Any) -> None:
    assert from_json(type(answer), to_json(answer), strict=False) == answer


def test_each_side_answers_its_own_and_people_ask_neither() -> None:
    assert {type(one) for one in EACH} == {
        *ask.ASKED_BY_WORKERS.values(),
        *(set(ask.ASKED_OF_WORKERS.values()) - set(REQUESTS.values())),
    }
    assert not ask.ASKED_BY_WORKERS.keys() & ask.ASKED_OF_WORKERS.keys()
    assert REQUESTS.items() <= ask.ASKED_OF_WORKERS.items()
