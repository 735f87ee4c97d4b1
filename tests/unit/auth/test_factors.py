"""Chains of factors: what is enough, what may come next; and attacks on half a login by hand-made packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.auth.budget import Budget
from bastion.auth.factors import Chain, Given, Proof, chains_of, in_order
from bastion.auth.identity import Account, AccountState
from bastion.errors import ProtocolError
from bastion.userauth.server import MAX_FAILURES, MAX_REQUESTS
from bastion.wire.data import string
from bastion.wire.keys import parse_authorized_key
from bastion.wire.userauth import PasswordBody, PublicKeyBody, UserauthFailure, UserauthRequest, signed_data
from tests.unit.auth.test_attempt import (
    CERTIFIED,
    ED25519,
    KEY,
    OFFERED,
    OTHER_CA,
    Client,
    Gate,
    certificate,
)

K, CERT, PW = Proof(("publickey",), "SHA256:k"), Proof(("certificate",), "SHA256:k"), Proof(("password",))
OTHER = Proof(("publickey",), "SHA256:other")


def given(*proofs: Proof, chains: tuple[Chain, ...]) -> Given:
    made = Given(chains)
    for proof in proofs:
        made = made.plus(proof)
    return made


KEY_THEN_PASSWORD: tuple[Chain, ...] = (("certificate",), ("publickey", "password"))
TWO_KEYS: tuple[Chain, ...] = (("certificate", "publickey"),)


@pytest.mark.parametrize(
    ("chains", "proofs", "whole", "wanted"),
    [
        (KEY_THEN_PASSWORD, (), False, {"certificate", "publickey"}),
        (KEY_THEN_PASSWORD, (K,), False, {"certificate", "password"}),
        (KEY_THEN_PASSWORD, (K, PW), True, {"certificate"}),
        (KEY_THEN_PASSWORD, (CERT,), True, {"publickey"}),
        (KEY_THEN_PASSWORD, (K, CERT), True, {"password"}),
        (TWO_KEYS, (CERT,), False, {"publickey"}),
        (TWO_KEYS, (CERT, K), False, {"publickey"}),  # the same key is one key, whatever it is shown as
        (TWO_KEYS, (CERT, OTHER), True, set()),
    ],
)
def test_what_is_whole_and_what_comes_next(
    chains: tuple[Chain, ...], proofs: tuple[Proof, ...], whole: bool, wanted: set[str]
) -> None:
    found = given(*proofs, chains=chains)
    assert (found.whole, found.wanted) == (whole, wanted)


@pytest.mark.parametrize(
    ("chains", "before", "proof", "takes"),
    [
        (KEY_THEN_PASSWORD, (), PW, False),  # not its turn
        (KEY_THEN_PASSWORD, (K,), K, False),  # twice
        (KEY_THEN_PASSWORD, (K,), OTHER, False),  # one factor, two keys
        (KEY_THEN_PASSWORD, (K,), CERT, True),  # a chain of its own
        (TWO_KEYS, (), K, False),
        (TWO_KEYS, (CERT,), K, False),
        (TWO_KEYS, (CERT,), OTHER, True),
    ],
)
def test_what_brings_no_chain_on_is_not_taken(
    chains: tuple[Chain, ...], before: tuple[Proof, ...], proof: Proof, takes: bool
) -> None:
    assert given(*before, chains=chains).takes(proof) is takes


@pytest.mark.parametrize(
    ("chains", "proofs", "owed", "proved"),
    [
        ((("publickey", "oidc"),), (), (), False),
        ((("publickey", "oidc"),), (K,), ("oidc",), True),
        ((("publickey", "oidc"),), (K, Proof(("oidc",))), (), True),
        ((("publickey", "oidc", "radius"),), (K, Proof(("oidc",))), ("radius",), True),
        ((("publickey", "totp", "oidc"),), (K,), (), False),
        ((("publickey", "oidc"), ("certificate",)), (CERT,), (), True),
        ((("publickey", "oidc"), ("certificate", "password")), (CERT,), (), False),
        ((("password", "oidc"),), (PW,), ("oidc",), True),
    ],
)
def test_what_others_judge_is_owed_when_all_the_rest_is_there(
    chains: tuple[Chain, ...], proofs: tuple[Proof, ...], owed: Chain, proved: bool
) -> None:
    found = given(*proofs, chains=chains)
    assert (found.owed, found.proved) == (owed, proved)
    assert found.whole is (proved and not owed)


def test_only_methods_that_lead_on_are_told() -> None:
    assert given(chains=KEY_THEN_PASSWORD).methods(OFFERED) == ("publickey",)
    assert given(K, chains=KEY_THEN_PASSWORD).methods(OFFERED) == OFFERED
    assert given(K, chains=(("publickey", "password"),)).methods(OFFERED) == OFFERED[1:]
    assert given(K, chains=(("publickey", "password"),)).methods(("publickey",)) == ()


def test_what_is_owed_is_asked_by_keyboard_interactive_and_another_chain_may_go_on() -> None:
    chains: tuple[Chain, ...] = (("publickey", "oidc"), ("certificate",))
    assert given(K, chains=chains).methods(OFFERED) == ("publickey", "keyboard-interactive")
    assert given(K, chains=chains[:1]).methods(OFFERED) == ("keyboard-interactive",)
    assert given(chains=chains).methods(OFFERED) == ("publickey",)


def test_without_chains_each_method_is_enough() -> None:
    assert chains_of(("publickey",)) == (("certificate",), ("publickey",))
    assert chains_of(("keyboard-interactive",)) == (("password",),)
    assert in_order(("password", "certificate")) == ("certificate", "password")


def test_a_security_key_is_a_key_and_one_of_its_own() -> None:
    secure = Proof(("sk-publickey", "publickey"), "SHA256:s")
    chains: tuple[Chain, ...] = (("sk-publickey",), ("publickey", "password"))
    assert given(secure, chains=chains).whole and not given(K, chains=chains).whole
    two: tuple[Chain, ...] = (("sk-publickey", "publickey"),)
    assert not given(secure, secure, chains=two).whole and given(secure, K, chains=two).whole
    assert not given(chains=two).takes(K), "the security key comes first"


# -- on a connection -------------------------------------------------------------------------------------


class Peer(Client):
    """One connection before its login, whose client signs and says what it likes."""

    def sign(self, key: Any = KEY, user: str = "alice", certified: bool = False, signed: bool = True) -> None:
        algorithm = CERTIFIED if certified else ED25519
        blob = certificate().blob if certified else key.public.blob
        data = signed_data(self.keys.session_id, user, "ssh-connection", algorithm, blob, None)
        body = PublicKeyBody(algorithm, blob, key.sign(data) if signed else None)
        self.ask("publickey", body.encode(), user)
        if self.gate.asked:
            self.gate.answer(True)

    def guess(self, right: bool = True, user: str = "alice") -> None:
        self.ask("password", PasswordBody(b"secret").encode(), user)
        if self.gate.asked:
            self.gate.answer(right)
        self.gate.timers.advance(1)

    def failure(self) -> UserauthFailure:
        """The last thing that was said."""
        return UserauthFailure.parse(self.sent[-1])


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    gate = Gate(tmp_path, (("publickey", "password"),))
    yield Peer(gate)
    gate.audit.close()


def test_two_factors_are_two_attempts(peer: Peer) -> None:
    peer.ask("none")
    assert peer.failure() == UserauthFailure(("publickey",), partial=False)
    peer.sign()
    assert peer.failure() == UserauthFailure(OFFERED[1:], partial=True) and not peer.let_in
    peer.guess()
    assert peer.let_in == ["alice"]
    assert peer.gate.outcomes() == [("publickey", "partial"), ("password", "ok")]
    assert [line["result"] for line in peer.gate.lines] == ["partial", "ok"]


REPEATS: dict[str, tuple[Callable[[Peer], None], tuple[str, str]]] = {
    "the same key": (Peer.sign, ("other", "method_not_offered")),
    "another key": (lambda peer: peer.sign(OTHER_CA), ("other", "method_not_offered")),
    "a query": (lambda peer: peer.sign(signed=False), ("other", "method_not_offered")),
    "its certificate": (lambda peer: peer.sign(certified=True), ("other", "method_not_offered")),
    "a wrong password": (lambda peer: peer.guess(right=False), ("password", "bad_password")),
}


@pytest.mark.parametrize("again", REPEATS)
def test_what_is_no_second_factor_leaves_half_a_login(peer: Peer, again: str) -> None:
    peer.sign()
    attempt, booked = REPEATS[again]
    attempt(peer)
    assert not peer.let_in and peer.gate.outcomes()[1:] == [booked]
    assert not peer.failure().partial
    peer.guess()
    assert peer.let_in == ["alice"]


@pytest.mark.parametrize("signed", [True, False])
def test_one_key_is_one_factor_whatever_it_is_shown_as(tmp_path: Path, signed: bool) -> None:
    gate = Gate(tmp_path, TWO_KEYS)
    peer = Peer(gate)
    peer.sign(signed=signed)
    assert gate.outcomes() == [("publickey", "factor_not_wanted")], "the certificate comes first"
    peer.sign(certified=True)
    peer.sign(signed=signed)
    assert not peer.let_in and not peer.failure().partial
    assert gate.outcomes()[1:] == [("certificate", "partial"), ("publickey", "factor_not_wanted")]
    gate.audit.close()


@pytest.mark.parametrize("certified", [False, True])
def test_queries_never_count(tmp_path: Path, certified: bool) -> None:
    """CVE-2024-45337: PK_OK for a key, then the second factor."""
    gate = Gate(tmp_path, (("certificate" if certified else "publickey", "password"),))
    peer = Peer(gate)
    for _ in range(3):
        peer.sign(signed=False, certified=certified)
        assert peer.said[-1] == 60
        peer.guess()
        assert not peer.let_in and not peer.failure().partial and peer.failure().methods == ("publickey",)
    assert {reason for _, reason in gate.outcomes()} == {"method_not_offered"}
    gate.audit.close()


def test_the_second_factor_does_not_come_first(peer: Peer) -> None:
    """The directory hears of no password before the key has signed."""
    peer.guess()
    assert not peer.gate.asked and not peer.let_in
    assert peer.gate.outcomes() == [("other", "method_not_offered")]


@pytest.mark.parametrize("name", ["mallory", "alice+web1", "Alice"])
@pytest.mark.parametrize("how", ["none", "password", "publickey", "pipelined"])
def test_another_name_ends_a_connection_that_has_proved_something(peer: Peer, name: str, how: str) -> None:
    """GHSA-hpv4-5h6f-wqr3: partial success kept over a change of the user name."""
    peer.sign()
    if how == "pipelined":
        peer.ask("password", PasswordBody(b"wrong").encode())
        peer.ask("password", PasswordBody(b"secret").encode(), user=name)
        peer.gate.answer(False)
        peer.gate.timers.advance(1)
        assert peer.disconnected is not None
    else:
        with pytest.raises(ProtocolError, match="may not change"):
            if how == "publickey":
                peer.sign(user=name)
            else:
                peer.ask(how, PasswordBody(b"secret").encode() if how == "password" else b"", user=name)
    assert not peer.let_in and not peer.gate.asked


def test_another_service_ends_it(peer: Peer) -> None:
    peer.sign()
    with pytest.raises(ProtocolError):
        peer.service.receive(UserauthRequest("alice", "ssh-other", "none", b"").encode())
    assert not peer.let_in


def test_a_name_may_change_while_nothing_was_proved(peer: Peer) -> None:
    peer.sign(user="mallory", signed=False)
    peer.guess(user="mallory")
    peer.sign()
    peer.guess()
    assert peer.let_in == ["alice"]


@pytest.mark.parametrize("number", [52, 80, 90, 98])
def test_nothing_else_is_served_between_two_factors(peer: Peer, number: int) -> None:
    """CVE-2018-10933, CVE-2025-32433: a success of the client's own, and what belongs behind the login."""
    peer.sign()
    with pytest.raises(ProtocolError):
        peer.service.receive(bytes([number]) + string(b"session") + bytes(12))
    assert not peer.let_in


