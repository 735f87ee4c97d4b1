"""Key revocation lists as ssh-keygen writes them, read (OpenSSH PROTOCOL.krl). L0, pure.

Invariant: a `RevokedKeys` exists only when every byte was understood: an entry that was skipped would be a key that
is not revoked. Signatures of a list are passed over, as they say nothing without a key that is known (OpenSSH from
9.4 refuses lists that have one, and checks none of it before).
"""

from __future__ import annotations

import base64
import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bastion.errors import ProtocolError
from bastion.wire.data import UINT64_MAX, Reader
from bastion.wire.keys import key_size

MAGIC: Final = b"SSHKRL\n\0"
MAX_FILE: Final = 16 << 20
"""Bytes of a list: two million serial numbers."""

MAX_RANGES: Final = 2_000_000
"""Serial numbers and ranges of all authorities; bitmaps of 16 MiB could say thirty times as many."""

MAX_BITMAP: Final = 2049
"""Bytes of the integer that a bitmap is: OpenSSH reads no larger one."""

_VERSION: Final = 1
_CERTIFICATES, _EXPLICIT, _SHA1, _SIGNATURE, _SHA256, _EXTENSION = 1, 2, 3, 4, 5, 255
_SERIALS, _RANGE, _BITMAP, _KEY_ID, _CERT_EXTENSION = 0x20, 0x21, 0x22, 0x23, 0x39
_OLD: Final = "SHA1:"
_SHOWN_OLD = re.compile(rf"\A{_OLD}([0-9a-f]{{40}})\Z")
_SHOWN = re.compile(r"\A([0-9]{1,20})@SHA256:([A-Za-z0-9+/]{43})\Z")


class Serials:
    """Ranges of serial numbers, both ends included."""

    __slots__ = ("_begins", "_ends")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin, end in sorted(ranges):
            if self._ends and begin <= self._ends[-1] + 1:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._begins.append(begin)
                self._ends.append(end)

    def __len__(self) -> int:
        return len(self._begins)

    def __contains__(self, serial: int) -> bool:
        place = bisect_right(self._begins, serial) - 1
        return place >= 0 and serial <= self._ends[place]


@dataclass(frozen=True, slots=True)
class OfAuthority:
    """What is revoked of one authority's certificates, or of everybody's."""

    serials: Serials = field(default_factory=Serials)
    key_ids: frozenset[str] = frozenset()

    def names(self, serial: int, key_ids: Iterable[str]) -> bool:
        """0 is no serial number: it is what an authority writes that counts nothing, and no range reaches it."""
        return not self.key_ids.isdisjoint(key_ids) or (serial != 0 and serial in self.serials)


@dataclass(frozen=True, slots=True)
class RevokedKeys:
    """What one file revokes. `sha256` has the digests of keys that were listed whole, too.

    `authorities` is SHA-256 of the authority's key -> what of its certificates; `b""` is every authority.
    """

    sha256: frozenset[bytes] = frozenset()
    sha1: frozenset[bytes] = frozenset()
    authorities: Mapping[bytes, OfAuthority] = field(default_factory=dict)

    def __len__(self) -> int:
        of_all = sum(len(one.serials) + len(one.key_ids) for one in self.authorities.values())
        return len(self.sha256) + len(self.sha1) + of_all

    def has_key(self, blob: bytes) -> bool:
        """Is this plain key revoked?"""
        if not self.sha256 and not self.sha1:
            return False
        return _sha256(blob) in self.sha256 or (bool(self.sha1) and _sha1(blob) in self.sha1)

    def has_certificate(self, key: bytes, authority: bytes, serial: int, key_id: str) -> bool:
        """Is it revoked: by what it says, by the key in it, or by the key that signed it (CVE-2026-42508)? The keys are
        blobs."""
        if self.has_key(key) or self.has_key(authority):
            return True
        return self._named(_sha256(authority), serial, (key_id,))

    def has_shown(self, shown: Iterable[str]) -> bool:
        """Is anything revoked of what somebody has shown: fingerprints, key ids, `SERIAL@SHA256:...` of authorities,
        and what `also_by_sha1` says of keys?"""
        words = tuple(shown)
        if not self.sha1.isdisjoint(_digest_of_old(word) for word in words):
            return True
        digests = {_digest(word) for word in words if word.startswith("SHA256:")} - {b""}
        found = [match for word in words if (match := _SHOWN.match(word))]
        signed = [(int(match[1]), _digest(f"SHA256:{match[2]}")) for match in found]
        if not self.sha256.isdisjoint(digests) or any(digest in self.sha256 for _, digest in signed):
            return True
        return any(self._named(digest, serial, words) for serial, digest in signed)

    def _named(self, authority: bytes, serial: int, key_ids: Iterable[str]) -> bool:
        listed = (self.authorities.get(authority), self.authorities.get(b""))
        return any(one is not None and one.names(serial, key_ids) for one in listed)


