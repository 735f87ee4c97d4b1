"""What a load balancer says of a connection before its first byte: the PROXY protocol, versions 1 and 2 (L0, pure).

A `HeaderReader` is fed what comes and takes no byte behind the header. A header is read as strictly as
proxy-protocol.txt (haproxy.org, "The PROXY protocol", versions 1 & 2) lets: one line of 107 bytes at most, or a
signature, a length that is judged before anything is kept, addresses of TCP, and records (TLV) that fill the rest
exactly. Invariant: not more than LONGEST bytes are held, and whatever comes raises `HeaderFault` and nothing else.

It says who is spoken for, not whether whoever says so may: that is asked first (`doors.balancer`).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from bastion.errors import HeaderResult, ProtocolError

LINE_MOST: Final = 107
"""Bytes of a version 1 header with its CRLF: the longest that there can be, section 2.1."""

LONGEST: Final = 2048
"""Bytes of a version 2 header. Addresses take 28 to 52, a balancer's records (a checksum, a name of the connection,
what its TLS was) some hundreds."""

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
WORD: Final = b"PROXY "
UNKNOWN: Final = b"UNKNOWN"

_FIXED = 16
_VERSION_2, _LOCAL, _PROXY = 0x2, 0x0, 0x1
_UNSPEC, _INET, _INET6, _UNIX = 0x0, 0x1, 0x2, 0x3
_ANY_PROTOCOL, _STREAM, _DGRAM = 0x0, 0x1, 0x2
_CRC32C = 0x03
_ENDS: Final = {_INET: struct.Struct("!4s4sHH"), _INET6: struct.Struct("!16s16sHH")}
_RECORD: Final = struct.Struct("!BH")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class HeaderFault(ProtocolError):
    """No header, or none that may be believed. `reason` says which of the two, and why."""

    def __init__(self, reason: HeaderResult, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """Where a connection came from and went to, at the balancer; no address: it speaks for itself (LOCAL), or does not
    know (UNKNOWN). Addresses are as `str(ip_address)` has them, and IPv4 inside IPv6 is IPv4."""

    version: int
    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0


class HeaderReader:
    """One per connection. `header` is None until it is whole."""

    __slots__ = ("_kept", "header")

    def __init__(self) -> None:
        self._kept = bytearray()
        self.header: Header | None = None

    @property
    def held(self) -> int:
        """Bytes of the header that have come."""
        return len(self._kept)

    def feed(self, data: bytes | memoryview) -> int:
        """How many bytes of `data` belong to the header: the others are the peer's, once it is whole.

        Raises HeaderFault, and then the connection is over.
        """
        taken = 0
        while self.header is None and taken < len(data):
            piece = bytes(data[taken : taken + self._wanted()])
            if self._kept[:1] == b"P" and (end := piece.find(b"\n") + 1):
                piece = piece[:end]
            self._kept += piece
            taken += len(piece)
            self._look()
        return taken

    def _wanted(self) -> int:
        """Bytes that may be taken now: none of them can lie behind the header, but for what follows a line's end."""
        kept = self._kept
        if not kept:
            return 1
        if kept[:1] == b"P":
            return LINE_MOST - len(kept)
        if len(kept) < _FIXED:
            return _FIXED - len(kept)
        return _FIXED + int.from_bytes(kept[14:16], "big") - len(kept)

    def _look(self) -> None:
        kept = self._kept
        begins = WORD if kept[:1] == b"P" else SIGNATURE
        if not begins.startswith(kept[: len(begins)]):
            raise HeaderFault(HeaderResult.MISSING, "what came first is no PROXY header")
        if begins is WORD:
            if kept[-1:] == b"\n":
                self.header = _line(bytes(kept))
            elif len(kept) >= LINE_MOST:
                raise HeaderFault(HeaderResult.TOO_LONG, f"the line does not end within {LINE_MOST} bytes")
            return
        if len(kept) < _FIXED:
            return
        length = int.from_bytes(kept[14:16], "big")
        if _FIXED + length > LONGEST:
            raise HeaderFault(
                HeaderResult.TOO_LONG, f"a header of {_FIXED + length} bytes, {LONGEST} at most"
            )
        if len(kept) == _FIXED + length:
            self.header = _binary(bytes(kept))


