"""The door for emergencies: what it asks for, whom it lets through, and that somebody hears of every try."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from bastion.auth.break_glass import COMMAND, DIRECTORY_DOWN
from bastion.auth.identity import Destination, Identity
from bastion.doors.break_glass import ASKED, CLOSED, NO_REASON, break_glass
from bastion.errors import LimitReason, PolicyReason, Refused
from bastion.observe.meters import BREAK_GLASS
from bastion.policy.grant import FactorsNeeded
from bastion.wire.userauth import Prompt

from .test_inner_authentication import OUTER, Inner

EMERGENCY = replace(OUTER, factors=("publickey",), only_targets=("db1",))
LOBBY = Destination("alice")


class Glass:
    """Somebody with the key of a break-glass account."""

    def __init__(self, folder: Path) -> None:
        self.inner = Inner(folder)
        self.needed: list[FactorsNeeded] = []
        self.proving: Any = lambda identity: succeed(replace(identity, factors=(*identity.factors, "totp")))
        self.asked: list[tuple[Prompt, str]] = []
        self.answer: Deferred[bytes] = Deferred()
        self.ended: list[Any] = []

    def begin(self, opened_by: str, identity: Identity = EMERGENCY) -> Deferred[Identity]:
        context = self.inner.proof.context
        way = break_glass(context, opened_by, identity, LOBBY, self._prove, self._ask)
        running = Deferred.fromCoroutine(way)
        running.addBoth(self.ended.append)
        return running

    async def _prove(self, identity: Identity, destination: Destination, needed: FactorsNeeded) -> Identity:
        assert destination is LOBBY
        self.needed.append(needed)
        proved: Identity = await self.proving(identity)
        return proved

    async def _ask(self, prompt: Prompt, instruction: str, seconds: float) -> bytes:
        assert prompt.echo and seconds == 60
        self.asked.append((prompt, instruction))
        return await self.answer

    @property
    def refusal(self) -> Refused:
        (failure,) = self.ended
        assert isinstance(failure.value, Refused)
        return failure.value

    def lines(self) -> list[dict[str, Any]]:
        return [line for line in self.inner.lines() if line["event"] == "break_glass"]

    def counted(self) -> dict[str, int]:
        meters = self.inner.meters
        found = {result: meters.value(BREAK_GLASS, result) for result in ("ok", "refused", "closed")}
        return {result: count for result, count in found.items() if count}


@pytest.fixture
def glass(tmp_path: Path) -> Iterator[Glass]:
    made = Glass(tmp_path)
    yield made
    made.inner.audit.close()


def test_while_they_are_closed_the_right_proof_is_told_so_and_told_of(glass: Glass) -> None:
    glass.begin("")
    assert glass.refusal.reason is PolicyReason.ACCOUNT_GONE and glass.refusal.text == CLOSED
    (line,) = glass.lines()
    assert (line["user"], line["result"], line["source"]) == ("alice", "closed", "192.0.2.1")
    assert glass.asked == glass.needed == [] and glass.counted() == {"closed": 1}


@pytest.mark.parametrize("opened_by", [COMMAND, DIRECTORY_DOWN])
def test_a_code_and_a_reason_open_it(glass: Glass, opened_by: str) -> None:
    glass.begin(opened_by)
    assert [needed.missing for needed in glass.needed] == [("totp",)] and glass.ended == []
    assert [instruction for _, instruction in glass.asked] == [ASKED]
    glass.answer.callback(b" INC-7: db1 is full \r\n")
    (identity,) = glass.ended
    assert identity == replace(EMERGENCY, factors=("publickey", "totp"), why="INC-7: db1 is full")
    assert identity.is_break_glass
    (line,) = glass.lines()
    assert (line["result"], line["opened_by"], line["why"]) == ("ok", opened_by, "INC-7: db1 is full")
    assert glass.counted() == {"ok": 1}


def test_whoever_has_given_a_code_already_is_not_asked_for_one(glass: Glass) -> None:
    glass.begin(COMMAND, replace(EMERGENCY, factors=("publickey", "totp")))
    assert glass.needed == [] and len(glass.asked) == 1


@pytest.mark.parametrize("typed", [b"", b"   ", b"...", b"\x1b\x07"])
def test_without_a_reason_nobody_is_let_in(glass: Glass, typed: bytes) -> None:
    glass.begin(COMMAND)
    glass.answer.callback(typed)
    assert glass.refusal.text == NO_REASON
    assert [line["result"] for line in glass.lines()] == ["refused"] and glass.counted() == {"refused": 1}


def test_a_code_that_is_not_given_is_told_of(glass: Glass) -> None:
    glass.proving = lambda identity: fail(Refused(PolicyReason.FACTOR_NEEDED, "no code"))
    glass.begin(COMMAND)
    assert glass.refusal.reason is PolicyReason.FACTOR_NEEDED and glass.asked == []
    (line,) = glass.lines()
    assert (line["result"], line["reason"]) == ("refused", "factor_needed")


def test_who_does_not_answer_in_time_or_leaves_is_told_of_too(glass: Glass) -> None:
    glass.begin(COMMAND)
    glass.answer.errback(Refused(LimitReason.LOGIN_GRACE, "the question was not answered in time"))
    assert glass.refusal.reason is LimitReason.LOGIN_GRACE and glass.counted() == {"refused": 1}
    glass.ended.clear()
    glass.answer = Deferred()
    running = glass.begin(COMMAND)
    running.cancel()
    assert isinstance(glass.ended[0].value, CancelledError)
    assert [line["reason"] for line in glass.lines()] == ["login_grace", "abandoned"]
