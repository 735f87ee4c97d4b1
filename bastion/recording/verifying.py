"""Is a recording what its gateway wrote? From the file and the public keys of nodes alone (L1, pure).

The walk is strict, from the first byte to the last, and ends at the first fault. A digest tells that a block has not
changed since it was written; that nothing was changed, removed, reordered or put in by somebody who can compute digests
is told by the signatures, each of which stands over the whole chain before it. So a fault of the first kind is named
exactly, and one of the second within the blocks between two signatures.

Invariants: nothing is taken from the file that is not checked before; `Verdict.good` is true only when a known node's
key vouches for the recording's key, and that (or for an end that another process wrote, the node's) for all that stands
in the file up to its end. At most one block is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Final

from bastion.errors import EndReason
from bastion.recording.format import (
    HEAD_SIZE,
    PREAMBLE_SIZE,
    SYNC_SIZE,
    BlockType,
    FormatError,
    Head,
    Header,
    Sums,
    Totals,
    parse_head,
    parse_json,
    parse_preamble,
)
from bastion.recording.framing import checked, first_link, next_link
from bastion.recording.keys import Seal, is_signed, node_key_of, raw_key, signed_message
from bastion.recording.unwrapping import split_signed
from bastion.wire.keys import PublicKey

ZEROS_AT_ONCE: Final = 1 << 20


class State(StrEnum):
    """What a file is."""

    WHOLE = "whole"  # to its signed end
    INCOMPLETE = "incomplete"  # its gateway died; ended and signed by the node
    LIVE = "live"  # being written; good so far
    CUT = "cut"  # no end: cut off, or its gateway died and nobody has ended it yet
    BAD = "bad"
    UNSIGNED = "unsigned"  # format 1, which proves nothing


_GOOD: Final = frozenset((State.WHOLE, State.INCOMPLETE, State.LIVE))


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A node's key; recordings that began outside of `since` and `until` (seconds since the epoch) it may not have."""

    public: PublicKey
    since: float = 0.0
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. `bad_block` and `offset` are of the first fault, None without one or where there is no number.

    `blocks` are whole, up to `signed_until` (a block's number) they are signed. `began` and `ended` are the chain
    behind the header and the end, in hex, "" for what is not there: what the ledger has too. `text` is for people.
    """

    state: State
    text: str
    session_id: str = ""
    node: str = ""
    node_key: str = ""
    started_at: float = 0.0
    blocks: int = 0
    signed_until: int | None = None
    bad_block: int | None = None
    offset: int | None = None
    began: str = ""
    ended: str = ""

    @property
    def good(self) -> bool:
        return self.state in _GOOD

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {**found, "state": str(self.state), "good": self.good}


class _Fault(Exception):
    """The first thing that is wrong: what, and where."""

    def __init__(self, text: str, block: int | None = None, state: State = State.BAD) -> None:
        super().__init__(text)
        self.text, self.block, self.state = text, block, state


def verify(
    source: BinaryIO,
    name: str,
    known: Sequence[KnownKey],
    live: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Check one file. `name` is the session id that the file goes by, "" when it says none; `live`: it is being
    written.

    `progress` is told of bytes that were read. Raises OSError and nothing else.
    """
    walk = _Walk(source, name, known, live, progress)
    try:
        state, text = walk.run()
        return walk.verdict(state, text)
    except _Fault as fault:
        return walk.verdict(fault.state, fault.text, fault.block, at_fault=True)
    except FormatError as error:
        return walk.verdict(State.BAD, error.text, walk.expected, at_fault=True)


class _Walk:
    """One pass over one file."""

    def __init__(
        self,
        source: BinaryIO,
        name: str,
        known: Sequence[KnownKey],
        live: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._source, self._name, self._live = source, name, live
        self._known = known
        self._progress = progress
        self._size = source.seek(0, 2)
        self._at = 0
        self._sync = self._link = self._began = b""
        self._header: Header | None = None
        self._seal: Seal | None = None
        self._signed_until: int | None = None
        self._own_until = 0  # the header, and what the recording's own key signed
        self._missing: tuple[int, int, str] | None = (
            None  # block, offset, what: until a signature stands over it
        )
        self._has_keys = False
        self._failed = False  # the end says that the disk refused blocks
        self.expected = 0
        self._counted = 0
        self._totals: Totals | None = None

    def verdict(self, state: State, text: str, block: int | None = None, at_fault: bool = False) -> Verdict:
        """With what is known by now."""
        offset = self._at if at_fault else None
        if (
            at_fault and self._missing is not None
        ):  # what is missing comes before what does not follow from it
            state, (block, offset, text) = State.BAD, self._missing
        return Verdict(
            state=state,
            text=text,
            session_id=self._name if self._header is None else self._header.session_id,
            node="" if self._seal is None else self._seal.node,
            node_key="" if self._seal is None else self._seal.node_key.fingerprint(),
            started_at=0.0 if self._header is None else self._header.started_at,
            blocks=self._counted,
            signed_until=self._signed_until,
            bad_block=block,
            offset=offset,
            began=self._began.hex(),
            ended=self._link.hex() if self._totals is not None else "",
        )

    def run(self) -> tuple[State, str]:
        """Raises _Fault, FormatError."""
        preamble = self._read(0, PREAMBLE_SIZE)
        version, self._sync = parse_preamble(preamble)
        if version == 1:
            raise _Fault("format 1 has no signatures: it proves nothing", state=State.UNSIGNED)
        self._link = first_link(preamble)
        self._at = PREAMBLE_SIZE
        while self._at < self._size:
            if self._totals is not None:
                raise _Fault("bytes stand behind the end block")
            head, block, digest = self._next()
            self._take(head, block, digest)
            self._at += head.block_size
            if self._progress is not None:
                self._progress(head.block_size)
        return self._ended()

    def _ended(self) -> tuple[State, str]:
        totals, until = self._totals, self._signed_until
        if self._seal is None:
            raise _Fault("the file ends before its header", 0)
        if totals is None:
            words = f"whole up to block {self._counted - 1}, signed up to block {until}"
            if self._live:
                return State.LIVE, f"is being written; {words}"
            raise _Fault(f"has no end: {words}", self.expected, State.CUT)
        if totals.incomplete:
            words = f"its own signatures end with block {self._own_until}"
            return State.INCOMPLETE, f"ended by its node ({totals.reason}); {words}"
        return State.WHOLE, f"whole and signed, {self._counted} blocks"

    # -- one block ---------------------------------------------------------------------------------------

    def _next(self) -> tuple[Head, bytes, bytes]:
        """The block at `_at` and its digest, when it is one of this file and has not changed. Raises _Fault."""
        raw = self._read(self._at, HEAD_SIZE)
        head = parse_head(raw, self._sync)
        if head is None or not head.fits(2):
            raise self._no_block(raw)
        if self._at + head.block_size > self._size:
            raise self._torn(f"block {head.sequence} is cut off")
        block = self._read(self._at, head.block_size)
        digest = checked(memoryview(block), head)
        if digest is None:
            if self._at + head.block_size == self._size and not block[HEAD_SIZE + head.length :].strip(b"\0"):
                raise self._torn(f"block {head.sequence} ends in zeros")
            raise _Fault(f"block {head.sequence} has changed", head.sequence)
        return head, block, digest

    def _no_block(self, raw: bytes) -> _Fault:
        if not self._anything_but_zeros():
            return self._torn("zeros follow, as after a power loss")
        if len(raw) < HEAD_SIZE and raw[:SYNC_SIZE] == self._sync[: len(raw)]:
            return self._torn(f"block {self.expected} is cut off")
        if raw[:SYNC_SIZE] != self._sync and parse_head(raw, raw[:SYNC_SIZE]) is not None:
            return _Fault("a block of another recording stands here", self.expected)
        return _Fault(
            f"the head of block {self.expected} has changed, or bytes that are no block", self.expected
        )

    def _torn(self, text: str) -> _Fault:
        """The tail is what a writer that died, or a knife, leaves: good before an end, never behind one."""
        words = f"{text}: whole up to block {self._counted - 1}, signed up to block {self._signed_until}"
        if self._seal is None:
            return _Fault("the file ends before its header", 0)
        return _Fault(words, self.expected, State.LIVE if self._live else State.CUT)

    def _take(self, head: Head, block: bytes, digest: bytes) -> None:
        payload = block[HEAD_SIZE : HEAD_SIZE + head.length]
        if self._expects_keys():
            if head.type is not BlockType.KEYS:
                raise _Fault("the block of the keys is missing: nobody can open the recording", 1)
            self._has_keys = True
            return
        if head.type is BlockType.KEYS:
            raise _Fault("a block of keys stands where none belongs", self.expected)
        if (head.type is BlockType.HEADER) != (self._seal is None):
            raise _Fault("a block of the wrong type stands here", self.expected)
        self._number(head)
        if head.type in (BlockType.EVENTS, BlockType.INPUT):
            assert self._seal is not None
            if head.suite is not self._seal.suite:
                raise _Fault(f"block {head.sequence} is not sealed as the header says", head.sequence)
        else:
            self._signed(head, block[:HEAD_SIZE], payload)
        self._link = next_link(self._link, digest)
        if head.type is BlockType.HEADER:
            self._began = self._link
        self._counted += 1
        self.expected = head.sequence + 1

    def _expects_keys(self) -> bool:
        seal = self._seal
        return seal is not None and bool(seal.output) and not self._has_keys

    def _number(self, head: Head) -> None:
        """Numbers go up by one. Blocks that the disk refused were never in the chain: the next signature shows it."""
        if head.sequence < self.expected:
            text = (
                f"block {head.sequence} stands where {self.expected} should: repeated, or in the wrong place"
            )
            raise _Fault(text, self.expected)
        if head.sequence > self.expected and self._missing is None:
            last = head.sequence - 1
            which = f"block {last} is" if last == self.expected else f"blocks {self.expected} to {last} are"
            self._missing = self.expected, self._at, f"{which} missing"

    # -- signatures --------------------------------------------------------------------------------------

    def _signed(self, head: Head, raw_head: bytes, payload: bytes) -> None:
        signature, document = split_signed(payload)
        message = signed_message(self._link, raw_head, document)
        if head.type is BlockType.HEADER:
            self._begin(signature, message, document)
        else:
            assert self._seal is not None
            public = self._seal.public_key
            if head.type is BlockType.END:
                self._totals = totals = Totals.from_document(parse_json(document))
                if totals.incomplete:
                    public = self._ending_key(totals)
                self._failed = totals.reason == EndReason.RECORDER_FAILED and not totals.incomplete
            else:
                Sums.from_document(parse_json(document))
            if not is_signed(public, signature, message):
                self._totals = None
                raise self._not_signed(head)
        if self._missing is not None and not self._failed:
            raise _Fault(self._missing[2], self._missing[0])
        self._missing = None
        self._signed_until = head.sequence
        if self._totals is None:
            self._own_until = head.sequence
        elif self._totals.incomplete and self._totals.signed_until != self._own_until:
            claim = f"that the recording signed block {self._totals.signed_until}"
            self._totals = None
            raise _Fault(f"its end says {claim}: it was block {self._own_until}", head.sequence)

    def _not_signed(self, head: Head) -> _Fault:
        first = (self._signed_until or 0) + 1
        where = f"block {first}" if first == head.sequence else f"blocks {first} to {head.sequence}"
        return _Fault(f"{where}: not what was signed at block {head.sequence}", first)

    def _begin(self, signature: bytes, message: bytes, document: bytes) -> None:
        header = Header.from_document(parse_json(document))
        self._seal = seal = Seal.of(header)
        self._header = header
        public = self._node_key(seal.node_key, header.started_at)
        if not is_signed(public, signature, message):
            raise _Fault("the header is not what its node signed", 0)
        if self._name and header.session_id != self._name:
            raise _Fault(f"is the recording of session {header.session_id} under another name", 0)

    def _ending_key(self, totals: Totals) -> bytes:
        """Of the node that ended it: it may be younger than the recording, but not have been retired before."""
        assert self._header is not None
        return self._node_key(node_key_of(totals.node_key), self._header.started_at, younger=True)

    def _node_key(self, key: PublicKey, began: float, younger: bool = False) -> bytes:
        """Raises _Fault for one that is not known, or was not in force."""
        for one in self._known:
            if one.public == key:
                if began < one.since - 1 and not younger:
                    raise _Fault(f"began before its node's key {key.fingerprint()} was made", 0)
                if one.until is not None and began > one.until:
                    raise _Fault(f"began after its node's key {key.fingerprint()} was retired", 0)
                return raw_key(key)
        raise _Fault(f"is vouched for by a key that is not known: {key.fingerprint()}", self.expected)

    # -- pieces of the file ------------------------------------------------------------------------------

    def _read(self, offset: int, size: int) -> bytes:
        self._source.seek(offset)
        return self._source.read(size)

    def _anything_but_zeros(self) -> bool:
        position = self._at
        while chunk := self._read(position, ZEROS_AT_ONCE):
            if chunk.count(0) != len(chunk):
                return True
            position += len(chunk)
        return False
