"""Reads a recording back (L1, pure: the open file is an argument).

A file that its writer did not end is normal (a crash, a session still running): it reads up to the last whole
block, and `torn_at` says where that was. Damage is different: bytes that were written and have changed, or
blocks that are gone. It is listed with offsets, and what can still be read after it is.

Both formats are read. What the reader says is what a file holds together by itself; whether that is what was written,
`verifying` says, from the signatures.

Invariant: an event comes out only from a block whose CRC or digest is right, in the order of the block numbers; nothing
but FormatError is raised for what a file holds, and at most one block (MAX_BLOCK) is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from bastion.errors import EndReason
from bastion.recording.format import (
    FOOT_SIZES,
    HEAD_SIZE,
    PREAMBLE_SIZE,
    SIZE,
    SYNC_SIZE,
    BlockType,
    FormatError,
    Head,
    Header,
    Kind,
    Recorded,
    Suite,
    Totals,
    UnknownVersion,
    encode_json,
    parse_head,
    parse_json,
    parse_preamble,
    split_events,
)
from bastion.recording.framing import checked
from bastion.recording.unwrapping import Unwrap, Wrapped, split_signed
from bastion.sides import Side

if TYPE_CHECKING:
    from bastion.recording.opening import Opened

# How much is read at once while looking for the next block after damage.
SEARCH_BYTES = 1 << 20

# How far from the end the last block's head of an unfinished file is looked for: a block is closed at 1 MiB.
TAIL_SEARCH_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a file is not what was written, as a byte offset, and in what way."""

    offset: int
    text: str


class Place(NamedTuple):
    """A block of a file: its offset, and its number."""

    offset: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Tail:
    """What the end of a file tells without reading the rest.

    `totals` is None for an unfinished file; `time_us` and `seen` are those of the last block found.
    """

    totals: Totals | None
    time_us: int
    seen: int


