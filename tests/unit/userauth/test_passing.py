"""A target's questions on their way to the engineer: marked, bounded, and withdrawn when nobody waits."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from bastion.errors import LimitReason, ProtocolError, Refused
from bastion.userauth.passing import MAX_PROMPTS, MAX_ROUNDS, SHOWN_PROMPT, PassedQuestions, marked
from bastion.wire.userauth import InfoRequest, InfoResponse, Prompt


class World:
    """web1 asks; `answer` is the engineer's."""

    def __init__(self) -> None:
        self.shown: list[tuple[tuple[Prompt, ...], str]] = []
        self.sent: list[InfoResponse] = []
        self.waiting: list[bool] = []
        self.refused: list[Refused] = []
        self.answer: Deferred[tuple[bytes, ...]] = Deferred()
        self.passed = PassedQuestions(
            "web1",
            self.ask,
            lambda payload: self.sent.append(InfoResponse.parse(payload)),
            self.waiting.append,
            self.refused.append,
        )

    def ask(self, prompts: tuple[Prompt, ...], instruction: str) -> Deferred[tuple[bytes, ...]]:
        self.shown.append((prompts, instruction))
        self.answer = Deferred()
        return self.answer


def test_every_question_and_what_stands_above_is_marked_as_the_targets() -> None:
    world = World()
    world.passed.take(InfoRequest("Duo", "Enter a\r\ncode.", b"", (Prompt("Code:"), Prompt("Name: ", True))))
    ((prompts, instruction),) = world.shown
    assert prompts == (Prompt("web1 asks: Code: "), Prompt("web1 asks: Name: ", True))
    assert instruction == "web1 says: Duo Enter a code." and world.waiting == [True]
    world.answer.callback((b"123456", b"alice"))
    assert world.sent == [InfoResponse((b"123456", b"alice"))] and world.waiting == [True, False]
    assert not world.passed.waiting


@pytest.mark.parametrize(
    "text",
    [
        "bastion: your password",
        "\x1b[2J\x1b[Hbastion: x",
        "a\nOne-time code of alice: ",
        "x" * 9999,
        "\u202eb",
    ],
)
def test_no_words_of_a_target_read_like_ours(text: str) -> None:
    shown = marked("web1", text)
    assert shown.startswith("web1 asks: ") and "bastion: " not in shown and "\n" not in shown
    assert shown.isprintable() and len(shown) <= SHOWN_PROMPT * 8


def test_a_round_without_a_question_is_answered_by_us() -> None:
    world = World()
    world.passed.take(InfoRequest("", "welcome", b"", ()))
    assert world.sent == [InfoResponse(())] and world.shown == [] and world.waiting == []


def test_rounds_and_questions_are_bounded() -> None:
    world = World()
    world.passed.take(InfoRequest("", "", b"", (Prompt("?"),) * (MAX_PROMPTS + 1)))
    assert "5 questions at once" in world.refused[0].text and world.shown == []
    for _ in range(MAX_ROUNDS - 1):
        world.passed.take(InfoRequest("", "", b"", ()))
    with pytest.raises(ProtocolError):
        world.passed.take(InfoRequest("", "", b"", ()))


def test_an_engineer_who_does_not_answer_ends_the_login() -> None:
    world = World()
    world.passed.take(InfoRequest("", "", b"", (Prompt("Code: "),)))
    late = Refused(LimitReason.LOGIN_GRACE, "the question was not answered in time")
    world.answer.errback(late)
    assert world.refused == [late] and world.sent == [] and world.waiting == [True, False]
    world.passed.take(InfoRequest("", "", b"", (Prompt("Code: "),)))
    world.answer.errback(RuntimeError("a fault of ours"))
    assert "could not be asked" in world.refused[1].text


def test_whoever_goes_takes_the_question_along() -> None:
    world = World()
    world.passed.take(InfoRequest("", "", b"", (Prompt("Code: "),)))
    gone: list[Any] = []
    world.answer.addErrback(gone.append)
    world.passed.stop()
    assert world.sent == [] and world.refused == [] and world.waiting == [True, False]