def _sha256(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()


def _sha1(blob: bytes) -> bytes:
    return hashlib.sha1(blob, usedforsecurity=False).digest()


def _digest(fingerprint: str) -> bytes:
    """Of `SHA256:...`; nothing for what is none."""
    try:
        digest = base64.b64decode(fingerprint.removeprefix("SHA256:") + "=", validate=True)
    except ValueError:
        return b""
    return digest if len(digest) == 32 else b""


def also_by_sha1(*blobs: bytes) -> tuple[str, ...]:
    """Words for keys that somebody has shown, besides their fingerprints: a list may have them by SHA-1."""
    return tuple(_OLD + _sha1(blob).hex() for blob in blobs)


def _digest_of_old(word: str) -> bytes:
    """Of one of these; nothing for what is none."""
    found = _SHOWN_OLD.match(word)
    return bytes.fromhex(found[1]) if found else b""


def of_keys(blobs: Iterable[bytes]) -> RevokedKeys:
    """What a plain list of keys revokes: them, and all that they have signed."""
    return RevokedKeys(frozenset(map(_sha256, blobs)))


def parse_krl(data: bytes) -> RevokedKeys:
    """Read a list to its last byte. Raises ProtocolError."""
    if len(data) > MAX_FILE:
        raise ProtocolError(f"longer than {MAX_FILE >> 20} MiB")
    if not data.startswith(MAGIC):
        raise ProtocolError("not a KRL")
    reader = Reader(data, len(MAGIC))
    if reader.uint32() != _VERSION:
        raise ProtocolError("a version of the format that is not known here")
    for _ in ("version of the list", "date", "flags"):
        reader.uint64()
    reader.string()  # reserved
    reader.string()  # comment
    found = _Found()
    signed = False
    while reader.remaining:
        kind = reader.byte()
        body = reader.string(MAX_FILE)
        if kind == _SIGNATURE:
            reader.string()
            signed = True
        elif signed:
            raise ProtocolError("something stands behind the signature")
        else:
            found.section(kind, body)
    return found.made()


class _Found:
    """What the sections read so far have."""

    def __init__(self) -> None:
        self._sha256: set[bytes] = set()
        self._sha1: set[bytes] = set()
        self._ranges: dict[bytes, list[tuple[int, int]]] = {}
        self._key_ids: dict[bytes, set[str]] = {}
        self._left = MAX_RANGES

    def made(self) -> RevokedKeys:
        authorities = {
            key: OfAuthority(Serials(self._ranges.get(key, ())), frozenset(self._key_ids.get(key, ())))
            for key in self._ranges.keys() | self._key_ids.keys()
        }
        return RevokedKeys(frozenset(self._sha256), frozenset(self._sha1), authorities)

    def section(self, kind: int, body: bytes) -> None:
        if kind == _CERTIFICATES:
            self._certificates(Reader(body))
        elif kind == _EXPLICIT:
            self._sha256.update(map(_sha256, _strings(body)))
        elif kind == _SHA1:
            self._sha1.update(_digests(body, 20))
        elif kind == _SHA256:
            self._sha256.update(_digests(body, 32))
        elif kind == _EXTENSION:
            _check_extension(body)
        else:
            raise ProtocolError(f"a section of kind {kind}, which is not known here")

    def _certificates(self, reader: Reader) -> None:
        authority = reader.string()
        if authority:
            key_size(authority)  # what cannot be a key would revoke nothing
        key = _sha256(authority) if authority else b""
        reader.string()  # reserved
        ranges = self._ranges.setdefault(key, [])
        while reader.remaining:
            kind = reader.byte()
            body = reader.string(MAX_FILE)
            if kind in _RANGES:
                for begin, end in _RANGES[kind](Reader(body)):
                    if not 0 < begin <= end <= UINT64_MAX:
                        raise ProtocolError("a serial number 0, or a range that is none")
                    ranges.append((begin, end))
                    self._left -= 1
                    if self._left < 0:
                        raise ProtocolError(f"more than {MAX_RANGES} serial numbers and ranges")
            elif kind == _KEY_ID:
                self._key_ids.setdefault(key, set()).update(map(_text, _strings(body)))
            elif kind == _CERT_EXTENSION:
                _check_extension(body)
            else:
                raise ProtocolError(f"a part of kind {kind} about certificates, which is not known here")


def _strings(body: bytes) -> Iterator[bytes]:
    reader = Reader(body)
    while reader.remaining:
        yield reader.string()


def _digests(body: bytes, size: int) -> Iterator[bytes]:
    for digest in _strings(body):
        if len(digest) != size:
            raise ProtocolError("a digest of the wrong length")
        yield digest


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("a key id that is no text") from None
    if "\0" in text:
        raise ProtocolError("a key id with a NUL")
    return text


def _serials(reader: Reader) -> Iterator[tuple[int, int]]:
    while reader.remaining:
        serial = reader.uint64()
        yield serial, serial


def _range(reader: Reader) -> Iterator[tuple[int, int]]:
    yield reader.uint64(), reader.uint64()
    reader.end()


def _bitmap(reader: Reader) -> Iterator[tuple[int, int]]:
    offset = reader.uint64()
    bits = reader.mpint(MAX_BITMAP)
    reader.end()
    if bits < 0:
        raise ProtocolError("a bitmap that is negative")
    for run in re.finditer("1+", f"{bits:b}"[::-1]):
        yield offset + run.start(), offset + run.end() - 1


_RANGES: Final = {_SERIALS: _serials, _RANGE: _range, _BITMAP: _bitmap}


def _check_extension(body: bytes) -> None:
    """One that is not critical may be ignored, which is all that is done with any."""
    reader = Reader(body)
    reader.string()
    critical = reader.boolean()
    reader.string()
    reader.end()
    if critical:
        raise ProtocolError("a critical extension, which is not known here")