class Reader:
    """One recording. Iterate for its events; `totals`, `damage`, `torn_at` and `blocks` are complete afterwards.

    `torn_at` is where the whole blocks of an unfinished file end, `blocks` how many there are with the header.
    With `more`, a file without an end is followed: it is called where the events end, waits, and returns true when
    another look is wanted. Of an encrypted file that cannot be opened no events come; `closed` counts their blocks.
    """

    def __init__(
        self,
        source: BinaryIO,
        session_id: str = "",
        written: Callable[[], bool] | None = None,
        unwrap: Unwrap | None = None,
    ) -> None:
        """Read the header; `session_id` stands in when it is damaged. `written` tells whether somebody writes the file.
        `unwrap` opens the data keys of an encrypted one.

        Raises FormatError when the file is no recording, too short for a header, or of a later version.
        """
        self._written = written
        self.more: Callable[[], bool] | None = None
        self._source = source
        self._size = source.seek(0, 2)
        self.damage: list[Damage] = []
        self.torn_at: int | None = None
        self.totals: Totals | None = None
        self.closed = 0
        self.version, self._sync = self._find_sync()
        self._first = PREAMBLE_SIZE
        self._first_known = True
        self.wrapped: Wrapped | None = None
        self._opened: Opened | None = None
        self.header = self._read_header(session_id)
        self._unwrap = unwrap
        self._read_keys()
        self._header_damage = list(self.damage)
        self._position = self._expected = 0
        self._from: Place | None = None
        self._block = (0, 0)

    @property
    def sync(self) -> bytes:
        """What each block of this file begins with."""
        return self._sync

    @property
    def state(self) -> str:
        """`complete`, `truncated` (no end block) or `damaged`; true after the events have been iterated."""
        if self.damage:
            return "damaged"
        return "complete" if self.totals is not None else "truncated"

    @property
    def sealed(self) -> str:
        """Why the events of an encrypted recording do not come, "" when they do."""
        if self._opened is not None or not (self.wrapped is not None or self._says_sealed):
            return ""
        if self.wrapped is None:
            return "encrypted, and the block of its keys is missing or damaged: nobody can open this file"
        count = len(self.wrapped.recipients)
        return f"sealed to {count} recipient{'s' * (count != 1)}: give --identity"

    @property
    def _says_sealed(self) -> bool:
        """The header, of which `verifying` says whether it is true, names data keys."""
        seal = self.header.extra.get("seal")
        return isinstance(seal, dict) and bool(seal.get("output"))

    @property
    def live(self) -> bool:
        """A gateway is writing the file."""
        return self._written is not None and self._written()

    def __iter__(self) -> Iterator[Recorded]:
        self.damage[:] = self._header_damage
        self.torn_at = self.totals = None
        self.closed = 0
        self._expected = 1
        self._position = self._begin()
        if self._from is not None:
            self._position, self._expected = self._from
        yield from self._walk()
        while not self._ended() and self.more is not None and self.more():
            self._size = self._source.seek(0, 2)
            self.torn_at = None
            yield from self._walk()

    def begin_at(self, place: Place | None) -> bool:
        """The next iteration begins at this block (None: the first), and knows nothing of what is before it. False
        when there is no such block; then nothing has changed.
        """
        if place is not None:
            head = self._head(place.offset) if place.offset >= self._first else None
            if head is None or head.sequence != place.sequence:
                return False
        self._from = place
        return True

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within it the events can be iterated from the first block on; whoever is at them goes on behind it."""
        kept = dict(self.__dict__)  # where the other iteration is, and what it has found
        self.begin_at(None)
        self.damage = list(self._header_damage)
        try:
            yield
        finally:
            self.__dict__.update(kept)

    @property
    def place(self) -> Place:
        """The block that the newest event was in."""
        return Place(*self._block)

    def _ended(self) -> bool:
        return self.totals is not None

    @property
    def position(self) -> int:
        """How far into the file the events have come, in bytes."""
        return self._position

    def _walk(self) -> Iterator[Recorded]:
        """The events from `_position` on to where the file ends, or is torn: there the next walk begins."""
        ended = False
        while self._position < self._size:
            position = self._position
            if ended:
                self._damaged(position, "bytes after the end block")
                return
            head = self._head(position)
            if head is None:
                found = self._after_damage(position)
                if found is None:
                    if self.torn_at is None:
                        self._position = self._size
                    return
                self._position = found
                continue
            payload = self._payload(position, head)
            if payload is None and self._is_torn(position, head):
                self.torn_at = position
                return
            self._position += head.block_size
            ended = head.type is BlockType.END
            self._block = (position, head.sequence)
            yield from self._in_order(position, head, payload)
        if self.totals is None:
            self.torn_at = self._position

    def _in_order(self, position: int, head: Head, payload: bytes | None) -> Iterator[Recorded]:
        if head.sequence < self._expected:
            self._damaged(position, f"block {head.sequence} stands where {self._expected} should")
            return
        if head.sequence > self._expected and not self._was_never_forwarded(head):
            self._damaged(position, f"{head.sequence - self._expected} blocks before this one are missing")
        self._expected = head.sequence + 1
        yield from self._events(position, head, payload)

    def _events(self, position: int, head: Head, payload: bytes | None) -> Iterator[Recorded]:
        if payload is None:
            self._damaged(position, f"block {head.sequence} is damaged")
            return
        try:
            if head.type is BlockType.END:
                self.totals = self._totals(payload)
                if self.totals.text:
                    yield _last_note(self.totals, head.time_us)
            elif head.type in (BlockType.EVENTS, BlockType.INPUT):
                if head.suite is not Suite.SEALED:
                    if self.wrapped is not None or self._says_sealed:
                        raise FormatError("is not encrypted, as the recording is")
                    yield from split_events(payload, head.time_us)
                elif self._opened is not None:
                    raw_head = self._at(position, HEAD_SIZE)
                    yield from split_events(self._opened.payload(head, raw_head, payload), head.time_us)
                else:
                    self.closed += 1
                    if self.wrapped is None and self.closed == 1:
                        raise FormatError("is encrypted, and the file has no keys")
            elif head.type is not BlockType.CHECKPOINT:
                raise FormatError("stands where no block of its type does")
        except FormatError as error:
            self._damaged(position, f"block {head.sequence}: {error.text}")

    def _totals(self, payload: bytes) -> Totals:
        """Raises FormatError."""
        document = payload if self.version == 1 else split_signed(payload)[1]
        return Totals.from_document(parse_json(document))

    def tail(self) -> Tail:
        """The end block, or what the last whole head says, found from the end of the file."""
        last = self._at(self._size - SIZE.size, SIZE.size) if self._size >= SIZE.size else b""
        if len(last) == SIZE.size:
            (length,) = SIZE.unpack(last)
            if HEAD_SIZE <= length <= self._size:
                head = self._head(self._size - length)
                if head is not None and head.block_size == length:
                    return Tail(self._end(self._size - length, head), head.time_us, head.seen)
        start = max(self._first, self._size - TAIL_SEARCH_BYTES)
        data = self._at(start, self._size - start)
        place = data.rfind(self._sync)
        while place >= 0:
            head = parse_head(data[place : place + HEAD_SIZE], self._sync)
            if head is not None:
                return Tail(None, head.time_us, head.seen)
            place = data.rfind(self._sync, 0, place + SYNC_SIZE - 1)
        return Tail(None, 0, 0)

    def _was_never_forwarded(self, head: Head) -> bool:
        """Blocks are missing before this one because the disk refused them: the session ended there.

        They were not forwarded either, so nothing that anybody saw is missing. Only the last two blocks may
        follow such a failure: what a gap still held, and the end block.
        """
        totals = self.tail().totals
        if totals is None or totals.reason != EndReason.RECORDER_FAILED:
            return False
        return head.sequence >= totals.blocks - 2

    def _end(self, position: int, head: Head) -> Totals | None:
        payload = self._payload(position, head) if head.type is BlockType.END else None
        try:
            return None if payload is None else self._totals(payload)
        except FormatError:
            return None

    # -- pieces of the file

    def _at(self, offset: int, size: int) -> bytes:
        self._source.seek(offset)
        return self._source.read(size)

    def _head(self, position: int) -> Head | None:
        head = parse_head(self._at(position, HEAD_SIZE), self._sync)
        return head if head is not None and head.fits(self.version) else None

    def _payload(self, position: int, head: Head) -> bytes | None:
        """The block's payload as it is stored, when all of it is there and has not changed, else None."""
        if position + head.block_size > self._size:
            return None
        block = self._at(position, head.block_size)
        if checked(memoryview(block), head) is None:
            return None
        return block[HEAD_SIZE : HEAD_SIZE + head.length]

    def _is_torn(self, position: int, head: Head) -> bool:
        """Cut off by the end of the file, or (after a power loss) zeros where the block should end."""
        end, foot = position + head.block_size, FOOT_SIZES[head.suite]
        return end > self._size or (end == self._size and not any(self._at(end - foot, foot)))

    def _after_damage(self, position: int) -> int | None:
        """No head at `position`: the tail is torn, or this is damage. The next block's offset, or None."""
        if self._size - position < HEAD_SIZE and self._sync.startswith(self._at(position, SYNC_SIZE)):
            self.torn_at = position
            return None
        if not self._anything_but_zeros(position):
            self.torn_at = position
            return None
        found = self._search(position + 1)
        lost = (self._size if found is None else found) - position
        self._damaged(position, f"{lost} bytes are no block")
        return found

    def _anything_but_zeros(self, position: int) -> bool:
        while chunk := self._at(position, SEARCH_BYTES):
            if chunk.count(0) != len(chunk):
                return True
            position += len(chunk)
        return False

    def _search(self, position: int) -> int | None:
        """The offset of the next good head at or after `position`.

        Whoever was inside the session does not know the sync bytes, so channel bytes cannot pose as a block.
        """
        while len(chunk := self._at(position, SEARCH_BYTES)) >= HEAD_SIZE:
            place = chunk.find(self._sync)
            while place >= 0:
                if self._head(position + place) is not None:
                    return position + place
                place = chunk.find(self._sync, place + 1)
            position += len(chunk) - SYNC_SIZE + 1
        return None

    def _find_sync(self) -> tuple[int, bytes]:
        start = self._at(0, PREAMBLE_SIZE)
        try:
            return parse_preamble(start)
        except UnknownVersion:
            raise
        except FormatError:
            # One changed byte must not cost the recording: the first block begins with the same sync bytes.
            sync = self._at(PREAMBLE_SIZE, SYNC_SIZE)
            head = parse_head(self._at(PREAMBLE_SIZE, HEAD_SIZE), sync)
            if head is None or head.type is not BlockType.HEADER:
                raise
            self.damage.append(Damage(0, "the first 24 bytes are damaged"))
            return (1 if head.suite is Suite.CRC32 else 2), sync

    def _read_header(self, session_id: str) -> Header:
        head = self._head(self._first)
        if head is not None and self._first + head.block_size > self._size:
            raise FormatError("the file ends inside its header")
        if head is None and self._size - self._first < HEAD_SIZE:
            raise FormatError("the file ends before its header")
        try:
            if head is None or head.type is not BlockType.HEADER or head.sequence != 0:
                raise FormatError("the header block is damaged")
            payload = self._payload(self._first, head)
            if payload is None:
                raise FormatError("the header block is damaged")
            document = payload if self.version == 1 else split_signed(payload)[1]
            header = Header.from_document(parse_json(document))
        except FormatError as error:
            self._damaged(self._first, error.text)
            header = Header.unknown(session_id)
        if head is not None:
            self._first += head.block_size
        else:
            self._first_known = False
        return header

    def _read_keys(self) -> None:
        """The block behind the header, where it is that of the keys."""
        if not self._first_known:
            return
        head = self._head(self._first)
        if head is None or head.type is not BlockType.KEYS:
            return
        payload = self._payload(self._first, head)
        if payload is None:
            self._damaged(self._first, "the block of the keys is damaged")
        else:
            try:
                self.wrapped = Wrapped.parse(payload)
                self._opened = self._open(self.wrapped)
            except FormatError as error:
                self._damaged(self._first, f"the block of the keys: {error.text}")
        if self._first + head.block_size <= self._size:
            self._first += head.block_size

    def _open(self, wrapped: Wrapped) -> Opened | None:
        """Raises FormatError."""
        keys = None if self._unwrap is None else self._unwrap(wrapped.data)
        if keys is None:
            return None
        from bastion.recording.keys import Seal  # what is closed is listed without: half of its time
        from bastion.recording.opening import Opened

        if "seal" in self.header.extra and not Seal.of(self.header).fits(keys):
            raise FormatError("the keys are not those of this recording")
        return Opened(keys)

    def _begin(self) -> int:
        """Where the first block behind the header is. Behind a damaged one it is looked for, which may take the
        whole file, so only when its events are wanted and not for a line of a listing."""
        if not self._first_known:
            found = self._search(self._first)
            self._first = self._size if found is None else found
            self._first_known = True
            self._read_keys()
        return self._first

    def _damaged(self, offset: int, text: str) -> None:
        self.damage.append(Damage(offset, text))


def _last_note(totals: Totals, time_us: int) -> Recorded:
    """Why a recording ended that its writer could not end: an event as its writer would have left one."""
    note = {"event": "session_ended", "reason": totals.reason, "text": totals.text}
    return Recorded(Kind.NOTE, time_us, 0, Side.TARGET, 0, encode_json(note))
