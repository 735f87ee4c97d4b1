"""The connection protocol, messages 80-100 (RFC 4254), one declaration each.

A payload is the message with its number, without packet length, padding or MAC. Channel data and window adjusts (93,
94, 95) are the hot path: the relay and the endpoint read them themselves, and here they are written by hand.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Annotated, ClassVar

from bastion.wire import numbers
from bastion.wire.data import string
from bastion.wire.struct import Boolean, Kind, Message, Name, Rest, String, Uint32, declared, octets

DESCRIPTION_LIMIT = 4096
"""Bytes of the description in CHANNEL_OPEN_FAILURE: one line for a person."""

LANGUAGE_LIMIT = 64
"""Bytes of a language tag (RFC 3066); everybody sends none or "en"."""

_THREE = Layout(">BII").pack
_FOUR = Layout(">BIII").pack

_DESCRIPTION = Kind(
    lambda reader: reader.string(DESCRIPTION_LIMIT).decode("utf-8", "backslashreplace"), string
)


@declared
class GlobalRequest(Message):
    """A request about the connection (RFC 4254 section 4); `body` is specific to `name`."""

    NUMBER: ClassVar[int] = numbers.MSG_GLOBAL_REQUEST
    name: Name
    want_reply: Boolean
    body: Rest = b""


@declared
class RequestSuccess(Message):
    """Yes to the oldest global request that waits; `body` belongs to that request (RFC 4254 section 4)."""

    NUMBER: ClassVar[int] = numbers.MSG_REQUEST_SUCCESS
    body: Rest = b""


@declared
class RequestFailure(Message):
    """No to the oldest global request that waits (RFC 4254 section 4)."""

    NUMBER: ClassVar[int] = numbers.MSG_REQUEST_FAILURE


@declared
class ChannelOpen(Message):
    """Asks for a channel (RFC 4254 section 5.1).

    `sender` is the asking side's number; `window` (bytes) and `max_packet` (bytes of data in one message)
    are what the asking side will receive; `body` is specific to `kind`.
    """

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_OPEN
    kind: Name
    sender: Uint32
    window: Uint32
    max_packet: Uint32
    body: Rest = b""


@declared
class ChannelOpenConfirmation(Message):
    """Grants a channel (RFC 4254 section 5.1); fields as in `ChannelOpen`, seen from the granting side.

    No channel type that is known here has specific data in it, so there is no field for any.
    """

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_OPEN_CONFIRMATION
    recipient: Uint32
    sender: Uint32
    window: Uint32
    max_packet: Uint32


@declared
class ChannelOpenFailure(Message):
    """Refuses a channel (RFC 4254 section 5.1); `code` is one of `OpenFailure` or a private number.

    `text` should be UTF-8; systems that send errors in their own code page exist, so other bytes become
    `\\xNN`.
    """

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_OPEN_FAILURE
    recipient: Uint32
    code: Uint32
    text: Annotated[str, _DESCRIPTION]
    language: Annotated[bytes, octets(LANGUAGE_LIMIT)] = b""


@declared
class WindowAdjust(Message):
    """Allows `size` more bytes of data (RFC 4254 section 5.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_WINDOW_ADJUST
    recipient: Uint32
    size: Uint32

    def encode(self) -> bytes:
        return _THREE(self.NUMBER, self.recipient, self.size)


@declared
class Data(Message):
    """Bytes of the main stream (RFC 4254 section 5.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_DATA
    recipient: Uint32
    data: String

    def encode(self) -> bytes:
        return _THREE(self.NUMBER, self.recipient, len(self.data)) + self.data


@declared
class ExtendedData(Message):
    """Bytes of another stream; `kind` 1 is stderr, the only one assigned (RFC 4254 section 5.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_EXTENDED_DATA
    recipient: Uint32
    kind: Uint32
    data: String

    def encode(self) -> bytes:
        return _FOUR(self.NUMBER, self.recipient, self.kind, len(self.data)) + self.data


@declared
class Eof(Message):
    """The sender will send no more data (RFC 4254 section 5.3)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_EOF
    recipient: Uint32


@declared
class Close(Message):
    """The sender will send nothing more on the channel (RFC 4254 section 5.3)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_CLOSE
    recipient: Uint32


@declared
class ChannelRequest(Message):
    """A request about one channel (RFC 4254 section 5.4); `body` is specific to `name`, see `requests`."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_REQUEST
    recipient: Uint32
    name: Name
    want_reply: Boolean
    body: Rest = b""


@declared
class ChannelSuccess(Message):
    """Yes to the oldest request on the channel that waits (RFC 4254 section 5.4)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_SUCCESS
    recipient: Uint32


@declared
class ChannelFailure(Message):
    """No to the oldest request on the channel that waits (RFC 4254 section 5.4)."""

    NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_FAILURE
    recipient: Uint32
