"""Judging OpenSSH certificates (L1, pure): engineers' at the front door, hosts' at the targets.

Here it is decided whether the signer may sign, for whom, when and from where; `wire.certificates` proves that the
signature is the signer's. Either may come first, both must: a stranger's certificate is judged by what it says
before a signature of his choosing is verified (`auth.credentials` has the order). Invariants: no clock skew is
allowed when checking; an unknown critical option refuses, an unknown extension is ignored; no CA configured
refuses everybody.
Source: OpenSSH PROTOCOL.certkeys and `sshkey_cert_check_authority`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bastion.auth.issued import EXTENSION, Carried
from bastion.auth.restrictions import AddressList, Restrictions, wildcard_match
from bastion.errors import AuthReason, ProtocolError, Refused
from bastion.wire.certificates import (
    CA_SIGNATURE_ALGORITHMS,
    CERTIFICATE_TYPES,
    FOREVER,
    Certificate,
    CertificateKind,
    UnverifiedCertificate,
)
from bastion.wire.data import Reader
from bastion.wire.key_options import ALL_PERMITS
from bastion.wire.keys import SECURITY_KEY_TYPES, PublicKey, fingerprint_of

Claims = Certificate | UnverifiedCertificate
"""What is judged here: a certificate, or what one says that is still to be verified."""

FORCE_COMMAND = "force-command"
SOURCE_ADDRESS = "source-address"
VERIFY_REQUIRED = "verify-required"
NO_TOUCH_REQUIRED = "no-touch-required"


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a checked user certificate says, for audit and policy.

    `fingerprint` is of the certified key; `valid_before` None = no end; `source_addresses` None = absent;
    `touch_required` and `verify_required` are demands on a security key's signature. `carried`: what a certificate that
    was issued for a login carries of it; None: it was not.
    """

    key_id: str
    serial: int
    ca_fingerprint: str
    fingerprint: str
    valid_before: int | None
    force_command: str | None
    source_addresses: AddressList | None
    extensions: frozenset[str]
    touch_required: bool = True
    verify_required: bool = False
    carried: Carried | None = None

    def check_holder(self, uid: str) -> None:
        """Raises Refused(CERT_WRONG_PRINCIPAL): it was issued here to another account, which had that name before."""
        if self.carried is not None and self.carried.uid not in ("", uid):
            text = "the certificate was issued to another account that had this name"
            raise Refused(AuthReason.CERT_WRONG_PRINCIPAL, text)

    @property
    def restrictions(self) -> Restrictions:
        """The same as the value that is intersected with those of other factors."""
        return Restrictions(
            force_command=self.force_command,
            source_addresses=() if self.source_addresses is None else (self.source_addresses,),
            extensions=self.extensions,
            valid_before=self.valid_before,
        )


def check_user_certificate(
    certificate: Claims,
    trusted_cas: Collection[PublicKey],
    principals: Collection[str],
    now: float,
    source_address: str,
    algorithms: Collection[str] = CA_SIGNATURE_ALGORITHMS,
    issuers: Collection[PublicKey] = (),
) -> CertificateFacts:
    """May the holder log in as one of `principals` (the identity's name, exactly), now, from this address?

    `issuers` are those of the CAs whose word on the factors of an earlier login counts.
    The account is still the directory's to judge, and possession of the key is still to be proved; so is the CA's
    signature when `certificate` is an unverified one.
    Raises Refused with one of the CERT_* reasons.
    """
    if certificate.kind is not CertificateKind.USER:
        raise Refused(AuthReason.CERT_WRONG_TYPE, "the certificate is for hosts, not for users")
    _check_authority(certificate, trusted_cas, algorithms)
    _check_validity(certificate, now)
    if not certificate.principals:
        # OpenSSH: "Certificate lacks principal list"; empty never means anybody.
        raise Refused(AuthReason.CERT_NO_PRINCIPALS, "the certificate names no principal")
    if not any(name in certificate.principals for name in principals):
        raise Refused(AuthReason.CERT_WRONG_PRINCIPAL, "the certificate is not for this user name")
    force_command, sources = _critical_options(certificate)
    if sources is not None and not sources.matches(source_address):
        raise Refused(AuthReason.CERT_SOURCE_ADDRESS, "the certificate may not be used from this address")
    return CertificateFacts(
        key_id=certificate.key_id,
        serial=certificate.serial,
        ca_fingerprint=fingerprint_of(certificate.signature_key_blob),
        fingerprint=fingerprint_of(certificate.key_blob),
        valid_before=None if certificate.valid_before == FOREVER else certificate.valid_before,
        force_command=force_command,
        source_addresses=sources,
        extensions=_permits(certificate),
        touch_required=NO_TOUCH_REQUIRED not in certificate.extensions,
        verify_required=VERIFY_REQUIRED in certificate.critical_options,
        carried=_carried(certificate, issuers),
    )


