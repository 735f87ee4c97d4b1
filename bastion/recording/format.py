"""What recordings are made of: preamble, heads of blocks, events, documents (L1, pure).

A file is a preamble, one header block, any number of blocks with events and, when the session ended in order, one end
block. One burst = one write(2). The preamble and each block's head stand under a CRC32 of their own, so that a length
is believed only after it was checked; what stands in a block's foot depends on its suite (`framing`). Format 1 is read,
format 2 read and written; docs/recording-format.md is for readers of either.

Invariant: nothing here allocates by a length that was not compared with MAX_BLOCK or with bytes that are
already there. Integers are unsigned and big-endian. Times are microseconds since the session's start.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum
from typing import Any, Final, Self
from zlib import crc32

import orjson

from bastion.errors import BastionError
from bastion.recording.strict_json import parse_object
from bastion.sides import Side

MAGIC = b"\x89BREC\r\n\x1a"  # high bit, line ends and ^Z: a text-mode copy or a 7-bit path breaks it visibly
VERSION = 2
VERSIONS = (1, 2)
SYNC_SIZE = 8

# A session's own traffic may hold bytes that look like blocks (someone prints a recording). Each file
# therefore has random sync bytes that nobody inside the session knows; a reader that lost its place looks
# for them.
PREAMBLE = struct.Struct(">8sHH8sI")  # magic, version, zero, sync, crc32 of the 20 bytes before
PREAMBLE_SIZE = PREAMBLE.size

# sync, type, suite, zero, payload length, sequence, time of the first event, channel bytes seen so far
HEAD = struct.Struct(">8sBBHIIQQ")
HEAD_CRC = struct.Struct(">I")  # of the fields before
HEAD_SIZE = HEAD.size + HEAD_CRC.size
SIZE = struct.Struct(">I")  # the last field of each foot: length of the whole block (to walk backwards)

EVENT_HEAD = struct.Struct(
    ">BBBxIII"
)  # kind, side, stream, channel, microseconds after the block's time, length
EVENT_HEAD_SIZE = EVENT_HEAD.size

GAP = struct.Struct(">BQQQQ")  # 1 when the gap goes on, bytes, messages, from, until

# Worst case a reader allocates for one block. The recorder closes a block at 1 MiB, and the longest single
# event is a channel request of 256 KiB written as escaped JSON (at most six bytes for one).
MAX_BLOCK = 16 << 20

SESSION_ID = re.compile(r"[a-z2-7]{16}")
SESSION_ID_LENGTH = 16
REF_LENGTH = 6

# The last second of the year 9999: what calendars, ours too, can tell.
LAST_TIME = 253_402_300_799.0


class FormatError(BastionError):
    """The bytes are no recording of a version this program knows. `text` is ours, never the file's bytes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class UnknownVersion(FormatError):
    """The file is whole and was written by a later version of this program."""


class BlockType(IntEnum):
    HEADER = 1
    EVENTS = 2
    END = 3
    INPUT = 4  # events too: the bytes that the client sent, apart so that they can have a key of their own
    CHECKPOINT = 5  # sums so far, signed
    KEYS = 6  # the data keys, wrapped for those who may read


class Suite(IntEnum):
    """What stands in the foot, and whether the payload is encrypted."""

    CRC32 = 0  # format 1
    CHAINED = 1  # a BLAKE3 digest, which is a link of the file's chain
    SEALED = 2  # the same over a payload of AES-256-GCM


FOOT_SIZES = (8, 36, 36)
"""Bytes of the foot by suite: CRC32 or digest, and the block's size."""


class Kind(IntEnum):
    """What an event is."""

    DATA = 1  # payload: channel bytes as they passed
    GAP = 2  # payload: `Gap`, bytes that passed and were not kept
    INJECTED = 3  # payload: the gateway's own text, shown to the client and never sent by the target
    NOTE = 4  # payload: JSON object with "event", what happened on the channel or the connection


_BLOCK_TYPES = frozenset(int(kind) for kind in BlockType)
_SUITES = {1: frozenset({0}), 2: frozenset({1, 2})}  # by version
_KINDS = frozenset(int(kind) for kind in Kind)


