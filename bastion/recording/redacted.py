"""A recording as it is read with its secrets masked (L1, pure): `reading` makes what opens one.

Each stream of a channel is read once beforehand, as the text that a line editor would show (flattening.py). So a secret
that came letter by letter, in two writes, in colours or over the edge of the screen is masked from its first letter on,
in every form that is made of the events. What was put together by moving the cursor is masked where lines are drawn
(redacted_lines.py).

What is masked is known by the place of an event, its block and how many with bytes came before it there. So it holds
wherever reading begins, and can be kept (`RedactedReader.masks`) for a reader that begins in the middle.

Invariant: the file is not changed. Memory is bounded; beyond MOST_RANGES nothing more of the output is shown. Where
masks were kept, what they say nothing of is not shown.
"""

from __future__ import annotations

import dataclasses
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import orjson
import zstandard

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
UNKNOWN = shown("not-indexed").encode()

LONGEST_MASKS: Final = 64 << 20
"""Bytes that kept masks may unpack to: MOST_RANGES of the longest numbers have less."""

Spot = tuple[int, int]
"""An event with bytes: the number of its block, and how many such came before it in the block."""


class Range(NamedTuple):
    """Bytes of one event that are masked, and what stands there: nothing for a secret that began before."""

    spot: Spot
    start: int
    end: int
    text: bytes


class _Stream:
    """One direction of a stream of a channel: what waits, as (event, offset of the first byte, bytes)."""

    def __init__(self, redaction: Redaction, tally: Counter[str], edited: bool) -> None:
        self._redaction, self._tally, self._edited = redaction, tally, edited
        self._pieces: list[tuple[Spot, int, bytes]] = []
        self._size = 0

    def add(self, spot: Spot, data: bytes) -> list[Range]:
        """What is masked of lines that end with these bytes."""
        self._pieces.append((spot, 0, data))
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
            spot, offset, data = self._pieces[0]
            self._pieces[0] = (spot, offset + end, data[end:])

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
                spot, offset, piece = self._pieces[piece_number]
                start = place - starts[piece_number]
                last = found[-1] if found else None
                if last is not None and last.spot == spot and last.end == offset + start:
                    found[-1] = last._replace(end=last.end + 1)
                else:
                    found.append(Range(spot, offset + start, offset + start + 1, text))
                text = b""
        return found


