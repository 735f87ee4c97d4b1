"""What a session writes, for whoever watches it too (L3): stands in the writer's place only as long as somebody does.

Invariant: a session that nobody watches pays nothing, and one that is watched pays one call for a block: a watcher
takes it or drops it, and can neither hold the session up nor break it. What is shown was written first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bastion.errors import RecorderFailed
from bastion.recording.bulk import Bytes
from bastion.recording.writer import Writer


@dataclass(frozen=True, slots=True, eq=False)
class Watcher:
    """`show` takes the buffers of one write: whole blocks, which it must not keep. `ended`: nothing more will come."""

    show: Callable[[Sequence[Bytes]], None]
    ended: Callable[[], None]


class WatchedWriter:
    """A writer, and those who watch what it writes."""

    __slots__ = ("_clear", "watchers", "writer")

    def __init__(self, writer: Writer, clear: Callable[[Sequence[Bytes]], Sequence[Bytes]]) -> None:
        """`clear` makes of encrypted blocks such as are not."""
        self._clear = clear
        self.writer = writer
        self.watchers: list[Watcher] = []

    @property
    def failure(self) -> RecorderFailed | None:
        return self.writer.failure

    @property
    def written(self) -> int:
        return self.writer.written

    @property
    def ended(self) -> bool:
        return self.writer.ended

    def write(self, buffers: Sequence[Bytes] | None) -> int:
        """As `Writer.write`; then those who watch are shown it."""
        size = self.writer.write(buffers)
        if buffers is not None:
            shown = self._clear(buffers)
            for watcher in list(self.watchers):
                watcher.show(shown)
        return size

    def close(self, last: Sequence[Bytes] | None = None, link: bytes = b"") -> None:
        """As `Writer.close`; it is over for those who watch as well."""
        self.writer.close(last, link)
        watchers, self.watchers = self.watchers, []
        shown = None if last is None or not watchers else self._clear(last)
        for watcher in watchers:
            if shown is not None:
                watcher.show(shown)
            watcher.ended()
