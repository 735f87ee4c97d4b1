"""Typed bodies of the opens and requests that carry other people's connections: TCP, sockets, X11.

Read them through `bastion.wire.requests`, whose tables name the codec of each. The rules are the same there.
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
    """`direct-streamlocal@openssh.com` (OpenSSH PROTOCOL section 2.4); two fields are reserved."""

    path: str
    reserved: bytes = b""
    reserved_number: int = 0

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(PATH_LIMIT), reader.string(PATH_LIMIT), reader.uint32())
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.path) + string(self.reserved) + uint32(self.reserved_number)

    def detail(self) -> Detail:
        return {"path": self.path}


@dataclass(frozen=True, slots=True)
class ForwardedStreamlocal:
    """`forwarded-streamlocal@openssh.com` (OpenSSH PROTOCOL section 2.4)."""

    path: str
    reserved: bytes = b""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(PATH_LIMIT), reader.string(PATH_LIMIT))
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.path) + string(self.reserved)

    def detail(self) -> Detail:
        return {"path": self.path}


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
