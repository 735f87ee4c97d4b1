"""Cipher suites: how one packet is sealed and opened under the keys of one direction.

A suite is a cipher name and a MAC name (ignored where the cipher authenticates by itself). `make_sealer` and
`make_opener` build the object for one direction from `DirectionKeys`; `packets.py` does framing and padding.

Invariants: a length is checked against `PACKET_LIMIT` before anything waits for it or allocates by it;
nothing decrypted is looked at before its tag or MAC was verified, where the suite allows that (all but plain
MACs); bad length, bad tag, bad MAC and bad padding raise the same `ProtocolError` (CVE-2008-5161 class).

Sources: RFC 4253 section 6, RFC 4344 (ctr), RFC 5647 and OpenSSH PROTOCOL 1.6 (gcm), OpenSSH
PROTOCOL.chacha20poly1305, OpenSSH PROTOCOL 1.1 (encrypt-then-MAC), RFC 6668 (hmac-sha2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest
from struct import Struct
from typing import Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.poly1305 import Poly1305

from bastion.errors import ProtocolError

PACKET_LIMIT = 256 * 1024
"""Largest packet_length taken, in bytes: OpenSSH's PACKET_MAX_SIZE. At most this and a MAC is waited for."""

CORRUPT_TEXT = "packet is corrupt"
"""The one answer to every kind of corruption, so that no answer tells an attacker which byte was wrong."""

GCM_CIPHERS = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com")
CHACHA20 = "chacha20-poly1305@openssh.com"

FRONT_CIPHERS = (*GCM_CIPHERS, CHACHA20, "aes256-ctr", "aes128-ctr")
FRONT_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
COMPAT_CIPHERS = (*FRONT_CIPHERS, "aes192-ctr")
COMPAT_MACS = (*FRONT_MACS, "hmac-sha2-256", "hmac-sha2-512")

_UINT32 = Struct(">I")
_UINT64 = Struct(">Q")
_UINT32_AT = _UINT32.unpack_from
_UINT32_INTO = _UINT32.pack_into
_UINT64_INTO = _UINT64.pack_into
_CHACHA_NONCE = Struct(">QQ").pack
_MASK64 = 0xFFFFFFFFFFFFFFFF


class Doomed(Exception):
    """A corrupt packet whose answer must wait: `size` bytes from where it began are taken first."""

    def __init__(self, size: int) -> None:
        super().__init__(CORRUPT_TEXT)
        self.size = size


def corrupt() -> ProtocolError:
    """The error for every packet that cannot be opened; the code is PROTOCOL_ERROR for all of them."""
    return ProtocolError(CORRUPT_TEXT)


@dataclass(frozen=True, slots=True)
class DirectionKeys:
    """Names and secrets of one direction, of the sizes `key_sizes` gives. The secrets are in no repr."""

    cipher: str
    mac: str
    iv: bytes = field(repr=False)
    key: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _CipherSpec:
    key_size: int
    iv_size: int
    block_size: int
    authenticates: bool = False


@dataclass(frozen=True, slots=True)
class _MacSpec:
    size: int
    etm: bool
    algorithm: type[hashes.HashAlgorithm]


_CIPHERS = {
    "aes256-gcm@openssh.com": _CipherSpec(32, 12, 16, True),
    "aes128-gcm@openssh.com": _CipherSpec(16, 12, 16, True),
    CHACHA20: _CipherSpec(64, 0, 8, True),
    "aes256-ctr": _CipherSpec(32, 16, 16),
    "aes192-ctr": _CipherSpec(24, 16, 16),
    "aes128-ctr": _CipherSpec(16, 16, 16),
    "aes256-cbc": _CipherSpec(32, 16, 16),
    "aes128-cbc": _CipherSpec(16, 16, 16),
    "3des-cbc": _CipherSpec(24, 8, 8),
}
_MACS = {
    "hmac-sha2-256-etm@openssh.com": _MacSpec(32, True, hashes.SHA256),
    "hmac-sha2-512-etm@openssh.com": _MacSpec(64, True, hashes.SHA512),
    "hmac-sha2-256": _MacSpec(32, False, hashes.SHA256),
    "hmac-sha2-512": _MacSpec(64, False, hashes.SHA512),
    "hmac-sha1": _MacSpec(20, False, hashes.SHA1),
}


