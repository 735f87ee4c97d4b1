"""Asking more after the proof: the step of userauth that a target's password and later factors share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from bastion.errors import LimitReason, ProtocolError, Refused
from bastion.userauth.keyboard_interactive import MAX_ANSWER, MAX_QUESTIONS
from bastion.userauth.server import ANSWER_FLOOR, MAX_REQUESTS, UserauthService
from bastion.wire.data import string
from bastion.wire.userauth import (
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveBody,
    PasswordBody,
    Prompt,
    UserauthFailure,
    UserauthRequest,
)
from tests.support.conns import MemoryConn

KBD = "keyboard-interactive"
PROMPT = (Prompt("Password of admin on switch1: "),)


class Anybody:
    """An authenticator that takes every password."""

    def __init__(self) -> None:
        self.let_in: list[tuple[str, str]] = []

    def methods(self) -> tuple[str, ...]:
        return ("password", KBD)

    def open(self, user: str, method: str) -> Any:
        """An attempt: whatever is asked succeeds."""
        return SimpleNamespace(
            none=lambda: succeed(None),
            password=lambda password: succeed(None),
            answer=lambda answer: succeed(None),
            settle=lambda reason: None,
            succeed=lambda: self.let_in.append((user, method)),
            whole=True,
            owed=(),
        )

    def prompt(self, user: str) -> str:
        return "Directory password: "

    def stop(self) -> None:
        """Nothing is kept."""


class Door(MemoryConn):
    """A connection on which alice has proved who she is by `method`."""

    def __init__(self, method: str = "password") -> None:
        super().__init__()
        self.clock = Clock()
        self.anybody = Anybody()
        authenticator: Any = self.anybody
        self.service = UserauthService(self, authenticator, self.clock)
        self.service.receive(b"\x05" + string(b"ssh-userauth"))
        if method == KBD:
            self.begin(KBD, KeyboardInteractiveBody().encode())
            self.answer(b"secret")
        else:
            self.begin(method, PasswordBody(b"secret").encode() if method == "password" else b"")
        self.clock.advance(ANSWER_FLOOR)
        assert self.anybody.let_in == [("alice", method)]
        self.sent.clear()
        self.answers: list[Any] = []

    def begin(self, method: str, body: bytes = b"", user: str = "alice") -> None:
        self.service.receive(UserauthRequest(user, "ssh-connection", method, body).encode())

    def begin_kbd(self, user: str = "alice") -> None:
        self.begin(KBD, KeyboardInteractiveBody().encode(), user)

    def answer(self, *responses: bytes) -> None:
        self.service.receive(InfoResponse(responses).encode())

    def ask(self, prompts: tuple[Prompt, ...] = PROMPT, instruction: str = "") -> Deferred[Any]:
        asked = self.service.ask(prompts, instruction, timeout=60.0)
        asked.addBoth(self.answers.append)
        return asked

    def said(self) -> Any:
        payload = self.sent.pop(0)
        return (UserauthFailure if payload[0] == 51 else InfoRequest).parse(payload)


@pytest.mark.parametrize("method", ["password", "none"])
def test_after_another_method_the_client_is_told_of_partial_success(method: str) -> None:
    door = Door(method)
    door.ask()
    assert door.said() == UserauthFailure((KBD,), partial=True) and not door.sent
    door.begin_kbd()
    assert door.said() == InfoRequest(prompts=PROMPT)
    door.answer(b"typed")
    assert door.answers == [(b"typed",)] and not door.sent


def test_an_open_exchange_is_simply_continued() -> None:
    door = Door(KBD)
    door.ask()
    assert door.said() == InfoRequest(prompts=PROMPT)
    door.answer(b"wrong")
    door.ask(instruction="switch1 did not accept it.")
    assert door.said() == InfoRequest(instruction="switch1 did not accept it.", prompts=PROMPT)
    door.answer(b"right")
    assert door.answers == [(b"wrong",), (b"right",)] and not door.sent


def test_several_prompts_are_answered_in_order() -> None:
    door = Door(KBD)
    door.ask((Prompt("one", True), Prompt("two")))
    door.answer(b"1", b"2")
    assert door.answers == [(b"1", b"2")]


def test_another_method_does_not_lead_on() -> None:
    door = Door()
    door.ask()
    door.sent.clear()
    door.begin("password", PasswordBody(b"secret").encode())
    assert door.said() == UserauthFailure((KBD,), partial=False)
    with pytest.raises(ProtocolError):
        door.answer(b"typed")
    assert door.answers == [] and door.anybody.let_in == [("alice", "password")]


def test_an_exchange_that_was_left_is_not_continued_by_itself() -> None:
    door = Door(KBD)
    door.ask()
    door.begin("password", PasswordBody(b"x").encode())
    door.sent.clear()
    with pytest.raises(ProtocolError):
        door.answer(b"typed")
    door.begin_kbd()
    assert door.said() == InfoRequest(prompts=PROMPT)
    door.answer(b"typed")
    assert door.answers == [(b"typed",)]


@pytest.mark.parametrize("responses", [(), (b"a", b"b")])
def test_the_wrong_number_of_answers_is_a_failure_and_the_question_stays(
    responses: tuple[bytes, ...],
) -> None:
    """RFC 4256 section 3.4: "the server MUST send a failure message"."""
    door = Door(KBD)
    door.ask()
    door.sent.clear()
    door.answer(*responses)
    assert door.answers == [] and door.said() == UserauthFailure((KBD,), partial=False)
    door.begin_kbd()
    door.answer(b"typed")
    assert door.answers == [(b"typed",)]


def test_the_service_may_be_asked_for_again_while_a_question_waits() -> None:
    """paramiko asks before each method, the second factor's too."""
    door = Door()
    door.ask()
    door.sent.clear()
    door.service.receive(b"\x05" + string(b"ssh-userauth"))
    assert door.sent.pop() == b"\x06" + string(b"ssh-userauth")
    door.begin_kbd()
    door.answer(b"typed")
    assert door.answers == [(b"typed",)]
    door.ask()
    with pytest.raises(ProtocolError, match="only ssh-userauth"):
        door.service.receive(b"\x05" + string(b"ssh-connection"))


