"""Counts that hold over several processes (L0, pure: the memory is an argument).

A gateway of several workers keeps its limits over all of them: unfinished logins of one source and in all, sessions in
all. A question to another process would cost each accept a turn of two event loops, so the counts stand in one memory
that all of them see: a row for each worker, which it alone writes, and whose sum everybody reads. The supervisor clears
the row of a worker that died.

Invariants: a row has one writer, and every number in it is one aligned word, so a reader never sees half of one. Who
counts something in does so before reading the others (`add`, then `elsewhere`): of two that come at once at least one
sees the other, so no limit is exceeded. A count by name is never too low; it is too high for one name in 2,000 while a
thousand others are counted, since a name is a pair of slots picked by a keyed digest and the smaller counts.

A process alone has `ALONE`: there is nobody elsewhere, and nothing is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Final


class Cell(IntEnum):
    """The counts of a row."""

    STARTUPS = 0  # connections that have not logged in
    SESSIONS = 1  # open ones, and those that are being opened
    CONNECTIONS = 2  # engineers' connections
    ACCEPTING = 3  # 1 while this worker accepts connections
    APPROVALS_WAITING = 5  # connections that wait for an approval; 4 was a count of the version before


CELLS: Final = 64
"""Words of a row's head: more than `Cell` has, so that a later version finds its own."""

BUCKETS: Final = range(16, CELLS)
"""Words of `sharing.buckets`, two for each bucket. They go on when their worker has died."""

SLOTS: Final = 1 << 15
"""Slots of each of the two tables that names are counted in. Pages are taken from the system as they are touched."""

MAX_SESSIONS: Final = 16_384
"""Names of sessions that one worker can note as unfinished. Those beyond are found by nobody when it dies: their
recordings stay as they are, which `bastion sessions` lists as truncated."""

ID_LENGTH: Final = 16
"""Bytes of a session's name: `recording.format.SESSION_ID_LENGTH` characters of ASCII."""

_HEAD: Final = CELLS * 8
_NAMES: Final = 2 * SLOTS * 4
ROW_SIZE: Final = (_HEAD + _NAMES + MAX_SESSIONS * ID_LENGTH + 4095) & ~4095
"""Bytes of a row, whole pages: 520 KiB, of which a quiet worker touches three pages."""

_EMPTY: Final = bytes(ID_LENGTH)


class Elsewhere:
    """What the other workers hold, and where they are told what this one holds. This one has no others."""

    workers = 1

    def add(self, cell: int, by: int) -> None:
        """This worker holds `by` more (or less)."""

    def add_name(self, name: str, by: int) -> None:
        """The same of what is counted by name."""

    def elsewhere(self, cell: Cell) -> int:
        """What the others hold together."""
        return 0

    def elsewhere_of(self, name: str) -> int:
        """What the others hold of that name together."""
        return 0

    def least(self, cell: Cell) -> int | None:
        """The smallest count among the others that accept connections, None when no other does."""
        return None

    def put(self, word: int, value: int) -> None:
        """This worker's word, one of BUCKETS."""

    def largest(self, word: int) -> int:
        """Of all workers' words."""
        return 0

    def sum(self, word: int) -> int:
        """The same, added up."""
        return 0

    def begin(self, session: str) -> None:
        """From here on this session is unfinished."""

    def finish(self, session: str) -> None:
        """All is written down about it. A name that was not begun is passed over."""


ALONE: Final = Elsewhere()
"""Of a gateway of one process."""


