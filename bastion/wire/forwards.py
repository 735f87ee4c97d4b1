"""Bodies of the opens and requests that carry other people's connections: TCP, sockets, X11.

Read them through `bastion.wire.requests`, whose tables name the declaration of each.
"""

from __future__ import annotations

from typing import Annotated

from bastion.wire.body import Body, Detail, printable
from bastion.wire.struct import Uint32, declared, octets, utf8

HOST_LIMIT = 1025
"""Bytes of a host name or address: NI_MAXHOST."""

PATH_LIMIT = 4096
"""Bytes of a socket path: PATH_MAX, though sun_path holds 108."""

Host = Annotated[str, utf8(HOST_LIMIT)]
Path = Annotated[str, utf8(PATH_LIMIT)]


@declared
class TcpipOpen(Body):
    """`direct-tcpip` and `forwarded-tcpip` (RFC 4254 section 7.2).

    For direct, `host:port` is where the opener wants to go; for forwarded, the listening address that was
    connected to. The originator is whatever the opener says.
    """

    host: Host
    port: Uint32
    originator: Host
    originator_port: Uint32


@declared
class X11Open(Body):
    """`x11` (RFC 4254 section 6.3.2)."""

    originator: Host
    originator_port: Uint32


@declared
class DirectStreamlocal(Body):
    """`direct-streamlocal@openssh.com` (OpenSSH PROTOCOL section 2.4); two fields are reserved.

    OpenSSH's client puts the originator there (`port_open_helper` in channels.c), others nothing.
    """

    path: Path
    reserved: Annotated[bytes, octets(HOST_LIMIT)] = b""
    reserved_number: Uint32 = 0

    def detail(self) -> Detail:
        shown: Detail = {"path": self.path}
        if self.reserved or self.reserved_number:
            shown |= {"originator": printable(self.reserved), "originator_port": self.reserved_number}
        return shown


@declared
class ForwardedStreamlocal(Body):
    """`forwarded-streamlocal@openssh.com` (OpenSSH PROTOCOL section 2.4)."""

    path: Path
    reserved: Annotated[bytes, octets(HOST_LIMIT)] = b""

    def detail(self) -> Detail:
        reserved: Detail = {"reserved": printable(self.reserved)} if self.reserved else {}
        return {"path": self.path, **reserved}


@declared
class TcpipForward(Body):
    """`tcpip-forward` and `cancel-tcpip-forward` (RFC 4254 section 7.1); port 0 lets the target choose."""

    host: Host
    port: Uint32


@declared
class ForwardedPort(Body):
    """The body of REQUEST_SUCCESS to a `tcpip-forward` of port 0: the port that was chosen (RFC 4254 section 7.1)."""

    port: Uint32


@declared
class StreamlocalForward(Body):
    """`streamlocal-forward@openssh.com` and its cancel (OpenSSH PROTOCOL section 2.4)."""

    path: Path
