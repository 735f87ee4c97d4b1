"""Signatures of FIDO2 security keys: what was signed, and what the authenticator says of it (L0, pure).

An authenticator signs more than it was asked to: the application, its flags (was it touched, has it verified who
touched it) and a counter. Invariant: an `Assertion` exists only when the signature over all of that is right, so its
flags are the authenticator's own; whether they are enough is judged elsewhere (`auth.security_keys`).
Sources: OpenSSH PROTOCOL.u2f, W3C WebAuthn sections 6.1 and 7.2.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, byte, uint32
from bastion.wire.keys import (
    ED25519,
    MAX_SIGNATURE_BLOB,
    SK_ECDSA,
    SK_ED25519,
    BadSignature,
    PublicKey,
    verify_maths,
)

WEBAUTHN_ECDSA: Final = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
"""A signature that a browser had made by an sk-ecdsa key; the key itself has no such type."""

# Signature algorithm -> the type of the key that makes it, and how it is computed.
_ALGORITHMS: Final = {
    SK_ED25519: (SK_ED25519, ED25519),
    SK_ECDSA: (SK_ECDSA, "ecdsa-sha2-nistp256"),
    WEBAUTHN_ECDSA: (SK_ECDSA, "ecdsa-sha2-nistp256"),
}

_PRESENT: Final = 0x01
_VERIFIED: Final = 0x04
_ATTESTED: Final = 0x40
_EXTENDED: Final = 0x80


@dataclass(frozen=True, slots=True)
class Assertion:
    """What an authenticator says of a signature that is right.

    `touched`: somebody was there; `verified`: it knows who, by a PIN or a finger; `counter`: of its signatures, or 0
    when it does not count.
    """

    touched: bool
    verified: bool
    counter: int


def verify_assertion(key: PublicKey, signature_blob: bytes, data: bytes, algorithm: str) -> Assertion:
    """Check a security key's signature over `data`; the name inside must be `algorithm` and fit the key.

    Raises BadSignature for everything, as `PublicKey.verify` does.
    """
    key_type, mathematics = _ALGORITHMS.get(algorithm, ("", ""))
    if key.type != key_type or len(signature_blob) > MAX_SIGNATURE_BLOB:
        raise BadSignature
    try:
        reader = Reader(signature_blob)
        if reader.name() != algorithm:
            raise BadSignature
        signature, flags, counter = reader.string(), reader.byte(), reader.uint32()
        extensions = b""
        if algorithm == WEBAUTHN_ECDSA:
            origin, client_data, extensions = reader.string(), reader.string(), reader.string()
            data = _client_data(data, origin, client_data, flags, extensions)
        reader.end()
        signed = (
            hashlib.sha256(key.application.encode()).digest()
            + byte(flags)
            + uint32(counter)
            + extensions
            + hashlib.sha256(data).digest()
        )
        verify_maths(key.key, signature, signed, mathematics)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, OverflowError, ProtocolError):
        raise BadSignature from None
    return Assertion(bool(flags & _PRESENT), bool(flags & _VERIFIED), counter)


def _client_data(data: bytes, origin: bytes, client_data: bytes, flags: int, extensions: bytes) -> bytes:
    """What a browser had signed in the place of `data`, once it is certain that `data` is what it is about.

    Everything that a browser adds behind the origin is its own affair, and signed with the rest.
    """
    challenge = base64.urlsafe_b64encode(data).rstrip(b"=")
    begin = b'{"type":"webauthn.get","challenge":"' + challenge + b'","origin":"' + origin + b'"'
    if b'"' in origin or b"\0" in origin or not client_data.startswith(begin):
        raise BadSignature
    if flags & _ATTESTED or bool(flags & _EXTENDED) != bool(extensions):
        raise BadSignature
    return client_data
