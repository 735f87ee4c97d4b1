"""Attempts are opened before they are judged and settled exactly once, whether or not the client stays to hear.

Every method, and a client that leaves before the directory knows, while the answer waits, and after it: each time
one audit line, one counter and one charge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.auth.attempt import MAX_LOGGED_NAME
from bastion.auth.budget import Budget, Limit, Payer, Work
from bastion.auth.codes import Codes
from bastion.auth.context import AuthContext, AuthServices
from bastion.auth.directory import OFFLINE
from bastion.auth.factors import Chain, chains_of
from bastion.auth.identity import Account, AccountState, Identity
from bastion.auth.issued import EXTENSION, Carried
from bastion.auth.key_counters import KeyCounters
from bastion.auth.revocation import Revocation
from bastion.auth.throttle import Penalties
from bastion.clock import FixedClock
from bastion.doors.authentication import Authentication
from bastion.errors import AuthReason, Refused
from bastion.observe.audit import AuditLog
from bastion.observe.meters import AUTH_ATTEMPTS, Meters
from bastion.observe.rationed import RationedLog
from bastion.userauth.server import ANSWER_FLOOR, UserauthService
from bastion.wire.certificates import CertificateKind, UnverifiedCertificate, issue
from bastion.wire.data import string
from bastion.wire.keys import PrivateKey, parse_authorized_key
from bastion.wire.userauth import (
    HOSTBOUND,
    InfoResponse,
    KeyboardInteractiveBody,
    PasswordBody,
    PublicKeyBody,
    UserauthRequest,
    signed_data,
)
from tests.support.conns import MemoryConn

CA, OTHER_CA, KEY = (PrivateKey.generate_ed25519() for _ in range(3))
ED25519 = "ssh-ed25519"
CERTIFIED = "ssh-ed25519-cert-v01@openssh.com"
HOST_KEY = b"the gateway's host key"
HERE = "192.0.2.1"
OFFERED = ("publickey", "password", "keyboard-interactive")
LIMITS = {(payer, Work.LOG): Limit(1 << 20, 1 << 24, 1, 1) for payer in Payer} | {
    (payer, Work.PUBLIC_KEY): Limit(1000, 1 << 24, 1, 1) for payer in Payer
}


class Gate:
    """What the connections of one process share. The directory answers when the test says so."""

    def __init__(self, folder: Path, chains: tuple[Chain, ...] = chains_of(OFFERED)) -> None:
        self.clock, self.meters, self.timers = FixedClock(), Meters(), Clock()
        self.audit = AuditLog(str(folder / "audit"), self.clock, self.meters)
        self.budget = Budget(self.clock, LIMITS)
        self.counters = KeyCounters()
        self.codes: Codes | None = None
        self.list_in_force: Callable[[], Revocation] = lambda: self.services.revocation
        self.penalties = Penalties(self.clock)
        self.asked: list[Deferred[Account]] = []
        self.askers: list[Any] = []
        self.given_up = 0
        directory: Any = SimpleNamespace(check_password=self._ask, check_key=self._ask_key)
        self.services = AuthServices(directory, (CA.public,), self.penalties, OFFERED, chains)
        key = parse_authorized_key(KEY.public.line())
        self.account = Account("alice", "u-1", frozenset(), (key,), "test", AccountState.ACTIVE)

    def _ask(self, *asked_for: object) -> Deferred[Account]:
        self.askers.append(asked_for[-1])

        def cancelled(_: object) -> None:
            self.given_up += 1

        asked: Deferred[Account] = Deferred(cancelled)
        self.asked.append(asked)
        return asked

    def _ask_key(self, name: str, judge: Any, asker: object) -> Deferred[Any]:
        return self._ask(asker).addCallback(judge)

    def answer(self, right: bool) -> None:
        asked = self.asked.pop(0)
        if right:
            asked.callback(self.account)
        else:
            asked.errback(Refused(AuthReason.BAD_PASSWORD, "no"))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.audit.path).read_text().splitlines()]

    def outcomes(self) -> list[tuple[str, str]]:
        """Method and reason of every line; every one was counted, too."""
        found = [(line["method"], line["reason"]) for line in self.lines]
        for one in set(found):
            assert self.meters.value(AUTH_ATTEMPTS, *one) == found.count(one)
        return found


class Client(MemoryConn):
    """One connection before its login."""

    def __init__(self, gate: Gate, source: str = HERE) -> None:
        super().__init__(host_key_blob=HOST_KEY)
        self.gate, self.let_in = gate, list[str]()
        context = AuthContext(
            gate.services, source, gate.budget.source(source), source, gate.clock, gate.meters, gate.audit,
            RationedLog(gate.audit, gate.timers, gate.meters), "k3v2m5q7p2r4t6wa", gate.codes, gate.counters,
            lambda: gate.list_in_force(),
        )  # fmt: skip
        self.identities: list[Identity] = []
        authentication = Authentication(context, self._succeeded)
        self.service = UserauthService(self, authentication, gate.timers)
        authentication.on_notice = self.service.banner
        self.service.receive(b"\x05" + string(b"ssh-userauth"))
        self.sent.clear()

    def _succeeded(self, identity: Identity, destination: object, *_) -> None:
        self.let_in.append(identity.name)
        self.identities.append(identity)

    def ask(self, method: str, body: bytes = b"", user: str = "alice") -> None:
        self.service.receive(UserauthRequest(user, "ssh-connection", method, body).encode())

    def password(self) -> None:
        self.ask("password", PasswordBody(b"secret").encode())

    def question(self) -> None:
        self.ask("keyboard-interactive", KeyboardInteractiveBody().encode())
        self.service.receive(InfoResponse((b"secret",)).encode())

    def key(
        self, signed: bool = True, certified: bool = False, host_key: bytes | None = None, shown: Any = None
    ) -> None:
        algorithm = CERTIFIED if certified or shown else ED25519
        blob = (shown or certificate()).blob if certified or shown else KEY.public.blob
        data = signed_data(self.keys.session_id, "alice", "ssh-connection", algorithm, blob, host_key)
        body = PublicKeyBody(algorithm, blob, KEY.sign(data) if signed else None, host_key)
        self.ask("publickey" if host_key is None else HOSTBOUND, body.encode())

    @property
    def said(self) -> list[int]:
        return [payload[0] for payload in self.sent]


def certificate(ca: PrivateKey = CA, **changes: Any) -> Any:
    facts = {
        "kind": CertificateKind.USER, "key_id": "laptop", "principals": ("alice",), "serial": 7,
        "valid_after": 0, "valid_before": 1 << 40, **changes,
    }  # fmt: skip
    return issue(ca, KEY.public, **facts)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.audit.close()


METHODS: dict[str, tuple[Any, str]] = {
    "password": (Client.password, "password"),
    "keyboard-interactive": (Client.question, "keyboard-interactive"),
    "a key": (Client.key, "publickey"),
    "a key bound to the host": (lambda client: client.key(host_key=HOST_KEY), "publickey"),
    "a certificate": (lambda client: client.key(certified=True), "certificate"),
    "a key query": (lambda client: client.key(signed=False), "publickey"),
    "a certificate query": (lambda client: client.key(signed=False, certified=True), "certificate"),
}
GUESSES = ("password", "keyboard-interactive")


@pytest.mark.parametrize("way", METHODS)
def test_only_a_certificate_may_be_judged_by_what_a_directory_said_last(gate: Gate, way: str) -> None:
    attempt, _ = METHODS[way]
    gate.account = replace(gate.account, source=OFFLINE)
    attempt(Client(gate))
    (asker,) = gate.askers
    assert (asker.certified, asker.query) == ("certificate" in way, "query" in way)
    gate.answer(True)
    assert [line.get("offline") for line in gate.lines] == ([] if asker.query else [1])


@pytest.mark.parametrize("before", [False, True])
def test_what_an_issued_certificate_carries_is_as_old_behind_another_one(gate: Gate, before: bool) -> None:
    """Or the morning's code would be new at every login, for an approval and for the next certificate."""
    morning = Carried(("totp",), int(gate.clock.time()) - 3600, "u-1")
    issued = certificate(OTHER_CA, extensions={EXTENSION: morning.encode()})
    gate.services = replace(
        gate.services, login_cas=(CA.public, OTHER_CA.public), issuers=(OTHER_CA.public,),
        chains=(("certificate", "publickey"), ("certificate", "totp")),
    )  # fmt: skip
    gate.budget = Budget(gate.clock)
    client = Client(gate)
    for one in (certificate(), issued) if before else (issued,):
        client.key(shown=one)
        gate.answer(True)
        gate.timers.advance(ANSWER_FLOOR)
    (identity,) = client.identities
    assert identity.factors == ("certificate", "totp") and identity.carried == morning


