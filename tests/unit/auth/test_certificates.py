"""Login and host certificates that servers with published faults took: each is refused here by a test of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bastion.auth.certificates import (
    CertificateFacts,
    check_host_certificate,
    check_user_certificate,
)
from bastion.auth.credentials import Credential, read_credential
from bastion.errors import AuthReason, Refused
from bastion.wire.certificates import FOREVER, Certificate, CertificateKind, flag_options, issue
from bastion.wire.data import string
from bastion.wire.keys import PrivateKey, PublicKey
from tests.unit.wire.keygen import certify, load, make_key

CA = PrivateKey.generate_ed25519()
OTHER_CA = PrivateKey.generate_ed25519()
USER = PrivateKey.generate_ed25519().public
NOW = 1_800_000_000


def make(**changes: Any) -> Certificate:
    values: dict[str, Any] = {
        "kind": CertificateKind.USER,
        "serial": 5,
        "key_id": "alice@laptop",
        "principals": ["alice"],
        "valid_after": NOW - 10,
        "valid_before": NOW + 10,
        "extensions": dict(flag_options(["permit-pty"])),
    }
    ca = changes.pop("ca", CA)
    key = changes.pop("key", USER)
    return issue(ca, key, **{**values, **changes})


def check(
    certificate: Certificate,
    cas: tuple[PublicKey, ...] = (CA.public,),
    name: str = "alice",
    now: float = NOW,
    source: str = "192.0.2.7",
) -> CertificateFacts:
    return check_user_certificate(certificate, cas, (name,), now, source)


def refused(certificate: Certificate, **arguments: Any) -> AuthReason:
    with pytest.raises(Refused) as refusal:
        check(certificate, **arguments)
    assert isinstance(refusal.value.reason, AuthReason)
    return refusal.value.reason


def test_the_facts_of_a_good_certificate() -> None:
    critical = {"force-command": "uptime", "source-address": "192.0.2.0/24"}
    facts = check(make(critical_options=critical))
    assert (facts.key_id, facts.serial, facts.valid_before) == ("alice@laptop", 5, NOW + 10)
    assert (facts.ca_fingerprint, facts.fingerprint) == (CA.public.fingerprint(), USER.fingerprint())
    restrictions = facts.restrictions
    assert restrictions.force_command == "uptime"
    assert restrictions.extensions == {"permit-pty"}
    assert restrictions.valid_before == NOW + 10
    assert restrictions.allows_source("192.0.2.9") and not restrictions.allows_source("198.51.100.1")


def test_a_certificate_of_ssh_keygen_is_accepted(tmp_path: Path) -> None:
    ca, key = make_key(tmp_path, "ca", "-t", "ed25519"), make_key(tmp_path, "key", "-t", "ed25519")
    blob = certify(ca, key, "-I", "id", "-n", "alice", "-V", "20270101:20280101", "-O", "verify-required")
    cas = (load(ca).public,)
    assert refused(Certificate.parse(blob), cas=cas) is AuthReason.CERT_CRITICAL_OPTION
    blob = certify(ca, key, "-I", "id", "-n", "alice", "-V", "20270101:20280101")
    facts = check(Certificate.parse(blob), cas=cas)
    assert len(facts.extensions) == 5 and facts.force_command is None and facts.source_addresses is None


def test_validity_has_no_skew_and_an_exclusive_end() -> None:
    certificate = make(valid_after=NOW, valid_before=NOW + 1)
    assert check(certificate, now=NOW).serial == 5
    assert check(certificate, now=NOW + 0.999).serial == 5
    assert refused(certificate, now=NOW - 0.001) is AuthReason.CERT_NOT_YET_VALID
    assert refused(certificate, now=NOW + 1) is AuthReason.CERT_EXPIRED


def test_a_certificate_without_end() -> None:
    facts = check(make(valid_before=FOREVER))
    assert facts.valid_before is None and facts.restrictions.valid_before is None


def test_a_host_certificate_is_no_login() -> None:
    assert refused(make(kind=CertificateKind.HOST)) is AuthReason.CERT_WRONG_TYPE


def test_the_ca_must_be_configured_byte_for_byte() -> None:
    assert refused(make(ca=OTHER_CA)) is AuthReason.CERT_UNTRUSTED_CA
    assert refused(make(), cas=(OTHER_CA.public,)) is AuthReason.CERT_UNTRUSTED_CA
    assert check(make(), cas=(OTHER_CA.public, CA.public)).serial == 5


def test_no_ca_configured_refuses_everybody_clearly() -> None:
    with pytest.raises(Refused, match="no certificate authority is configured"):
        check(make(), cas=())


def test_a_certificate_signed_with_its_own_key_is_untrusted() -> None:
    key = PrivateKey.generate_ed25519()
    assert refused(make(ca=key, key=key.public)) is AuthReason.CERT_UNTRUSTED_CA


def test_the_ca_algorithm_must_be_on_the_list(tmp_path: Path) -> None:
    ca = make_key(tmp_path, "ca", "-t", "rsa", "-b", "2048")
    key = make_key(tmp_path, "key", "-t", "ed25519")
    with pytest.raises(Refused) as refusal:
        read(certify(ca, key, "-I", "x", "-n", "alice", "-t", "ssh-rsa"))
    assert refusal.value.reason is AuthReason.CERT_CA_ALGORITHM
    with pytest.raises(Refused) as refusal:
        check_user_certificate(make(), (CA.public,), ("alice",), NOW, "::1", algorithms=("rsa-sha2-512",))
    assert refusal.value.reason is AuthReason.CERT_CA_ALGORITHM


def read(blob: bytes) -> Credential:
    return read_credential("ssh-ed25519-cert-v01@openssh.com", blob, lambda claims: None, lambda cost: None)


def test_garbage_is_malformed() -> None:
    with pytest.raises(Refused) as refusal:
        read(string("ssh-ed25519-cert-v01@openssh.com") + b"garbage")
    assert refusal.value.reason is AuthReason.CERT_MALFORMED


def _without_principals() -> Certificate:
    """`issue` refuses to make one, so it is taken from ssh-keygen's format by hand."""
    from tests.unit.wire.test_certificates import CA as RAW_CA
    from tests.unit.wire.test_certificates import raw

    certificate = Certificate.parse(raw(principals=b"", before=FOREVER))
    assert certificate.signature_key == RAW_CA.public
    return certificate


