"""A recording as it is read with its secrets masked (L1, pure): `reading` makes what opens one.

Each stream of a channel is read once beforehand, as the text that a line editor would show (flattening.py). So a secret
that came letter by letter, in two writes, in colours or over the edge of the screen is masked from its first letter on,
in every form that is made of the events. What was put together by moving the cursor is masked where lines are drawn
(redacted_lines.py).

Invariant: the file is not changed. Memory is bounded; beyond MOST_RANGES nothing more of the output is shown.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from bastion.recording.flattening import flatten
from bastion.recording.format import FormatError, Kind, Recorded
from bastion.recording.masking import MaskedReader
from bastion.recording.reader import Place, Reader
from bastion.recording.redacting import NOTHING, Redaction, shown, tally_text, unfinished

LONGEST_HELD = 64 << 10
"""Bytes of a line, or of a private key, that are held until it ends."""

OVERLAP = 4 << 10
"""Of a longer line so much is looked at again with what follows."""

MOST_RANGES = 1 << 17
"""Ranges of masked bytes of one recording: some 30 MiB."""

DEEPEST_NOTE = 16

TOO_MANY = shown("too-many").encode()


class Range(NamedTuple):
    """Bytes of one event that are masked, and what stands there: nothing for a secret that began before."""

    number: int
    start: int
    end: int
    text: bytes


class _Stream:
    """One direction of a stream of a channel: what waits, as (event, offset of the first byte, bytes)."""

    def __init__(self, redaction: Redaction, tally: Counter[str], edited: bool) -> None:
        self._redaction, self._tally, self._edited = redaction, tally, edited
        self._pieces: list[tuple[int, int, bytes]] = []
        self._size = 0

    def add(self, number: int, data: bytes) -> list[Range]:
        """What is masked of lines that end with these bytes."""
        self._pieces.append((number, 0, data))
        self._size += len(data)
        if b"\n" not in data and self._size < LONGEST_HELD:
            return []
        joined = b"".join(piece for _, _, piece in self._pieces)
        end = joined.rfind(b"\n") + 1
        if self._size < LONGEST_HELD:
            if b"PRIVATE KEY" in joined and unfinished(flatten(joined[:end], self._edited).text):
                return []
            found = self._found(joined[:end], True)
        else:
            found = self._found(joined, True)
            end = max(end, self._size - OVERLAP)
        self._forget(end)
        return found

    def rest(self, count: bool) -> list[Range]:
        """The same of all that is held, which goes on."""
        return self._found(b"".join(piece for _, _, piece in self._pieces), count)

    def _forget(self, end: int) -> None:
        self._size -= end
        while self._pieces and end >= len(self._pieces[0][2]):
            end -= len(self._pieces.pop(0)[2])
        if end:
            number, offset, data = self._pieces[0]
            self._pieces[0] = (number, offset + end, data[end:])

    def _found(self, data: bytes, count: bool) -> list[Range]:
        flat = flatten(data, self._edited)
        spans = self._redaction.spans(flat.text)
        if not spans:
            return []
        starts, at = [], 0
        for _, _, piece in self._pieces:
            starts.append(at)
            at += len(piece)
        found: list[Range] = []
        every = flat.places((span.start, span.end) for span in spans)
        for span, places in zip(spans, every, strict=True):
            text = shown(span.name).encode()
            self._tally[span.name] += count
            for place in (at + more for at, size in places for more in range(size)):
                piece_number = bisect_right(starts, place) - 1
                number, offset, piece = self._pieces[piece_number]
                start = place - starts[piece_number]
                last = found[-1] if found else None
                if last is not None and last.number == number and last.end == offset + start:
                    found[-1] = last._replace(end=last.end + 1)
                else:
                    found.append(Range(number, offset + start, offset + start + 1, text))
                text = b""
        return found


class _Secrets:
    """Which bytes of which events are masked; events with bytes are counted in the order of the file."""

    def __init__(self, redaction: Redaction) -> None:
        self.tally: Counter[str] = Counter()
        self.known = 0  # events that were looked at
        self._redaction = redaction
        self._terminals: set[int] = set()
        self._streams: dict[tuple[int, Any, int], _Stream] = {}
        self._ranges: dict[int, list[Range]] = {}
        self._count = 0

    def add(self, event: Recorded, now: bool) -> None:
        """One event more. `now`: it is about to be shown, so that what is held is judged as it is."""
        key = (event.channel, event.side, event.stream)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(
                self._redaction, self.tally, event.channel in self._terminals
            )
        self._take(stream.add(self.known, bytes(event.payload)))
        if now:
            self._take(stream.rest(False))
        self.known += 1

    def note(self, event: Recorded) -> None:
        """Channels with a terminal are known from there."""
        if b'"pty-req"' in bytes(event.payload):
            self._terminals.add(event.channel)

    def finish(self) -> None:
        """What has not ended is judged too."""
        for stream in self._streams.values():
            self._take(stream.rest(True))

    def _take(self, found: list[Range]) -> None:
        for one in found:
            if self._count < MOST_RANGES:
                self._ranges.setdefault(one.number, []).append(one)
            self._count += 1

    def masked(self, number: int, data: bytes) -> bytes:
        """What is shown of an event's bytes."""
        if self._count >= MOST_RANGES:
            return TOO_MANY
        ranges = self._ranges.get(number)
        if not ranges:
            return data
        parts: list[bytes] = []
        at = 0
        for one in sorted(ranges, key=lambda one: (one.start, -one.end)):
            if one.end > at:
                parts += (data[at : max(at, one.start)], one.text if one.start >= at else b"")
                at = one.end
        return b"".join((*parts, data[at:]))


