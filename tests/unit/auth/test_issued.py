"""What a certificate carries of an earlier login: read strictly, believed of our CAs, no more than was proved."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.auth.certificates import CertificateFacts, check_user_certificate
from bastion.auth.factors import Chain, Given
from bastion.auth.issued import EXTENSION, Carried, kept_by, qualifies
from bastion.errors import AuthReason, ProtocolError, Refused
from bastion.wire.data import namelist, string, uint64
from bastion.wire.keys import PrivateKey
from tests.unit.auth.test_certificates import CA, NOW, OTHER_CA, make

MORNING = Carried(("publickey", "totp"), NOW - 3600, "u-1")


def whole(carried: Carried, *chain: str) -> bool:
    return Given((tuple(chain),)).plus(*carried.proofs("SHA256:k")).whole


def test_it_is_read_as_it_was_written() -> None:
    assert Carried.read(string(MORNING.encode())) == MORNING
    assert make(extensions={EXTENSION: MORNING.encode()}).extensions[EXTENSION] == string(MORNING.encode())


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        MORNING.encode()[:-1],
        MORNING.encode() + b"\0",
        namelist(["publickey", "palm"]) + uint64(NOW) + string("u-1"),
        namelist(["totp", "totp"]) + uint64(NOW) + string("u-1"),
        namelist(["totp"]) + uint64(NOW) + string(""),
        namelist(["totp"]) + uint64(NOW) + string("u" * 600),
    ],
)
def test_anything_else_refuses_the_certificate(inside: bytes) -> None:
    with pytest.raises(ProtocolError):
        Carried.read(string(inside))
    with pytest.raises(Refused) as refusal:
        facts_of(make(extensions={EXTENSION: inside or b"\0"}))
    assert refusal.value.reason is AuthReason.CERT_MALFORMED


def test_two_of_them_carry_no_more_than_the_older_one() -> None:
    noon = Carried(("publickey", "password"), NOW - 60, "u-1")
    assert noon.plus(MORNING) == Carried(("publickey", "password", "totp"), NOW - 3600, "u-1")
    assert MORNING.plus(Carried()) == Carried(MORNING.factors, 0, "u-1"), (
        "somebody else's word is as old as can be"
    )
    assert MORNING.plus(None) == MORNING


def facts_of(certificate: Any, *issuers: PrivateKey) -> CertificateFacts:
    trusted = [key.public for key in issuers or (CA,)]
    return check_user_certificate(
        certificate, (CA.public, OTHER_CA.public), ("alice",), NOW, "192.0.2.7", issuers=trusted
    )


def test_only_the_word_of_an_issuing_ca_counts() -> None:
    """That of another one is still a certificate that was issued for a login, which gets nobody another one."""
    mine = make(extensions={EXTENSION: MORNING.encode()})
    assert facts_of(mine).carried == MORNING
    foreign = make(ca=OTHER_CA, extensions={EXTENSION: MORNING.encode()})
    assert facts_of(foreign).carried == Carried() and facts_of(mine, OTHER_CA).carried == Carried()
    assert facts_of(make()).carried is None


def test_a_name_that_is_somebody_elses_now_inherits_nothing() -> None:
    facts = facts_of(make(extensions={EXTENSION: MORNING.encode()}))
    facts.check_holder("u-1")
    with pytest.raises(Refused) as refusal:
        facts.check_holder("u-2")
    assert refusal.value.reason is AuthReason.CERT_WRONG_PRINCIPAL
    facts_of(make()).check_holder("u-2")


@pytest.mark.parametrize(
    ("factors", "chain", "is_whole"),
    [
        (("publickey", "totp"), ("publickey", "totp"), True),
        (("publickey", "totp"), ("certificate", "totp"), True),
        (("publickey", "totp"), ("certificate",), True),
        (
            ("publickey", "totp"),
            ("certificate", "publickey"),
            False,
        ),  # it is one key, whatever it is shown as
        (("publickey", "totp"), ("publickey", "password"), False),
        (("publickey", "totp"), ("sk-publickey",), False),
        (("sk-publickey",), ("publickey",), True),
        (("certificate", "publickey"), ("certificate", "publickey"), True),  # two keys had signed
        (("totp",), ("publickey", "totp"), False),  # another key than the one that logged in was certified
        (("password", "totp"), ("password", "totp"), True),
        ((), ("certificate",), True),
        ((), ("publickey",), False),
    ],
)
def test_what_a_login_with_it_has_proved(factors: Chain, chain: Chain, is_whole: bool) -> None:
    assert whole(Carried(factors, NOW, "u-1"), *chain) is is_whole


def test_who_may_have_one() -> None:
    chains = (("publickey", "totp"), ("sk-publickey",))
    assert qualifies(("publickey", "totp"), chains) and qualifies(("sk-publickey",), chains)
    assert qualifies(("sk-publickey", "totp"), (("publickey", "totp"),)), "a security key is a key, too"
    assert not qualifies(("publickey",), chains) and not qualifies(("certificate", "totp"), chains)
    assert not qualifies(("publickey",), ())


def test_what_a_key_proved_stays_with_the_key() -> None:
    assert kept_by(("sk-publickey", "totp"), same_key=True) == ("sk-publickey", "totp")
    assert kept_by(("sk-publickey", "password", "totp"), same_key=False) == ("password", "totp")
