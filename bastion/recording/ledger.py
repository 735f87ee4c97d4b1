"""The ledger of recordings: which there were, as a chain of lines (L1, pure).

What a file proves of itself ends where the whole file is gone, or replaced by another that was signed later. Each node
therefore writes a line when a recording begins (with the digest of its header), when it ends (with the digest of its
end), and when it is removed. Each line carries the SHA-256 of the line before, and the newest digest, the head, goes to
the audit log and the state store: who changes, drops or rolls back a line contradicts one of them.

A line is a JSON object with the fields of `Entry` and `previous`, in ASCII, ended by a newline; its digest is the
SHA-256 of its bytes without the newline. The first line is `opened`, with `previous` 64 zeros.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from bastion.recording.format import FormatError, encode_json, is_session_id, parse_json

NO_DIGEST: Final = "0" * 64
MAX_DETAIL: Final = 200
MAX_LINE: Final = 4096
"""Bytes: a detail takes 12 for each character at most, as JSON in ASCII writes it."""

_HEX = frozenset("0123456789abcdef")


class LedgerEvent(StrEnum):
    """What a line tells."""

    OPENED = "opened"  # the ledger begins; `detail` is the node, `digest` that of the ledger before, if any
    BEGAN = "began"  # `digest`: of the header, see docs/recording-format.md
    ENDED = "ended"  # `digest`: of the whole file up to its signed end
    INCOMPLETE = "incomplete"  # the same, for a file that another process has ended
    REMOVED = "removed"  # by retention or by hand; `detail` says why
    AUDIT = "audit"  # a line of the audit log: `digest` is its own, `detail` its chain and number


class LedgerBroken(FormatError):
    """A line is not what was written. `serial` is the one that should stand there."""

    def __init__(self, serial: int, text: str) -> None:
        super().__init__(f"line {serial}: {text}")
        self.serial = serial


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: `time` in seconds since 1970, `session` "" for the ledger itself, `digest` 64 hex digits or ""."""

    serial: int
    time: float
    event: LedgerEvent
    session: str = ""
    digest: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line: how many there are before it, and its digest."""

    serial: int = -1
    digest: str = NO_DIGEST


def encode(entry: Entry, previous: str) -> bytes:
    """The line, newline included. Raises ValueError for a detail that is too long."""
    if len(entry.detail) > MAX_DETAIL:
        raise ValueError(f"a detail of more than {MAX_DETAIL} characters")
    document = {
        "serial": entry.serial,
        "time": entry.time,
        "event": entry.event.value,
        "session": entry.session,
        "digest": entry.digest,
        "detail": entry.detail,
        "previous": previous,
    }
    return encode_json(document) + b"\n"


def digest_of(line: bytes) -> str:
    """Of a line with or without its newline."""
    return sha256(line.removesuffix(b"\n")).hexdigest()


def parse(line: bytes, serial: int) -> tuple[Entry, str]:
    """(what it tells, the digest of the line before). Raises LedgerBroken."""
    if len(line) > MAX_LINE or not line.endswith(b"\n"):
        raise LedgerBroken(serial, "is too long, or cut off")
    try:
        document = parse_json(line[:-1])
        entry, previous = _entry(document), document["previous"]
    except (FormatError, KeyError, ValueError):
        raise LedgerBroken(serial, "is no line of a ledger") from None
    if not _is_digest(previous):
        raise LedgerBroken(serial, "is no line of a ledger")
    return entry, previous


def _entry(document: Mapping[str, Any]) -> Entry:
    serial, time = document["serial"], document["time"]
    session, digest, detail = document["session"], document["digest"], document["detail"]
    fits = (
        type(serial) is int
        and 0 <= serial < 1 << 63
        and type(time) in (int, float)
        and all(isinstance(text, str) for text in (session, digest, detail))
        and (session == "" or is_session_id(session))
        and (digest == "" or _is_digest(digest))
        and len(detail) <= MAX_DETAIL
    )
    if not fits:
        raise ValueError
    return Entry(serial, float(time), LedgerEvent(document["event"]), session, digest, detail)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == len(NO_DIGEST) and _HEX.issuperset(value)


def follow(lines: Iterable[bytes], head: Head | None = None) -> Iterator[tuple[Entry, Head]]:
    """Each entry with the head that it makes, from `head` on. Raises LedgerBroken at the first that does not fit."""
    head = head or Head()
    for line in lines:
        entry, previous = parse(line, head.serial + 1)
        if entry.serial != head.serial + 1:
            raise LedgerBroken(head.serial + 1, f"has the number {entry.serial}")
        if previous != head.digest:
            raise LedgerBroken(entry.serial, "does not follow the line before")
        head = Head(entry.serial, digest_of(line))
        yield entry, head


# -- against the files ---------------------------------------------------------------------------------------------


class Fault(StrEnum):
    """What contradicts the ledger."""

    VANISHED = "vanished"  # began, and neither is there nor was removed
    REPLACED = "replaced"  # the header is another
    REWRITTEN = "rewritten"  # the end is another
    CUT = "cut"  # had ended, and the end is gone
    UNKNOWN = "unknown"  # is there, and no ledger knows it
    BROKEN = "broken"  # a line of the ledger does not fit the one before
    ROLLED_BACK = "rolled_back"  # a head that was told elsewhere is not in the ledger


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file says, once verified: the digest of its header, and of its end ("" without one).

    `running`: a gateway writes it now.
    """

    header: str
    end: str
    running: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    fault: Fault
    session: str
    text: str


@dataclass(slots=True)
class _Story:
    header: str = ""
    end: str = ""
    removed: bool = False


@dataclass(slots=True)
class Account:
    """What a ledger, or several, say about every recording."""

    _stories: dict[str, _Story] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Take one line into account."""
        if not entry.session:
            return
        story = self._stories.setdefault(entry.session, _Story())
        if entry.event is LedgerEvent.BEGAN:
            story.header = story.header or entry.digest  # the first: nothing that ended ends again
        elif entry.event in (LedgerEvent.ENDED, LedgerEvent.INCOMPLETE):
            story.end = story.end or entry.digest
        elif entry.event is LedgerEvent.REMOVED:
            story.removed = True

    def __len__(self) -> int:
        return len(self._stories)

    def __contains__(self, session: str) -> bool:
        return session in self._stories

    def compare(self, files: Mapping[str, FileFacts], elsewhere: Collection[str] = ()) -> Iterator[Finding]:
        """Everything in which the files differ from the ledger, by session. Those `elsewhere` are not missed."""
        for session in sorted(self._stories.keys() | files.keys()):
            story, facts = self._stories.get(session), files.get(session)
            if story is None:
                if facts is not None and not facts.running:
                    yield Finding(Fault.UNKNOWN, session, "no ledger knows it")
            elif facts is None:
                if not story.removed and session not in elsewhere:
                    yield Finding(Fault.VANISHED, session, "it began, was not removed, and is not there")
            else:
                yield from _differences(session, story, facts)


def _differences(session: str, story: _Story, facts: FileFacts) -> Iterator[Finding]:
    if story.header and facts.header != story.header:
        yield Finding(Fault.REPLACED, session, "its header is not the one with which it began")
    elif story.end and not facts.end:
        yield Finding(Fault.CUT, session, "it had ended, and its end is gone")
    elif story.end and facts.end != story.end:
        yield Finding(Fault.REWRITTEN, session, "its end is not the one that it had")
