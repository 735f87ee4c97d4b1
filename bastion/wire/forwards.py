"""Typed bodies of the opens and requests that carry other people's connections: TCP, sockets, X11.

Read them through `bastion.wire.requests`, whose tables name the codec of each. The rules are the same there:
every field stands in `detail`, which is what recordings show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from bastion.wire.data import Reader, string, uint32

Detail = dict[str, str | int]
"""Facts about one request for people: plain text and numbers."""

HOST_LIMIT = 1025
"""Bytes of a host name or address: NI_MAXHOST."""

PATH_LIMIT = 4096
"""Bytes of a socket path: PATH_MAX, though sun_path holds 108."""


MIXED_LIMIT = 4096
"""Bytes in which what is UTF-8 stays readable beside what is not: telling them apart costs 0.3 us for each that is not,
76 ms for the 250 KB of one request."""


def printable(raw: bytes) -> str:
    """Peer bytes as text that keeps every byte visible: what is not UTF-8 becomes `\\xNN`.

    In long texts every byte that is not ASCII does, once one of them is no UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if len(raw) <= MIXED_LIMIT:
            return raw.decode("utf-8", "backslashreplace")
        return raw.decode("latin-1").encode("ascii", "backslashreplace").decode("ascii")


@dataclass(frozen=True, slots=True)
class TcpipOpen:
    """`direct-tcpip` and `forwarded-tcpip` (RFC 4254 section 7.2).

    For direct, `host:port` is where the opener wants to go; for forwarded, the listening address that was
    connected to. The originator is whatever the opener says.
    """

    host: str
    port: int
    originator: str
    originator_port: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        host, port = reader.text(HOST_LIMIT), reader.uint32()
        request = cls(host, port, reader.text(HOST_LIMIT), reader.uint32())
        reader.end()
        return request

    def encode(self) -> bytes:
        head = string(self.host) + uint32(self.port)
        return head + string(self.originator) + uint32(self.originator_port)

    def detail(self) -> Detail:
        return {
            "host": self.host,
            "port": self.port,
            "originator": self.originator,
            "originator_port": self.originator_port,
        }


@dataclass(frozen=True, slots=True)
class X11Open:
    """`x11` (RFC 4254 section 6.3.2)."""

    originator: str
    originator_port: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(HOST_LIMIT), reader.uint32())
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.originator) + uint32(self.originator_port)

    def detail(self) -> Detail:
        return {"originator": self.originator, "originator_port": self.originator_port}


@dataclass(frozen=True, slots=True)
class DirectStreamlocal:
    """`direct-streamlocal@openssh.com` (OpenSSH PROTOCOL section 2.4); two fields are reserved.

    OpenSSH's client puts the originator there (`port_open_helper` in channels.c), others nothing.
    """

    path: str
    reserved: bytes = b""
    reserved_number: int = 0

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(PATH_LIMIT), reader.string(HOST_LIMIT), reader.uint32())
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.path) + string(self.reserved) + uint32(self.reserved_number)

    def detail(self) -> Detail:
        shown: Detail = {"path": self.path}
        if self.reserved or self.reserved_number:
            shown |= {"originator": printable(self.reserved), "originator_port": self.reserved_number}
        return shown


@dataclass(frozen=True, slots=True)
class ForwardedStreamlocal:
    """`forwarded-streamlocal@openssh.com` (OpenSSH PROTOCOL section 2.4)."""

    path: str
    reserved: bytes = b""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(PATH_LIMIT), reader.string(HOST_LIMIT))
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.path) + string(self.reserved)

    def detail(self) -> Detail:
        reserved: Detail = {"reserved": printable(self.reserved)} if self.reserved else {}
        return {"path": self.path, **reserved}


@dataclass(frozen=True, slots=True)
class TcpipForward:
    """`tcpip-forward` and `cancel-tcpip-forward` (RFC 4254 section 7.1); port 0 lets the target choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(HOST_LIMIT), reader.uint32())
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.host) + uint32(self.port)

    def detail(self) -> Detail:
        return {"host": self.host, "port": self.port}


@dataclass(frozen=True, slots=True)
class ForwardedPort:
    """The body of REQUEST_SUCCESS to a `tcpip-forward` of port 0: the port that was chosen (RFC 4254 section 7.1)."""

    port: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        reply = cls(reader.uint32())
        reader.end()
        return reply

    def encode(self) -> bytes:
        return uint32(self.port)

    def detail(self) -> Detail:
        return {"port": self.port}


@dataclass(frozen=True, slots=True)
class StreamlocalForward:
    """`streamlocal-forward@openssh.com` and its cancel (OpenSSH PROTOCOL section 2.4)."""

    path: str

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(PATH_LIMIT))
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.path)

    def detail(self) -> Detail:
        return {"path": self.path}
