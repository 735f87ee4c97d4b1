"""OpenSSH certificates (PROTOCOL.certkeys), read and made (L0, pure).

Invariants: a `Certificate` exists only when every byte was understood and the signature of the key inside it
(`signature_key`) is right, or was just made by `issue`; so a changed byte never gives one. That key is always
a plain key: another certificate is refused by its declared name, before anything of it is parsed. Whether the
signer may sign, for whom and when is judged elsewhere (`auth.certificates`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Self

from bastion.errors import ProtocolError
from bastion.wire.data import UINT64_MAX, Reader, string, uint32, uint64
from bastion.wire.keys import (
    ED25519,
    KEY_TYPES,
    MAX_KEY_BLOB,
    MAX_SIGNATURE_BLOB,
    RSA_SHA2_256,
    RSA_SHA2_512,
    PublicKey,
    Signer,
    signature_algorithm,
    skip_fields,
)

CERT_SUFFIX: Final = "-cert-v01@openssh.com"

FOREVER: Final = UINT64_MAX
"""`valid_before` of a certificate without an end (PROTOCOL.certkeys)."""

MAX_CERTIFICATE = 64 * 1024
"""Bytes of one certificate: 256 principals of 64 characters and full options are a third of it."""

MAX_PRINCIPALS = 256
"""OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS."""

MAX_OPTIONS = 64
"""Entries of one option list: OpenSSH knows three critical options and six extensions."""

MAX_NONCE = 256
"""OpenSSH writes 32 bytes; other issuers 16 to 64."""

MAX_KEY_ID = 1024
"""Bytes of the key id, which goes into audit lines and the target's log."""


def _certificate_type(key_type: str) -> str:
    """sk-ssh-ed25519@openssh.com has its certificate form without the first @openssh.com (PROTOCOL.u2f)."""
    return key_type.removesuffix("@openssh.com") + CERT_SUFFIX


# The type inside the blob -> the type of the key it certifies.
CERTIFICATE_TYPES: Mapping[str, str] = MappingProxyType({_certificate_type(name): name for name in KEY_TYPES})

# The algorithm named in a userauth request or KEXINIT -> the algorithm of the signature that goes with it.
# ssh-rsa-cert-v01 as an *algorithm* means SHA-1 and is absent; RFC 8332's names have certificate forms.
SIGNATURE_OF_CERTIFICATE: Mapping[str, str] = MappingProxyType(
    {_certificate_type(name): name for name in (*sorted(KEY_TYPES - {"ssh-rsa"}), RSA_SHA2_512, RSA_SHA2_256)}
)

# OpenSSH's default CASignatureAlgorithms without the sk- ones, whose touch we do not judge yet. No SHA-1.
CA_SIGNATURE_ALGORITHMS: tuple[str, ...] = (
    ED25519,
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    RSA_SHA2_512,
    RSA_SHA2_256,
)


class CaAlgorithmRefused(ProtocolError):
    """The certificate is signed with an algorithm that is not on the list (SHA-1, security keys)."""

    def __init__(self) -> None:
        super().__init__("certificate is signed with an algorithm that is not accepted")