def test_zero_principals_never_mean_anybody() -> None:
    certificate = _without_principals()
    assert refused(certificate, cas=(certificate.signature_key,)) is AuthReason.CERT_NO_PRINCIPALS


@pytest.mark.parametrize("principal", ["Alice", "alice ", "al*", "*", "alic", "alice,root", "root"])
def test_principals_compare_exactly(principal: str) -> None:
    assert refused(make(principals=[principal])) is AuthReason.CERT_WRONG_PRINCIPAL


def test_one_of_several_principals_is_enough_and_no_name_is_none() -> None:
    assert check(make(principals=["root", "alice"])).serial == 5
    with pytest.raises(Refused) as refusal:
        check_user_certificate(make(), (CA.public,), (), NOW, "::1")
    assert refusal.value.reason is AuthReason.CERT_WRONG_PRINCIPAL


def test_unknown_critical_options_refuse_and_unknown_extensions_do_not_matter() -> None:
    assert refused(make(critical_options={"new@example.com": "x"})) is AuthReason.CERT_CRITICAL_OPTION
    assert refused(make(critical_options={"verify-required": b""})) is AuthReason.CERT_CRITICAL_OPTION
    assert refused(make(critical_options={"permit-pty": b""})) is AuthReason.CERT_CRITICAL_OPTION
    facts = check(make(extensions={"new@example.com": "x", "permit-pty": b"", "no-touch-required": b""}))
    assert facts.extensions == {"permit-pty"}


def test_source_address() -> None:
    assert check(make(critical_options={"source-address": "192.0.2.7"})).source_addresses is not None
    for text in ("198.51.100.0/24", "", "garbage", "192.0.2.7/24", "192.0.2.*", "192.0.2.7, ::1"):
        certificate = make(critical_options={"source-address": text})
        assert refused(certificate) is AuthReason.CERT_SOURCE_ADDRESS, text


