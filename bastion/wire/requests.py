"""Bodies of the channel requests, channel opens and global requests that the gateway understands.

Three tables (`CHANNEL_REQUESTS`, `CHANNEL_OPENS`, `GLOBAL_REQUESTS`) name the declaration of each, and `parse_body`
reads by them. What stands in no table cannot be judged or recorded, so the relay refuses it. Invariant: `detail()`
shows every field, but no cookies. `bastion.wire.fates` declares what becomes of each field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from hashlib import sha256
from typing import Annotated, Self

from bastion.errors import ProtocolError
from bastion.wire.body import Body as Body
from bastion.wire.body import Detail as Detail
from bastion.wire.body import printable as printable
from bastion.wire.data import Reader, byte, string, uint32
from bastion.wire.forwards import DirectStreamlocal as DirectStreamlocal
from bastion.wire.forwards import ForwardedPort as ForwardedPort
from bastion.wire.forwards import ForwardedStreamlocal as ForwardedStreamlocal
from bastion.wire.forwards import StreamlocalForward as StreamlocalForward
from bastion.wire.forwards import TcpipForward as TcpipForward
from bastion.wire.forwards import TcpipOpen as TcpipOpen
from bastion.wire.forwards import X11Open as X11Open
from bastion.wire.messages import LANGUAGE_LIMIT
from bastion.wire.struct import Boolean, Kind, String, Uint32, declared, octets, read_whole, utf8

TERM_LIMIT = 256
"""Bytes of TERM; terminfo names are below 128."""

MODES_LIMIT = 160 * 5 + 1
"""Bytes of encoded terminal modes: 159 opcodes with their arguments, and the end (RFC 4254 section 8)."""

COOKIE_LIMIT = 128
"""Bytes of an X11 cookie in hex. MIT-MAGIC-COOKIE-1 and XDM-AUTHORIZATION-1 have 32; what is allowed here crosses
with no more than its digest in the recording, once for each channel."""

X11_PROTOCOL_LIMIT = 256
"""Bytes of the name of an X11 authentication protocol."""

ENV_NAME_LIMIT = 1024
SIGNAL_LIMIT = 64
SIGNAL_TEXT_LIMIT = 4096
SUBSYSTEM_LIMIT = 256

TTY_OP_END = 0
TTY_OP_FIRST_UNDEFINED = 160


REFUSED_TEXT = 4096
"""Bytes of one field of a refused request that are told: 1.5 ms to escape, 24 KiB as JSON, at the most."""

_is_hex = re.compile(rb"[0-9A-Fa-f]*").fullmatch


def parse_terminal_modes(modes: bytes) -> dict[int, int]:
    """Opcode -> argument (RFC 4254 section 8). Empty, or without the final TTY_OP_END, is accepted: clients
    send it.

    TTY_OP_END and opcodes from 160 up, which are undefined, end the parsing, as the RFC says; what follows them
    is no mode.
    """
    reader = Reader(modes)
    found: dict[int, int] = {}
    while reader.remaining:
        opcode = reader.byte()
        if opcode == TTY_OP_END or opcode >= TTY_OP_FIRST_UNDEFINED:
            break
        found[opcode] = reader.uint32()
    return found


def encode_terminal_modes(modes: Mapping[int, int]) -> bytes:
    """The inverse of `parse_terminal_modes`, with TTY_OP_END."""
    return b"".join(byte(opcode) + uint32(value) for opcode, value in modes.items()) + byte(TTY_OP_END)


def _read_modes(reader: Reader) -> bytes:
    """Of the modes what they say: each once, and nothing behind their end."""
    return encode_terminal_modes(parse_terminal_modes(reader.string(MODES_LIMIT)))


@declared
class Empty(Body):
    """No fields: `shell`, `auth-agent-req@openssh.com`, a `session` open."""


@declared
class PtyRequest(Body):
    """`pty-req` (RFC 4254 section 6.2): cells, then pixels; `modes` for `parse_terminal_modes`."""

    term: Annotated[bytes, octets(TERM_LIMIT)]
    cols: Uint32
    rows: Uint32
    width: Uint32 = 0
    height: Uint32 = 0
    modes: Annotated[bytes, Kind(_read_modes, string)] = b"\x00"

    def detail(self) -> Detail:
        shown: Detail = {"term": printable(self.term), "cols": self.cols, "rows": self.rows}
        if self.width or self.height:
            shown |= {"width": self.width, "height": self.height}
        modes = parse_terminal_modes(self.modes)
        if modes:
            shown["modes"] = " ".join(f"{opcode}={value}" for opcode, value in modes.items())
        return shown


@declared
class WindowChange(Body):
    """`window-change` (RFC 4254 section 6.7): cells, then pixels."""

    cols: Uint32
    rows: Uint32
    width: Uint32 = 0
    height: Uint32 = 0


@declared
class Exec(Body):
    """`exec` (RFC 4254 section 6.5): the command line for the target's shell, in whatever encoding."""

    command: String


@declared
class Subsystem(Body):
    """`subsystem` (RFC 4254 section 6.5)."""

    name: Annotated[str, utf8(SUBSYSTEM_LIMIT)]

    def detail(self) -> Detail:
        return {"subsystem": self.name}