def is_session_id(text: str) -> bool:
    """True for 16 lower-case base32 characters: the only text that ever becomes a file name."""
    return SESSION_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Header:
    """Who, from where, to what, by which rule: everything known when the session starts.

    `started_at` is seconds since the epoch. `mode` is off, default or full; `input` tells whether what the
    client typed is in the file. `policy_digest` is of the policy and inventory that made the grant. Where a session
    needed an approval, `request_id` and what follows say who gave it, when, why, and for what; else they are empty and
    not in the file, as `break_glass_why` (as it was typed) is but after a login for emergencies. `via` names the hops
    from the gateway to the target, if any, and `via_host_keys` the fingerprint of each; `proxy_command` the program by
    which the gateway connected.
    `extra` keeps what a later version wrote and this one does not know.
    """

    session_id: str
    identity: str
    uid: str
    target: str
    login: str
    started_at: float
    host: str = ""
    port: int = 0
    auth_methods: tuple[str, ...] = ()
    key_fingerprint: str = ""
    certificate_key_id: str = ""
    certificate_serial: int = 0
    certificate_ca: str = ""
    source_address: str = ""
    host_key_fingerprint: str = ""
    rules: tuple[str, ...] = ()
    policy_digest: str = ""
    door: str = ""
    gateway_version: str = ""
    mode: str = "default"
    input: bool = False
    request_id: str = ""
    request_why: str = ""
    approved_by: str = ""
    approved_by_uid: str = ""
    approved_at: float = 0.0
    approved_factor: str = ""
    approved_why: str = ""
    break_glass_why: str = ""
    via: tuple[str, ...] = ()
    via_host_keys: tuple[str, ...] = ()
    proxy_command: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """The short reference that people read to each other."""
        return self.session_id[:REF_LENGTH]

    @classmethod
    def unknown(cls, session_id: str) -> Self:
        """What stands in for a header that cannot be read, so that the rest of the file can be."""
        return cls(session_id, identity="?", uid="?", target="?", login="?", started_at=0.0)

    def document(self) -> dict[str, Any]:
        """All fields as JSON values."""
        document = dict(self.extra)
        for name in _HEADER if self.request_id else _WITHOUT_APPROVAL:
            value = getattr(self, name)
            document[name] = list(value) if type(value) is tuple else value
        if not self.break_glass_why:
            del document["break_glass_why"]
        if not self.via:
            del document["via"], document["via_host_keys"]
        if not self.proxy_command:
            del document["proxy_command"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read `document()` back; raises FormatError when a field is missing or has another type."""
        values: dict[str, Any] = {}
        for place in fields(cls):
            if place.name == "extra" or place.name not in document:
                continue
            values[place.name] = _typed(place.name, document[place.name], str(place.type))
        extra = {key: value for key, value in document.items() if key not in values}
        try:
            header = cls(**values, extra=extra)
        except TypeError:
            raise FormatError("the header lacks a field") from None
        if not is_session_id(header.session_id):
            raise FormatError("the header has no session id")
        return header


# Asked for once: every session writes them.
_HEADER: Final = tuple(one.name for one in fields(Header) if one.name != "extra")
_WITHOUT_APPROVAL: Final = tuple(name for name in _HEADER if not name.startswith(("request_", "approved_")))


def _typed(name: str, value: Any, wanted: str) -> Any:
    """`value` when it is what the field says and can be shown: times in the calendar, counts of 64 bits."""
    if wanted == "float" and type(value) in (int, float) and 0 <= value <= LAST_TIME:  # no NaN either
        return float(value)
    if wanted == "tuple[str, ...]" and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if wanted == "int" and type(value) is int and 0 <= value < 1 << 64:
        return value
    if wanted in ("str", "bool") and type(value).__name__ == wanted:
        return value
    raise FormatError(f"the field {name} has the wrong type or is out of range")


@dataclass(frozen=True, slots=True)
class Sums:
    """What a checkpoint says: everything up to it. Bytes are channel bytes: in from the client, out to it."""

    events: int
    channels: int
    bytes_in: int
    bytes_out: int
    skipped: int
    opaque: int

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SUMS}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read `document()` back; raises FormatError when a field is missing or has another type."""
        try:
            return cls(**{name: _typed(name, document[name], "int") for name in _SUMS})
        except KeyError:
            raise FormatError("a checkpoint lacks a field") from None


_SUMS: Final = tuple(one.name for one in fields(Sums))


@dataclass(frozen=True, slots=True)
class Totals:
    """The end block: what the whole session was. Bytes are channel bytes: in from the client, out to it.

    `opaque` counts channels of other programs' bytes (forwards, sockets, agent, X11), which nobody can replay.
    `incomplete`: another process than the one that wrote the file ended it. It did so with the node's key `node_key`
    and with `text`; the recording's own signatures end with block `signed_until`, the sums with block `counted_until`.
    """

    reason: str
    ended_at: float
    duration_us: int
    blocks: int
    events: int
    channels: int
    bytes_in: int
    bytes_out: int
    skipped: int
    opaque: int = 0
    incomplete: bool = False
    text: str = ""
    node_key: str = ""
    signed_until: int = 0
    counted_until: int = 0

    def document(self) -> dict[str, Any]:
        """Fields of an incomplete recording stand in that of one only."""
        return {name: getattr(self, name) for name in (_TOTALS if self.incomplete else _WHOLE)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read `document()` back; raises FormatError when a field is missing or has another type."""
        values = {}
        for place in fields(cls):
            if place.name not in document and place.default is not MISSING:
                continue  # a field that the first files did not have
            if place.name not in document:
                raise FormatError("the end block lacks a field")
            values[place.name] = _typed(place.name, document[place.name], str(place.type))
        return cls(**values)


_INCOMPLETE = frozenset({"incomplete", "text", "node_key", "signed_until", "counted_until"})
_TOTALS: Final = tuple(one.name for one in fields(Totals))
_WHOLE: Final = tuple(name for name in _TOTALS if name not in _INCOMPLETE)


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of one channel, side and stream that passed and were not kept, and when (microseconds).

    `open`: the gap goes on after this record; the first record of a gap comes at once and counts nothing yet.
    When the file is cut off before a record that is not open, an unknown number of bytes passed there.
    """

    open: bool
    size: int
    messages: int
    from_us: int
    until_us: int

    def encode(self) -> bytes:
        return GAP.pack(self.open, self.size, self.messages, self.from_us, self.until_us)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        if len(payload) != GAP.size or payload[0] > 1:
            raise FormatError("a gap record has the wrong form")
        flag, *numbers = GAP.unpack(payload)
        return cls(bool(flag), *numbers)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event read from a file. Channel 0 is the connection itself; stream 0 is data, 1 extended data."""

    kind: Kind
    time_us: int
    channel: int
    side: Side
    stream: int
    payload: bytes

    @property
    def gap(self) -> Gap:
        return Gap.parse(self.payload)

    @property
    def note(self) -> dict[str, Any]:
        return parse_json(self.payload)


@dataclass(frozen=True, slots=True)
class Head:
    """A block's head, checked against its own CRC."""

    type: BlockType
    suite: Suite
    length: int
    sequence: int
    time_us: int
    seen: int

    @property
    def block_size(self) -> int:
        return HEAD_SIZE + self.length + FOOT_SIZES[self.suite]

    def fits(self, version: int) -> bool:
        """May a file of that version have such a block?"""
        return self.suite in _SUITES[version] and (version > 1 or self.type <= BlockType.END)


_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode
_PLAIN_ONLY = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode_json(document: Mapping[str, Any]) -> bytes:
    """Compact ASCII JSON; lone surrogates survive as escapes.

    Nearly every document is printable ASCII as it is, and orjson writes that in a tenth of the time.
    """
    try:
        quick = orjson.dumps(document, None, _PLAIN_ONLY)
    except TypeError:  # a lone surrogate, a large integer, something that is no JSON
        quick = b""
    if quick and quick.isascii() and b"\x7f" not in quick:
        return quick
    return _encode(document).encode("ascii")


def parse_json(payload: bytes) -> dict[str, Any]:
    """A JSON object or FormatError, never another exception."""
    try:
        return parse_object(payload)
    except ValueError:
        raise FormatError("a metadata record is not a JSON object of this format") from None


def encode_preamble(sync: bytes, version: int = VERSION) -> bytes:
    """The first 24 bytes of a file."""
    if len(sync) != SYNC_SIZE:
        raise ValueError("sync must be 8 bytes")
    body = PREAMBLE.pack(MAGIC, version, 0, sync, 0)[:-4]
    return body + HEAD_CRC.pack(crc32(body))


def parse_preamble(data: bytes) -> tuple[int, bytes]:
    """Version and sync bytes of the file. Raises FormatError for what is no recording or of a later version."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise FormatError("not a recording")
    if len(data) < PREAMBLE_SIZE:
        raise FormatError("the file ends inside its first 24 bytes")
    _, version, zero, sync, check = PREAMBLE.unpack_from(data)
    if crc32(data[: PREAMBLE_SIZE - 4]) != check:
        raise FormatError("the file's first 24 bytes are damaged")
    if version not in VERSIONS or zero:
        raise UnknownVersion(f"recording format version {version} is not known to this program")
    return version, bytes(sync)


def split_events(payload: bytes, block_time_us: int) -> Iterator[Recorded]:
    """The events of one block. Raises FormatError for an event that is impossible, after those before it."""
    at = 0
    while at < len(payload):
        if len(payload) - at < EVENT_HEAD_SIZE:
            raise FormatError("an event's head is cut off")
        kind, side, stream, channel, delta, length = EVENT_HEAD.unpack_from(payload, at)
        at += EVENT_HEAD_SIZE
        if kind not in _KINDS or side > 1 or stream > 1 or length > len(payload) - at:
            raise FormatError("an event is of no known form")
        body = payload[at : at + length]
        at += length
        yield Recorded(Kind(kind), block_time_us + delta, channel, Side(side), stream, body)


def encode_head(
    sync: bytes, kind: int, suite: int, length: int, sequence: int, time_us: int, seen: int
) -> bytes:
    """The head of a block whose payload has `length` bytes as it is stored."""
    if length > MAX_BLOCK:
        raise ValueError("block too long")
    head = HEAD.pack(sync, kind, suite, 0, length, sequence, time_us, seen)
    return head + HEAD_CRC.pack(crc32(head))


def parse_head(data: bytes, sync: bytes) -> Head | None:
    """The head at the start of `data` when every field is possible and its CRC is right, else None."""
    if len(data) < HEAD_SIZE or data[:SYNC_SIZE] != sync:
        return None
    _, kind, suite, zero, length, sequence, time_us, seen = HEAD.unpack_from(data)
    if crc32(data[: HEAD.size]) != HEAD_CRC.unpack_from(data, HEAD.size)[0]:
        return None
    if kind not in _BLOCK_TYPES or suite > Suite.SEALED or zero or length > MAX_BLOCK:
        return None
    return Head(BlockType(kind), Suite(suite), length, sequence, time_us, seen)
