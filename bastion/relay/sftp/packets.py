"""The two sinks of an sftp channel: packets of the client and of the target, told to the `Conversation`.

READ, WRITE and DATA are read by hand from the bytes at hand: they come 30,000 times per GiB. Invariant: a
packet that is not what its head promises is a `ProtocolError`.
"""

from __future__ import annotations

from struct import Struct

from bastion.errors import ProtocolError
from bastion.policy.verdict import Verdict
from bastion.relay.sftp.audit import Conversation
from bastion.relay.sftp.files import OpenFile
from bastion.relay.sftp.rights import Rights
from bastion.relay.sftp.stream import FIRST, HEAD_LIMIT, Bytes
from bastion.wire import sftp
from bastion.wire.data import Reader
from bastion.wire.sftp import Request

_ID = Struct(">I").unpack_from
_ID_LENGTH = Struct(">II").unpack_from
_OFFSET_SIZE = Struct(">QI").unpack_from

_WRITE_FIRST = FIRST + 4  # length, type, id, length of the handle
_WRITE_FIXED = _WRITE_FIRST + 8 + 4  # and offset, length of the data
_DATA_HEAD = FIRST + 4  # length, type, id, length of the data
_STATUS_HEAD = FIRST + 4  # length, type, id, code
_ATTRS_HEAD = FIRST + 4 + 8  # length, type, id, flags, size
_ATTR_SIZE = 1


class RequestSink:
    """Packets of the client. With a `judge`, `verdict` says why the packet at hand is refused (None: it goes
    on), `number` is its id and `name` what it is; `instead` is the head that goes on in its place.
    """

    __slots__ = ("_conversation", "_file", "_judge", "instead", "name", "number", "paths", "verdict")

    def __init__(self, conversation: Conversation, judge: Rights | None = None) -> None:
        self._conversation = conversation
        self._judge = judge
        self._file: OpenFile | None = None
        self.verdict: Verdict | None = None
        self.instead: bytes | None = None
        self.number = 0
        self.name = ""
        self.paths: tuple[bytes, ...] = ()

    def measure(self, data: Bytes, at: int, there: int, total: int, kind: int) -> int:
        if kind != sftp.WRITE:
            return min(total, HEAD_LIMIT)
        if there < _WRITE_FIRST:
            return _WRITE_FIRST
        (length,) = _ID(data, at + FIRST)
        if length > sftp.HANDLE_LIMIT or _WRITE_FIXED + length > total:
            raise ProtocolError("sftp: a write is malformed")
        return _WRITE_FIXED + int(length)

    def head(self, data: Bytes, at: int, size: int, total: int, kind: int) -> None:
        if kind == sftp.WRITE:
            self._write(data, at, size, total)
            return
        self._file = None
        if kind == sftp.READ and size == total:
            self._read(data, at, size)
            return
        self.instead = self.verdict = None
        (self.number,) = _ID(data, at + 5)
        if kind == sftp.INIT:
            self._init(data, at, size, total)
        else:
            self._other(data, at, size, total, kind)

    def body(self, data: Bytes) -> None:
        if self._file is not None:
            self._file.body(data)

    def _write(self, data: Bytes, at: int, size: int, total: int) -> None:
        number, length = _ID_LENGTH(data, at + 5)
        start = at + _WRITE_FIRST
        offset, count = _OFFSET_SIZE(data, start + length)
        if size + count != total:
            raise ProtocolError("sftp: a write has a length that is not its own")
        file = self._conversation.files.get(bytes(data[start : start + length]))
        if self._judge is not None:
            self._conversation.check_id(number)
            self.instead, self.paths = None, ()
            self.verdict = self._judge.transfer(file, True)
            if self.verdict is not None:
                self.number, self.name, self._file = number, "write", None
                return
        self._conversation.write(number, file, offset, count)
        self._file = file

    def _read(self, data: Bytes, at: int, size: int) -> None:
        if size < _WRITE_FIXED:
            raise ProtocolError("sftp: a read is malformed")
        number, length = _ID_LENGTH(data, at + 5)
        if _WRITE_FIXED + length != size or length > sftp.HANDLE_LIMIT:
            raise ProtocolError("sftp: a read is malformed")
        start = at + _WRITE_FIRST
        offset, count = _OFFSET_SIZE(data, start + length)
        file = self._conversation.files.get(bytes(data[start : start + length]))
        if self._judge is not None:
            self._conversation.check_id(number)
            self.instead, self.paths = None, ()
            self.verdict = self._judge.transfer(file, False)
            if self.verdict is not None:
                self.number, self.name = number, "read"
                return
        self._conversation.read(number, file, offset, count)

    def _init(self, data: Bytes, at: int, size: int, total: int) -> None:
        version = self.number
        if self._judge is not None and version > sftp.VERSION:
            # Only version 3 can be judged: the client asks for no more than that.
            version = sftp.VERSION
            self.instead = (
                bytes(data[at : at + 5]) + version.to_bytes(4, "big") + bytes(data[at + 9 : at + size])
            )
        self._conversation.init(version)

    def _other(self, data: Bytes, at: int, size: int, total: int, kind: int) -> None:
        conversation = self._conversation
        if size < total:
            request = Request(kind, self.number, sftp.REQUEST_NAMES.get(kind, "oversized"), whole=False)
        else:
            request = sftp.parse_request(bytes(data[at + 4 : at + size]))
        if self._judge is not None:
            conversation.check_id(request.id)
            self.verdict, self.instead = self._judge.request(request)
            self.name, self.paths = request.name, request.paths
            if self.verdict is not None:
                return
        conversation.request(request)


