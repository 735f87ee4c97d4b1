"""Logging in to a target with a key: which signature is tried when, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from twisted.internet.defer import Deferred

from bastion.errors import ProtocolError
from bastion.userauth.client import KeyCredential, PublicKeyLogin, signature_order
from bastion.wire.data import Reader, string
from bastion.wire.keys import PrivateKey
from bastion.wire.userauth import (
    InfoRequest,
    InfoResponse,
    Prompt,
    PublicKeyBody,
    UserauthFailure,
    UserauthRequest,
    signed_data,
)
from tests.support.conns import MemoryConn

RSA = PrivateKey(generate_private_key(65537, 2048))
ED25519 = PrivateKey.generate_ed25519()
SHA2, SHA1 = ("rsa-sha2-512", "rsa-sha2-256"), "ssh-rsa"


@pytest.mark.parametrize(
    "algorithms, offered, host_key, order",
    [
        (SHA2, None, "ssh-ed25519", SHA2),
        (SHA2, ("ssh-ed25519", "rsa-sha2-256"), "ssh-ed25519", ("rsa-sha2-256",)),
        (SHA2, ("rsa-sha2-256", "rsa-sha2-512"), "", SHA2),
        (SHA2, ("ssh-rsa",), "", ()),
        ((*SHA2, SHA1), None, "rsa-sha2-256", (*SHA2, SHA1)),
        ((*SHA2, SHA1), None, "ssh-rsa", (SHA1, *SHA2)),
        ((*SHA2, SHA1), ("ssh-rsa",), "ssh-rsa", (SHA1,)),
        (("ssh-ed25519",), ("rsa-sha2-256",), "", ("ssh-ed25519",)),
    ],
)
def test_the_order_of_signatures(algorithms: Any, offered: Any, host_key: str, order: Any) -> None:
    assert tuple(signature_order(algorithms, offered, host_key)) == order


class Target(MemoryConn):
    """One login, the target played by hand."""

    def __init__(
        self,
        key: PrivateKey,
        algorithms: tuple[str, ...],
        offered: Any = None,
        host_key: str = "",
        accepts: bool = True,
    ) -> None:
        agreed: Any = SimpleNamespace(host_key=host_key)
        super().__init__(agreed=agreed, peer_signature_algorithms=offered)
        self.outcome: list[Any] = []
        self.key = key
        self.algorithms = algorithms
        self.login = PublicKeyLogin(self, "admin", self.credential(), lambda *_: None)
        self.login.done.addBoth(self.outcome.append)
        self.login.start()
        self.sent_at_once = len(self.sent)
        if accepts:
            self.login.receive(b"\x06" + string(b"ssh-userauth"))

    def credential(self) -> KeyCredential:
        return KeyCredential(self.key, self.key.public, self.algorithms)

    @property
    def tried(self) -> list[str]:
        """The algorithms of the signed requests so far, each signature verified."""
        names = []
        for payload in self.sent[1:]:
            request = UserauthRequest.parse(payload)
            body = PublicKeyBody.parse(request.body)
            data = signed_data(self.keys.session_id, request.user, request.service, body.algorithm, body.blob)
            assert request.method == "publickey" and body.signature is not None
            assert Reader(body.signature).name() == body.algorithm
            self.key.public.verify(body.signature, data, body.algorithm, allow_sha1=True)
            names.append(body.algorithm)
        return names

    def refuse(self, *methods: str, partial: bool = False) -> None:
        payload = UserauthFailure(methods or ("publickey",), partial).encode()
        self.login.receive(payload)

    @property
    def refused(self) -> str:
        return str(self.outcome[0].value.text)


def test_each_way_of_signing_is_tried_once_until_one_is_taken() -> None:
    target = Target(RSA, (*SHA2, SHA1))
    target.refuse()
    target.refuse()
    assert target.tried == [*SHA2, SHA1] and target.login.legacy == (SHA1,)
    target.login.receive(b"\x34")
    assert target.outcome == ["publickey"]


def test_sha1_is_never_signed_where_it_is_not_listed() -> None:
    target = Target(RSA, SHA2, host_key="ssh-rsa")
    target.refuse()
    target.refuse()
    assert target.tried == list(SHA2) and target.login.legacy == ()
    assert target.refused.startswith(
        "login admin was refused with the gateway's key; if it knows RSA with SHA-1 only"
    )
    assert 'legacy = ["ssh-rsa"]' in target.refused


def test_a_target_that_takes_sha1_only_is_told_without_a_try() -> None:
    target = Target(RSA, SHA2, offered=("ssh-rsa", "ssh-ed25519"))
    assert target.tried == [] and 'legacy = ["ssh-rsa"]' in target.refused


def test_no_hint_where_it_would_not_help() -> None:
    target = Target(RSA, SHA2, offered=SHA2)
    target.refuse()
    target.refuse()
    assert target.refused == "login admin was refused with the gateway's key"
    target = Target(ED25519, ("ssh-ed25519",))
    target.refuse()
    assert target.refused == "login admin was refused with the gateway's key" and target.tried == [
        "ssh-ed25519"
    ]


def test_a_target_that_wants_no_more_keys_gets_none() -> None:
    target = Target(RSA, SHA2)
    target.refuse("password")
    assert target.tried == ["rsa-sha2-512"] and "was refused" in target.refused
    target = Target(RSA, SHA2)
    target.refuse("keyboard-interactive", partial=True)
    assert target.refused == "it accepted the gateway's key for admin but asks for keyboard-interactive"


def test_a_question_has_no_place_in_a_key_login() -> None:
    target = Target(ED25519, ("ssh-ed25519",))
    with pytest.raises(ProtocolError):
        target.login.receive(b"\x3c")


def test_a_key_with_one_way_of_signing_waits_for_no_word_of_the_target() -> None:
    target = Target(ED25519, ("ssh-ed25519",))
    assert target.sent_at_once == 2 == len(target.sent) and target.tried == ["ssh-ed25519"]
    target.login.receive(b"\x34")
    assert target.outcome == ["publickey"]


def test_a_key_with_several_waits_for_what_the_target_knows() -> None:
    target = Target(RSA, SHA2)
    assert target.sent_at_once == 1 and len(target.sent) == 2


@pytest.mark.parametrize("number", [51, 52, 60])
def test_no_answer_counts_before_the_service_was_accepted(number: int) -> None:
    target = Target(ED25519, ("ssh-ed25519",), accepts=False)
    with pytest.raises(ProtocolError):
        target.login.receive(bytes([number]) + UserauthFailure(("publickey",), False).encode()[1:])
    assert not target.outcome


# -- a target that asks for more -------------------------------------------------------------------------------


class Asking(Target):
    """With an engineer beside it who answers when the test says so."""

    def __init__(self, known: bool = True) -> None:
        self.shown: list[str] = []
        self.answer: Deferred[tuple[bytes, ...]] = Deferred()
        self.known = known
        super().__init__(ED25519, ("ssh-ed25519",))

    def credential(self) -> KeyCredential:
        made = super().credential()
        return replace(made, target="web1", pass_on=self.ask) if self.known else made

    def ask(self, prompts: tuple[Prompt, ...], instruction: str) -> Deferred[tuple[bytes, ...]]:
        self.shown += [prompt.text for prompt in prompts]
        self.answer = Deferred()
        return self.answer

    def question(self, text: str = "Code: ") -> None:
        self.login.receive(InfoRequest("", "", b"", (Prompt(text),)).encode())


def test_after_the_key_a_target_may_ask_the_engineer() -> None:
    target = Asking()
    target.refuse("keyboard-interactive", partial=True)
    assert UserauthRequest.parse(target.sent[-1]).method == "keyboard-interactive"
    target.question()
    assert target.shown == ["web1 asks: Code: "]
    target.answer.callback((b"123456",))
    assert InfoResponse.parse(target.sent[-1]).responses == (b"123456",)
    target.login.receive(b"\x34")
    assert target.outcome == ["keyboard-interactive"]


def test_a_wrong_answer_is_asked_for_again_and_not_for_ever() -> None:
    target = Asking()
    target.refuse("keyboard-interactive", partial=True)
    for left in (2, 1, 0):
        target.question()
        target.answer.callback((b"wrong",))
        assert target.outcome == []
        target.refuse("keyboard-interactive")
        assert (target.outcome == []) == bool(left)
    assert target.refused == "login admin was refused with the answers to its questions"


def test_nobody_is_asked_where_nobody_is_to_be() -> None:
    target = Asking(known=False)
    target.refuse("keyboard-interactive", partial=True)
    assert target.refused == "it accepted the gateway's key for admin but asks for keyboard-interactive"


@pytest.mark.parametrize("early", [True, False])
def test_a_question_or_success_out_of_turn_is_a_fault(early: bool) -> None:
    target = Asking()
    if not early:
        target.refuse("keyboard-interactive", partial=True)
        target.question()
    with pytest.raises(ProtocolError):
        target.question()
    if not early:
        with pytest.raises(ProtocolError):
            target.login.receive(b"\x34")
        assert target.outcome == [], "the engineer still thinks"


def test_a_target_that_goes_away_takes_its_question_back() -> None:
    target = Asking()
    target.refuse("keyboard-interactive", partial=True)
    target.question()
    gone: list[Any] = []
    target.answer.addErrback(gone.append)
    target.login.stop()
    assert "closed the connection" in target.refused


def test_a_key_that_is_refused_is_not_followed_by_questions() -> None:
    target = Asking()
    target.refuse("keyboard-interactive")
    assert target.shown == [] and "was refused with the gateway's key" in target.refused
