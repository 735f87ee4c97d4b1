"""A writer that is watched: what is written is shown, after it was written, and to nobody when it was not."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.errors import RecorderFailed, RecorderReason
from bastion.session.watching import WatchedWriter, Watcher


class Disk:
    """The writer below."""

    def __init__(self) -> None:
        self.failure: RecorderFailed | None = None
        self.said: list[Any] = []
        self.written = 0

    def write(self, buffers: Any) -> int:
        if self.failure is not None:
            raise self.failure
        self.said.append(buffers)
        self.written += 1
        return 7

    def close(self, last: Any = None, link: bytes = b"") -> None:
        self.said.append(("closed", last))


@pytest.fixture
def disk() -> Disk:
    return Disk()


def watched(disk: Disk, *watchers: Watcher) -> WatchedWriter:
    below: Any = disk
    made = WatchedWriter(below, lambda buffers: buffers)
    made.watchers += watchers
    return made


def test_what_is_written_is_shown_after_it_was_written(disk: Disk) -> None:
    seen: list[Any] = []
    writer = watched(disk, Watcher(lambda buffers: seen.append((list(disk.said), buffers)), lambda: None))
    assert writer.write([b"a"]) == 7 and seen == [([[b"a"]], [b"a"])]
    assert writer.write(None) == 7 and len(seen) == 1 and writer.written == 2


def test_what_could_not_be_written_is_shown_to_nobody(disk: Disk) -> None:
    seen: list[Any] = []
    writer = watched(disk, Watcher(seen.append, lambda: None))
    disk.failure = RecorderFailed(RecorderReason.DISK_FULL, "full")
    with pytest.raises(RecorderFailed):
        writer.write([b"a"])
    assert seen == [] and writer.failure is disk.failure


def test_the_end_is_the_end_for_all(disk: Disk) -> None:
    said: list[Any] = []
    several = [Watcher(lambda b, n=n: said.append((n, b)), lambda n=n: said.append(n)) for n in (1, 2)]  # type: ignore[misc]
    writer = watched(disk, *several)
    writer.close([b"end"])
    assert disk.said == [("closed", [b"end"])] and said == [(1, [b"end"]), 1, (2, [b"end"]), 2]
    writer.close()
    assert len(said) == 4
