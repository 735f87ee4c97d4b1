"""Bytes for a terminal as the text of its lines, each character with where it came from (L1, pure).

What it is for: patterns look for secrets in a text, and what is masked are bytes. Sequences that move nothing (colours,
modes) are left out; a line editor's moves within a line are followed, so that what was typed again in the same place
stands there once; every other move ends the line. Strings (titles) are lines of their own.

Invariant: the text is at most MOST_GROWTH times as long as the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# What was erased in a line is kept as a line too, up to so many times the size of all.
MOST_GROWTH = 4

# Columns that one sequence moves by at most.
LONGEST_MOVE = 1000

_HARD = re.compile(rb"[\x08]|\x1b(?!\[[0-9;]*m)|\r(?!\n)|\xc2[\x80-\x9f]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x07\x0b-\x1f\x7f]")
_PARTS = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])|(\x1b[P\]X^_k])|\x1b[ -/]*[0-~]?|(\r*\n)|(\r)|(\x08)|[\x00-\x07\x0b-\x1f\x7f]"
    r"|([^\x00-\x08\x0a-\x1f\x7f]+)"
)
_C1 = re.compile("[\x80-\x9f]")
_STILL = frozenset("mhlntcq")


Source = tuple[int, int]  # offset and size of a character's bytes


@dataclass(slots=True)
class Flat:
    """A text, and of each of its characters the (offset, size) of every byte that wrote it."""

    text: str
    _data: bytes
    _edited: bool

    def places(self, spans: Iterable[tuple[int, int]]) -> list[list[Source]]:
        """Where characters came from, span by span, those that they overwrote included."""
        sources = _walk(self._data, True).sources if self._edited else _plain(self._data)
        return [[one for several in sources[start:end] for one in several] for start, end in spans]


def flatten(data: bytes, edited: bool = True) -> Flat:
    """The text of `data`, which begins at the beginning of a line. `edited`: by a line editor on a terminal."""
    if not edited or _HARD.search(data) is None:  # most of all output
        return Flat(_COLOURS.sub("", _decoded(data)), data, False)
    return Flat("".join(_walk(data, False).chars), data, True)


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")  # patterns of ASCII find what they look for


class _Walk:
    """Lines as they come; the newest is still written. With `traced` each character's sources beside it."""

    def __init__(self, limit: int, traced: bool) -> None:
        self.chars: list[str] = []
        self.sources: list[list[Source]] = []
        self._limit, self._traced = limit, traced
        self._line: list[str] = []
        self._origins: list[list[Source]] = []
        self._at = 0

    def write(self, run: str, offset: int, wide: bool) -> None:
        """Characters where the cursor stands."""
        end = self._at + len(run)
        if self._traced:
            before = self._origins[self._at : end]
            new: list[list[Source]] = []
            for place, char in enumerate(run):
                size = len(char.encode()) if wide else 1
                new.append([*(before[place][-15:] if place < len(before) else ()), (offset, size)])
                offset += size
            self._origins[self._at : end] = new
        self._line[self._at : end] = run
        self._at = end

    def _keep(self) -> None:
        """The line as it stands is a line of the text."""
        if len(self.chars) < self._limit:
            self._add()
            self.chars.append("\n")
            self.sources.append([])

    def _add(self) -> None:
        self.chars += self._line
        self.sources += self._origins

    def end(self) -> None:
        """The next line begins."""
        self._limit = max(self._limit, len(self.chars) + 1)  # what was not erased is never left out
        self._keep()
        self._line, self._origins, self._at = [], [], 0

    def last(self) -> None:
        """Nothing more comes: the line that has not ended belongs to the text."""
        self._add()

    def returned(self) -> None:
        """To the beginning of a line: behind a blank of the next one, as line editors go over a screen's edge."""
        if self._at == len(self._line) and self._line and self._line[-1] == " ":
            self._at -= 1
            self._cut(self._at, self._at + 1)
        else:
            self.end()

    def back(self, count: int) -> None:
        """To the left."""
        self._at = max(0, self._at - count)

    def _cut(self, start: int, end: int) -> None:
        del self._line[start:end]
        del self._origins[start:end]

    def move(self, parameters: str, final: str) -> None:
        """A CSI sequence."""
        count = min(int(parameters), LONGEST_MOVE) if parameters.isdecimal() and len(parameters) < 6 else 1
        if final == "K":
            if self._at < len(self._line) and parameters in ("", "0"):
                self._keep()
                self._cut(self._at, len(self._line))
        elif final == "D":
            self.back(count)
        elif final == "C" and self._at + count <= len(self._line):
            self._at += count
        elif final == "P":
            self._keep()
            self._cut(self._at, self._at + count)
        elif final == "@":
            self._line[self._at : self._at] = " " * count
            if self._traced:
                self._origins[self._at : self._at] = [[] for _ in range(count)]
        elif final not in _STILL:
            self.end()


def _walk(data: bytes, traced: bool) -> _Walk:
    walk = _Walk(MOST_GROWTH * len(data), traced)
    text = _decoded(data)
    wide = len(text) != len(data)  # else a character is a byte
    titled, position, offset = False, 0, 0
    for part in _PARTS.finditer(text):
        parameters, final, string, newline, returned, back, run = part.groups()
        if traced and wide:
            offset += len(text[position : part.start()].encode())
            position = part.start()
        else:
            offset = part.start()
        if run is not None:
            if wide and _C1.search(run):
                walk.end()
                run = _C1.sub("\xa0", run)  # as many bytes
            walk.write(run, offset, wide)
        elif final is not None:
            walk.move(parameters, final)
        elif string is not None or newline is not None:
            walk.end()
            titled = string is not None
        elif returned is not None:
            walk.returned()
        elif back is not None:
            walk.back(1)
        else:
            if titled:
                walk.end()
            titled = False
    walk.last()
    return walk


def _plain(data: bytes) -> list[list[Source]]:
    """The sources where only colours and controls are left out."""
    text = _decoded(data)
    wide, position, offset = len(text) != len(data), 0, 0
    sources: list[list[Source]] = []
    for start, end in [*(found.span() for found in _COLOURS.finditer(text)), (len(text), len(text))]:
        for char in text[position:start]:
            size = len(char.encode()) if wide else 1
            sources.append([(offset, size)])
            offset += size
        offset += end - start  # ASCII
        position = end
    return sources
