"""SFTP version 3 as it stands in draft-ietf-secsh-filexfer-02, with OpenSSH's extensions (its PROTOCOL file).

Numbers, one parser for requests, the few answers that are looked into, and one that is written: a refusal.
Parsers take one packet without its length field and raise `ProtocolError` and nothing else. Data of READ and
WRITE is never touched here; `relay.sftp.stream` lets it pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from types import MappingProxyType
from typing import Final

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, string, uint32

VERSION: Final = 3

# Requests (section 3).
INIT, OPEN, CLOSE, READ, WRITE = 1, 3, 4, 5, 6
LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = 7, 8, 9, 10, 11, 12
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = 13, 14, 15, 16, 17, 18, 19, 20
EXTENDED = 200
# Answers.
VERSION_REPLY, STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 2, 101, 102, 103, 104, 105, 201

ANSWERS: Final = frozenset({STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY})

REQUEST_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        INIT: "init",
        OPEN: "open",
        CLOSE: "close",
        READ: "read",
        WRITE: "write",
        LSTAT: "lstat",
        FSTAT: "fstat",
        SETSTAT: "setstat",
        FSETSTAT: "fsetstat",
        OPENDIR: "opendir",
        READDIR: "readdir",
        REMOVE: "remove",
        MKDIR: "mkdir",
        RMDIR: "rmdir",
        REALPATH: "realpath",
        STAT: "stat",
        RENAME: "rename",
        READLINK: "readlink",
        SYMLINK: "symlink",
    }
)

# Flags of OPEN (section 6.3).
FXF_READ, FXF_WRITE, FXF_APPEND, FXF_CREAT, FXF_TRUNC, FXF_EXCL = 1, 2, 4, 8, 16, 32
FLAG_NAMES: Final = (
    (FXF_READ, "read"),
    (FXF_WRITE, "write"),
    (FXF_APPEND, "append"),
    (FXF_CREAT, "create"),
    (FXF_TRUNC, "truncate"),
    (FXF_EXCL, "exclusive"),
)

# Status codes (section 7).
FX_OK, FX_EOF, FX_NO_SUCH_FILE, FX_PERMISSION_DENIED, FX_FAILURE = 0, 1, 2, 3, 4
STATUS_NAMES: Final = (
    "ok",
    "eof",
    "no_such_file",
    "permission_denied",
    "failure",
    "bad_message",
    "no_connection",
    "connection_lost",
    "op_unsupported",
)

# Extended requests of OpenSSH that are known here.
POSIX_RENAME: Final = "posix-rename@openssh.com"
HARDLINK: Final = "hardlink@openssh.com"
FSYNC: Final = "fsync@openssh.com"
STATVFS: Final = "statvfs@openssh.com"
FSTATVFS: Final = "fstatvfs@openssh.com"
LSETSTAT: Final = "lsetstat@openssh.com"
LIMITS: Final = "limits@openssh.com"
EXPAND_PATH: Final = "expand-path@openssh.com"
COPY_DATA: Final = "copy-data"
HOME_DIRECTORY: Final = "home-directory"
USERS_GROUPS: Final = "users-groups-by-id@openssh.com"

HANDLE_LIMIT: Final = 256
"""Bytes of a handle (section 6.2: "MUST NOT exceed 256")."""

NAME_LIMIT: Final = 255
"""Bytes of the name of an extended request that are looked at; longer ones are unknown anyway."""

EXTENDED_ATTRIBUTES: Final = 64
"""Extended attributes in one set. Nobody is known to send any."""

_ATTR_SIZE, _ATTR_OWNER, _ATTR_PERMISSIONS, _ATTR_TIMES, _ATTR_EXTENDED = 1, 2, 4, 8, 0x80000000

# What stands behind the id: s = path, h = handle, x = other strings, 8 = uint64, f = flags, a = attributes.
# Paths always come first, which is what `with_paths` relies on.
_LAYOUTS: Final[Mapping[int, str]] = {
    OPEN: "sfa",
    CLOSE: "h",
    READ: "h84",
    LSTAT: "s",
    FSTAT: "h",
    SETSTAT: "sa",
    FSETSTAT: "ha",
    OPENDIR: "s",
    READDIR: "h",
    REMOVE: "s",
    MKDIR: "sa",
    RMDIR: "s",
    REALPATH: "s",
    STAT: "s",
    RENAME: "ss",
    READLINK: "s",
    SYMLINK: "ss",
}
_EXTENSIONS: Final[Mapping[str, str]] = {
    POSIX_RENAME: "ss",
    HARDLINK: "ss",
    FSYNC: "h",
    STATVFS: "s",
    FSTATVFS: "h",
    LSETSTAT: "sa",
    LIMITS: "",
    EXPAND_PATH: "s",
    COPY_DATA: "h88h8",
    HOME_DIRECTORY: "x",
    USERS_GROUPS: "xx",
}
KNOWN_EXTENSIONS: Final = frozenset(_EXTENSIONS)

_ID = Struct(">I")


@dataclass(frozen=True, slots=True)
class Attributes:
    """ATTRS of version 3 (section 5); None = not given. Times are seconds since the epoch."""

    size: int | None = None
    owner: tuple[int, int] | None = None  # uid, gid
    permissions: int | None = None
    times: tuple[int, int] | None = None  # accessed, modified

    @classmethod
    def read(cls, reader: Reader) -> Attributes:
        flags = reader.uint32()
        size = reader.uint64() if flags & _ATTR_SIZE else None
        owner = (reader.uint32(), reader.uint32()) if flags & _ATTR_OWNER else None
        permissions = reader.uint32() if flags & _ATTR_PERMISSIONS else None
        times = (reader.uint32(), reader.uint32()) if flags & _ATTR_TIMES else None
        if flags & _ATTR_EXTENDED:
            count = reader.uint32()
            if count > EXTENDED_ATTRIBUTES:
                raise ProtocolError("sftp: too many extended attributes")
            for _ in range(2 * count):
                reader.string()
        return cls(size, owner, permissions, times)

    def encode(self) -> bytes:
        flags, body = 0, b""
        if self.size is not None:
            flags, body = flags | _ATTR_SIZE, body + self.size.to_bytes(8, "big")
        if self.owner is not None:
            flags, body = flags | _ATTR_OWNER, body + uint32(self.owner[0]) + uint32(self.owner[1])
        if self.permissions is not None:
            flags, body = flags | _ATTR_PERMISSIONS, body + uint32(self.permissions)
        if self.times is not None:
            flags, body = flags | _ATTR_TIMES, body + uint32(self.times[0]) + uint32(self.times[1])
        return uint32(flags) + body


@dataclass(frozen=True, slots=True)
class Request:
    """One request but INIT, READ and WRITE, as far as anybody asks. `id` pairs it with its answer.

    `name` is the request's own, or that of the extension ("" when it cannot be one). `whole` is False when
    bytes are left over behind the known fields. `rest` is what stands behind the paths, as it came.
    """

    kind: int
    id: int
    name: str
    paths: tuple[bytes, ...] = ()
    handles: tuple[bytes, ...] = ()
    flags: int = 0
    attributes: Attributes = field(default_factory=Attributes)
    whole: bool = True
    rest: bytes = b""

    @property
    def known(self) -> bool:
        return self.name in KNOWN_EXTENSIONS if self.kind == EXTENDED else self.kind in _LAYOUTS

    def with_paths(self, paths: tuple[bytes, ...]) -> bytes:
        """The packet, with its length field, with other paths."""
        name = string(self.name) if self.kind == EXTENDED else b""
        return packet(self.kind, self.id, name + b"".join(map(string, paths)) + self.rest)


def parse_request(raw: bytes) -> Request:
    """One request from its type byte on. An unknown type or extension is returned with `known` False."""
    reader = Reader(raw)
    kind, number = reader.byte(), reader.uint32()
    if kind == EXTENDED:
        name = _extension_name(reader.string())
        layout = _EXTENSIONS.get(name)
    else:
        name, layout = REQUEST_NAMES.get(kind, f"request-{kind}"), _LAYOUTS.get(kind)
    if layout is None:
        return Request(kind, number, name, whole=not reader.remaining, rest=reader.rest())
    paths = tuple(reader.string() for _ in range(layout.count("s")))
    behind = reader.position
    handles: list[bytes] = []
    flags, attributes = 0, Attributes()
    for part in layout.lstrip("s"):
        if part == "h":
            handles.append(reader.string(HANDLE_LIMIT))
        elif part == "f":
            flags = reader.uint32()
        elif part == "a":
            attributes = Attributes.read(reader)
        elif part == "x":
            reader.string()
        elif part == "8":
            reader.uint64()
        else:
            reader.uint32()
    whole = not reader.remaining
    return Request(kind, number, name, paths, tuple(handles), flags, attributes, whole, raw[behind:])


def _extension_name(raw: bytes) -> str:
    """The name as text; one that is none of ASCII is nobody's."""
    if len(raw) > NAME_LIMIT or not raw.isascii():
        return ""
    return raw.decode("ascii")


def parse_first_name(raw: bytes) -> bytes:
    """The file name in a NAME answer that holds exactly one, from its type byte on (sections 6.11, 7)."""
    reader = Reader(raw, 5)
    if reader.uint32() != 1:
        raise ProtocolError("sftp: an answer to realpath does not hold one name")
    return reader.string()


def packet(kind: int, number: int, body: bytes = b"") -> bytes:
    """One packet with its length field (section 3)."""
    return uint32(len(body) + 5) + bytes((kind,)) + uint32(number) + body


def status(number: int, code: int, text: str) -> bytes:
    """The STATUS answer to request `number` (section 7), with its length field."""
    return packet(STATUS, number, uint32(code) + string(text) + string(b"en"))


def status_name(code: int) -> str:
    return STATUS_NAMES[code] if code < len(STATUS_NAMES) else f"status_{code}"


def flag_names(flags: int) -> str:
    """The flags of OPEN as words: "write,create,truncate"."""
    return ",".join(name for bit, name in FLAG_NAMES if flags & bit) or "none"