def authenticates(cipher: str) -> bool:
    """Whether the cipher carries its own tag, so that the MAC name is ignored (OpenSSH PROTOCOL 1.6)."""
    return _CIPHERS[cipher].authenticates


def key_sizes(cipher: str, mac: str) -> tuple[int, int, int]:
    """Bytes of IV, key and MAC key to derive for this suite (RFC 4253, 7.2). KeyError: unknown name."""
    spec = _CIPHERS[cipher]
    return spec.iv_size, spec.key_size, 0 if spec.authenticates else _MACS[mac].size


class Sealer(Protocol):
    """One direction out. `covers_length` is 4 when the length field counts for the block size, else 0."""

    block_size: int
    covers_length: int

    def seal(self, sequence: int, plain: bytes) -> bytes:
        """The packet on the wire; `plain` is padding_length, payload and padding."""
        ...


class Opener(Protocol):
    """One direction in. `header_size` bytes must be there before `measure` may be called, once per packet.

    Both methods raise the corruption error or, where its moment would tell something, `Doomed`.
    """

    header_size: int

    def measure(self, sequence: int, view: memoryview, at: int) -> int:
        """Bytes of the whole packet that begins at `at`, its length checked."""
        ...

    def open(self, sequence: int, view: memoryview, at: int, size: int) -> bytes:
        """The payload, never empty."""
        ...


def make_sealer(keys: DirectionKeys) -> Sealer:
    """The sealer for `keys`. KeyError: unknown name. ValueError: wrong key size. Both are our faults."""
    if keys.cipher in GCM_CIPHERS:
        return GcmSealer(keys)
    if keys.cipher == CHACHA20:
        return _ChachaSealer(keys)
    if _MACS[keys.mac].etm:
        return _EtmSealer(keys)
    return _PlainMacSealer(keys)


def make_opener(keys: DirectionKeys) -> Opener:
    """The opener for `keys`; errors as `make_sealer`."""
    if keys.cipher in GCM_CIPHERS:
        return _GcmOpener(keys)
    if keys.cipher == CHACHA20:
        return _ChachaOpener(keys)
    if _MACS[keys.mac].etm:
        return _EtmOpener(keys)
    return _PlainMacOpener(keys)


def _strip(plain: bytes) -> bytes:
    """Payload of padding_length, payload, padding. At least 4 bytes of padding, 1 of payload."""
    end = len(plain) - plain[0]
    if plain[0] < 4 or end < 2:  # RFC 4253 section 6
        raise corrupt()
    return plain[1:end]


class NoneSealer:
    """No cipher and no MAC: only the first key exchange, before NEWKEYS (RFC 4253 section 6)."""

    block_size = 8
    covers_length = 4

    def seal(self, sequence: int, plain: bytes) -> bytes:
        return _UINT32.pack(len(plain)) + plain


class NoneOpener:
    """The other end of `NoneSealer`."""

    header_size = 4

    def measure(self, sequence: int, view: memoryview, at: int) -> int:
        length: int = _UINT32_AT(view, at)[0]
        # RFC 4253 section 6: the packet is at least 16 bytes and a multiple of 8
        if not 12 <= length <= PACKET_LIMIT or (length + 4) & 7:
            raise corrupt()
        return length + 4

    def open(self, sequence: int, view: memoryview, at: int, size: int) -> bytes:
        return _strip(bytes(view[at + 4 : at + size]))


class _Gcm:
    """AES-GCM with the length as associated data; the nonce is 4 fixed bytes and a counter (RFC 5647)."""

    def __init__(self, keys: DirectionKeys) -> None:
        spec = _CIPHERS[keys.cipher]
        if len(keys.key) != spec.key_size or len(keys.iv) != spec.iv_size:
            raise ValueError("key or IV of the wrong size")
        self._aead = AESGCM(keys.key)
        self._nonce = bytearray(keys.iv)
        self._counter = int.from_bytes(keys.iv[4:], "big")


