"""One-time codes (RFC 6238) and what may stand in for them, as values (L1, pure): the clock is an argument.

Invariants: a code is compared in constant time with those of every step that counts, whichever of them it is; a secret
at rest is sealed, and opens for the identity whose immutable id it was sealed with and for no other; recovery codes are
kept as keyed digests only.
"""

from __future__ import annotations

import secrets
from base64 import b32encode, b64decode, b64encode
from hmac import compare_digest, digest
from typing import Final

import pyotp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bastion.errors import AuthReason, Refused

STEP: Final = 30
"""Seconds that a code is shown for. SHA-1 and six digits, since that is what apps do without being asked."""

DRIFT: Final = 1
"""Steps before and after that of now whose code is taken too: a telephone's clock, and the time it takes to type."""

KEY_MIN: Final = 32
"""Characters that the line of the key file has at least: `openssl rand -base64 32` prints 44."""

RECOVERY_CODES: Final = 10
_RECOVERY_BYTES: Final = (
    10  # 80 bits, 16 characters: nobody guesses one, so that a digest needs no work factor
)
_RECOVERY_LENGTH: Final = 16
_NONCE: Final = 12


class TotpKey:
    """Seals secrets, and makes the digests of recovery codes; both from one line of a file."""

    __slots__ = ("_digests", "_sealing")

    def __init__(self, line: bytes) -> None:
        """`line` is secret. Raises ValueError for one that is too short to be."""
        if len(line) < KEY_MIN:
            raise ValueError(f"has {len(line)} characters, and needs {KEY_MIN}")
        both = HKDF(SHA256(), 64, salt=None, info=b"bastion totp").derive(line)
        self._sealing, self._digests = AESGCM(both[:32]), both[32:]

    def seal(self, secret: str, uid: str) -> str:
        """What may lie in a store, for the identity with this immutable id."""
        nonce = secrets.token_bytes(_NONCE)
        return b64encode(nonce + self._sealing.encrypt(nonce, secret.encode(), uid.encode())).decode()

    def open(self, sealed: str, uid: str) -> str:
        """The secret. Raises Refused(CODES_UNAVAILABLE): another key sealed it, or for somebody else."""
        try:
            whole = b64decode(sealed, validate=True)
            return self._sealing.decrypt(whole[:_NONCE], whole[_NONCE:], uid.encode()).decode()
        except (InvalidTag, ValueError):
            raise Refused(
                AuthReason.CODES_UNAVAILABLE, "the secret cannot be opened with the key that is there"
            ) from None

    def digest_of(self, code: str, uid: str) -> str:
        """Of a recovery code of that identity, in its one form (`normal`)."""
        return digest(self._digests, f"{uid}\0{code}".encode(), "sha256").hex()


def new_secret() -> str:
    """160 bits in base32, as RFC 4226 section 4 asks for."""
    return pyotp.random_base32()


def new_recovery_codes() -> tuple[str, ...]:
    """As they are shown: `abcd-efgh-ijkl-mnop`."""
    made = []
    for _ in range(RECOVERY_CODES):
        code = b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
        made.append("-".join(code[start : start + 4] for start in range(0, _RECOVERY_LENGTH, 4)))
    return tuple(made)


def uri_of(secret: str, name: str, issuer: str) -> str:
    """What an app reads from the picture."""
    return pyotp.TOTP(secret, interval=STEP).provisioning_uri(name=name, issuer_name=issuer)


def normal(answer: str) -> str:
    """What was typed, without the blanks and hyphens that are there for people to read."""
    return "".join(answer.replace("-", "").split()).lower()


def is_recovery(code: str) -> bool:
    """Has it the length of a recovery code?"""
    return len(code) == _RECOVERY_LENGTH


def step_of(secret: str, code: str, now: float) -> int | None:
    """The step whose code this is, of those that count at `now` (seconds since the epoch); None: it is none."""
    generator = pyotp.TOTP(secret, interval=STEP)
    current = int(now) // STEP
    typed = code.encode("utf-8", "replace")
    found = None
    for step in range(current - DRIFT, current + DRIFT + 1):
        if compare_digest(generator.generate_otp(step).encode(), typed):
            found = step
    return found