@pytest.mark.parametrize("way", METHODS)
def test_who_leaves_while_the_directory_thinks_is_booked(gate: Gate, way: str) -> None:
    attempt, label = METHODS[way]
    client = Client(gate)
    attempt(client)
    assert len(gate.asked) == 1 and gate.outcomes() == []
    client.service.stop()
    assert gate.outcomes() == [(label, AuthReason.ABANDONED)]
    assert gate.given_up == 1, "the directory works for nobody"
    assert client.sent in ([], client.sent[:1]) and not client.let_in
    assert not gate.timers.getDelayedCalls() and not gate.penalties._queues
    charged = len(gate.penalties) > 0
    assert charged is (way in GUESSES)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("way", GUESSES)
def test_who_leaves_before_the_answer_has_been_booked_already(gate: Gate, way: str, right: bool) -> None:
    """The old gateway told nobody of a refusal before it was answered, 0.3 s later."""
    attempt, label = METHODS[way]
    client = Client(gate)
    attempt(client)
    before = len(client.sent)
    gate.answer(right)
    reason = AuthReason.OK if right else AuthReason.BAD_PASSWORD
    assert gate.outcomes() == [(label, reason)]
    gate.timers.advance(ANSWER_FLOOR * 0.9)
    assert len(client.sent) == before and not client.let_in, "right and wrong are silent alike"
    client.service.stop()
    gate.timers.advance(10)
    assert gate.outcomes() == [(label, reason)] and not client.let_in
    pair = gate.penalties._pairs.find(gate.penalties._digest(HERE, "alice"), gate.clock.monotonic())
    assert (pair is None) if right else (pair is not None and pair.count == 1)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("way", METHODS)
