"""A trace for maintainers: one line in the operator's log for each SSH message that a connection reads or sends.

Off unless `[log] trace` or `--trace-messages` asks for it. A connection that is traced has another reader and another
writer of packets; one that is not has the plain ones, so the trace costs nothing while it is off, not even a question
for each message.

Invariant: of a message only its number, its size and a channel number reach a line, never a byte of what it says; the
size of a message that may hold a password or an answer is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.logger import Logger

from bastion.errors import ProtocolError
from bastion.transport.settings import TransportSettings
from bastion.wire.data import Reader
from bastion.wire.numbers import (
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_USERAUTH_INFO_RESPONSE,
    MSG_USERAUTH_REQUEST,
    name_of,
)
from bastion.wire.packets import BurstBuffer, PacketReader, PacketWriter

SECRET: Final = frozenset((MSG_USERAUTH_REQUEST, MSG_USERAUTH_INFO_RESPONSE))
"""Messages whose size would tell how long a password is."""

_log = Logger(namespace="bastion.trace")


class TracedReader(PacketReader):
    """As a PacketReader; `name` says whose messages they are, such as `k3v2m5q7p2r4t6w8 front`."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def packets(self, limit_bytes: int = 0, keep: bool = True) -> list[bytes]:
        payloads = super().packets(limit_bytes, keep)
        for payload in payloads:
            _log.info("{name} in {message}", name=self._name, message=described(payload))
        return payloads


class TracedWriter(PacketWriter):
    """As a PacketWriter; every burst is sealed by copying."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def seal(self, payloads: Sequence[bytes], pad_to: int = 0) -> bytes:
        for payload in payloads:
            _log.info("{name} out {message}", name=self._name, message=described(payload))
        return super().seal(payloads, pad_to)

    def seal_burst(self, payloads: Sequence[bytes], buffer: BurstBuffer | None) -> bytes | memoryview:
        return self.seal(payloads)


def packets_of(settings: TransportSettings, name: str) -> tuple[PacketReader, PacketWriter]:
    """Reader and writer of one connection; traced, when the settings ask for it, as `name`, if it has one."""
    if settings.trace and name:
        return TracedReader(name), TracedWriter(name)
    return PacketReader(), PacketWriter()


def described(payload: bytes) -> str:
    """`CHANNEL_DATA 1432 channel 0`: name, bytes of the payload, and the channel that it is for (its receiver's number,
    the sender's in a CHANNEL_OPEN). Takes whatever comes: nothing has looked at an incoming message yet."""
    number = payload[0] if payload else 0
    size = "" if number in SECRET else f" {len(payload)}"
    channel = _channel(number, payload)
    return f"{name_of(number)}{size}" + ("" if channel is None else f" channel {channel}")


def _channel(number: int, payload: bytes) -> int | None:
    try:
        reader = Reader(payload, 1)
        if number == MSG_CHANNEL_OPEN:
            reader.string()
        elif not MSG_CHANNEL_OPEN_CONFIRMATION <= number <= MSG_CHANNEL_FAILURE:
            return None
        return reader.uint32()
    except ProtocolError:
        return None