@pytest.mark.parametrize("name", ["source-address", "force-command"])
def test_option_data_must_be_one_string(name: str) -> None:
    """Bytes that are no wrapped string never mean "no restriction"."""
    from tests.unit.wire.test_certificates import raw

    for data in (b"", b"\0\0\0\x09x", string("192.0.2.7") + b"\0", string(b"\xff"), string("a\0b")):
        certificate = Certificate.parse(raw(critical=string(name) + string(data), before=FOREVER))
        reason = refused(certificate, cas=(certificate.signature_key,))
        assert reason in (AuthReason.CERT_MALFORMED, AuthReason.CERT_SOURCE_ADDRESS)


def test_a_permit_with_data_is_malformed() -> None:
    assert refused(make(extensions={"permit-pty": "x"})) is AuthReason.CERT_MALFORMED


def test_what_a_certificate_demands_of_a_security_key() -> None:
    key = PublicKey.parse(string("sk-ssh-ed25519@openssh.com") + string(b"k" * 32) + string("ssh:"))
    facts = check(make(key=key))
    assert (facts.touch_required, facts.verify_required) == (True, False)
    facts = check(make(key=key, extensions=flag_options(["no-touch-required"])))
    assert (facts.touch_required, facts.verify_required, facts.extensions) == (False, False, frozenset())
    facts = check(make(key=key, critical_options=flag_options(["verify-required"])))
    assert (facts.touch_required, facts.verify_required) == (True, True)


def test_demands_with_data_are_malformed_and_of_a_plain_key_cannot_be_met() -> None:
    key = PublicKey.parse(string("sk-ssh-ed25519@openssh.com") + string(b"k" * 32) + string("ssh:"))
    with_data = {"critical_options": {"verify-required": "x"}}, {"extensions": {"no-touch-required": "x"}}
    for options in with_data:
        assert refused(make(key=key, **options)) is AuthReason.CERT_MALFORMED
    plain = make(critical_options=flag_options(["verify-required"]))
    assert refused(plain) is AuthReason.CERT_CRITICAL_OPTION


# -- hosts ---------------------------------------------------------------------------------------------------


def host(**changes: Any) -> Certificate:
    changes = {"kind": CertificateKind.HOST, "principals": ["web1.example.com"], "extensions": {}, **changes}
    return make(**changes)


def check_host(certificate: Certificate, *names: str, now: float = NOW) -> None:
    check_host_certificate(certificate, (CA.public,), names or ("web1.example.com",), now)


@pytest.mark.parametrize(
    "principals", [["WEB1.example.com"], ["*.example.com"], ["other", "web?.example.com"]]
)
def test_a_host_certificate_for_the_name(principals: list[str]) -> None:
    assert check_host(host(principals=principals), "other.net", "Web1.Example.com") is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": CertificateKind.USER}, AuthReason.CERT_WRONG_TYPE),
        ({"principals": ["web2.example.com"]}, AuthReason.CERT_WRONG_PRINCIPAL),
        ({"principals": ["*.example.org"]}, AuthReason.CERT_WRONG_PRINCIPAL),
        ({"valid_before": NOW}, AuthReason.CERT_EXPIRED),
        ({"valid_after": NOW + 1}, AuthReason.CERT_NOT_YET_VALID),
        ({"critical_options": {"force-command": "x"}}, AuthReason.CERT_CRITICAL_OPTION),
        ({"critical_options": {"source-address": "0.0.0.0/0"}}, AuthReason.CERT_CRITICAL_OPTION),
        ({"ca": OTHER_CA}, AuthReason.CERT_UNTRUSTED_CA),
    ],
)
def test_a_host_certificate_that_is_not_good(changes: dict[str, Any], reason: AuthReason) -> None:
    with pytest.raises(Refused) as refusal:
        check_host(host(**changes))
    assert refusal.value.reason is reason