def test_who_stays_is_answered_and_leaving_later_changes_nothing(gate: Gate, way: str, right: bool) -> None:
    attempt, label = METHODS[way]
    client = Client(gate)
    attempt(client)
    client.sent.clear()
    gate.answer(right)
    if way in GUESSES:
        assert not client.sent and not client.let_in
        gate.timers.advance(ANSWER_FLOOR)
    query = way.endswith("query")
    assert client.let_in == (["alice"] if right and not query else [])
    assert client.said == ([60] if right and query else [] if right else [51])
    client.service.stop()
    reason = AuthReason.OK if right else AuthReason.BAD_PASSWORD
    assert gate.outcomes() == ([] if query and right else [(label, reason)])


@pytest.mark.parametrize("way", ["none", "a bad signature", "no such method", "a name that is too long"])
def test_what_nobody_thinks_about_is_booked_at_once(gate: Gate, way: str) -> None:
    client = Client(gate)
    if way == "none":
        client.ask("none")
    elif way == "no such method":
        client.ask("gssapi-with-mic")
    elif way == "a name that is too long":
        client.ask("none", user="\x01" * 1000)
    else:
        client.ask(
            "publickey", PublicKeyBody(ED25519, KEY.public.blob, KEY.sign(b"another session")).encode()
        )
    assert client.said[-1] == 51 and client.said.count(51) == 1 and not gate.asked
    client.service.stop()
    booked = {
        "none": ("none", AuthReason.METHOD_NOT_OFFERED),
        "a bad signature": ("publickey", AuthReason.BAD_SIGNATURE),
        "no such method": ("other", AuthReason.METHOD_NOT_OFFERED),
        "a name that is too long": ("other", AuthReason.BAD_USER_NAME),
    }[way]
    assert gate.meters.value(AUTH_ATTEMPTS, *booked) == 1
    assert gate.outcomes() == ([] if way == "none" else [booked])


def test_a_directory_that_answers_late_is_answered_at_once(gate: Gate) -> None:
    client = Client(gate)
    client.password()
    gate.timers.advance(ANSWER_FLOOR)
    gate.answer(right=True)
    assert client.let_in == ["alice"]


def test_80_guesses_at_once_are_judged_as_often_as_one_after_the_other(gate: Gate) -> None:
    clients = [Client(gate) for _ in range(80)]
    for client in clients:
        client.password()
    assert len(gate.asked) == 6
    judged = 0
    while gate.asked:
        gate.answer(right=False)
        judged += 1
    assert judged == 6
    gate.timers.advance(ANSWER_FLOOR)
    assert all(client.said[-1] == 51 for client in clients)
    counts = {reason: len([1 for _, r in gate.outcomes() if r == reason]) for _, reason in gate.outcomes()}
    assert counts == {AuthReason.BAD_PASSWORD: 6, AuthReason.THROTTLED: 74}


def test_80_right_passwords_at_once_all_get_in(gate: Gate) -> None:
    clients = [Client(gate) for _ in range(80)]
    for client in clients:
        client.password()
    while gate.asked:
        gate.answer(right=True)
    gate.timers.advance(ANSWER_FLOOR)
    assert all(client.let_in for client in clients)


def test_who_waits_for_a_turn_and_leaves_has_asked_nobody(gate: Gate) -> None:
    clients = [Client(gate) for _ in range(10)]
    for client in clients:
        client.password()
    for client in clients:
        client.service.stop()
    assert gate.given_up == 6
    reasons = [reason for _, reason in gate.outcomes()]
    assert (reasons.count(AuthReason.ABANDONED), reasons.count(AuthReason.THROTTLED)) == (6, 4)
    assert not gate.penalties.allows(HERE, "alice") and not gate.penalties._queues


