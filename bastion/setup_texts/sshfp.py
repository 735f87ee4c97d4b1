"""SSHFP records for the gateway's host keys, as lines of a zone file (RFC 4255, RFC 6594, RFC 7479; pure text)."""

from __future__ import annotations

import hashlib

from bastion.setup_texts.facts import ClientFacts
from bastion.wire.keys import ED25519, RSA, PublicKey

SHA256 = 2
"""The only type of fingerprint that is written: type 1 is SHA-1."""


def sshfp(facts: ClientFacts) -> str:
    """One record for each host key that clients may be shown, of both while one takes the other's place.

    Without DNSSEC in the zone and a resolver that validates it, no client trusts them.
    """
    name = f"{facts.gateway.rstrip('.')}."
    lines = [f"{name} IN SSHFP {algorithm_of(key)} {SHA256} {fingerprint_of(key)}" for key in facts.host_keys]
    return "\n".join(lines) + "\n"


def algorithm_of(key: PublicKey) -> int:
    """The number of its type (IANA, "SSHFP RR Types for public key algorithms")."""
    return 1 if key.type == RSA else 4 if key.type == ED25519 else 3


def fingerprint_of(key: PublicKey) -> str:
    """SHA-256 over the key blob, in hexadecimal (RFC 6594 section 4)."""
    return hashlib.sha256(key.blob).hexdigest()
