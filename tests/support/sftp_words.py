"""What clients and servers say on an sftp channel, packet by packet, for tests."""

from __future__ import annotations

from bastion.wire import sftp
from bastion.wire.data import string, uint32, uint64
from bastion.wire.sftp import Attributes, packet

INIT = packet(sftp.INIT, 3)
VERSION = packet(sftp.VERSION_REPLY, 3)
NO_ATTRIBUTES = Attributes().encode()

# -- the client


def asks_path(kind: int, number: int, path: bytes, rest: bytes = b"") -> bytes:
    return packet(kind, number, string(path) + rest)


def opens(number: int, path: bytes, flags: int = sftp.FXF_READ, attributes: bytes = NO_ATTRIBUTES) -> bytes:
    return asks_path(sftp.OPEN, number, path, uint32(flags) + attributes)


def closes(number: int, handle: bytes = b"h") -> bytes:
    return packet(sftp.CLOSE, number, string(handle))


def reads(number: int, offset: int, size: int, handle: bytes = b"h") -> bytes:
    return packet(sftp.READ, number, string(handle) + uint64(offset) + uint32(size))


def writes(number: int, offset: int, data: bytes, handle: bytes = b"h") -> bytes:
    return packet(sftp.WRITE, number, string(handle) + uint64(offset) + string(data))


def renames(number: int, old: bytes, new: bytes) -> bytes:
    return packet(sftp.RENAME, number, string(old) + string(new))


def extended(number: int, name: str, body: bytes = b"") -> bytes:
    return packet(sftp.EXTENDED, number, string(name) + body)


# -- the target


def status(number: int, code: int = sftp.FX_OK) -> bytes:
    return sftp.status(number, code, sftp.status_name(code))


def denied(number: int, text: str) -> bytes:
    """The gateway's answer."""
    return sftp.status(number, sftp.FX_PERMISSION_DENIED, f"bastion: {text}")


def handle(number: int, name: bytes = b"h") -> bytes:
    return packet(sftp.HANDLE, number, string(name))


def data(number: int, content: bytes) -> bytes:
    return packet(sftp.DATA, number, string(content))


def names(number: int, *paths: bytes) -> bytes:
    entries = b"".join(string(path) + string(path) + NO_ATTRIBUTES for path in paths)
    return packet(sftp.NAME, number, uint32(len(paths)) + entries)


def attributes(number: int, size: int | None = None) -> bytes:
    return packet(sftp.ATTRS, number, Attributes(size=size, permissions=0o100644).encode())


def packets(stream: bytes) -> list[bytes]:
    """Whole packets, each with its length field; an AssertionError when the stream ends inside one."""
    found = []
    while stream:
        size = 4 + int.from_bytes(stream[:4], "big")
        assert len(stream) >= size, "the stream ends inside a packet"
        found.append(stream[:size])
        stream = stream[size:]
    return found
