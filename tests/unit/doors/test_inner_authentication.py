"""Proof of identity on an inner connection: always the outer identity's, whatever user name is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from bastion.auth.attempt import Attempt
from bastion.auth.budget import Budget
from bastion.auth.context import AuthContext, AuthServices
from bastion.auth.directory import Asker
from bastion.auth.factors import Chain, chains_of
from bastion.auth.identity import Account, AccountState, Destination, Identity
from bastion.auth.restrictions import Restrictions
from bastion.auth.throttle import Penalties
from bastion.clock import FixedClock
from bastion.doors.authentication import Authentication
from bastion.doors.inner_authentication import InnerAuthentication
from bastion.errors import AuthReason, Refused
from bastion.observe.audit import AuditLog
from bastion.observe.meters import AUTH_ATTEMPTS, Meters
from bastion.observe.rationed import RationedLog
from bastion.policy.locks import Lock, LockKind, LockSet, party_of
from bastion.wire.certificates import Certificate, CertificateKind, issue
from bastion.wire.keys import PrivateKey, PublicKey, parse_authorized_key

CA, MINE, OTHERS = (PrivateKey.generate_ed25519() for _ in range(3))
OUTER = Identity(
    name="alice", uid="u-1", groups=frozenset({"ops"}), source="test", factors=("password",), certificate=None,
    source_address="192.0.2.1", restrictions=Restrictions(valid_before=5000), authenticated_at=10.0,
)  # fmt: skip


class Inner:
    """One inner connection to web1; the directory knows alice, and looks up what it is asked for."""

    def __init__(
        self,
        folder: Path,
        methods: tuple[str, ...] = ("publickey", "password"),
        chains: tuple[Chain, ...] = (),
    ) -> None:
        key = parse_authorized_key(MINE.public.line())
        self.account = Account("alice", "u-1", frozenset({"ops"}), (key,), "test", AccountState.ACTIVE)
        self.asked: list[str] = []
        self.clock, self.meters = FixedClock(), Meters()
        self.audit = AuditLog(str(folder / "audit"), self.clock, self.meters, False)
        directory: Any = SimpleNamespace(check_key=self._judged, check_password=self._check)
        self.penalties = Penalties(self.clock)
        services = AuthServices(
            directory, (CA.public,), self.penalties, methods, chains or chains_of(methods)
        )
        self.proof = proof = Authentication(
            AuthContext(
                services,
                "192.0.2.1",
                Budget(self.clock).identity("alice"),
                "alice",
                self.clock,
                self.meters,
                self.audit,
                RationedLog(self.audit, Clock(), self.meters),
                "inner-id",
            )
        )
        self.trusted: Callable[[str], bool] = lambda login: False
        self.let_in: list[tuple[Identity, str | None]] = []
        self.door = InnerAuthentication(OUTER, "web1", proof, lambda login: self.trusted(login), self._let_in)

    def _let_in(self, identity: Identity, destination: Destination, owed: Chain = ()) -> None:
        assert (destination.identity, destination.target) == ("alice", "web1")
        self.let_in.append((identity, destination.login))

    def _judged(self, name: str, judge: Callable[[Account], Any], asker: Asker) -> Deferred[Any]:
        self.asked.append(name)
        return succeed(self.account).addCallback(judge)

    def _check(self, name: str, password: str, asker: Asker) -> Deferred[Account]:
        self.asked.append(name)
        if password != "right":
            return fail(Refused(AuthReason.BAD_PASSWORD, "no"))
        return succeed(self.account)

    def open(self, user: str, method: str = "publickey") -> Attempt:
        self.attempt = self.door.open(user, method)
        return self.attempt

    def none(self, user: str) -> AuthReason:
        return outcome(self.open(user, "none").none())

    def password(self, user: str, password: str) -> AuthReason:
        return outcome(self.open(user, "keyboard-interactive").password(password))

    def key(self, user: str, key: PublicKey | Certificate, known: bool = False) -> AuthReason:
        """A signed request, or with `known` a query."""
        algorithm = key.algorithms[0]
        attempt = self.open(user)

        def prove() -> Deferred[None]:
            credential = attempt.read_key(algorithm, key.blob)
            return attempt.key_known(credential) if known else attempt.key_proved(credential)

        return outcome(maybeDeferred(prove))

    def settled(self, user: str, method: str, reason: AuthReason) -> None:
        self.open(user, method).settle(reason)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.audit.path).read_text().splitlines()]


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[Inner]:
    made = Inner(tmp_path)
    yield made
    made.audit.close()


def outcome(waiting: Deferred[None]) -> AuthReason:
    """OK, or the reason of the refusal."""
    found: list[AuthReason] = []

    def refused(failure: Any) -> None:
        failure.trap(Refused)
        assert isinstance(failure.value.reason, AuthReason)
        found.append(failure.value.reason)

    waiting.addCallbacks(lambda _: found.append(AuthReason.OK), refused)
    (reason,) = found
    return reason


@pytest.mark.parametrize(
    ("configured", "offered"),
    [
        (("publickey", "password", "keyboard-interactive"), ("publickey", "keyboard-interactive")),
        (("publickey", "password"), ("publickey", "keyboard-interactive")),
        (("password",), ("keyboard-interactive",)),
        (("publickey",), ("publickey",)),
    ],
)
def test_the_method_password_is_never_offered(
    tmp_path: Path, configured: tuple[str, ...], offered: tuple[str, ...]
) -> None:
    made = Inner(tmp_path, configured)
    assert made.door.methods() == offered
    made.audit.close()


def test_without_proof_only_who_needs_none(inner: Inner) -> None:
    assert inner.none("deploy") is AuthReason.METHOD_NOT_OFFERED
    inner.trusted = lambda login: login == "deploy"
    assert inner.none("root") is AuthReason.METHOD_NOT_OFFERED
    assert inner.none("deploy") is AuthReason.OK
    inner.attempt.succeed()
    assert inner.let_in == [(OUTER, "deploy")]


def test_the_key_of_the_outer_identity_is_a_proof_under_any_user_name(inner: Inner) -> None:
    assert inner.key("bob", MINE.public, known=True) is AuthReason.OK
    assert inner.key("bob", MINE.public) is AuthReason.OK
    assert inner.asked == ["alice", "alice"]
    inner.attempt.succeed()
    ((identity, login),) = inner.let_in
    assert (identity.name, login, identity.factors) == ("alice", "bob", ("password", "publickey"))
    assert identity.key_fingerprint == MINE.public.fingerprint()


def test_a_query_proves_nothing(inner: Inner) -> None:
    assert inner.key("deploy", MINE.public, known=True) is AuthReason.OK
    with pytest.raises(AssertionError):
        inner.attempt.succeed()


def test_another_key_is_none(inner: Inner) -> None:
    assert inner.key("alice", OTHERS.public) is AuthReason.KEY_NOT_AUTHORISED


@pytest.mark.parametrize(
    ("principal", "reason"), [("alice", AuthReason.OK), ("bob", AuthReason.CERT_WRONG_PRINCIPAL)]
)
def test_a_certificate_counts_for_the_outer_identity_only(
    inner: Inner, principal: str, reason: AuthReason
) -> None:
    certificate = issue(
        CA, OTHERS.public, kind=CertificateKind.USER, serial=1, key_id="laptop", principals=(principal,),
        valid_after=0, valid_before=1 << 40,
    )  # fmt: skip
    assert inner.key("bob", certificate) is reason


def test_a_lock_finds_what_was_shown_inside_too_whatever_was_shown_outside(inner: Inner) -> None:
    certificate = issue(
        CA, OTHERS.public, kind=CertificateKind.USER, serial=7, key_id="laptop", principals=("alice",),
        valid_after=0, valid_before=1 << 40,
    )  # fmt: skip
    outside = replace(OUTER, key_fingerprint="SHA256:outside")
    inner.door._identity = outside
    assert inner.key("deploy", certificate) is AuthReason.OK
    inner.attempt.succeed()
    ((identity, _),) = inner.let_in
    inside = (OTHERS.public.fingerprint(), "laptop", f"7@{CA.public.fingerprint()}")
    for value in ("SHA256:outside", *inside):
        lock = Lock(LockKind.CERTIFICATE, value, "stolen", "root", 1.0)
        assert LockSet([lock]).party(party_of(identity), 2.0) is lock
        assert (LockSet([lock]).party(party_of(outside), 2.0) is lock) is (value not in inside)


def test_the_password_is_the_outer_identitys(inner: Inner) -> None:
    assert inner.password("bob", "wrong") is AuthReason.BAD_PASSWORD
    assert inner.password("bob", "right") is AuthReason.OK
    assert inner.asked == ["alice", "alice"]


def test_an_account_that_became_another_one_is_refused(inner: Inner) -> None:
    inner.account = Account("alice", "u-2", frozenset(), inner.account.keys, "test", AccountState.ACTIVE)
    assert inner.password("deploy", "right") is AuthReason.UNKNOWN_USER
    assert inner.key("deploy", MINE.public) is AuthReason.UNKNOWN_USER
    with pytest.raises(AssertionError):
        inner.attempt.succeed()


def test_a_second_proof_only_takes_away(inner: Inner) -> None:
    limited = parse_authorized_key(f"no-pty {MINE.public.line()}")
    inner.account = Account("alice", "u-1", frozenset(), (limited,), "test", AccountState.ACTIVE)
    assert inner.key("deploy", MINE.public) is AuthReason.OK
    inner.attempt.succeed()
    ((identity, _),) = inner.let_in
    assert not identity.restrictions.permits("permit-pty")
    assert identity.restrictions.valid_before == 5000
    assert identity.authenticated_at == OUTER.authenticated_at  # a login does not become younger


@pytest.mark.parametrize(
    ("login", "prompt"),
    [
        ("deploy", "Directory password of alice (not of deploy): "),
        ("alice", "Directory password of alice: "),
        ("\x1b[2Jroot", "Directory password of alice (not of the target's account): "),
        ("a" * 300, "Directory password of alice (not of the target's account): "),
    ],
)
def test_the_prompt_says_whose_password(inner: Inner, login: str, prompt: str) -> None:
    assert inner.door.prompt(login) == prompt


def test_an_attempt_is_written_down_under_identity_login_and_target(inner: Inner) -> None:
    inner.key("deploy", OTHERS.public)
    inner.settled("deploy", "publickey", AuthReason.KEY_NOT_AUTHORISED)
    inner.settled("\x1b]0;x\x07", "publickey", AuthReason.KEY_NOT_AUTHORISED)
    first, second = inner.lines()
    assert (first["user"], first["connection"], first["source"]) == (
        "alice+deploy+web1",
        "inner-id",
        "192.0.2.1",
    )
    assert second["user"] == "alice+?+web1"
    assert inner.meters.value(AUTH_ATTEMPTS, "publickey", AuthReason.KEY_NOT_AUTHORISED) == 2


def test_entering_on_the_outer_word_forgives_no_failures(inner: Inner) -> None:
    for _ in range(6):
        inner.settled("deploy", "publickey", AuthReason.BAD_SIGNATURE)
    assert not inner.penalties.allows("192.0.2.1", "alice")
    inner.settled("deploy", "none", AuthReason.OK)
    assert not inner.penalties.allows("192.0.2.1", "alice")
    assert inner.password("deploy", "right") is AuthReason.THROTTLED


def test_stop_leaves_nobody_to_call(inner: Inner) -> None:
    inner.trusted = lambda login: True
    inner.door.stop()
    assert inner.none("deploy") is AuthReason.METHOD_NOT_OFFERED


def test_the_proof_is_a_whole_chain(tmp_path: Path) -> None:
    """Half of one lets nobody in, and what was restricted outside stays restricted."""
    inner = Inner(tmp_path, chains=(("publickey", "password"),))
    assert inner.door.methods() == ("publickey",)
    assert inner.password("root", "right") is AuthReason.FACTOR_NOT_WANTED and inner.asked == []
    assert inner.key("root", MINE.public) is AuthReason.OK and not inner.attempt.whole
    inner.attempt.settle(AuthReason.PARTIAL)
    inner.attempt.keep()
    assert inner.door.methods() == ("keyboard-interactive",)
    assert inner.password("root", "right") is AuthReason.OK and inner.attempt.whole
    inner.attempt.settle(AuthReason.OK)
    inner.attempt.succeed()
    assert [(identity.name, login) for identity, login in inner.let_in] == [("alice", "root")]
    assert [line["result"] for line in inner.lines()] == ["partial", "ok"]
    inner.audit.close()


@pytest.mark.parametrize("known", [False, True])
def test_who_has_no_second_factor_is_told_once_the_key_was_right(tmp_path: Path, known: bool) -> None:
    """Behind a listening socket, too, where whoever else is there learns nothing."""
    first = "publickey" if known else "password"
    inner = Inner(tmp_path, ("publickey", "keyboard-interactive"), ((first, "totp"),))
    said: list[str] = []
    inner.proof.on_notice = said.append
    if known:
        assert inner.key("root", MINE.public) is AuthReason.OK
        inner.attempt.keep()
    inner.open("root", "keyboard-interactive").settle(AuthReason.NOT_ENROLLED)
    assert [("no second factor" in text) for text in said] == [True] * known
    inner.audit.close()
