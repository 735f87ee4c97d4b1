"""When the windows of a recording's terminals got another size (L1, pure): for marks on its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from bastion.recording.channels import size_of
from bastion.recording.format import FormatError, Kind, Recorded

MOST: Final = 2000
"""Of one recording; whoever pulls at a window's edge makes some hundred."""


class Resize(NamedTuple):
    """`time` in seconds from the session's start, `cols` and `rows` in cells."""

    time: float
    channel: int
    cols: int
    rows: int


class Resizes:
    """Looks at events as they pass; `found` has the first MOST."""

    def __init__(self) -> None:
        self.found: list[Resize] = []

    def watch(self, events: Iterable[Recorded]) -> Iterator[Recorded]:
        """The same events."""
        for event in events:
            if event.kind is Kind.NOTE and event.channel and len(self.found) < MOST:
                self._note(event)
            yield event

    def _note(self, event: Recorded) -> None:
        if b"window_changed" not in bytes(event.payload):
            return
        try:
            note = event.note
        except FormatError:
            return
        size = size_of(note) if note.get("event") == "window_changed" else None
        if size is not None:
            self.found.append(Resize(event.time_us / 1e6, event.channel, *size))
