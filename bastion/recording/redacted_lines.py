"""Secrets masked in lines as a terminal showed them (L1, pure): those that no stream of bytes has in one piece.

What it is for: a program may put a word together by moving the cursor, or break a long one at the edge of its screen.
Lines that the terminal wrapped, and lines that fill their row to its end, are looked at with the next ones.

Invariant: order and number of lines stay; what is held is bounded by LONGEST_HELD.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from wcwidth import wcswidth

from bastion.recording.redacting import Redaction, Span, shown, tally_text, unfinished
from bastion.recording.transcript import Line, Mark, Record, Screen

LONGEST_HELD = 64 << 10
"""Characters of lines that are looked at together."""

AT_ONCE = 4 << 10
"""Of lines that do not belong together so many are looked at with one look."""

OVERLAP = 4 << 10
"""Of more so many are looked at again with what follows."""


def full(text: str, cols: int) -> bool:
    """It fills its row: what follows may belong to it. `cols` is 0 where nothing wraps."""
    if not cols or len(text) * 2 < cols:
        return False
    return (len(text) if text.isascii() else wcswidth(text)) >= cols


def masked_rows(rows: Sequence[str], cols: int, redaction: Redaction, tally: Counter[str]) -> tuple[str, ...]:
    """A screen's rows with what stands for their secrets."""
    return tuple(_masked(rows, [full(row, cols) for row in rows], redaction, tally))


def _masked(
    texts: Sequence[str], joined: Sequence[bool], redaction: Redaction, tally: Counter[str] | None
) -> list[str]:
    """`joined` tells of each whether the next one goes on with it."""
    starts: list[int] = []
    parts: list[str] = []
    at = 0
    for text, goes_on in zip(texts, joined, strict=True):
        starts.append(at)
        parts += (text, "" if goes_on else "\n")
        at += len(text) + (not goes_on)
    spans = redaction.spans("".join(parts))
    if not spans:
        return list(texts)
    if tally is not None:
        tally.update(span.name for span in spans)
    ends = [*starts[1:], at]
    return [
        _without(text, start, [one for one in spans if one.start < end and one.end > start])
        for text, start, end in zip(texts, starts, ends, strict=True)
    ]


def _without(text: str, start: int, spans: Iterable[Span]) -> str:
    """A line that begins at `start`; a secret that began before it leaves nothing."""
    parts: list[str] = []
    at = 0
    for span in spans:
        begin = max(0, span.start - start)
        parts += (text[at:begin], shown(span.name) if span.start >= start else "")
        at = min(len(text), span.end - start)
    return "".join((*parts, text[at:]))


Shown = tuple[int, Record, int]
"""Channel, record, and the columns of the terminal, 0 without one."""


def redacted(records: Iterable[Shown], redaction: Redaction) -> Iterator[tuple[int, Record]]:
    """The same records, masked; at the end a mark with how many secrets only lines had."""
    window = _Window(redaction)
    number, now = 0, 0.0
    for number, record, cols in records:
        now = record.time
        yield from window.add(number, record, cols)
    yield from window.flush()
    said = tally_text(window.tally, " as they stood on the screen; --unredacted shows them")
    if said:
        yield number, Mark(now, said)


class _Window:
    """Lines that are looked at together, and what stands between them."""

    def __init__(self, redaction: Redaction) -> None:
        self.tally: Counter[str] = Counter()
        self._redaction = redaction
        self._held: list[tuple[int, Record]] = []
        self._joined: list[bool] = []  # of the lines among them
        self._size = 0
        self._full = False
        self._block = False  # a private key has begun in it

    def add(self, number: int, record: Record, cols: int) -> Iterator[tuple[int, Record]]:
        """One record more; those that can be told now."""
        if self._held and number != self._held[-1][0]:
            yield from self.flush()
        if isinstance(record, Mark):
            self._held.append((number, replace(record, text=self._redaction.mask(record.text))))
            return
        if isinstance(record, Screen):
            rows = masked_rows(record.lines, record.size[0], self._redaction, Counter())
            self._held.append((number, replace(record, lines=rows)))
            return
        if self._joined and (record.wrapped or self._full):
            self._joined[-1] = True
        if self._size > AT_ONCE and not self._joined[-1] and not self._in_block():
            yield from self.flush()
        self._held.append((number, record))
        self._joined.append(not record.ends)
        self._size += len(record.text) + 1
        self._full = full(record.text, cols)
        self._block = self._block or "PRIVATE KEY" in record.text
        if self._size > LONGEST_HELD:
            yield from self._told(self._overlap())

    def _in_block(self) -> bool:
        if not self._block:
            return False
        return unfinished("\n".join(record.text for _, record in self._held if isinstance(record, Line)))

    def _overlap(self) -> int:
        """How many of what is held are kept."""
        size = kept = 0
        for _, record in reversed(self._held):
            size += len(record.text) if isinstance(record, Line) else 0
            if size > OVERLAP:
                break
            kept += 1
        return kept

    def flush(self) -> Iterator[tuple[int, Record]]:
        """All that is held."""
        yield from self._told(0)

    def _told(self, kept: int) -> Iterator[tuple[int, Record]]:
        lines = [record for _, record in self._held if isinstance(record, Line)]
        texts = iter(_masked([line.text for line in lines], self._joined, self._redaction, self.tally))
        held, self._held = self._held, self._held[len(self._held) - kept :]
        for number, record in held[: len(held) - kept]:
            yield number, replace(record, text=next(texts)) if isinstance(record, Line) else record
        left = sum(isinstance(record, Line) for _, record in self._held)
        self._joined = self._joined[len(self._joined) - left :]
        self._size = sum(len(record.text) + 1 for _, record in self._held if isinstance(record, Line))
        self._block = self._full = False
