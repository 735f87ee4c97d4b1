"""Typed bodies of the channel requests, channel opens and global requests that the gateway understands.

Three tables (`CHANNEL_REQUESTS`, `CHANNEL_OPENS`, `GLOBAL_REQUESTS`) name the codec of each. What stands in
no table cannot be judged or recorded, so the relay refuses it. Invariant: `parse` consumes every byte or
raises `ProtocolError`, `parse(b.encode()) == b`, and `detail()` is what recordings and the audit log may
show: every field, but no cookies. `bastion.wire.fates` declares what becomes of each field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import Protocol, Self

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, boolean, byte, string, uint32
from bastion.wire.forwards import Detail as Detail
from bastion.wire.forwards import DirectStreamlocal as DirectStreamlocal
from bastion.wire.forwards import ForwardedPort as ForwardedPort
from bastion.wire.forwards import ForwardedStreamlocal as ForwardedStreamlocal
from bastion.wire.forwards import StreamlocalForward as StreamlocalForward
from bastion.wire.forwards import TcpipForward as TcpipForward
from bastion.wire.forwards import TcpipOpen as TcpipOpen
from bastion.wire.forwards import X11Open as X11Open
from bastion.wire.forwards import printable as printable
from bastion.wire.messages import LANGUAGE_LIMIT

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


class Body(Protocol):
    """What every body below can do."""

    @classmethod
    def parse(cls, body: bytes) -> Self: ...

    def encode(self) -> bytes: ...

    def detail(self) -> Detail: ...


@dataclass(frozen=True, slots=True)
class Empty:
    """No fields: `shell`, `auth-agent-req@openssh.com`, a `session` open."""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        Reader(body).end()
        return cls()

    def encode(self) -> bytes:
        return b""

    def detail(self) -> Detail:
        return {}


@dataclass(frozen=True, slots=True)
class PtyRequest:
    """`pty-req` (RFC 4254 section 6.2): cells, then pixels; `modes` for `parse_terminal_modes`.

    What is read keeps of the modes what they say: each once, and nothing behind their end.
    """

    term: bytes
    cols: int
    rows: int
    width: int = 0
    height: int = 0
    modes: bytes = b"\x00"

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        term = reader.string(TERM_LIMIT)
        sizes = reader.uint32(), reader.uint32(), reader.uint32(), reader.uint32()
        modes = encode_terminal_modes(parse_terminal_modes(reader.string(MODES_LIMIT)))
        reader.end()
        return cls(term, *sizes, modes)

    def encode(self) -> bytes:
        sizes = uint32(self.cols) + uint32(self.rows) + uint32(self.width) + uint32(self.height)
        return string(self.term) + sizes + string(self.modes)

    def detail(self) -> Detail:
        shown: Detail = {"term": printable(self.term), "cols": self.cols, "rows": self.rows}
        if self.width or self.height:
            shown |= {"width": self.width, "height": self.height}
        modes = parse_terminal_modes(self.modes)
        if modes:
            shown["modes"] = " ".join(f"{opcode}={value}" for opcode, value in modes.items())
        return shown


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


@dataclass(frozen=True, slots=True)
class WindowChange:
    """`window-change` (RFC 4254 section 6.7): cells, then pixels."""

    cols: int
    rows: int
    width: int = 0
    height: int = 0

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        change = cls(reader.uint32(), reader.uint32(), reader.uint32(), reader.uint32())
        reader.end()
        return change

    def encode(self) -> bytes:
        return uint32(self.cols) + uint32(self.rows) + uint32(self.width) + uint32(self.height)

    def detail(self) -> Detail:
        return {"cols": self.cols, "rows": self.rows, "width": self.width, "height": self.height}


@dataclass(frozen=True, slots=True)
class Exec:
    """`exec` (RFC 4254 section 6.5): the command line for the target's shell, in whatever encoding."""

    command: bytes

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.string())
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.command)

    def detail(self) -> Detail:
        return {"command": printable(self.command)}


@dataclass(frozen=True, slots=True)
class Subsystem:
    """`subsystem` (RFC 4254 section 6.5)."""

    name: str

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(SUBSYSTEM_LIMIT))
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.name)

    def detail(self) -> Detail:
        return {"subsystem": self.name}


@dataclass(frozen=True, slots=True)
class Env:
    """`env` (RFC 4254 section 6.4)."""

    name: str
    value: bytes

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(ENV_NAME_LIMIT), reader.string())
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.name) + string(self.value)

    def detail(self) -> Detail:
        return {"name": self.name, "value": printable(self.value)}


@dataclass(frozen=True, slots=True)
class Signal:
    """`signal` (RFC 4254 section 6.9): a name without SIG."""

    name: str

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.text(SIGNAL_LIMIT))
        reader.end()
        return request

    def encode(self) -> bytes:
        return string(self.name)

    def detail(self) -> Detail:
        return {"signal": self.name}


@dataclass(frozen=True, slots=True)
class Break:
    """`break` (RFC 4335): length in milliseconds."""

    length: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.uint32())
        reader.end()
        return request

    def encode(self) -> bytes:
        return uint32(self.length)

    def detail(self) -> Detail:
        return {"length": self.length}


@dataclass(frozen=True, slots=True)
class XonXoff:
    """`xon-xoff` (RFC 4254 section 6.8)."""

    client_can_do: bool

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.boolean())
        reader.end()
        return request

    def encode(self) -> bytes:
        return boolean(self.client_can_do)

    def detail(self) -> Detail:
        return {"client_can_do": int(self.client_can_do)}


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """`exit-status` (RFC 4254 section 6.10)."""

    status: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        request = cls(reader.uint32())
        reader.end()
        return request

    def encode(self) -> bytes:
        return uint32(self.status)

    def detail(self) -> Detail:
        return {"status": self.status}


@dataclass(frozen=True, slots=True)
class ExitSignal:
    """`exit-signal` (RFC 4254 section 6.10)."""

    name: str
    core_dumped: bool = False
    text: bytes = b""
    language: bytes = b""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        name, core = reader.text(SIGNAL_LIMIT), reader.boolean()
        request = cls(name, core, reader.string(SIGNAL_TEXT_LIMIT), reader.string(LANGUAGE_LIMIT))
        reader.end()
        return request

    def encode(self) -> bytes:
        head = string(self.name) + boolean(self.core_dumped)
        return head + string(self.text) + string(self.language)

    def detail(self) -> Detail:
        shown: Detail = {"signal": self.name, "core": int(self.core_dumped), "text": printable(self.text)}
        return {**shown, "language": printable(self.language)} if self.language else shown


@dataclass(frozen=True, slots=True)
class X11Request:
    """`x11-req` (RFC 4254 section 6.3.1). The cookie, in hex, opens a display: it is in no repr, and its digest
    stands in for it in the detail.
    """

    single: bool
    protocol: bytes
    cookie: bytes = field(repr=False)
    screen: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        single = reader.boolean()
        request = cls(single, reader.string(X11_PROTOCOL_LIMIT), reader.string(COOKIE_LIMIT), reader.uint32())
        reader.end()
        if not _is_hex(request.cookie):
            raise ProtocolError("the cookie is not in hexadecimal")  # RFC 4254 section 6.3.1: MUST
        return request

    def encode(self) -> bytes:
        head = boolean(self.single) + string(self.protocol)
        return head + string(self.cookie) + uint32(self.screen)

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
    values = ((place.name, getattr(body, place.name)) for place in fields(body))  # type: ignore[arg-type]
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
