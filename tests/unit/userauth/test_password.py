"""Logging in to an appliance with a password, the appliance played by hand: every answer it may give."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.userauth.password import MAX_EMPTY_ROUNDS, PasswordCredential, PasswordLogin
from bastion.wire.data import namelist, string, uint32
from bastion.wire.userauth import (
    InfoRequest,
    InfoResponse,
    PasswordBody,
    Prompt,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
)
from tests.support.conns import MemoryConn

SECRET = b"kept by nobody"
PASSWORD, KBD = "password", "keyboard-interactive"


class Appliance:
    """One login; the methods say what the appliance says."""

    def __init__(
        self, fetch: Any = None, tries: int = 1, by_person: bool = False, pass_on: Any = None
    ) -> None:
        self.wire = MemoryConn()
        self.fetched: list[int] = []
        self.waited: list[bool] = []
        self.banners: list[tuple[str, int]] = []
        self.outcome: list[Any] = []
        self._fetch = fetch or (lambda attempt: succeed(SECRET))
        credential = PasswordCredential(self.fetch, "file", tries, by_person, "web1", pass_on)
        self.login = PasswordLogin(self.wire, "admin", credential, self._banner, self.waited.append)
        self.login.done.addBoth(self.outcome.append)
        self.login.start()
        assert self.wire.sent.pop() == b"\x05" + string(b"ssh-userauth")
        self.login.receive(b"\x06" + string(b"ssh-userauth"))
        assert self.request().method == "none"

    def _banner(self, text: str, missing: int) -> None:
        self.banners.append((text, missing))

    def fetch(self, attempt: int) -> Deferred[bytes]:
        self.fetched.append(attempt)
        result: Deferred[bytes] = self._fetch(attempt)
        return result

    def request(self) -> UserauthRequest:
        return UserauthRequest.parse(self.wire.sent.pop())

    def say(self, message: Any) -> None:
        payload = message.encode()
        self.login.receive(payload)

    def offers(self, *methods: str, partial: bool = False) -> None:
        self.say(UserauthFailure(methods, partial))

    def asks(self, *prompts: str, echo: bool = False) -> None:
        questions = tuple(Prompt(prompt, echo) for prompt in prompts)
        self.say(InfoRequest("name", "instruction", prompts=questions))

    def accepts(self) -> None:
        self.login.receive(b"\x34")

    @property
    def refused(self) -> str:
        assert len(self.outcome) == 1, self.outcome
        error = self.outcome[0].value
        assert isinstance(error, Refused) and error.reason is UpstreamReason.LOGIN_REFUSED
        return error.text


def test_a_password_is_sent_padded_and_fetched_only_when_it_is_taken() -> None:
    peer = Appliance()
    assert peer.fetched == []
    peer.offers("publickey", KBD, PASSWORD)
    request = peer.request()
    assert (request.user, request.service, request.method) == ("admin", "ssh-connection", PASSWORD)
    assert PasswordBody.parse(request.body) == PasswordBody(SECRET) and len(peer.wire.padded) == 1
    peer.accepts()
    assert peer.outcome == [PASSWORD] and peer.wire.trusted and peer.fetched == [0]
    assert SECRET not in repr(vars(peer.login)).encode()


def test_one_hidden_question_is_answered_padded_and_empty_rounds_are_let_pass() -> None:
    peer = Appliance()
    peer.offers(KBD)
    assert peer.request().method == KBD and peer.fetched == []
    peer.asks("Password: ")
    assert InfoResponse.parse(peer.wire.sent.pop()).responses == (SECRET,) and len(peer.wire.padded) == 1
    peer.asks()
    assert InfoResponse.parse(peer.wire.sent.pop()).responses == ()
    peer.accepts()
    assert peer.outcome == [KBD]


def test_a_target_that_lets_everybody_in_gets_no_password() -> None:
    peer = Appliance()
    peer.accepts()
    assert peer.outcome == ["none"] and peer.fetched == []


@pytest.mark.parametrize(
    "prompts, echo, words",
    [
        (("User: ", "Password: "), False, 'it asks 2 questions at once ("User:", ...)'),
        (("Password: ", "Token: "), True, "it asks 2 questions at once"),
        (("Login: ",), True, 'a question whose answer would be shown, so not for a password: "Login:"'),
        (("\x1b[2Jevil\r\n" + "x" * 50000,), True, "evil"),
    ],
)
def test_what_is_no_password_prompt_is_refused_and_gets_no_secret(prompts, echo, words) -> None:
    peer = Appliance()
    peer.offers(KBD)
    peer.asks(*prompts, echo=echo)
    assert words in peer.refused and peer.fetched == [] and peer.wire.padded == []
    assert len(peer.refused) < 200 and peer.refused.isprintable()


def test_a_second_question_is_refused() -> None:
    peer = Appliance()
    peer.offers(KBD)
    peer.asks("Password: ")
    peer.asks("Verification code: ")
    assert peer.refused == 'after the password of admin it asks another question: "Verification code:"'
    assert peer.fetched == [0]


@pytest.mark.parametrize("method", [PASSWORD, KBD])
def test_a_wrong_password_is_tried_once(method: str) -> None:
    peer = Appliance()
    peer.offers(method)
    if method == KBD:
        peer.asks("Password: ")
    peer.offers(method)
    assert peer.refused == "login admin was refused with the password" and peer.fetched == [0]


@pytest.mark.parametrize("method", [PASSWORD, KBD])
def test_a_person_is_asked_again_as_often_as_there_are_tries(method: str) -> None:
    peer = Appliance(tries=3, by_person=True)
    peer.offers(method)
    for _ in range(3):
        if method == KBD:
            assert peer.request().method == KBD
            peer.asks("Password: ")
        peer.wire.sent.clear()
        assert not peer.outcome
        peer.offers(method)
    assert peer.refused == "login admin was refused with the password"
    assert peer.fetched == [0, 1, 2] and peer.waited == [True, False] * 3 and len(peer.wire.padded) == 3


def test_other_methods_and_further_factors_are_told() -> None:
    peer = Appliance()
    peer.offers("publickey", "hostbased")
    assert peer.refused == "it takes no password; it offers publickey, hostbased" and peer.fetched == []
    peer = Appliance()
    peer.offers()
    assert peer.refused == "it takes no password; it offers nothing"
    peer = Appliance()
    peer.offers(PASSWORD)
    peer.offers("publickey", partial=True)
    assert peer.refused == "it accepted the password of admin but asks for publickey"


def test_an_expired_password_is_told() -> None:
    peer = Appliance()
    peer.offers(PASSWORD)
    peer.login.receive(b"\x3c" + string(b"change it\x1b[2J") + string(b""))
    assert peer.refused == "the password of admin has expired: it asks for a new one"


def test_a_secret_that_cannot_be_had_is_told_and_nothing_is_sent() -> None:
    reason = Refused(UpstreamReason.CREDENTIAL_FAILED, "the password's file cannot be read")
    peer = Appliance(fetch=lambda _: fail(reason))
    peer.offers(PASSWORD)
    assert peer.outcome[0].value is reason and peer.wire.padded == []
    peer = Appliance(fetch=lambda _: fail(RuntimeError(SECRET.decode())))
    peer.offers(PASSWORD)
    error = peer.outcome[0].value
    assert error.reason is UpstreamReason.CREDENTIAL_FAILED and SECRET.decode() not in error.text


def test_while_the_secret_is_fetched_the_target_has_nothing_to_say_but_banners() -> None:
    for message in (UserauthFailure((PASSWORD,)), InfoRequest(prompts=(Prompt("Password: "),))):
        peer = Appliance(fetch=lambda _: Deferred())
        peer.offers(PASSWORD)
        peer.say(UserauthBanner(b"wait"))
        assert peer.banners == [("wait", 0)]
        with pytest.raises(ProtocolError):
            peer.say(message)
    with pytest.raises(ProtocolError):
        peer.accepts()
    assert not peer.wire.trusted


def test_the_end_of_the_connection_withdraws_the_question() -> None:
    asked: Deferred[bytes] = Deferred()
    withdrawn: list[Any] = []
    asked.addErrback(withdrawn.append)
    peer = Appliance(fetch=lambda _: asked, by_person=True)
    peer.offers(PASSWORD)
    peer.login.stop()
    assert len(withdrawn) == 1 and peer.outcome[0].value.reason is UpstreamReason.CLOSED
    assert peer.wire.padded == []


def test_hostile_questions_are_bounded() -> None:
    peer = Appliance()
    peer.offers(KBD)
    with pytest.raises(ProtocolError, match="too many prompts"):
        peer.login.receive(b"\x3c" + string(b"") * 3 + uint32(1000) + (string(b"Password: ") + b"\0") * 1000)
    with pytest.raises(ProtocolError):
        peer.say(InfoRequest(prompts=(Prompt("x" * (1 << 20)),)))
    with pytest.raises(ProtocolError):
        peer.login.receive(b"\x3c" + string(b"") * 3 + uint32(1) + string(b"Password: "))
    for _ in range(MAX_EMPTY_ROUNDS):
        peer.asks()
    with pytest.raises(ProtocolError, match="too many rounds"):
        peer.asks()
    assert peer.fetched == []


def test_messages_out_of_place_are_protocol_errors() -> None:
    peer = Appliance()
    with pytest.raises(ProtocolError):
        peer.asks("Password: ")  # none was asked with, not keyboard-interactive
    with pytest.raises(ProtocolError):
        peer.login.receive(b"\x06" + string(b"ssh-userauth"))
    with pytest.raises(ProtocolError):
        peer.login.receive(b"\x33" + namelist(["password"]))
    assert peer.wire.padded == []


def test_a_secret_is_in_no_repr() -> None:
    assert SECRET.decode() not in repr(PasswordBody(SECRET)) + repr(InfoResponse((SECRET,)))


# -- a target that asks for more -------------------------------------------------------------------------------


class Engineer:
    """Answers what is passed on when the test says so."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.answer: Deferred[tuple[bytes, ...]] = Deferred()

    def ask(self, prompts: tuple[Prompt, ...], instruction: str) -> Deferred[tuple[bytes, ...]]:
        self.shown += [prompt.text for prompt in prompts]
        self.answer = Deferred()
        return self.answer