def test_a_changed_name_is_an_attempt_of_its_own(gate: Gate) -> None:
    """RFC 4252 section 5. Nothing of the first is there for the second, an open question neither."""
    client = Client(gate)
    client.ask("keyboard-interactive", KeyboardInteractiveBody().encode(), user="bob")
    client.key(signed=False)
    gate.answer(right=True)
    assert client.said == [60, 60] and not client.let_in
    client.password()
    gate.answer(right=True)
    gate.timers.advance(ANSWER_FLOOR)
    assert client.let_in == ["alice"] and [line["user"] for line in gate.lines] == ["alice"]


# -- what is asked before anything is computed ---------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_a_certificate_of_a_strange_ca_costs_no_arithmetic(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, signed: bool
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(UnverifiedCertificate, "verify", forbidden)
    reasons = {
        certificate(OTHER_CA): AuthReason.CERT_UNTRUSTED_CA,
        certificate(valid_before=5): AuthReason.CERT_EXPIRED,
        certificate(principals=("bob",)): AuthReason.CERT_WRONG_PRINCIPAL,
        certificate(kind=CertificateKind.HOST): AuthReason.CERT_WRONG_TYPE,
    }
    for shown, reason in reasons.items():
        client = Client(gate)
        client.ask("publickey", PublicKeyBody(CERTIFIED, shown.blob, b"x" if signed else None).encode())
        line = gate.lines[-1]
        assert line["reason"] == reason and line["unverified"] == 1 and line["certificate_id"] == "laptop"
    assert not gate.asked and gate.budget.held(Payer.SOURCE, Work.PUBLIC_KEY) == 0


def test_penalties_come_before_arithmetic(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(6):
        gate.penalties.failed(HERE, "alice", AuthReason.BAD_PASSWORD)
    client = Client(gate)
    client.key()
    assert gate.outcomes() == [("publickey", AuthReason.THROTTLED)]
    assert gate.budget.held(Payer.SOURCE, Work.PUBLIC_KEY) == 0


def test_arithmetic_is_paid_for_by_its_cost(gate: Gate) -> None:
    reasons: list[str] = []
    while AuthReason.OVER_BUDGET not in reasons:
        client = Client(gate)
        client.key()
        client.service.stop()
        reasons = [reason for _, reason in gate.outcomes()]
    assert reasons.count(AuthReason.ABANDONED) == 1000 // 300  # an ed25519 key is read and verified in 300 us
    assert b"too many keys to check" in b"".join(client.sent)


def test_a_request_bound_to_another_host_key_is_refused_before_it_is_read(gate: Gate) -> None:
    client = Client(gate)
    client.key(host_key=b"another host's key")
    client.key(signed=False, host_key=b"another host's key")
    assert client.said == [51, 51] and not gate.asked
    assert gate.outcomes() == [("publickey", AuthReason.BAD_SIGNATURE)] * 2


def test_a_signature_for_one_method_is_none_for_the_other(gate: Gate) -> None:
    client = Client(gate)
    for signed_for, sent_as in ((None, HOST_KEY), (HOST_KEY, None)):
        data = signed_data(
            client.keys.session_id, "alice", "ssh-connection", ED25519, KEY.public.blob, signed_for
        )
        body = PublicKeyBody(ED25519, KEY.public.blob, KEY.sign(data), sent_as)
        client.ask("publickey" if sent_as is None else HOSTBOUND, body.encode())
    assert client.said == [51, 51] and not gate.asked


# -- names ---------------------------------------------------------------------------------------------------------


def test_a_long_name_is_cut_in_the_log_and_the_sixth_ends_the_connection(gate: Gate) -> None:
    client = Client(gate)
    for _ in range(6):
        client.ask("publickey", PublicKeyBody(ED25519, KEY.public.blob).encode(), user="\x1b" * 1024)
    assert client.goodbyes and not gate.asked
    assert all(len(line["user"]) <= MAX_LOGGED_NAME + 5 for line in gate.lines)
    assert max(len(line) for line in Path(gate.audit.path).read_bytes().splitlines()) < 1024


def test_a_name_within_the_limit_that_nobody_can_have_is_cut_too(gate: Gate) -> None:
    client = Client(gate)
    client.ask("publickey", PublicKeyBody(ED25519, KEY.public.blob).encode(), user="\x1b" * 200)
    assert len(gate.lines[0]["user"]) == MAX_LOGGED_NAME + 5 and not gate.asked


def test_the_longest_real_name_is_whole(gate: Gate) -> None:
    user = "a" * 32 + "+" + "b" * 32 + "+" + "c" * 189
    client = Client(gate)
    client.ask("password", PasswordBody(b"x").encode(), user=user)
    gate.answer(right=False)
    assert gate.lines[0]["user"] == user
