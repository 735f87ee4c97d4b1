"""Codecs of the connection protocol, messages 80-100 (RFC 4254): one frozen value per message.

A payload is the message with its number, without packet length, padding or MAC. Invariant: `parse` consumes
every byte or raises `ProtocolError`, and `parse(m.encode()) == m`. The relay's hot path (93, 94, 95) does
not come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from bastion.errors import ProtocolError
from bastion.wire import numbers
from bastion.wire.data import Reader, boolean, byte, string, uint32

DESCRIPTION_LIMIT = 4096
"""Bytes of the description in CHANNEL_OPEN_FAILURE: one line for a person."""

LANGUAGE_LIMIT = 64
"""Bytes of a language tag (RFC 3066); everybody sends none or "en"."""


def _reader(payload: bytes, number: int) -> Reader:
    """A reader behind the message number, which must be `number`."""
    reader = Reader(payload)
    if reader.byte() != number:
        raise ProtocolError(f"payload is no {numbers.name_of(number)}")
    return reader


@dataclass(frozen=True, slots=True)
class GlobalRequest:
    """A request about the connection (RFC 4254 section 4); `body` is specific to `name`."""

    NUMBER: ClassVar[int] = numbers.MSG_GLOBAL_REQUEST
    name: str
    want_reply: bool
    body: bytes = b""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        return cls(reader.name(), reader.boolean(), reader.rest())

    def encode(self) -> bytes:
        return byte(self.NUMBER) + string(self.name) + boolean(self.want_reply) + self.body


@dataclass(frozen=True, slots=True)
class RequestSuccess:
    """Yes to the oldest global request that waits; `body` belongs to that request (RFC 4254 section 4)."""

    NUMBER: ClassVar[int] = numbers.MSG_REQUEST_SUCCESS
    body: bytes = b""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        return cls(_reader(payload, cls.NUMBER).rest())

    def encode(self) -> bytes:
        return byte(self.NUMBER) + self.body


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """No to the oldest global request that waits (RFC 4254 section 4)."""

    NUMBER: ClassVar[int] = numbers.MSG_REQUEST_FAILURE

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        _reader(payload, cls.NUMBER).end()
        return cls()

    def encode(self) -> bytes:
        return byte(self.NUMBER)


@dataclass(frozen=True, slots=True)
class ChannelOpen:
    """Asks for a channel (RFC 4254 section 5.1).

    `sender` is the asking side's number; `window` (bytes) and `max_packet` (bytes of data in one message)
    are what the asking side will receive; `body` is specific to `kind`.
    """

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_OPEN
    kind: str
    sender: int
    window: int
    max_packet: int
    body: bytes = b""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        return cls(reader.name(), reader.uint32(), reader.uint32(), reader.uint32(), reader.rest())

    def encode(self) -> bytes:
        head = byte(self.NUMBER) + string(self.kind) + uint32(self.sender)
        return head + uint32(self.window) + uint32(self.max_packet) + self.body


@dataclass(frozen=True, slots=True)
class ChannelOpenConfirmation:
    """Grants a channel (RFC 4254 section 5.1); fields as in `ChannelOpen`, seen from the granting side.

    No channel type that is known here has specific data in it, so there is no field for any.
    """

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_OPEN_CONFIRMATION
    recipient: int
    sender: int
    window: int
    max_packet: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.uint32(), reader.uint32(), reader.uint32(), reader.uint32())
        reader.end()
        return message

    def encode(self) -> bytes:
        head = byte(self.NUMBER) + uint32(self.recipient) + uint32(self.sender)
        return head + uint32(self.window) + uint32(self.max_packet)


@dataclass(frozen=True, slots=True)
class ChannelOpenFailure:
    """Refuses a channel (RFC 4254 section 5.1); `code` is one of `OpenFailure` or a private number.

    `text` should be UTF-8; systems that send errors in their own code page exist, so other bytes become
    `\\xNN`.
    """

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_OPEN_FAILURE
    recipient: int
    code: int
    text: str
    language: bytes = b""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        recipient, code = reader.uint32(), reader.uint32()
        text = reader.string(DESCRIPTION_LIMIT).decode("utf-8", "backslashreplace")
        message = cls(recipient, code, text, reader.string(LANGUAGE_LIMIT))
        reader.end()
        return message

    def encode(self) -> bytes:
        head = byte(self.NUMBER) + uint32(self.recipient) + uint32(self.code)
        return head + string(self.text) + string(self.language)


@dataclass(frozen=True, slots=True)
class WindowAdjust:
    """Allows `size` more bytes of data (RFC 4254 section 5.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_WINDOW_ADJUST
    recipient: int
    size: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.uint32(), reader.uint32())
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + uint32(self.recipient) + uint32(self.size)


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the main stream (RFC 4254 section 5.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_DATA
    recipient: int
    data: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.uint32(), reader.string())
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + uint32(self.recipient) + string(self.data)