def test_both_factors_in_one_flight(peer: Peer) -> None:
    """The second is judged after the first, and a third request after both is none."""
    data = signed_data(peer.keys.session_id, "alice", "ssh-connection", ED25519, KEY.public.blob, None)
    peer.ask("publickey", PublicKeyBody(ED25519, KEY.public.blob, KEY.sign(data)).encode())
    peer.ask("password", PasswordBody(b"secret").encode())
    peer.ask("none", user="mallory")
    assert len(peer.gate.asked) == 1, "the password waits for the key's outcome"
    peer.gate.answer(True)
    peer.gate.answer(True)
    peer.gate.timers.advance(1)
    assert peer.let_in == ["alice"] and peer.disconnected is None


def test_half_a_login_that_is_left_is_settled(peer: Peer) -> None:
    peer.sign()
    peer.ask("password", PasswordBody(b"secret").encode())
    peer.service.stop()
    assert peer.gate.outcomes() == [("publickey", "partial"), ("password", "abandoned")]
    assert peer.gate.given_up == 1 and not peer.gate.timers.getDelayedCalls()
    peer.gate.asked.clear()
    later = Peer(peer.gate)
    later.guess()
    assert not later.let_in, "what one connection has proved is nothing on another"


def test_half_a_login_excuses_no_guess(peer: Peer) -> None:
    """Whoever has the key guesses no more passwords than anybody else."""
    peer.gate.budget = Budget(peer.gate.clock)
    guesses = 0
    while guesses < 20:
        fresh = Peer(peer.gate)
        fresh.sign()
        if not fresh.sent or fresh.sent[-1][0] != 51 or not fresh.failure().partial:
            break
        fresh.guess(right=False)
        guesses += 1
    assert guesses == 6 and peer.gate.outcomes()[-1] == ("publickey", "throttled")