class RedactedReader(MaskedReader):
    """A recording as people are shown it: what patterns know is masked, and what was typed unseen unless `unmasked`.

    Of a file that still grows the part that is there is looked at before; what comes later is masked from where a
    pattern knows it.
    """

    redaction: Redaction = NOTHING
    unmasked = False
    _secrets: _Secrets | None = None
    _notes: Counter[str] | None = None

    def _read(self) -> Iterator[Recorded]:
        return Reader.__iter__(self) if self.unmasked else super().__iter__()

    def __iter__(self) -> Iterator[Recorded]:
        secrets = self._looked()
        number = 0
        for event in self._read():
            if event.kind is Kind.NOTE:
                if number >= secrets.known:
                    secrets.note(event)
                event = self._note(event, None)
            elif event.kind is Kind.DATA:
                if number >= secrets.known:
                    secrets.add(event, True)
                payload = secrets.masked(number, bytes(event.payload))
                number += 1
                if payload != event.payload:
                    event = dataclasses.replace(event, payload=payload)
            yield event

    def begin_at(self, place: Place | None) -> bool:
        """What is masked is known by the number of an event, counted from the first: there is no other beginning."""
        return place is None

    def _looked(self) -> _Secrets:
        if self._secrets is None:
            more, self.more = self.more, None
            found, notes = _Secrets(self.redaction), Counter[str]()
            for event in self._read():
                if event.kind is Kind.NOTE:
                    found.note(event)
                    self._note(event, notes)
                elif event.kind is Kind.DATA:
                    found.add(event, False)
            found.finish()
            found.tally.update(notes)
            self._secrets, self.more = found, more
        return self._secrets

    def _note(self, event: Recorded, tally: Counter[str] | None) -> Recorded:
        try:
            note = event.note
        except FormatError:
            return event
        masked = self._walked(note, tally, 0)
        if masked == note:
            return event
        return dataclasses.replace(event, payload=orjson.dumps(masked))

    def _walked(self, value: Any, tally: Counter[str] | None, depth: int) -> Any:
        if isinstance(value, str):
            return self.redaction.mask(value, tally)
        if depth > DEEPEST_NOTE:
            return None
        if isinstance(value, list):
            return [self._walked(one, tally, depth + 1) for one in value]
        if not isinstance(value, dict):
            return value
        made = {name: self._walked(one, tally, depth + 1) for name, one in value.items()}
        name, content = value.get("name"), made.get("value")
        if isinstance(name, str) and isinstance(content, str) and content == value["value"]:
            made["value"] = self.redaction.mask(f"{name}={content}", tally)[len(name) + 1 :]
        return made

    @property
    def tally(self) -> Counter[str]:
        """How many secrets are masked, by the names of their patterns."""
        return self._looked().tally

    @property
    def masked_text(self) -> str:
        """The same in words, "" for none."""
        return tally_text(self.tally, "; --unredacted shows them")


def reading(redaction: Redaction, unmasked: bool = False) -> Callable[..., Reader]:
    """What opens a recording, with the arguments of `Reader`, for people. `unmasked` shows what was typed unseen."""
    if not redaction.patterns:
        return Reader if unmasked else MaskedReader

    def opened(*arguments: Any) -> Reader:
        reader = RedactedReader(*arguments)
        reader.redaction, reader.unmasked = redaction, unmasked
        return reader

    return opened


def masked_text(reader: Reader) -> str:
    """What the head of a view says of masked secrets, "" for nothing."""
    return reader.masked_text if isinstance(reader, RedactedReader) else ""
