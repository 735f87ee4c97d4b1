"""The mathematics of the key exchange methods: one public value each way, one shared secret.

Invariant: a peer's value is checked as its RFC says before it is used, and whatever is wrong with it, or with
what comes of it, raises the same `ProtocolError`.
"""

from __future__ import annotations

import hashlib
import secrets
import warnings
from functools import cache
from typing import Protocol

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 - else at the first key, where no descriptor may be left
from cryptography.hazmat.primitives.asymmetric import dh, ec, mlkem, x25519
from cryptography.utils import CryptographyDeprecationWarning

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, mpint, string
from bastion.wire.numbers import Disconnect

# cryptography 50 still has Diffie-Hellman modulo a prime and warns that it will go. Clients without elliptic
# curves need it, so we know; said once here instead of on every operator's terminal.
warnings.filterwarnings(
    "ignore",
    message="Diffie-Hellman over finite fields",
    category=CryptographyDeprecationWarning,
    module=__name__,
)

_MLKEM_PUBLIC, _MLKEM_CIPHERTEXT, _X25519_PUBLIC = 1184, 1088, 32


def bad_value() -> ProtocolError:
    return ProtocolError("bad public value in the key exchange", Disconnect.KEY_EXCHANGE_FAILED)


class Agreement(Protocol):
    """One run of a method's mathematics. Public values go in and out as they stand in the message."""

    def offer(self) -> bytes:
        """The client's public value."""
        ...

    def answer(self, reader: Reader) -> tuple[bytes, bytes, bytes]:
        """Server: reads the client's value; gives it, our own, and K."""
        ...

    def finish(self, reader: Reader) -> tuple[bytes, bytes]:
        """Client: reads the server's value; gives it and K."""
        ...


class X25519:
    """curve25519-sha256 (RFC 8731)."""

    def __init__(self) -> None:
        self._private = x25519.X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def secret(self, raw: bytes) -> bytes:
        """X25519 with a peer's value. RFC 8731 section 3: MUST be 32 bytes, an all-zero result aborts."""
        if len(raw) != _X25519_PUBLIC:
            raise bad_value()
        try:
            secret = self._private.exchange(x25519.X25519PublicKey.from_public_bytes(raw))
        except ValueError:
            raise bad_value() from None
        if not any(secret):
            raise bad_value()
        return secret

    def offer(self) -> bytes:
        return string(self.public)

    def answer(self, reader: Reader) -> tuple[bytes, bytes, bytes]:
        theirs, shared = self.finish(reader)
        return theirs, string(self.public), shared

    def finish(self, reader: Reader) -> tuple[bytes, bytes]:
        raw = reader.string(_X25519_PUBLIC)
        return string(raw), mpint(int.from_bytes(self.secret(raw), "big"))


class MlKemX25519:
    """mlkem768x25519-sha256 (draft-ietf-sshm-mlkem-hybrid-kex): K is the string SHA256(K_PQ || K_CL)."""

    def __init__(self) -> None:
        self._classical = X25519()
        self._private: mlkem.MLKEM768PrivateKey | None = None

    def _shared(self, post_quantum: bytes, classical: bytes) -> bytes:
        return string(hashlib.sha256(post_quantum + classical).digest())

    def offer(self) -> bytes:
        self._private = mlkem.MLKEM768PrivateKey.generate()
        return string(self._private.public_key().public_bytes_raw() + self._classical.public)

    def answer(self, reader: Reader) -> tuple[bytes, bytes, bytes]:
        raw = reader.string(_MLKEM_PUBLIC + _X25519_PUBLIC)
        if len(raw) != _MLKEM_PUBLIC + _X25519_PUBLIC:
            raise bad_value()
        classical = self._classical.secret(raw[_MLKEM_PUBLIC:])
        try:
            # FIPS 203 section 7.2: the key is checked (type and modulus) when it is read
            key = mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC])
            post_quantum, ciphertext = key.encapsulate()
        except ValueError:
            raise bad_value() from None
        return string(raw), string(ciphertext + self._classical.public), self._shared(post_quantum, classical)

    def finish(self, reader: Reader) -> tuple[bytes, bytes]:
        raw = reader.string(_MLKEM_CIPHERTEXT + _X25519_PUBLIC)
        if len(raw) != _MLKEM_CIPHERTEXT + _X25519_PUBLIC or self._private is None:
            raise bad_value()
        classical = self._classical.secret(raw[_MLKEM_CIPHERTEXT:])
        try:
            post_quantum = self._private.decapsulate(raw[:_MLKEM_CIPHERTEXT])
        except ValueError:
            raise bad_value() from None
        return string(raw), self._shared(post_quantum, classical)


