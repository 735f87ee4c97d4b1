"""What is demanded of security keys, from the request to the identity: by the operator, the key, the certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from bastion.auth.key_counters import KeyCounters
from bastion.auth.security_keys import Demands, check_assertion
from bastion.errors import AuthReason, Refused
from bastion.wire.certificates import Certificate, CertificateKind, flag_options, issue
from bastion.wire.keys import PrivateKey, PublicKey, parse_authorized_key
from bastion.wire.security_keys import WEBAUTHN_ECDSA, Assertion
from bastion.wire.userauth import PublicKeyBody, signed_data
from tests.support.authenticator import ECDSA_SK, ED25519_SK, TOUCHED, VERIFIED, SoftKey
from tests.unit.auth.test_attempt import CA, Client, Gate

KINDS = (ED25519_SK, ECDSA_SK)
KEYS = {kind: SoftKey(kind) for kind in KINDS}
OK, NOT_TOUCHED, NOT_VERIFIED = AuthReason.OK, AuthReason.SK_NOT_TOUCHED, AuthReason.SK_NOT_VERIFIED


def judged(flags: int | None, demands: Demands, touch: bool, verify: bool) -> AuthReason:
    said = None if flags is None else Assertion(bool(flags & TOUCHED), bool(flags & VERIFIED), 1)
    try:
        check_assertion(said, demands, touch, verify)
    except Refused as refusal:
        assert isinstance(refusal.reason, AuthReason)
        return refusal.reason
    return OK


@pytest.mark.parametrize("operator", [False, True])
@pytest.mark.parametrize("key", [False, True])
def test_a_touch_is_spared_only_by_both(operator: bool, key: bool) -> None:
    expected = OK if operator and key else NOT_TOUCHED
    assert judged(0, Demands(no_touch=operator), not key, False) is expected
    assert judged(TOUCHED, Demands(no_touch=operator), not key, False) is OK


@pytest.mark.parametrize("operator", [False, True])
@pytest.mark.parametrize("key", [False, True])
def test_verification_is_demanded_by_either(operator: bool, key: bool) -> None:
    expected = NOT_VERIFIED if operator or key else OK
    assert judged(TOUCHED, Demands(verify=operator), True, key) is expected
    assert judged(TOUCHED | VERIFIED, Demands(verify=operator), True, key) is OK


def test_nothing_said_is_not_enough() -> None:
    assert judged(None, Demands(no_touch=True), False, False) is NOT_TOUCHED


# -- the whole attempt ---------------------------------------------------------------------------------------


class Engineer:
    """One request to a gateway whose directory knows alice by the keys with these options."""

    def __init__(self, folder: Path, demands: Demands | None = None, options: str = "") -> None:
        self.gate = Gate(folder)
        lines = [f"{options} {key.public.line()}".strip() for key in KEYS.values()]
        keys = tuple(map(parse_authorized_key, lines))
        services = self.gate.services
        account = type(self.gate.account)("alice", "u-1", frozenset(), keys, "test")
        changes: dict[str, Any] = {"demands": demands or Demands(), "directory": Answering(account)}
        self.gate.services = type(services)(
            **{name: getattr(services, name) for name in services.__slots__} | changes
        )
        self.client = Client(self.gate)

    @property
    def counters(self) -> KeyCounters:
        return self.gate.counters

    def ask(self, algorithm: str, blob: bytes, sign: Any, settled: int = -1) -> AuthReason:
        """The outcome, which stands in the `settled`th line."""
        data = signed_data(self.client.keys.session_id, "alice", "ssh-connection", algorithm, blob)
        self.client.ask("publickey", PublicKeyBody(algorithm, blob, sign(data)).encode())
        reason = AuthReason(self.gate.lines[settled]["reason"])
        assert self.client.let_in == (["alice"] if reason is OK else [])
        return reason


class Answering:
    def __init__(self, account: Any) -> None:
        self._account = account

    def check_key(self, name: str, judge: Any, asker: object) -> Deferred[Any]:
        return maybeDeferred(judge, self._account)


def certified(key: PublicKey, verify: bool = False, no_touch: bool = False) -> Certificate:
    return issue(
        CA, key, kind=CertificateKind.USER, serial=7, key_id="laptop", principals=("alice",), valid_after=0,
        valid_before=1 << 40, critical_options=flag_options(["verify-required"] if verify else []),
        extensions=flag_options(["no-touch-required"] if no_touch else []),
    )  # fmt: skip


CASES = {
    "touched": (None, False, False, TOUCHED, OK),
    "not touched": (None, False, False, 0, NOT_TOUCHED),
    "verified and not touched": (None, False, False, VERIFIED, NOT_TOUCHED),
    "only the key spares the touch": (None, False, True, 0, NOT_TOUCHED),
    "only the operator spares the touch": (Demands(no_touch=True), False, False, 0, NOT_TOUCHED),
    "both spare the touch": (Demands(no_touch=True), False, True, 0, OK),
    "the key wants verification": (None, True, False, TOUCHED, NOT_VERIFIED),
    "the operator wants verification": (Demands(verify=True), False, False, TOUCHED, NOT_VERIFIED),
    "verified": (Demands(verify=True), True, False, TOUCHED | VERIFIED, OK),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_plain_keys(tmp_path: Path, kind: str, case: str) -> None:
    demands, verify, no_touch, flags, expected = CASES[case]
    options = ",".join(["verify-required"] * verify + ["no-touch-required"] * no_touch)
    engineer, key = Engineer(tmp_path, demands, options), KEYS[kind]
    assert engineer.ask(kind, key.public.blob, lambda data: key.sign(data, flags, 42)) is expected
    line = engineer.gate.lines[-1]
    assert (line["user_verified"], line["counter"]) == (int(bool(flags & VERIFIED)), 42)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_certificates(tmp_path: Path, kind: str, case: str) -> None:
    demands, verify, no_touch, flags, expected = CASES[case]
    engineer, key = Engineer(tmp_path, demands), KEYS[kind]
    certificate = certified(key.public, verify, no_touch)
    assert (
        engineer.ask(*certificate.algorithms, certificate.blob, lambda data: key.sign(data, flags))
        is expected
    )
    assert engineer.gate.lines[-1]["method"] == "certificate"


def test_a_browsers_signature(tmp_path: Path) -> None:
    key = KEYS[ECDSA_SK]
    assert Engineer(tmp_path).ask(WEBAUTHN_ECDSA, key.public.blob, key.sign_in_browser) is OK


@pytest.mark.parametrize(
    "asked, kind, sign",
    [
        (ECDSA_SK, ECDSA_SK, SoftKey.sign_in_browser),
        (WEBAUTHN_ECDSA, ECDSA_SK, SoftKey.sign),
        (WEBAUTHN_ECDSA, ED25519_SK, SoftKey.sign),
        (ED25519_SK, ECDSA_SK, SoftKey.sign),
        ("ssh-ed25519", ED25519_SK, SoftKey.sign),
        ("sk-ssh-ed25519-cert-v01@openssh.com", ED25519_SK, SoftKey.sign),
    ],
)
def test_the_signature_is_of_the_algorithm_that_was_named(
    tmp_path: Path, asked: str, kind: str, sign: Any
) -> None:
    key = KEYS[kind]
    reason = Engineer(tmp_path).ask(asked, key.public.blob, lambda data: sign(key, data))
    assert reason in (AuthReason.BAD_SIGNATURE, AuthReason.KEY_MALFORMED, AuthReason.CERT_MALFORMED)


def test_a_query_is_answered_before_anybody_touches_anything(tmp_path: Path) -> None:
    engineer = Engineer(tmp_path, Demands(verify=True))
    engineer.client.ask("publickey", PublicKeyBody(ED25519_SK, KEYS[ED25519_SK].public.blob).encode())
    assert engineer.client.said == [60] and not engineer.client.let_in


def test_a_plain_key_owes_no_touch(tmp_path: Path) -> None:
    engineer, key = Engineer(tmp_path, Demands(verify=True)), PrivateKey.generate_ed25519()
    certificate = certified(key.public)
    assert engineer.ask(*certificate.algorithms, certificate.blob, key.sign) is OK
    assert "counter" not in engineer.gate.lines[-1]