CODE = b"123456"


def test_after_a_password_that_was_taken_the_engineer_is_asked() -> None:
    engineer = Engineer()
    peer = Appliance(pass_on=engineer.ask)
    peer.offers(PASSWORD, KBD)
    peer.wire.sent.clear()
    peer.offers(KBD, partial=True)
    assert peer.request().method == KBD and peer.fetched == [0]
    peer.asks("Code: ")
    assert engineer.shown == ["web1 asks: Code: "] and peer.waited == [True]
    engineer.answer.callback((CODE,))
    assert peer.waited == [True, False] and len(peer.wire.padded) == 2
    peer.accepts()
    assert peer.outcome == [KBD]


def test_in_one_exchange_the_password_goes_first_and_the_rest_to_the_engineer() -> None:
    engineer = Engineer()
    peer = Appliance(pass_on=engineer.ask)
    peer.offers(KBD)
    peer.asks("Password: ")
    assert InfoResponse.parse(peer.wire.sent.pop()).responses == (SECRET,) and engineer.shown == []
    peer.asks("Verification code: ", echo=True)
    assert engineer.shown == ["web1 asks: Verification code: "]
    engineer.answer.callback((CODE,))
    assert InfoResponse.parse(peer.wire.sent.pop()).responses == (CODE,)
    peer.accepts()
    assert peer.outcome == [KBD] and peer.fetched == [0]