def test_restrictions_of_all_factors_hold(tmp_path: Path) -> None:
    """CVE-2026-39828: what the first factor forbade was forgotten with the second."""
    gate = Gate(tmp_path, (("certificate", "publickey"),))
    line = parse_authorized_key(f'no-pty,command="uptime" {OTHER_CA.public.line()}')
    gate.account = Account("alice", "u-1", frozenset(), (line,), "test", AccountState.ACTIVE)
    peer = Peer(gate)
    found: list[Any] = []
    peer.service._authenticator._on_success = lambda identity, *_: found.append(identity)  # type: ignore[union-attr]
    peer.sign(certified=True)
    gate.clock.advance(50)
    peer.sign(OTHER_CA)
    (identity,) = found
    assert identity.factors == ("certificate", "publickey") and identity.certificate is not None
    assert identity.restrictions.force_command == "uptime" and identity.restrictions.valid_before == 1 << 40
    assert "permit-pty" not in identity.restrictions.extensions
    assert identity.authenticated_at == gate.clock.time() - 50, "the second factor makes no login younger"
    assert OTHER_CA.public.fingerprint() in identity.also_shown, "a lock on the second key would not be seen"
    gate.audit.close()


def test_an_account_that_became_another_one_is_refused(peer: Peer) -> None:
    peer.sign()
    peer.gate.account = Account("alice", "u-2", frozenset(), (), "test", AccountState.ACTIVE)
    peer.guess()
    assert not peer.let_in and peer.gate.outcomes()[-1] == ("password", "unknown_user")


def test_requests_and_failures_are_counted_over_all_factors(peer: Peer) -> None:
    peer.sign()
    for _ in range(MAX_REQUESTS - 1):
        peer.ask("none")
    assert peer.disconnected is None
    peer.ask("none")
    assert peer.disconnected is not None
    assert MAX_FAILURES < MAX_REQUESTS
