"""One small protocol for the control socket and for processes among themselves: a length, then a JSON object (pure).

    4 bytes, unsigned, big-endian: the bytes of the object, at most `limit`; then the object, UTF-8

`id` is the asker's number of a question; what comes back has the same.

    from who asks     {"id", "command", "args"}    a question
                      {"id", "credit"}             so many bytes of its events have been taken
                      {"id", "stop"}               the answer is not wanted any more
    from who answers  {"id", "event"}              something on the way to the answer
                      {"id", "part"}               a piece of an answer that is too long for one frame
                      {"id", "result"} or {"id", "error": {"reason", "text"}}    the answer, once

Either end may be both. Invariant: a length is compared with the limit before anything is kept for it, and after a fault
nothing more is read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import orjson

from bastion.errors import ProtocolError
from bastion.recording.strict_json import parse_object

LENGTH: Final = struct.Struct(">I")

MAX_FRAME: Final = 1 << 20
"""Bytes of one object. The largest are pages of metrics (80 KiB) and parts of long lists."""

MAX_QUESTION: Final = 32 << 20
"""Bytes of a question between processes of one gateway: as many locks as there may be, with the longest words."""

PART: Final = 256 << 10
"""Characters of a long answer in one frame; as a JSON string they are at most six times as many bytes, and of ours,
which is JSON in ASCII, less than two."""

MAX_RESULT: Final = 64 << 20
"""Characters of an answer in parts: 200,000 sessions."""

MAX_ID: Final = (1 << 53) - 1

Frame = Mapping[str, Any]


def encode(frame: Frame, limit: int = MAX_FRAME) -> bytes:
    """One frame as bytes. Raises ValueError for what is too long or no JSON: a fault of ours, whatever a peer did."""
    try:
        body = orjson.dumps(frame)
    except TypeError as error:
        raise ValueError(f"no JSON: {error}") from None
    if len(body) > limit:
        raise ValueError(f"a frame of {len(body)} bytes")
    return LENGTH.pack(len(body)) + body


def answer(number: int, result: object) -> list[bytes]:
    """The frames of an answer: one, or its parts and then an empty one."""
    whole = orjson.dumps(result)
    if len(whole) <= PART:
        return [encode({"id": number, "result": result})]
    text = whole.decode()
    parts = [encode({"id": number, "part": text[at : at + PART]}) for at in range(0, len(text), PART)]
    return [*parts, encode({"id": number, "result": None})]


def whole(parts: list[str]) -> object:
    """The answer that came in parts. Raises ProtocolError."""
    try:
        return orjson.loads("".join(parts))
    except orjson.JSONDecodeError:
        raise ProtocolError("an answer in parts is no JSON") from None


class FrameReader:
    """Cuts what comes into objects. Holds at most one frame that is not whole yet, of at most `limit` bytes."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._broken = False
        self.frames = 0  # whole ones so far

    @property
    def half(self) -> bool:
        """Part of a frame is here."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that are whole now, in order. Raises ProtocolError, and from then on always."""
        if self._broken:
            raise ProtocolError("the frames broke off before")
        try:
            return self._cut(data)
        except ProtocolError:
            self._broken = True
            self._buffer.clear()
            raise

    def _cut(self, data: bytes) -> list[dict[str, Any]]:
        buffer, found, at = self._buffer, [], 0
        buffer += data  # what is read at once is small; a frame is never waited for beyond its limit
        while len(buffer) - at >= LENGTH.size:
            (size,) = LENGTH.unpack_from(buffer, at)
            if not 0 < size <= self._limit:
                raise ProtocolError(
                    f"a frame says that it has {size} bytes, at most {self._limit} may be sent"
                )
            end = at + LENGTH.size + size
            if len(buffer) < end:
                break
            try:
                found.append(parse_object(bytes(buffer[at + LENGTH.size : end])))
            except ValueError:
                raise ProtocolError("a frame holds no JSON object") from None
            at = end
            self.frames += 1
        del buffer[:at]
        return found


def number_of(frame: Frame) -> int:
    """The frame's id. Raises ProtocolError when it has none."""
    number = frame.get("id")
    if type(number) is not int or not 0 <= number <= MAX_ID:
        raise ProtocolError("a frame has no id")
    return number