class GcmSealer(_Gcm):
    """Also seals where the caller says (`seal_into`), for bursts that are too large to be copied once more.

    `overhead`: bytes on the wire beside `plain`.
    """

    block_size = 16
    covers_length = 0
    overhead = 20

    def seal(self, sequence: int, plain: bytes) -> bytes:
        header = _UINT32.pack(len(plain))
        sealed = self._aead.encrypt(self._nonce, plain, header)
        self._counter = counter = (self._counter + 1) & _MASK64
        _UINT64_INTO(self._nonce, 4, counter)
        return header + sealed

    def seal_into(self, sequence: int, plain: memoryview, wire: memoryview) -> None:
        """As `seal`, into `wire`, which is `len(plain) + overhead` bytes of another buffer."""
        header = wire[:4]
        _UINT32_INTO(header, 0, len(plain))
        self._aead.encrypt_into(self._nonce, plain, header, wire[4:])
        self._counter = counter = (self._counter + 1) & _MASK64
        _UINT64_INTO(self._nonce, 4, counter)


class _GcmOpener(_Gcm):
    header_size = 4

    def measure(self, sequence: int, view: memoryview, at: int) -> int:
        length: int = _UINT32_AT(view, at)[0]
        if not 16 <= length <= PACKET_LIMIT or length & 15:
            raise corrupt()
        return length + 20

    def open(self, sequence: int, view: memoryview, at: int, size: int) -> bytes:
        start = at + 4
        try:
            plain = self._aead.decrypt(self._nonce, view[start : at + size], view[at:start])
        except InvalidTag:
            raise corrupt() from None
        self._counter = counter = (self._counter + 1) & _MASK64
        _UINT64_INTO(self._nonce, 4, counter)
        end = size - 20 - plain[0]
        if plain[0] < 4 or end < 2:
            raise corrupt()
        return plain[1:end]


_POLY_BLOCK = bytes(64)


class _Chacha:
    """Two ChaCha20 keys: the first seals packets, the second lengths (PROTOCOL.chacha20poly1305)."""

    def __init__(self, keys: DirectionKeys) -> None:
        if len(keys.key) != 64:
            raise ValueError("key of the wrong size")
        self._body = self._stream(keys.key[:32])
        self._length = self._stream(keys.key[32:])

    def _stream(self, key: bytes) -> CipherContext:
        return Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()


class _ChachaSealer(_Chacha):
    block_size = 8
    covers_length = 0

    def seal(self, sequence: int, plain: bytes) -> bytes:
        # The block counter (64 bits, little endian) and the sequence number (64 bits, big endian)
        nonce, body = _CHACHA_NONCE(0, sequence), self._body
        self._length.reset_nonce(nonce)
        body.reset_nonce(nonce)
        poly_key = body.update(_POLY_BLOCK)[:32]  # block 0; the packet begins at block 1
        header, sealed = self._length.update(_UINT32.pack(len(plain))), body.update(plain)
        tag = Poly1305(poly_key)
        tag.update(header)
        tag.update(sealed)
        return b"".join((header, sealed, tag.finalize()))


class _ChachaOpener(_Chacha):
    header_size = 4

    def measure(self, sequence: int, view: memoryview, at: int) -> int:
        self._length.reset_nonce(_CHACHA_NONCE(0, sequence))
        length: int = _UINT32_AT(self._length.update(view[at : at + 4]), 0)[0]
        if not 8 <= length <= PACKET_LIMIT or length & 7:
            raise corrupt()
        return length + 20

    def open(self, sequence: int, view: memoryview, at: int, size: int) -> bytes:
        body, end = self._body, at + size - 16
        body.reset_nonce(_CHACHA_NONCE(0, sequence))
        poly_key = body.update(_POLY_BLOCK)[:32]
        try:
            Poly1305.verify_tag(poly_key, view[at:end], bytes(view[end : end + 16]))
        except InvalidSignature:
            raise corrupt() from None
        return _strip(body.update(view[at + 4 : end]))


