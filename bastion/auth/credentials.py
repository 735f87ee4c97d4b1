"""Reading and verifying what somebody offers as a proof, the cheapest question first (L1, pure).

Whoever asks has proved nothing, and what he sends may be made to cost: the CA of a certificate is the sender's
choice, and one signature of an RSA-16384 key takes 3 ms to verify. So nothing is computed before everything that
can be said without computing has been said. The order, from the request to the directory:

1. the length of the user name (`userauth.server`), its grammar and the penalties (`auth.attempt`);
2. the name of the algorithm;
3. the length of the key or certificate, and the type that it declares, which must be the algorithm's;
4. of a certificate, what it says (`auth.certificates`): that its signer is, byte for byte, a login CA that is
   configured, then kind, validity, principals, critical options, source address;
5. the sizes of the keys: RSA of 2,048 to 16,384 bits, as OpenSSH takes them;
6. the purse of the source pays what the computation costs (`Work.PUBLIC_KEY`, `verify_cost`);
7. the keys are made, and the CA's signature is verified;
8. the purse pays again, and the signature that proves possession is verified;
9. the directory is asked. What it answers is judged last, since it costs others more than us.

A query (RFC 4252 section 7) ends after 7 and 9: it is no proof and leaves nothing behind (CVE-2024-45337).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bastion.errors import AuthReason, ProtocolError, Refused
from bastion.wire.certificates import (
    SIGNATURE_OF_CERTIFICATE,
    CaAlgorithmRefused,
    Certificate,
    UnverifiedCertificate,
)
from bastion.wire.data import Reader
from bastion.wire.keys import BadSignature, PublicKey, key_size
from bastion.wire.security_keys import Assertion, verify_assertion

# Signature algorithm -> the type its key blob must declare (RFC 8332 section 3, OpenSSH PROTOCOL.certkeys).
KEY_TYPE_OF: Final[dict[str, str]] = {
    "ssh-ed25519": "ssh-ed25519",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521",
    "rsa-sha2-256": "ssh-rsa",
    "rsa-sha2-512": "ssh-rsa",
    "ssh-ed25519-cert-v01@openssh.com": "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com": "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com": "ssh-rsa-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com": "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com": "sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com": "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com": "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
}
CERT_SUFFIX: Final = "-cert-v01@openssh.com"

Credential = PublicKey | Certificate

VERIFY_COST: Final[dict[str, int]] = {
    "ssh-ed25519": 200,
    "ecdsa-sha2-nistp256": 150,
    "ecdsa-sha2-nistp384": 900,
    "ecdsa-sha2-nistp521": 1000,
    "sk-ssh-ed25519@openssh.com": 200,
    "sk-ecdsa-sha2-nistp256@openssh.com": 150,
}
"""Microseconds of one verification, measured with cryptography 50 on the machine of docs/performance.md."""

RSA_COST_SHARE: Final = 90_000
"""RSA takes the square of its bits divided by this, in microseconds, with the largest exponent that is accepted
(2^32; 65537 takes 40 % of it): 47 with 2,048 bits, 186 with 4,096, 750 with 8,192, 2,980 with 16,384."""

READ_COST: Final = 50
"""Microseconds of making a key of a blob: the costliest is a point of P-521."""


def verify_cost(key_type: str, bits: int) -> int:
    """Microseconds of making such a key and verifying one signature with it."""
    return READ_COST + VERIFY_COST.get(key_type, bits * bits // RSA_COST_SHARE)


def read_credential(
    algorithm: str,
    blob: bytes,
    judge: Callable[[UnverifiedCertificate], None],
    pay: Callable[[int], None],
) -> Credential:
    """The key or certificate that a request offers; steps 2 to 7 above.

    `judge` says whether a certificate may be used, by what it says; `pay` takes microseconds. Both raise Refused.
    Raises Refused with an AuthReason for everything else, too.
    """
    declared = KEY_TYPE_OF.get(algorithm)
    if declared is None:
        raise Refused(AuthReason.KEY_UNSUPPORTED, "the key's algorithm is not supported")
    certified = algorithm.endswith(CERT_SUFFIX)
    malformed = Refused(
        AuthReason.CERT_MALFORMED if certified else AuthReason.KEY_MALFORMED, "the key cannot be read"
    )
    try:
        # CVE-2026-16516 class: the blob must be of the type that the algorithm stands for.
        if Reader(blob).text(64) != declared:
            raise malformed
        return _read_certificate(blob, judge, pay) if certified else _read_key(blob, pay)
    except CaAlgorithmRefused as error:
        raise Refused(AuthReason.CERT_CA_ALGORITHM, error.text) from None
    except ProtocolError:
        raise malformed from None


def _read_key(blob: bytes, pay: Callable[[int], None]) -> PublicKey:
    key_size(blob)
    pay(READ_COST)
    return PublicKey.parse(blob)


def _read_certificate(
    blob: bytes, judge: Callable[[UnverifiedCertificate], None], pay: Callable[[int], None]
) -> Certificate:
    claims = UnverifiedCertificate.read(blob)
    judge(claims)
    key_size(claims.key_blob)
    pay(READ_COST + verify_cost(*key_size(claims.signature_key_blob)))
    return claims.verify()


def verify_possession(
    credential: Credential, algorithm: str, signature: bytes, data: bytes, pay: Callable[[int], None]
) -> Assertion | None:
    """Step 8: whoever signed `data` has the private key. Raises Refused(BAD_SIGNATURE), and what `pay` raises.

    Of a security key what its authenticator says: whether that is enough depends on whose key it is.
    """
    key = credential.key if isinstance(credential, Certificate) else credential
    assert isinstance(key, PublicKey)
    pay(verify_cost(key.type, key.bits))
    named = SIGNATURE_OF_CERTIFICATE.get(algorithm, algorithm)
    try:
        if key.is_security_key:
            return verify_assertion(key, signature, data, named)
        key.verify(signature, data, named)
        return None
    except BadSignature:
        raise Refused(AuthReason.BAD_SIGNATURE, "the signature is not valid") from None