@dataclass(frozen=True, slots=True)
class ExtendedData:
    """Bytes of another stream; `kind` 1 is stderr, the only one assigned (RFC 4254 section 5.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_EXTENDED_DATA
    recipient: int
    kind: int
    data: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.uint32(), reader.uint32(), reader.string())
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + uint32(self.recipient) + uint32(self.kind) + string(self.data)


@dataclass(frozen=True, slots=True)
class _ChannelSignal:
    """A message that is a number and a recipient."""

    NUMBER: ClassVar[int]
    recipient: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.uint32())
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + uint32(self.recipient)


@dataclass(frozen=True, slots=True)
class Eof(_ChannelSignal):
    """The sender will send no more data (RFC 4254 section 5.3)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_EOF


@dataclass(frozen=True, slots=True)
class Close(_ChannelSignal):
    """The sender will send nothing more on the channel (RFC 4254 section 5.3)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_CLOSE


@dataclass(frozen=True, slots=True)
class ChannelRequest:
    """A request about one channel (RFC 4254 section 5.4); `body` is specific to `name`, see `requests`."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_REQUEST
    recipient: int
    name: str
    want_reply: bool
    body: bytes = b""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        return cls(reader.uint32(), reader.name(), reader.boolean(), reader.rest())

    def encode(self) -> bytes:
        head = byte(self.NUMBER) + uint32(self.recipient) + string(self.name)
        return head + boolean(self.want_reply) + self.body


@dataclass(frozen=True, slots=True)
class ChannelSuccess(_ChannelSignal):
    """Yes to the oldest request on the channel that waits (RFC 4254 section 5.4)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_SUCCESS


@dataclass(frozen=True, slots=True)
class ChannelFailure(_ChannelSignal):
    """No to the oldest request on the channel that waits (RFC 4254 section 5.4)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_FAILURE


Message = (
    GlobalRequest
    | RequestSuccess
    | RequestFailure
    | ChannelOpen
    | ChannelOpenConfirmation
    | ChannelOpenFailure
    | WindowAdjust
    | Data
    | ExtendedData
    | Eof
    | Close
    | ChannelRequest
    | ChannelSuccess
    | ChannelFailure
)

MESSAGES: dict[int, type[Message]] = {
    kind.NUMBER: kind
    for kind in (
        GlobalRequest,
        RequestSuccess,
        RequestFailure,
        ChannelOpen,
        ChannelOpenConfirmation,
        ChannelOpenFailure,
        WindowAdjust,
        Data,
        ExtendedData,
        Eof,
        Close,
        ChannelRequest,
        ChannelSuccess,
        ChannelFailure,
    )
}


def parse_message(payload: bytes) -> Message:
    """Any of the messages above; `ProtocolError` for an empty payload or a number without a codec here."""
    if not payload:
        raise ProtocolError("payload is empty")
    kind = MESSAGES.get(payload[0])
    if kind is None:
        raise ProtocolError(f"{numbers.name_of(payload[0])} is no connection message")
    return kind.parse(payload)