def test_an_answer_before_the_question_was_shown_is_refused() -> None:
    door = Door()
    door.ask()
    with pytest.raises(ProtocolError, match="not asked"):
        door.answer(b"typed")


def test_the_name_may_not_change() -> None:
    door = Door()
    door.ask()
    with pytest.raises(ProtocolError, match="may not change"):
        door.begin_kbd(user="bob")


def test_requests_still_count() -> None:
    door = Door()
    door.ask()
    for _ in range(MAX_REQUESTS - 1):
        door.begin("password", PasswordBody(b"x").encode())
    with pytest.raises(ProtocolError, match="too many"):
        door.begin_kbd()


def test_a_question_that_nobody_answers_ends() -> None:
    door = Door(KBD)
    door.ask()
    door.clock.advance(59)
    assert door.answers == []
    door.clock.advance(2)
    assert door.answers[0].value.reason is LimitReason.LOGIN_GRACE
    assert not door.clock.getDelayedCalls()
    door.answer(b"late")  # after the proof and without a question: ignored, as RFC 4252 section 5.1 asks
    assert len(door.answers) == 1


def test_an_answer_that_is_too_long_is_refused() -> None:
    door = Door(KBD)
    door.ask()
    door.answer(b"x" * (MAX_ANSWER + 1))
    assert isinstance(door.answers[0].value, Refused)


def test_questions_are_bounded() -> None:
    door = Door(KBD)
    for _ in range(MAX_QUESTIONS):
        door.ask()
        door.answer(b"x")
    door.ask()
    assert door.answers[-1].value.reason is LimitReason.AUTH_REQUESTS


def test_withdrawing_and_closing_leave_nothing_behind() -> None:
    door = Door(KBD)
    asked = door.ask()
    with pytest.raises(ValueError, match="nothing can be asked"):
        door.service.ask(PROMPT, "", 60.0)
    asked.cancel()
    assert door.answers[0].check(CancelledError) and not door.clock.getDelayedCalls()
    door.ask()
    door.service.stop()
    assert door.answers[1].check(CancelledError) and not door.clock.getDelayedCalls()
    with pytest.raises(ValueError, match="nobody has proved"):
        door.service.ask(PROMPT, "", 60.0)


def test_before_the_proof_nothing_can_be_asked() -> None:
    service = UserauthService(Door(), Anybody(), Clock())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nobody has proved"):
        service.ask(PROMPT, "", 60.0)
