"""Revoked keys and certificates at the door, and a list that nobody can read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bastion.auth.identity import shown_by
from bastion.auth.revocation import NOTHING_REVOKED, Revocation
from bastion.errors import AuthReason, Refused
from bastion.wire.krl import OfAuthority, RevokedKeys, Serials, of_keys
from tests.unit.auth.test_attempt import CA, KEY, Client, Gate, certificate

SERIAL = RevokedKeys(authorities={b"": OfAuthority(Serials([(7, 7)]))})


def outcome(folder: Path, revocation: Revocation, signed: bool, certified: bool) -> AuthReason:
    gate = Gate(folder)
    services = gate.services
    changes = {name: getattr(services, name) for name in services.__slots__} | {"revocation": revocation}
    gate.services = type(services)(**changes)
    client = Client(gate)
    client.key(signed, certified)
    if gate.asked:
        gate.asked.pop().callback(gate.account)
        assert not client.let_in or signed
        return AuthReason.OK
    assert client.said[-1] == 51 and not client.let_in
    return AuthReason(gate.lines[-1]["reason"])


@pytest.mark.parametrize("signed", [True, False])
def test_what_is_revoked_is_refused_before_the_directory_is_asked(tmp_path: Path, signed: bool) -> None:
    for number, (revoked, of_key, of_certificate) in enumerate(
        (
            (of_keys([KEY.public.blob]), AuthReason.KEY_REVOKED, AuthReason.CERT_REVOKED),
            (of_keys([CA.public.blob]), AuthReason.OK, AuthReason.CERT_REVOKED),
            (SERIAL, AuthReason.OK, AuthReason.CERT_REVOKED),
            (RevokedKeys(), AuthReason.OK, AuthReason.OK),
            (None, AuthReason.REVOCATION_UNKNOWN, AuthReason.REVOCATION_UNKNOWN),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert outcome(folder, Revocation(revoked), signed, certified=False) is of_key
        assert outcome(folder, Revocation(revoked), signed, certified=True) is of_certificate


def test_what_somebody_has_shown() -> None:
    shown = [KEY.public.fingerprint(), "laptop", f"7@{CA.public.fingerprint()}"]
    assert Revocation(SERIAL).names(shown) and Revocation(of_keys([CA.public.blob])).names(shown)
    assert not NOTHING_REVOKED.names(shown)
    assert not Revocation(None).names(shown), "that nobody knows ends nobody"


def test_nothing_is_revoked_without_a_list() -> None:
    NOTHING_REVOKED.check_key(KEY.public.blob)
    NOTHING_REVOKED.check_certificate(certificate())
    with pytest.raises(Refused):
        Revocation(None).check_key(KEY.public.blob)


@pytest.mark.parametrize("certified", [False, True])
def test_a_list_of_old_digests_knows_who_is_there_already(tmp_path: Path, certified: bool) -> None:
    """Of what is open, and of a login that had begun before the list came."""
    gate = Gate(tmp_path)
    client = Client(gate)
    client.key(certified=certified)
    gate.asked.pop().callback(gate.account)
    for blob, known in ((KEY.public.blob, True), (CA.public.blob, certified), (b"another", False)):
        digest = hashlib.sha1(blob).digest()
        assert (
            Revocation(RevokedKeys(sha1=frozenset((digest,)))).names(shown_by(client.identities[0])) is known
        )


def test_the_list_of_now_is_asked(tmp_path: Path) -> None:
    """By a connection that began before the reload, too."""
    gate = Gate(tmp_path)
    client = Client(gate)
    gate.list_in_force = lambda: Revocation(of_keys([KEY.public.blob]))
    client.key()
    client.key(certified=True)
    assert [line["reason"] for line in gate.lines] == [AuthReason.KEY_REVOKED, AuthReason.CERT_REVOKED]
    gate.audit.close()
