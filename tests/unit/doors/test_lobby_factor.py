"""`factor` in the lobby: what is typed, and what ends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.auth.factors import Chain
from bastion.doors.lobby_factor import FactorTalk, read_words
from bastion.userauth.keyboard_interactive import MAX_ANSWER, Answers
from bastion.wire.userauth import Prompt


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ([], (("totp",), False)),
        (["wait"], (("totp",), True)),
        (["password", "totp"], (("totp", "password"), False)),
        (["password", "wait"], (("password",), True)),
        (["radius", "totp", "wait"], (("totp", "radius"), True)),
        (["oidc"], (("oidc",), False)),
        (["totp", "totp"], None),
        (["certificate"], None),
        (["wait", "totp"], None),
        (["--help"], None),
    ],
)
def test_words_are_read_strictly(words: list[str], read: tuple[Chain, bool] | None) -> None:
    assert read_words(words) == read


class World:
    """A talk whose step-up is one question, answered by what is typed."""

    def __init__(self, terminal: bool = True, factors: tuple[str, ...] = ("publickey",)) -> None:
        self.clock, self.said, self.ended, self.noted = Clock(), "", [], []
        self.failures: list[Any] = []
        outer: Any = SimpleNamespace(
            gateway=SimpleNamespace(reactor=self.clock, log_failure=lambda *of: self.failures.append(of)),
            identity=SimpleNamespace(factors=factors, name="alice"),
            services=SimpleNamespace(auth=SimpleNamespace(factor_ttl=3600.0)),
            note_factors=self.noted.append,
            id="c",
        )
        self.talk = FactorTalk(outer, terminal, self.write, self.ended.append)

    def write(self, text: str) -> None:
        self.said += text

    def ask(self, timeout: float = 60) -> list[Any]:
        heard: list[Any] = []
        asked: Deferred[Answers] = self.talk.ask((Prompt("Code: "),), "why", timeout)
        asked.addBoth(heard.append)
        return heard


def test_a_line_is_the_answer_and_can_be_corrected() -> None:
    world = World()
    heard = world.ask()
    world.talk.data(b"12x")
    world.talk.data(b"\x7f3\r99")
    assert heard == [(b"123",)] and world.said == "why\nCode: \n"
    again = world.ask()
    world.talk.data(b"\n")
    assert again == [(b"",)], "what was typed ahead is for nobody"


@pytest.mark.parametrize("typed", [b"12\x03", b"\x04", b"x" * (MAX_ANSWER + 1)])
def test_giving_up_and_too_much_end_the_question(typed: bytes) -> None:
    world = World()
    heard = world.ask()
    world.talk.data(typed)
    assert heard[0].value.text in ("nothing was given", "the answer is too long")
    assert world.talk._line == b""


def test_a_question_has_a_timer_and_an_end() -> None:
    world = World()
    late, ended = world.ask(5), None
    world.clock.advance(5)
    assert "in time" in late[0].value.text
    ended = world.ask()
    world.talk.ended()
    assert "nothing was given" in ended[0].value.text
    assert world.clock.getDelayedCalls() == []


def test_what_was_given_is_not_asked_again() -> None:
    world = World(factors=("publickey", "totp"))
    world.talk.begin(("totp",), wait=False)
    assert world.said == "totp was given already.\n" and world.ended == [0] and world.noted == []


def test_waiting_ends_with_ctrl_c_and_nothing_else_that_is_typed() -> None:
    world = World(factors=("publickey", "totp"))
    world.talk.begin(("totp",), wait=True)
    world.talk.data(b"hello\r")
    assert world.ended == []
    world.talk.data(b"\x03")
    assert world.ended == [0]


def test_a_password_is_asked_on_a_terminal_only() -> None:
    world = World(terminal=False)
    world.talk.begin(("password",), wait=False)
    assert world.ended == [1] and "ssh -t" in world.said and world.failures == []


def test_a_channel_that_is_gone_hears_nothing_more() -> None:
    world = World(factors=("publickey", "totp"))
    world.talk.begin(("totp",), wait=True)
    world.talk.stop()
    said = world.said
    world.talk.data(b"\x03")
    assert world.ended == [] and world.said == said
