"""What a recorder is given, as the parts of a block: events as notes, and many small ones as fewer (L1, pure)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum, IntEnum
from typing import Any, Final

from bastion.recording.bulk import Bytes
from bastion.recording.format import EVENT_HEAD, Kind
from bastion.wire.requests import printable

_DATA: Final = int(Kind.DATA)
_HEAD = EVENT_HEAD.pack
_KEY_SIZE = 8  # bytes of an event's head that say whose it is: kind, side, stream, channel
_KEY = struct.Struct(">BBBxI").unpack

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def merged_parts(parts: list[Bytes]) -> tuple[bytes, int]:
    """`parts`, heads and payloads in turn, as one buffer, and how many events it holds less.

    Data of one stream that follows itself is one event: a peer that sends messages of one byte would write 17 for each.
    The parts are those of one turn of the reactor, so that no time is lost that anybody could see.
    """
    merged: list[Bytes] = []
    run: list[Bytes] = []
    key, delta, events = b"", 0, 0
    for at in range(0, len(parts), 2):
        head, payload = bytes(parts[at]), parts[at + 1]
        if head[:_KEY_SIZE] == key:
            run.append(payload)
            continue
        _end_run(merged, key, delta, run)
        if head[0] == _DATA:
            key, delta, run = head[:_KEY_SIZE], EVENT_HEAD.unpack(head)[4], [payload]
        else:
            key, run = b"", []
            merged += (head, payload)
        events += 1
    _end_run(merged, key, delta, run)
    return b"".join(merged), len(parts) // 2 - events


def _end_run(merged: list[Bytes], key: bytes, delta: int, run: list[Bytes]) -> None:
    if run:
        kind, side, stream, channel_id = _KEY(key)
        merged += (_HEAD(kind, side, stream, channel_id, delta, sum(map(len, run))), *run)


SHAPES: dict[type, tuple[str, tuple[str, ...]]] = {}
"""What `shape_of` has said: as many as there are kinds of events."""


def shape_of(kind: type) -> tuple[str, tuple[str, ...]]:
    """An event's class as its name in the recording, and its fields."""
    if not is_dataclass(kind):
        raise TypeError("an event is a dataclass instance")
    shape = _CAMEL.sub("_", kind.__name__).lower(), tuple(place.name for place in fields(kind))
    SHAPES[kind] = shape
    return shape


AS_IT_IS: Final = frozenset((str, int, bool, float, type(None)))
"""Types that JSON has as they are."""


def plain(value: Any) -> Any:
    """`value` as JSON: enums by name or text, bytes with what is not UTF-8 escaped."""
    kind = type(value)
    if kind in AS_IT_IS:  # nearly all there is, and never a subclass such as an enum
        return value
    if kind is dict:
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, bytes | bytearray | memoryview):
        return printable(bytes(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
