"""The data types of SSH on the wire (RFC 4251 section 5): a strict `Reader` and one writer function per type.

Invariant: a `Reader` never reads outside its bytes, never allocates by a length it has not checked against
what is there, and raises `ProtocolError` and nothing else. Conch's `getNS` parses truncated strings and is
used nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from struct import Struct

from bastion.errors import ProtocolError

STRING_LIMIT = 256 * 1024
"""Bytes of one string unless the caller says otherwise: OpenSSH's largest packet, nothing legal is longer."""

NAMELIST_LIMIT = 16 * 1024
"""Bytes of one name-list. The longest KEXINIT list in the field is below 2 KiB."""

NAME_LIMIT = 64
"""Bytes of one algorithm, method, request or channel type name (RFC 4251 section 6)."""

MPINT_LIMIT = 2048 + 1
"""Bytes of one mpint: 16384 bits, the largest RSA modulus or group that is read, and a sign byte."""

UINT32_MAX = 0xFFFFFFFF
UINT64_MAX = 0xFFFFFFFFFFFFFFFF

_UINT32 = Struct(">I")
_UINT64 = Struct(">Q")

# RFC 4251 section 6: printable US-ASCII without space and comma. One match: a step of Python for every character
# costs more than all the rest of reading a name.
_is_name = re.compile(rb"[!-+\--~]+").fullmatch


class Reader:
    """Reads one message from front to back; `end()` refuses whatever is left over.

    `data` may be bytes or a memoryview of bytes; strings come out as bytes, copied. Every method raises
    `ProtocolError` when the data is too short, too long or of the wrong form.
    """

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self._at = at
        if at > self._end:
            raise ProtocolError("message is truncated")

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return self._end - self._at

    @property
    def position(self) -> int:
        """Bytes read so far: where a signed part ends."""
        return self._at

    def _take(self, size: int) -> int:
        """Step over `size` bytes and return where they began."""
        at = self._at
        if size > self._end - at:
            raise ProtocolError("message is truncated")
        self._at = at + size
        return at

    def byte(self) -> int:
        return self._data[self._take(1)]

    def boolean(self) -> bool:
        """RFC 4251 section 5: any value but 0 is read as true."""
        return self._data[self._take(1)] != 0

    def uint32(self) -> int:
        at = self._at
        if self._end - at < 4:
            raise ProtocolError("message is truncated")
        self._at = at + 4
        value: int = _UINT32.unpack_from(self._data, at)[0]
        return value

    def uint64(self) -> int:
        value: int = _UINT64.unpack_from(self._data, self._take(8))[0]
        return value

    def fixed(self, size: int) -> bytes:
        """Exactly `size` bytes without a length, as the KEXINIT cookie."""
        at = self._take(size)
        return bytes(self._data[at : at + size])

    def string(self, limit: int = STRING_LIMIT) -> bytes:
        """One string of at most `limit` bytes; its length is checked before anything is copied."""
        at, end = self._at + 4, self._end
        if at > end:
            raise ProtocolError("message is truncated")
        size: int = _UINT32.unpack_from(self._data, at - 4)[0]
        if size > limit:
            raise ProtocolError("string is longer than allowed")
        if size > end - at:
            raise ProtocolError("message is truncated")
        self._at = at + size
        return bytes(self._data[at : at + size])

    def text(self, limit: int = STRING_LIMIT) -> str:
        """One string in UTF-8 (RFC 4251 section 5, RFC 3629), refused when it is not."""
        try:
            return self.string(limit).decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("string is not UTF-8") from None

    def name(self, limit: int = NAME_LIMIT) -> str:
        """One name: printable US-ASCII without a comma, not empty (RFC 4251 section 6)."""
        raw = self.string(limit)
        if not _is_name(raw):
            raise ProtocolError("name is empty or not printable US-ASCII")
        return raw.decode("ascii")

    def namelist(self, limit: int = NAMELIST_LIMIT) -> tuple[str, ...]:
        """One name-list: names of printable US-ASCII, none of them empty (RFC 4251 section 5)."""
        raw = self.string(limit)
        if not raw:
            return ()
        names = raw.split(b",")
        for name in names:
            if not _is_name(name):
                raise ProtocolError("name-list holds an empty or unprintable name")
        return tuple(name.decode("ascii") for name in names)

    def mpint(self, limit: int = MPINT_LIMIT) -> int:
        """One mpint: two's complement, no unnecessary leading bytes (RFC 4251 section 5: MUST NOT)."""
        raw = self.string(limit)
        if not raw:
            return 0
        if raw[0] == 0 and (len(raw) == 1 or raw[1] < 0x80):
            raise ProtocolError("mpint has unnecessary leading bytes")
        if raw[0] == 0xFF and len(raw) > 1 and raw[1] >= 0x80:
            raise ProtocolError("mpint has unnecessary leading bytes")
        return int.from_bytes(raw, "big", signed=True)

    def rest(self) -> bytes:
        """Everything not read yet."""
        at, self._at = self._at, self._end
        return bytes(self._data[at:])

    def end(self) -> None:
        """Refuse trailing bytes."""
        if self._at != self._end:
            raise ProtocolError("message has trailing bytes")


def byte(value: int) -> bytes:
    return value.to_bytes(1, "big")


def boolean(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def uint32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def uint64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def string(value: bytes | str) -> bytes:
    """A string with its length; `str` is written as UTF-8."""
    raw = value.encode("utf-8") if isinstance(value, str) else bytes(value)
    return len(raw).to_bytes(4, "big") + raw


def namelist(names: Iterable[str]) -> bytes:
    return string(",".join(names).encode("ascii"))


def mpint(value: int) -> bytes:
    """The shortest two's complement form; 0 is the empty string (RFC 4251 section 5)."""
    if value == 0:
        return b"\x00\x00\x00\x00"
    bits = value.bit_length() if value > 0 else (value + 1).bit_length()
    return string(value.to_bytes(bits // 8 + 1, "big", signed=True))