class AnswerSink:
    """Packets of the target. They are never held and never changed."""

    __slots__ = ("_conversation", "_file")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._file: OpenFile | None = None

    def measure(self, data: Bytes, at: int, there: int, total: int, kind: int) -> int:
        if kind == sftp.DATA:
            return _DATA_HEAD
        if kind == sftp.STATUS:
            return _STATUS_HEAD
        if kind == sftp.ATTRS:
            return min(total, _ATTRS_HEAD)
        if kind == sftp.HANDLE:
            return min(total, _DATA_HEAD + sftp.HANDLE_LIMIT)
        if kind == sftp.NAME and self._conversation.asks_home(_ID(data, at + 5)[0]):
            return min(total, HEAD_LIMIT)
        return FIRST

    def head(self, data: Bytes, at: int, size: int, total: int, kind: int) -> None:
        (number,) = _ID(data, at + 5)
        conversation = self._conversation
        self._file = None
        if kind == sftp.DATA:
            (count,) = _ID(data, at + FIRST)
            # OpenSSH's client and asyncssh's refuse an end-of-file mark behind the data too: it is of version 6.
            if size + count != total:
                raise ProtocolError("sftp: data has a length that is not its own")
            self._file = conversation.data(number, count)
        elif kind == sftp.STATUS:
            conversation.status(number, _ID(data, at + FIRST)[0])
        elif kind == sftp.HANDLE:
            conversation.handle(number, self._handle(data, at, size, total))
        elif kind == sftp.ATTRS:
            conversation.attributes(number, self._size(data, at, size))
        elif kind == sftp.NAME:
            first = None
            if size > FIRST and size == total:
                first = sftp.parse_first_name(bytes(data[at + 4 : at + size]))
            conversation.name(number, first)
        elif kind == sftp.EXTENDED_REPLY:
            conversation.extended(number)
        elif kind == sftp.VERSION_REPLY:
            conversation.version(number)
        else:
            raise ProtocolError("sftp: an answer of an unknown type")

    def body(self, data: Bytes) -> None:
        if self._file is not None:
            self._file.body(data)

    @staticmethod
    def _handle(data: Bytes, at: int, size: int, total: int) -> bytes:
        if size != total:
            raise ProtocolError("sftp: a handle is longer than allowed")
        reader = Reader(bytes(data[at + FIRST : at + size]))
        handle = reader.string(sftp.HANDLE_LIMIT)
        reader.end()
        return handle

    @staticmethod
    def _size(data: Bytes, at: int, size: int) -> int | None:
        """The size in ATTRS (section 5), when it is given."""
        if size < FIRST + 4:
            raise ProtocolError("sftp: attributes are truncated")
        if not _ID(data, at + FIRST)[0] & _ATTR_SIZE:
            return None
        return Reader(bytes(data[at + FIRST + 4 : at + size])).uint64()