class _Secrets:
    """Which bytes of which events are masked."""

    def __init__(self, redaction: Redaction) -> None:
        self.tally: Counter[str] = Counter()
        self.known: Spot = (0, 0)  # events before were looked at
        self._redaction = redaction
        self._terminals: set[int] = set()
        self._streams: dict[tuple[int, Any, int], _Stream] = {}
        self._ranges: dict[Spot, list[Range]] = {}
        self._count = 0
        self._kept = False

    def add(self, spot: Spot, event: Recorded, now: bool) -> None:
        """One event more. `now`: it is about to be shown, so that what is held is judged as it is."""
        self.known = (spot[0], spot[1] + 1)
        if self._kept:  # where its line began was not read
            self._take([Range(spot, 0, len(event.payload), UNKNOWN)])
            return
        key = (event.channel, event.side, event.stream)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(
                self._redaction, self.tally, event.channel in self._terminals
            )
        self._take(stream.add(spot, bytes(event.payload)))
        if now:
            self._take(stream.rest(False))

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
                self._ranges.setdefault(one.spot, []).append(one)
            self._count += 1

    def masked(self, spot: Spot, data: bytes) -> bytes:
        """What is shown of an event's bytes."""
        if self._count >= MOST_RANGES:
            return TOO_MANY
        ranges = self._ranges.get(spot)
        if not ranges:
            return data
        parts: list[bytes] = []
        at = 0
        for one in sorted(ranges, key=lambda one: (one.start, -one.end)):
            if one.end > at:
                parts += (data[at : max(at, one.start)], one.text if one.start >= at else b"")
                at = one.end
        return b"".join((*parts, data[at:]))

    def pack(self) -> bytes:
        """All of it but what has not ended: places and lengths, and nothing of what stands there."""
        every = [one for several in self._ranges.values() for one in several]
        names = list(self._redaction.patterns)
        numbers = {b"": 0, **{shown(name).encode(): number for number, name in enumerate(names, 1)}}
        document = {
            "known": self.known,
            "count": self._count,
            "tally": self.tally,
            "names": names,
            "blocks": [one.spot[0] for one in every],
            "events": [one.spot[1] for one in every],
            "starts": [one.start for one in every],
            "ends": [one.end for one in every],
            "shown": [numbers[one.text] for one in every],
        }
        return zstandard.ZstdCompressor(level=3).compress(orjson.dumps(document))

    @classmethod
    def unpack(cls, data: bytes, redaction: Redaction) -> _Secrets:
        """`pack` read back, for the same patterns. Raises ValueError for what is none."""
        made = cls(redaction)
        made._kept = True
        try:
            if not 0 < zstandard.frame_content_size(data) <= LONGEST_MASKS:
                raise ValueError("no masks: of no size, or too large")
            document = orjson.loads(zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False))
            made.tally.update({name: int(count) for name, count in document["tally"].items()})
            if not {*made.tally, *document["names"]} <= redaction.patterns.keys():
                raise ValueError("no masks: of other patterns")
            texts = [b"", *(shown(name).encode() for name in document["names"])]
            block, event = document["known"]
            made.known, made._count = (int(block), int(event)), int(document["count"])
            columns = [array("Q", document[name]) for name in ("blocks", "events", "starts", "ends", "shown")]
            for block, event, start, end, text in zip(*columns, strict=True):
                one = Range((block, event), start, end, texts[text])
                made._ranges.setdefault(one.spot, []).append(one)
        except (zstandard.ZstdError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no masks ({type(error).__name__})") from None
        return made


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
        for spot, event in self._spotted():
            if event.kind is Kind.NOTE:
                if spot >= secrets.known:
                    secrets.note(event)
                event = self._note(event, None)
            elif event.kind is Kind.DATA:
                if spot >= secrets.known:
                    secrets.add(spot, event, True)
                payload = secrets.masked(spot, bytes(event.payload))
                if payload != event.payload:
                    event = dataclasses.replace(event, payload=payload)
            yield event

    def _spotted(self) -> Iterator[tuple[Spot, Recorded]]:
        """Each event, and how many with bytes came before it in its block."""
        block = count = 0
        for event in self._read():
            sequence = self.place.sequence
            if sequence != block:
                block, count = sequence, 0
            yield (block, count), event
            count += event.kind is Kind.DATA

    def begin_at(self, place: Place | None) -> bool:
        """As `Reader.begin_at`. What was typed unseen is known by its number, counted from the first: where that is
        masked there is no other beginning."""
        return (place is None or self.unmasked) and super().begin_at(place)

    def masks(self) -> bytes:
        """Where what is masked, for `masked_by`: places and lengths of secrets."""
        return self._looked().pack()

    def masked_by(self, masks: bytes) -> None:
        """What `masks` of this file with the same patterns gave: it is not looked for again. What of the file came
        later is not shown. Raises ValueError for what is none."""
        self._secrets = _Secrets.unpack(masks, self.redaction)

    def _looked(self) -> _Secrets:
        if self._secrets is None:
            more, self.more = self.more, None
            place, self._from = self._from, None
            found, notes = _Secrets(self.redaction), Counter[str]()
            for spot, event in self._spotted():
                if event.kind is Kind.NOTE:
                    found.note(event)
                    self._note(event, notes)
                elif event.kind is Kind.DATA:
                    found.add(spot, event, False)
            found.finish()
            found.tally.update(notes)
            self._secrets, self.more, self._from = found, more, place
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