def test_wrong_codes_are_asked_for_again_and_not_for_ever() -> None:
    engineer = Engineer()
    peer = Appliance(pass_on=engineer.ask)
    peer.offers(PASSWORD)
    peer.offers(KBD, partial=True)
    for _ in range(3):
        assert peer.outcome == []
        peer.asks("Code: ")
        engineer.answer.callback((b"wrong",))
        peer.offers(KBD)
    assert peer.refused == "login admin was refused with the answers to its questions" and peer.fetched == [0]


def test_where_nobody_knows_what_was_wrong_nothing_is_tried_again() -> None:
    """The password would be asked of the engineer then, as if it were a question of the target's."""
    engineer = Engineer()
    peer = Appliance(pass_on=engineer.ask, tries=3)
    peer.offers(KBD)
    peer.asks("Password: ")
    peer.asks("Code: ")
    engineer.answer.callback((b"wrong",))
    peer.offers(KBD)
    assert peer.refused == "login admin was refused with the answers to its questions" and peer.fetched == [0]


def test_a_wrong_password_asks_the_engineer_nothing() -> None:
    engineer = Engineer()
    peer = Appliance(pass_on=engineer.ask)
    peer.offers(PASSWORD, KBD)
    peer.offers(PASSWORD, KBD)
    assert peer.refused == "login admin was refused with the password" and engineer.shown == []


def test_a_target_that_goes_away_takes_its_question_back() -> None:
    engineer = Engineer()
    peer = Appliance(pass_on=engineer.ask)
    peer.offers(PASSWORD)
    peer.offers(KBD, partial=True)
    peer.asks("Code: ")
    gone: list[Any] = []
    engineer.answer.addErrback(gone.append)
    peer.login.stop()
    assert peer.outcome[0].value.reason is UpstreamReason.CLOSED