def check_host_certificate(
    certificate: Certificate,
    trusted_cas: Collection[PublicKey],
    names: Iterable[str],
    now: float,
    algorithms: Collection[str] = CA_SIGNATURE_ALGORITHMS,
) -> None:
    """May the holder stand for one of the host `names` (without port), now? Raises Refused(CERT_*).

    Principals of hosts may hold * and ?, and compare without regard to case; critical options refuse, because
    none is defined for hosts.
    """
    if certificate.kind is not CertificateKind.HOST:
        raise Refused(AuthReason.CERT_WRONG_TYPE, "the certificate is for users, not for hosts")
    _check_authority(certificate, trusted_cas, algorithms)
    if certificate.key.is_security_key:
        raise Refused(AuthReason.SK_KEY_REFUSED, "security keys are not accepted as host keys")
    _check_validity(certificate, now)
    if not certificate.principals:
        raise Refused(AuthReason.CERT_NO_PRINCIPALS, "the host certificate names no host")
    wanted = [name.lower() for name in names]
    patterns = [principal.lower() for principal in certificate.principals]
    if not any(wildcard_match(pattern, name) for pattern in patterns for name in wanted):
        raise Refused(AuthReason.CERT_WRONG_PRINCIPAL, "the host certificate is for another host")
    if certificate.critical_options:
        raise Refused(AuthReason.CERT_CRITICAL_OPTION, "the host certificate has a critical option")


def _is_security_key(certificate: Claims) -> bool:
    return CERTIFICATE_TYPES[certificate.type] in SECURITY_KEY_TYPES


def _check_authority(
    certificate: Claims, trusted_cas: Collection[PublicKey], algorithms: Collection[str]
) -> None:
    """The signer is byte for byte a configured CA and signed with an accepted algorithm."""
    if not trusted_cas:
        raise Refused(AuthReason.CERT_UNTRUSTED_CA, "no certificate authority is configured")
    if not any(ca.blob == certificate.signature_key_blob for ca in trusted_cas):
        raise Refused(AuthReason.CERT_UNTRUSTED_CA, "the certificate's authority is not trusted here")
    if certificate.signature_algorithm not in algorithms:
        raise Refused(AuthReason.CERT_CA_ALGORITHM, "the certificate's signature algorithm is not accepted")


def _check_validity(certificate: Claims, now: float) -> None:
    """valid_after <= now < valid_before (PROTOCOL.certkeys); no skew."""
    if now < certificate.valid_after:
        raise Refused(AuthReason.CERT_NOT_YET_VALID, "the certificate is not valid yet")
    if now >= certificate.valid_before:
        raise Refused(AuthReason.CERT_EXPIRED, "the certificate has expired")


def _critical_options(certificate: Claims) -> tuple[str | None, AddressList | None]:
    """force-command and source-address; what is neither, and cannot be obeyed elsewhere, refuses."""
    force_command: str | None = None
    sources: AddressList | None = None
    for name, data in certificate.critical_options.items():
        if name == FORCE_COMMAND:
            force_command = _option_text(data)
        elif name == SOURCE_ADDRESS:
            sources = _source_addresses(data)
        elif name == VERIFY_REQUIRED:
            _check_verifiable(certificate, data)
        else:
            raise Refused(AuthReason.CERT_CRITICAL_OPTION, "the certificate has an unknown critical option")
    return force_command, sources


def _check_verifiable(certificate: Claims, data: bytes) -> None:
    """The demand for user verification stands in a flag, and a security key can meet it."""
    if data:
        raise Refused(AuthReason.CERT_MALFORMED, "a critical option of the certificate has data")
    if not _is_security_key(certificate):
        # OpenSSH obeys it where it finds a security key, and ignores it elsewhere; critical means otherwise.
        text = "the certificate demands user verification, which only a security key can show"
        raise Refused(AuthReason.CERT_CRITICAL_OPTION, text)


def _option_text(data: bytes) -> str:
    """The one string inside an option's data."""
    try:
        reader = Reader(data)
        text = reader.text()
        reader.end()
    except ProtocolError:
        raise Refused(AuthReason.CERT_MALFORMED, "a critical option cannot be read") from None
    if "\0" in text:
        raise Refused(AuthReason.CERT_MALFORMED, "a critical option holds a NUL")
    return text


def _source_addresses(data: bytes) -> AddressList:
    """The CIDR list; present but empty matches nobody, malformed refuses (never "no restriction")."""
    try:
        return AddressList.from_cidr_list(_option_text(data))
    except ProtocolError:
        raise Refused(AuthReason.CERT_SOURCE_ADDRESS, "the certificate's address list is malformed") from None


def _carried(certificate: Claims, issuers: Collection[PublicKey]) -> Carried | None:
    """What it says of the login that got it, believed of our own CAs alone."""
    data = certificate.extensions.get(EXTENSION)
    if data is None:
        return None
    if not any(ca.blob == certificate.signature_key_blob for ca in issuers):
        return Carried()
    try:
        return Carried.read(data)
    except ProtocolError:
        raise Refused(AuthReason.CERT_MALFORMED, "what the certificate carries cannot be read") from None


def _permits(certificate: Claims) -> frozenset[str]:
    """The permits among the extensions; they are flags, so data behind one means a broken issuer."""
    for name, data in certificate.extensions.items():
        if data and (name in ALL_PERMITS or name == NO_TOUCH_REQUIRED):
            raise Refused(AuthReason.CERT_MALFORMED, "an extension of the certificate has data")
    return ALL_PERMITS.intersection(certificate.extensions)