class Row(Elsewhere):
    """One worker's row of `memory`, which holds `workers` of them, and the sums over the others."""

    def __init__(self, memory: memoryview, workers: int, own: int, secret: bytes) -> None:
        """`own` is the number of this worker's row; `secret` is the same for all."""
        self.workers = workers
        self._secret = secret
        rows = [memory[number * ROW_SIZE : (number + 1) * ROW_SIZE] for number in range(workers)]
        self._cells = rows[own][:_HEAD].cast("q")
        self._names = _names(rows[own])
        self._sessions = _sessions(rows[own])
        others = [row for number, row in enumerate(rows) if number != own]
        self._other_cells = [row[:_HEAD].cast("q") for row in others]
        self._other_names = [_names(row) for row in others]
        self._places: dict[str, int] = {}
        self._free = list(range(MAX_SESSIONS - 1, -1, -1))

    def add(self, cell: int, by: int) -> None:
        self._cells[cell] += by

    def add_name(self, name: str, by: int) -> None:
        for slot in self._slots(name):
            self._names[slot] += by

    def elsewhere(self, cell: Cell) -> int:
        return sum(cells[cell] for cells in self._other_cells)

    def elsewhere_of(self, name: str) -> int:
        return min(sum(names[slot] for names in self._other_names) for slot in self._slots(name))

    def least(self, cell: Cell) -> int | None:
        return min((cells[cell] for cells in self._other_cells if cells[Cell.ACCEPTING]), default=None)

    def put(self, word: int, value: int) -> None:
        self._cells[word] = value

    def largest(self, word: int) -> int:
        return max(self._cells[word], *(cells[word] for cells in self._other_cells))

    def sum(self, word: int) -> int:
        return int(self._cells[word]) + sum(cells[word] for cells in self._other_cells)

    def begin(self, session: str) -> None:
        if self._free and session not in self._places:
            place = self._places[session] = self._free.pop()
            at = place * ID_LENGTH
            self._sessions[at : at + ID_LENGTH] = session.encode("ascii").ljust(ID_LENGTH, b"\0")[:ID_LENGTH]

    def finish(self, session: str) -> None:
        place = self._places.pop(session, None)
        if place is not None:
            at = place * ID_LENGTH
            self._sessions[at : at + ID_LENGTH] = _EMPTY
            self._free.append(place)

    def _slots(self, name: str) -> tuple[int, int]:
        text = name.encode("utf-8", "backslashreplace")
        digest = hashlib.blake2b(text, digest_size=8, key=self._secret).digest()
        return (
            int.from_bytes(digest[:4], "big") % SLOTS,
            SLOTS + int.from_bytes(digest[4:], "big") % SLOTS,
        )


class Everybody(Elsewhere):
    """All rows, for a process that has none of its own."""

    def __init__(self, memory: memoryview, workers: int) -> None:
        self._memory, self.workers = memory, workers

    def elsewhere(self, cell: Cell) -> int:
        return count(self._memory, self.workers, cell)


def unfinished(memory: memoryview, row: int) -> Iterator[str]:
    """The sessions that the worker of that row has begun and not finished; for whoever cleans up after it."""
    names = bytes(_sessions(memory[row * ROW_SIZE : (row + 1) * ROW_SIZE]))
    for at in range(0, len(names), ID_LENGTH):
        name = names[at : at + ID_LENGTH]
        if name != _EMPTY:
            yield name.decode("ascii", "replace")


def clear(memory: memoryview, row: int) -> None:
    """The worker of that row is gone, and holds nothing any more. What it has poured into buckets stays there."""
    whole = memory[row * ROW_SIZE : (row + 1) * ROW_SIZE]
    for kept, gone in ((BUCKETS.start, 0), (ROW_SIZE // 8, BUCKETS.stop)):
        whole[gone * 8 : kept * 8] = bytes((kept - gone) * 8)


def count(memory: memoryview, workers: int, cell: Cell) -> int:
    """What all workers hold together."""
    return sum(
        memory[number * ROW_SIZE : number * ROW_SIZE + _HEAD].cast("q")[cell] for number in range(workers)
    )


def _names(row: memoryview) -> memoryview:
    return row[_HEAD : _HEAD + _NAMES].cast("i")


def _sessions(row: memoryview) -> memoryview:
    return row[_HEAD + _NAMES : _HEAD + _NAMES + MAX_SESSIONS * ID_LENGTH]