class _BlockSuite:
    """A block cipher in ctr or cbc mode and an HMAC over sequence number and packet (RFC 4253, 6.4)."""

    def __init__(self, keys: DirectionKeys) -> None:
        spec, mac = _CIPHERS[keys.cipher], _MACS[keys.mac]
        if len(keys.key) != spec.key_size or len(keys.iv) != spec.iv_size or len(keys.mac_key) != mac.size:
            raise ValueError("key or IV of the wrong size")
        algorithm = TripleDES(keys.key) if keys.cipher == "3des-cbc" else algorithms.AES(keys.key)
        self.chained = keys.cipher.endswith("-cbc")
        self._cipher = Cipher(algorithm, modes.CBC(keys.iv) if self.chained else modes.CTR(keys.iv))
        self._hmac = HMAC(keys.mac_key, mac.algorithm())
        self.block_size = spec.block_size
        self._mac_size = mac.size

    def _mac(self, sequence: int, packet: bytes | memoryview) -> bytes:
        mac = self._hmac.copy()
        mac.update(_UINT32.pack(sequence))
        mac.update(packet)
        return mac.finalize()


class _EtmSealer(_BlockSuite):
    """Encrypt-then-MAC: the length is in the clear, the MAC covers it and the ciphertext (PROTOCOL 1.1)."""

    covers_length = 0

    def __init__(self, keys: DirectionKeys) -> None:
        super().__init__(keys)
        self._update = self._cipher.encryptor().update

    def seal(self, sequence: int, plain: bytes) -> bytes:
        packet = _UINT32.pack(len(plain)) + self._update(plain)
        return packet + self._mac(sequence, packet)


class _EtmOpener(_BlockSuite):
    header_size = 4

    def __init__(self, keys: DirectionKeys) -> None:
        super().__init__(keys)
        self._update = self._cipher.decryptor().update

    def measure(self, sequence: int, view: memoryview, at: int) -> int:
        length: int = _UINT32_AT(view, at)[0]
        if not self.block_size <= length <= PACKET_LIMIT or length % self.block_size:
            raise corrupt()
        return length + 4 + self._mac_size

    def open(self, sequence: int, view: memoryview, at: int, size: int) -> bytes:
        end = at + size - self._mac_size
        if not compare_digest(self._mac(sequence, view[at:end]), view[end : at + size]):
            raise corrupt()
        return _strip(self._update(view[at + 4 : end]))


class _PlainMacSealer(_BlockSuite):
    """Encrypt-and-MAC: everything is encrypted, the MAC covers the plain packet (RFC 4253 section 6.4)."""

    covers_length = 4

    def __init__(self, keys: DirectionKeys) -> None:
        super().__init__(keys)
        self._update = self._cipher.encryptor().update

    def seal(self, sequence: int, plain: bytes) -> bytes:
        packet = _UINT32.pack(len(plain)) + plain
        return self._update(packet) + self._mac(sequence, packet)


class _PlainMacOpener(_BlockSuite):
    """The length must be decrypted before the MAC can be checked.

    In cbc mode neither a bad length nor a bad MAC is answered at once: as much as the longest packet is taken
    first, so that the moment of the answer tells nothing about the decrypted block (CVE-2008-5161; OpenSSH
    does the same).
    """

    def __init__(self, keys: DirectionKeys) -> None:
        super().__init__(keys)
        self._update = self._cipher.decryptor().update
        self.header_size = self.block_size
        self._first = b""

    def measure(self, sequence: int, view: memoryview, at: int) -> int:
        self._first = self._update(view[at : at + self.block_size])
        length: int = _UINT32_AT(self._first, 0)[0]
        # RFC 4253 section 6: the packet is at least 16 bytes or one block, and a multiple of the block size
        if not 12 <= length <= PACKET_LIMIT or (length + 4) % self.block_size:
            raise self._failure()
        return length + 4 + self._mac_size

    def open(self, sequence: int, view: memoryview, at: int, size: int) -> bytes:
        end = at + size - self._mac_size
        packet = self._first + self._update(view[at + self.block_size : end])
        if not compare_digest(self._mac(sequence, packet), view[end : at + size]):
            raise self._failure()
        return _strip(packet[4:])

    def _failure(self) -> Exception:
        return Doomed(4 + PACKET_LIMIT + self._mac_size) if self.chained else corrupt()