@declared
class Env(Body):
    """`env` (RFC 4254 section 6.4)."""

    name: Annotated[str, utf8(ENV_NAME_LIMIT)]
    value: String


@declared
class Signal(Body):
    """`signal` (RFC 4254 section 6.9): a name without SIG."""

    name: Annotated[str, utf8(SIGNAL_LIMIT)]

    def detail(self) -> Detail:
        return {"signal": self.name}


@declared
class Break(Body):
    """`break` (RFC 4335): length in milliseconds."""

    length: Uint32


@declared
class XonXoff(Body):
    """`xon-xoff` (RFC 4254 section 6.8)."""

    client_can_do: Boolean


@declared
class ExitStatus(Body):
    """`exit-status` (RFC 4254 section 6.10)."""

    status: Uint32


@declared
class ExitSignal(Body):
    """`exit-signal` (RFC 4254 section 6.10)."""

    name: Annotated[str, utf8(SIGNAL_LIMIT)]
    core_dumped: Boolean = False
    text: Annotated[bytes, octets(SIGNAL_TEXT_LIMIT)] = b""
    language: Annotated[bytes, octets(LANGUAGE_LIMIT)] = b""

    def detail(self) -> Detail:
        shown: Detail = {"signal": self.name, "core": int(self.core_dumped), "text": printable(self.text)}
        return {**shown, "language": printable(self.language)} if self.language else shown


@declared
class X11Request(Body):
    """`x11-req` (RFC 4254 section 6.3.1). The cookie, in hex, opens a display: it is in no repr, and its digest
    stands in for it in the detail.
    """

    single: Boolean
    protocol: Annotated[bytes, octets(X11_PROTOCOL_LIMIT)]
    cookie: Annotated[bytes, octets(COOKIE_LIMIT)] = field(repr=False)
    screen: Uint32

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        request = read_whole(cls, Reader(payload))
        if not _is_hex(request.cookie):
            raise ProtocolError("the cookie is not in hexadecimal")  # RFC 4254 section 6.3.1: MUST
        return request

    def detail(self) -> Detail:
        digest = f"sha256:{sha256(self.cookie).hexdigest()}"
        shown: Detail = {"single": int(self.single), "protocol": printable(self.protocol)}
        return {**shown, "screen": self.screen, "cookie": digest}


CHANNEL_REQUESTS: dict[str, type[Body]] = {
    "pty-req": PtyRequest,
    "x11-req": X11Request,
    "env": Env,
    "shell": Empty,
    "exec": Exec,
    "subsystem": Subsystem,
    "window-change": WindowChange,
    "signal": Signal,
    "break": Break,
    "xon-xoff": XonXoff,
    "exit-status": ExitStatus,
    "exit-signal": ExitSignal,
    "auth-agent-req@openssh.com": Empty,
    "eow@openssh.com": Empty,
    "keepalive@openssh.com": Empty,
    "winadj@putty.projects.tartarus.org": Empty,
}

CHANNEL_OPENS: dict[str, type[Body]] = {
    "session": Empty,
    "direct-tcpip": TcpipOpen,
    "forwarded-tcpip": TcpipOpen,
    "x11": X11Open,
    "auth-agent@openssh.com": Empty,
    "direct-streamlocal@openssh.com": DirectStreamlocal,
    "forwarded-streamlocal@openssh.com": ForwardedStreamlocal,
}

GLOBAL_REQUESTS: dict[str, type[Body]] = {
    "tcpip-forward": TcpipForward,
    "cancel-tcpip-forward": TcpipForward,
    "streamlocal-forward@openssh.com": StreamlocalForward,
    "cancel-streamlocal-forward@openssh.com": StreamlocalForward,
    "keepalive@openssh.com": Empty,
    "no-more-sessions@openssh.com": Empty,
}

GLOBAL_REPLIES: dict[str, type[Body]] = {"tcpip-forward": ForwardedPort}
"""Global request -> the body of its REQUEST_SUCCESS. All others have none (RFC 4254 section 4)."""


def refused_detail(body: Body | None) -> Detail:
    """What is told of a request or open that was refused: its facts, each text cut before anything is escaped.

    `cut_to` is then what was kept of it in bytes (of text in UTF-8: in characters).
    """
    if body is None:
        return {}
    values = ((name, getattr(body, name)) for name in body.KINDS)
    cut = {
        name: value[:REFUSED_TEXT]
        for name, value in values
        if isinstance(value, bytes | str) and len(value) > REFUSED_TEXT
    }
    if not cut:
        return body.detail()
    return replace(body, **cut).detail() | {"cut_to": REFUSED_TEXT}  # type: ignore[type-var]


def parse_body(table: Mapping[str, type[Body]], name: str, body: bytes) -> Body | None:
    """The typed body of `name`, None when the table does not know it. `ProtocolError` if malformed."""
    kind = table.get(name)
    if kind is None:
        return None
    try:
        return kind.parse(body)
    except ProtocolError as error:
        raise ProtocolError(f"{name}: {error.text}") from None