class NistCurve:
    """ecdh-sha2-nistp* (RFC 5656 section 4): uncompressed points, on the curve, K the x coordinate."""

    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._curve = curve
        self._private = ec.generate_private_key(curve)
        numbers = self._private.public_key().public_numbers()
        self._width = width = (curve.key_size + 7) // 8
        self._public = b"\x04" + numbers.x.to_bytes(width, "big") + numbers.y.to_bytes(width, "big")

    def offer(self) -> bytes:
        return string(self._public)

    def answer(self, reader: Reader) -> tuple[bytes, bytes, bytes]:
        theirs, shared = self.finish(reader)
        return theirs, string(self._public), shared

    def finish(self, reader: Reader) -> tuple[bytes, bytes]:
        raw = reader.string(1 + 2 * self._width)
        if len(raw) != 1 + 2 * self._width or raw[0] != 4:
            raise bad_value()
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(
                self._curve, raw
            )  # RFC 5656: MUST be validated
            secret = self._private.exchange(ec.ECDH(), peer)
        except ValueError:
            raise bad_value() from None
        return string(raw), mpint(int.from_bytes(secret, "big"))


class ModP:
    """Diffie-Hellman modulo a prime (RFC 4253 section 8), in a group that the server named.

    Plain integers: OpenSSL tests a group it does not know for primality, which takes it 1 s for 3072 bits and
    25 s for 8192 (measured). `pow` is not constant in time, but an exponent is used for one exchange only.
    """

    def __init__(self, p: int, g: int) -> None:
        self._p = p
        self._exponent = 0
        self._public = self._make(p, g)

    def _make(self, p: int, g: int) -> int:
        # Twice the strength of the group is enough (RFC 4419 section 6.2)
        self._exponent = secrets.randbits(max(256, p.bit_length() // 20)) | 1 << 255
        return pow(g, self._exponent, p)

    def _power(self, value: int) -> int:
        return pow(value, self._exponent, self._p)

    def offer(self) -> bytes:
        return mpint(self._public)

    def answer(self, reader: Reader) -> tuple[bytes, bytes, bytes]:
        theirs, shared = self.finish(reader)
        return theirs, mpint(self._public), shared

    def finish(self, reader: Reader) -> tuple[bytes, bytes]:
        value = reader.mpint()
        # RFC 4253 section 8: outside [1, p-1] MUST NOT be accepted; RFC 8268 section 4: nor 1 and p-1
        if not 1 < value < self._p - 1:
            raise bad_value()
        secret = self._power(value)
        if not 1 < secret < self._p - 1:
            raise bad_value()
        return mpint(value), mpint(secret)


class NamedModP(ModP):
    """The same in a group of RFC 3526, which OpenSSL knows: ten times faster, and constant in time."""

    def __init__(self, bits: int) -> None:
        super().__init__(modp_prime(bits), 2)

    def _make(self, p: int, g: int) -> int:
        self._numbers = dh.DHParameterNumbers(p, g)
        self._private = self._numbers.parameters().generate_private_key()
        return self._private.public_key().public_numbers().y

    def _power(self, value: int) -> int:
        try:
            secret = self._private.exchange(dh.DHPublicNumbers(value, self._numbers).public_key())
        except ValueError:
            raise bad_value() from None
        return int.from_bytes(secret, "big")


MODP_GROUPS = {2048: 124476, 3072: 1690314, 4096: 240904, 6144: 929484, 8192: 4743158}


def _arctan_inverse(x: int, unit: int) -> int:
    """arctan(1/x) * unit, rounded towards zero term by term."""
    power = total = unit // x
    divisor, sign = 1, 1
    while power:
        power //= x * x
        divisor, sign = divisor + 2, -sign
        total += sign * (power // divisor)
    return total


@cache
def modp_prime(bits: int) -> int:
    """The prime of the group with `bits` bits, as RFC 3526 defines it: 2^n - 2^(n-64) - 1 + 2^64 * k."""
    guard = 64
    unit = 1 << (bits - 130 + guard)
    pi = 4 * (4 * _arctan_inverse(5, unit) - _arctan_inverse(239, unit)) >> guard
    return (1 << bits) - (1 << (bits - 64)) - 1 + ((pi + MODP_GROUPS[bits]) << 64)


def modp_group(p: int, g: int) -> ModP:
    """The group that a server named: by OpenSSL when it is one of RFC 3526, which costs a sixth."""
    bits = p.bit_length()
    known = g == 2 and bits in MODP_GROUPS and p == modp_prime(bits)
    return NamedModP(bits) if known else ModP(p, g)