def _malformed(text: str) -> HeaderFault:
    return HeaderFault(HeaderResult.MALFORMED, text)


def _line(line: bytes) -> Header:
    """Version 1, section 2.1: `PROXY TCP4 source destination port port` and CRLF, one blank between each."""
    if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
        raise _malformed("a line ends with CR LF, and has none inside")
    words = line[:-2].split(b" ")
    if words[1] == UNKNOWN:
        return Header(1)  # whatever else it says is not looked at
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise _malformed("a line says TCP4 or TCP6, two addresses and two ports, or UNKNOWN")
    version = 4 if words[1] == b"TCP4" else 6
    source, destination = (_written(word, version) for word in words[2:4])
    return Header(1, source, _port(words[4]), destination, _port(words[5]))


def _written(word: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        raise _malformed("an address that is none") from None
    if address.version != version or b"%" in word:
        raise _malformed("an address of another family than the line says, or with a zone")
    return _normal(address)


def _port(word: bytes) -> int:
    number = int(word) if word.isdigit() and len(word) <= 5 else -1
    if not 0 <= number <= 65535 or str(number).encode() != word:
        raise _malformed("a port that is none")
    return number


def _normal(address: IpAddress) -> str:
    """As text. Raises HeaderFault for what nobody can connect from or to."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast:
        raise _malformed("an address that no connection has")
    return str(address)


def _binary(header: bytes) -> Header:
    """Version 2, section 2.2: signature, version and command, family and protocol, length, addresses, records."""
    version, command = divmod(header[12], 16)
    family, protocol = divmod(header[13], 16)
    if version != _VERSION_2 or command not in (_LOCAL, _PROXY):
        raise _malformed("another version than 2, or an unknown command")
    if command == _LOCAL:
        return Header(2)  # "the receiver must discard the protocol block"
    if family > _UNIX or protocol > _DGRAM:
        raise _malformed("an unknown family or protocol")
    if family == _UNIX or protocol == _DGRAM:
        raise HeaderFault(HeaderResult.NOT_TCP, "a connection that is not TCP")
    if family == _UNSPEC or protocol == _ANY_PROTOCOL:
        return Header(2)
    ends = _ENDS[family]
    if len(header) < _FIXED + ends.size:
        raise _malformed("shorter than its addresses")
    source, destination, source_port, destination_port = ends.unpack_from(header, _FIXED)
    _records(header, _FIXED + ends.size)
    one, other = (_normal(ipaddress.ip_address(packed)) for packed in (source, destination))
    return Header(2, one, source_port, other, destination_port)


def _records(header: bytes, at: int) -> None:
    """Section 2.2: they fill the rest exactly; a checksum is one record of four bytes, and right."""
    checksum = -1
    while at < len(header):
        if len(header) - at < _RECORD.size:
            raise _malformed("a record that is cut off")
        kind, size = _RECORD.unpack_from(header, at)
        at += _RECORD.size
        if size > len(header) - at:
            raise _malformed("a record longer than what is left")
        if kind == _CRC32C:
            if size != 4 or checksum >= 0:
                raise _malformed("a checksum of another size, or a second one")
            checksum = at
        at += size
    if checksum >= 0:
        said = int.from_bytes(header[checksum : checksum + 4], "big")
        if crc32c(header[:checksum] + bytes(4) + header[checksum + 4 :]) != said:
            raise HeaderFault(HeaderResult.CHECKSUM, "its checksum is not that of its bytes")


def _table() -> tuple[int, ...]:
    """Of the Castagnoli polynomial, reflected (RFC 9260 appendix A)."""
    made = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        made.append(number)
    return tuple(made)


_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C, 0.1 ms for 1 KiB: headers come one a connection, and only from balancers."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