class CertificateKind(IntEnum):
    """SSH2_CERT_TYPE_* of PROTOCOL.certkeys."""

    USER = 1
    HOST = 2


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate, its signature right or just made by `issue`. Equality is equality of `blob`.

    `valid_after` is inclusive, `valid_before` exclusive, in seconds since the epoch. Option values are the
    raw data of the option: flags have b"", the others hold one SSH string. `key` is the plain certified key.
    """

    type: str
    blob: bytes
    key: PublicKey = field(compare=False)
    serial: int = field(compare=False)
    kind: CertificateKind = field(compare=False)
    key_id: str = field(compare=False)
    principals: tuple[str, ...] = field(compare=False)
    valid_after: int = field(compare=False)
    valid_before: int = field(compare=False)
    critical_options: Mapping[str, bytes] = field(compare=False)
    extensions: Mapping[str, bytes] = field(compare=False)
    signature_key: PublicKey = field(compare=False)
    signature_algorithm: str = field(compare=False)

    @classmethod
    def parse(cls, blob: bytes) -> Certificate:
        """Read a certificate to its last byte and check its signature.

        Raises ProtocolError; of it CaAlgorithmRefused when only the signature's algorithm is not accepted,
        and BadSignature when the signature is wrong.
        """
        return UnverifiedCertificate.read(blob).verify()

    def encode(self) -> bytes:
        """The blob, as it was read or made."""
        return self.blob

    def fingerprint(self) -> str:
        """The certified key's fingerprint, as OpenSSH logs it."""
        return self.key.fingerprint()

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithm names to use this certificate with (userauth, KEXINIT), best first."""
        return tuple(_certificate_type(name) for name in self.key.algorithms)

    @property
    def key_blob(self) -> bytes:
        return self.key.blob

    @property
    def signature_key_blob(self) -> bytes:
        return self.signature_key.blob


@dataclass(frozen=True, slots=True)
class UnverifiedCertificate:
    """What a certificate says of itself, before any of it is believed and before any key in it is made.

    Reading it costs 30 us whoever wrote it, so that whoever judges it (`auth.certificates`) can say no before
    the signature, which may cost 3 ms, is verified. Only `verify` leads from here to a `Certificate`.
    """

    type: str
    blob: bytes
    key_blob: bytes
    key_bits: int
    serial: int
    kind: CertificateKind
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: Mapping[str, bytes]
    extensions: Mapping[str, bytes]
    signature_key_blob: bytes
    signature_algorithm: str
    _signature: bytes
    _signed: bytes

    @classmethod
    def read(cls, blob: bytes) -> Self:
        """Read a certificate to its last byte. Raises ProtocolError, of it CaAlgorithmRefused."""
        if len(blob) > MAX_CERTIFICATE:
            raise ProtocolError("certificate is too long")
        reader = Reader(blob)
        cert_type = reader.name()
        key_type = CERTIFICATE_TYPES.get(cert_type)
        if key_type is None:
            raise ProtocolError("certificate type is not supported")
        reader.string(MAX_NONCE)
        key_begins = reader.position
        key_bits = skip_fields(reader, key_type)
        key_blob = string(key_type) + blob[key_begins : reader.position]
        serial = reader.uint64()
        kind = _read_kind(reader.uint32())
        key_id = _plain_text(reader.text(MAX_KEY_ID))
        principals = _read_principals(reader.string(MAX_CERTIFICATE))
        valid_after, valid_before = reader.uint64(), reader.uint64()
        critical = _read_options(reader.string(MAX_CERTIFICATE))
        extensions = _read_options(reader.string(MAX_CERTIFICATE))
        reader.string(MAX_CERTIFICATE)  # reserved: "currently unused and is ignored", but it is signed
        signature_key = reader.string(MAX_KEY_BLOB)
        # Its declared name decides before anything else of it is read (x/crypto 90f76b8).
        if Reader(signature_key).name() not in KEY_TYPES:
            raise ProtocolError("certificate is not signed by a plain key")
        signed = blob[: reader.position]
        signature = reader.string(MAX_SIGNATURE_BLOB)
        reader.end()
        algorithm = signature_algorithm(signature)
        if algorithm not in CA_SIGNATURE_ALGORITHMS:
            raise CaAlgorithmRefused
        return cls(
            type=cert_type,
            blob=bytes(blob),
            key_blob=key_blob,
            key_bits=key_bits,
            serial=serial,
            kind=kind,
            key_id=key_id,
            principals=principals,
            valid_after=valid_after,
            valid_before=valid_before,
            critical_options=critical,
            extensions=extensions,
            signature_key_blob=signature_key,
            signature_algorithm=algorithm,
            _signature=signature,
            _signed=signed,
        )

    def verify(self) -> Certificate:
        """The certificate, its keys made and its signature checked. Raises ProtocolError, of it BadSignature."""
        certificate = self._believe()
        certificate.signature_key.verify(self._signature, self._signed, self.signature_algorithm)
        return certificate

    def _believe(self) -> Certificate:
        """The certificate without a look at its signature: for one that was made a moment ago."""
        return Certificate(
            type=self.type,
            blob=self.blob,
            key=PublicKey.parse(self.key_blob),
            serial=self.serial,
            kind=self.kind,
            key_id=self.key_id,
            principals=self.principals,
            valid_after=self.valid_after,
            valid_before=self.valid_before,
            critical_options=self.critical_options,
            extensions=self.extensions,
            signature_key=PublicKey.parse(self.signature_key_blob),
            signature_algorithm=self.signature_algorithm,
        )


def _read_kind(value: int) -> CertificateKind:
    try:
        return CertificateKind(value)
    except ValueError:
        raise ProtocolError("certificate is neither for users nor for hosts") from None


def _plain_text(text: str) -> str:
    """OpenSSH reads these as C strings: a NUL inside would make two readers see two values."""
    if "\0" in text:
        raise ProtocolError("certificate text holds a NUL")
    return text


def _read_principals(blob: bytes) -> tuple[str, ...]:
    """A string of strings; an empty name would be a principal that nobody wrote."""
    reader = Reader(blob)
    principals: list[str] = []
    while reader.remaining:
        if len(principals) == MAX_PRINCIPALS:
            raise ProtocolError("certificate has too many principals")
        name = _plain_text(reader.text(MAX_KEY_ID))
        if not name:
            raise ProtocolError("certificate has an empty principal")
        principals.append(name)
    return tuple(principals)


def _read_options(blob: bytes) -> Mapping[str, bytes]:
    """Pairs of name and data, "lexically ordered by name", each name once (PROTOCOL.certkeys)."""
    reader = Reader(blob)
    options: dict[str, bytes] = {}
    last = b""
    while reader.remaining:
        raw = reader.string(MAX_KEY_ID)
        data = reader.string(MAX_CERTIFICATE)
        if not raw or raw <= last or len(options) == MAX_OPTIONS:
            raise ProtocolError("certificate options are out of order, repeated, unnamed or too many")
        last = raw
        try:
            options[_plain_text(raw.decode("utf-8"))] = data
        except UnicodeDecodeError:
            raise ProtocolError("certificate option name is not UTF-8") from None
    return MappingProxyType(options)


def flag_options(names: Iterable[str]) -> dict[str, bytes]:
    """Options without data, such as `permit-pty`."""
    return dict.fromkeys(names, b"")


def issue(
    ca: Signer,
    key: PublicKey,
    *,
    kind: CertificateKind,
    serial: int,
    key_id: str,
    principals: Iterable[str],
    valid_after: int,
    valid_before: int,
    critical_options: Mapping[str, str | bytes] | None = None,
    extensions: Mapping[str, str | bytes] | None = None,
    nonce: bytes = b"",
) -> Certificate:
    """Make a certificate for `key`, signed by `ca` with its best algorithm.

    Option values are the text they carry (wrapped into one string), or b"" for a flag. `nonce` is random
    unless given. The result is read as `parse` reads, so what we issue is what we would accept (ProtocolError
    otherwise); only its signature, which is a moment old, is left to whom it is shown. ValueError when the
    validity is empty or there is no principal.
    """
    names = tuple(principals)
    if not names or not 0 <= valid_after < valid_before <= FOREVER:
        raise ValueError("a certificate needs principals and a validity that begins before it ends")
    body = (
        string(_certificate_type(key.type))
        + string(nonce or secrets.token_bytes(32))
        + key.fields
        + uint64(serial)
        + uint32(kind)
        + string(key_id)
        + string(b"".join(string(name) for name in names))
        + uint64(valid_after)
        + uint64(valid_before)
        + string(_write_options(critical_options or {}))
        + string(_write_options(extensions or {}))
        + string(b"")
        + string(ca.public.blob)
    )
    signature = ca.sign(body, ca.public.algorithms[0])
    return UnverifiedCertificate.read(body + string(signature))._believe()


def _write_options(options: Mapping[str, str | bytes]) -> bytes:
    """Sorted by the bytes of the name; a value, even an empty text, is a string inside the data."""
    written = b""
    for raw, value in sorted((name.encode("utf-8"), value) for name, value in options.items()):
        data = string(value) if isinstance(value, str) or value else b""
        written += string(raw) + string(data)
    return written
