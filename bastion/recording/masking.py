"""Input that was typed while nothing of it was shown, masked where it is read (L1, pure). A heuristic.

A line typed at a terminal is masked unless the target wrote its characters back, in order, between the first of them
and the line end that follows Enter. So a password is masked, and so is what no echo could be found for: keys to
full-screen programs, lines typed ahead. What is masked too much can be asked for; the recording stays as it is.

Invariant: memory is bounded; beyond MOST_RANGES all input is masked. Only channels with a terminal are looked at:
without one there is no echo to go by.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator

from bastion.recording.controls import ControlParser
from bastion.recording.format import FormatError, Kind, Recorded
from bastion.recording.reader import Reader
from bastion.sides import Side

# Bytes of a line, lines that wait for their echo, and ranges of masked bytes (some 200 bytes each) of a recording.
LONGEST_LINE = 4096
MOST_LINES = 64
MOST_RANGES = 1 << 17

_ENDS = frozenset(b"\r\n\x03\x04\x1a")  # Enter, and what ends a line otherwise: ^C ^D ^Z


class _Line:
    """What was typed up to Enter: printable bytes with their places (event, offset), and how many came back."""

    def __init__(self) -> None:
        self.typed = bytearray()
        self.places: list[tuple[int, int]] = []
        self.shown = 0


class _Typing:
    """One terminal: lines that wait for their echo, the newest still being typed."""

    def __init__(self) -> None:
        self.lines: deque[_Line] = deque([_Line()])
        self.output = ControlParser()
        self._escape = b""  # of a key that is a sequence

    def input(self, number: int, data: bytes) -> Iterator[_Line]:
        """Lines that are to be judged now, since nothing more can be held."""
        for offset, byte in enumerate(data):
            if self._is_key(byte):
                continue
            line = self.lines[-1]
            if byte in _ENDS or len(line.typed) >= LONGEST_LINE:
                self.lines.append(_Line())
                if len(self.lines) > MOST_LINES:
                    yield self.lines.popleft()
                line = self.lines[-1]
            if byte >= 0x20 and byte != 0x7F:
                line.typed.append(byte)
                line.places.append((number, offset))

    def _is_key(self, byte: int) -> bool:
        """It belongs to the sequence of an arrow or the like, or to the marks of a paste."""
        if byte == 0x1B:
            self._escape = b"\x1b"
            return True
        if self._escape == b"\x1b" and byte in b"[O":
            self._escape += bytes((byte,))
            return True
        within, self._escape = len(self._escape) == 2, self._escape if byte < 0x40 else b""
        return within

    def shown(self, data: bytes) -> Iterator[_Line]:
        """Lines whose echo is over."""
        for kind, body in self.output.feed(data):
            if kind == "text":
                line = self.lines[0]
                if line.shown < len(line.typed):  # else it is what a program says
                    for byte in body.encode("utf-8", "replace"):
                        line.shown += line.typed[line.shown : line.shown + 1] == bytes((byte,))
            elif body == "\n" and kind == "control" and len(self.lines) > 1:
                yield self.lines.popleft()


class Mask:
    """Which bytes of which input events are masked; events are counted in the order of the file."""

    def __init__(self, events: Iterable[Recorded]) -> None:
        self._ranges: dict[int, list[list[int]]] = {}
        self._count = 0
        self._until = 0  # events from here on were not looked at
        typing: dict[int, _Typing] = {}
        for event in events:
            if event.kind is Kind.NOTE:
                self._note(event, typing)
            elif event.kind is Kind.DATA and event.channel in typing:
                self._data(event, typing[event.channel])
            if is_input(event):
                self._until += 1
        for one in typing.values():
            self._judge(one.lines)

    def _note(self, event: Recorded, typing: dict[int, _Typing]) -> None:
        try:
            note = event.note
        except FormatError:
            return
        if note.get("event") == "request_forwarded" and note.get("name") == "pty-req":
            typing[event.channel] = _Typing()
        elif note.get("event") == "channel_closed" and event.channel in typing:
            self._judge(typing.pop(event.channel).lines)

    def _data(self, event: Recorded, one: _Typing) -> None:
        if is_input(event):
            self._judge(one.input(self._until, bytes(event.payload)))
        elif event.side is Side.TARGET:
            self._judge(one.shown(bytes(event.payload)))

    def _judge(self, lines: Iterable[_Line]) -> None:
        for line in lines:
            if line.shown < len(line.typed):
                for number, offset in line.places:
                    self._hide(number, offset)

    def _hide(self, number: int, offset: int) -> None:
        ranges = self._ranges.setdefault(number, [])
        if ranges and ranges[-1][1] == offset:
            ranges[-1][1] = offset + 1
        else:
            ranges.append([offset, offset + 1])
            self._count += 1

    def masked(self, number: int, data: bytes) -> bytes:
        """The bytes of an input event with what is masked as `*`."""
        if self._count > MOST_RANGES or number >= self._until:
            return b"*" * len(data)
        ranges = self._ranges.get(number)
        if not ranges:
            return data
        hidden = bytearray(data)
        for start, end in ranges:
            hidden[start:end] = b"*" * (end - start)
        return bytes(hidden)


def is_input(event: Recorded) -> bool:
    """Bytes that the engineer sent on the main stream of a channel."""
    return event.kind is Kind.DATA and event.side is Side.CLIENT and event.stream == 0


class MaskedReader(Reader):
    """A recording as people are shown it: what was typed unseen is masked."""

    _mask: Mask | None = None

    def __iter__(self) -> Iterator[Recorded]:
        if not self.header.input:
            yield from super().__iter__()
            return
        if self._mask is None:
            more, self.more = self.more, None  # what is still to come is masked whole
            self._mask = Mask(super().__iter__())
            self.more = more
        number, terminals = 0, set[int]()
        for event in super().__iter__():
            if event.kind is Kind.NOTE and b'"pty-req"' in bytes(event.payload):
                terminals.add(event.channel)
            elif is_input(event):
                if event.channel in terminals:
                    payload = self._mask.masked(number, bytes(event.payload))
                    event = dataclasses.replace(event, payload=payload)
                number += 1
            yield event
