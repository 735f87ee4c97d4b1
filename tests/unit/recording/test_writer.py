"""The disk: whole blocks or none, and a clear reason when it fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

import pytest

from bastion.clock import FixedClock
from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.store import Store
from bastion.recording.writer import Space, Syncer, Writer
from tests.support.world import poll
from tests.unit.recording.disk import SOON, finish, say
from tests.unit.recording.samples import SESSION, TARGET, header, joined


def write_only(count: int) -> object:
    """A writev that takes `count` bytes and then no more, as a filling disk may."""

    def writev(fd: int, buffers: list[bytes]) -> int:
        return os.write(fd, b"".join(buffers)[:count])

    return writev


def test_a_short_write_is_cut_back_and_breaks_the_writer_for_good(store: Store) -> None:
    recorder, writer = store.start(header())
    say(recorder, writer, b"whole")
    size = writer.path.stat().st_size
    recorder.data(1, TARGET, 0, b"never forwarded")
    with mock.patch("os.writev", write_only(30)), pytest.raises(RecorderFailed) as caught:
        writer.write(recorder.take())
    assert caught.value.reason is RecorderReason.SHORT_WRITE
    assert writer.path.stat().st_size == size
    with pytest.raises(RecorderFailed):
        say(recorder, writer, b"later")
    finish(recorder, writer, "recorder_failed")
    assert store.health().failures[RecorderReason.SHORT_WRITE] == 1
    (entry,) = store.sessions()
    assert entry.reason == "recorder_failed"  # there was room for the end block
    with store.open(entry) as reader:
        assert joined(reader, 1, TARGET, 0) == b"whole"
        assert (
            list(reader) != [] and reader.state == "complete"
        )  # the block that could not be written was not forwarded either


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, RecorderReason.DISK_FULL),
        (errno.EDQUOT, RecorderReason.DISK_FULL),
        (errno.EIO, RecorderReason.WRITE_FAILED),
        (errno.EFBIG, RecorderReason.WRITE_FAILED),
    ],
)
def test_every_write_error_has_a_reason(store: Store, number: int, reason: RecorderReason) -> None:
    recorder, writer = store.start(header())
    recorder.data(1, TARGET, 0, b"x")
    with mock.patch("os.writev", side_effect=OSError(number, "no")), pytest.raises(RecorderFailed) as caught:
        writer.write(recorder.take())
    assert caught.value.reason is reason and store.health().failures[reason] == 1
    writer.close()
    poll(lambda: writer.closed, text="the file was never closed")
    (entry,) = store.sessions()
    assert entry.state == "truncated"


def test_a_short_write_of_a_disk_that_it_filled_says_that_the_disk_is_full(store: Store) -> None:
    recorder, writer = store.start(header())
    size = writer.path.stat().st_size
    recorder.data(1, TARGET, 0, b"never forwarded")

    def room(_: object) -> object:
        """No room while the torn piece is there; cutting it off makes some."""
        torn = writer.path.stat().st_size > size
        return mock.Mock(f_bavail=0 if torn else 1 << 20, f_frsize=4096, f_files=9, f_favail=9)

    nearly_full = mock.patch("os.writev", write_only(30)), mock.patch("os.statvfs", room)
    with nearly_full[0], nearly_full[1], pytest.raises(RecorderFailed) as caught:
        writer.write(recorder.take())
    assert caught.value.reason is RecorderReason.DISK_FULL and "is full" in caught.value.text
    assert writer.path.stat().st_size == size


def test_a_file_that_cannot_be_cut_back_reads_to_its_last_whole_block(store: Store) -> None:
    recorder, writer = store.start(header())
    say(recorder, writer, b"whole")
    recorder.data(1, TARGET, 0, b"never forwarded")
    with (
        mock.patch("os.writev", write_only(30)),
        mock.patch("os.ftruncate", side_effect=OSError(errno.EIO, "no")),
        pytest.raises(RecorderFailed),
    ):
        writer.write(recorder.take())
    assert writer.path.stat().st_size == writer.written + 30
    with store.open(SESSION) as reader:
        assert joined(reader, 1, TARGET, 0) == b"whole" and reader.state == "truncated"
    finish(recorder, writer)  # tries once more to cut, then ends the file in order
    (entry,) = store.sessions()
    assert entry.state == "ended"


def test_a_failed_sync_breaks_the_writer_and_is_told(tmp_path: Path) -> None:
    told: list[Writer] = []
    store = Store(tmp_path, disk_floor_bytes=1, sync_seconds=SOON, on_sync_failed=told.append)
    recorder, writer = store.start(header())
    with mock.patch("os.fdatasync", side_effect=OSError(errno.EIO, "no")):
        say(recorder, writer, b"x")
        writer.close()
        poll(lambda: writer.closed, text="the file was never closed")
    assert told == [writer]
    assert writer.failure is not None and writer.failure.reason is RecorderReason.SYNC_FAILED
    assert store.close()


def test_what_was_written_is_synced_within_the_interval(tmp_path: Path) -> None:
    synced: list[int] = []
    space = Space(tmp_path, 1)
    syncer = Syncer(FixedClock(), space, 1.0, None)
    with mock.patch("os.fdatasync", synced.append):
        writer = Writer(tmp_path / "file", space, syncer)
        writer.write([b"data"])
        assert writer.dirty
        syncer._pass()
        syncer._pass()
        assert len(synced) >= 1 and not writer.dirty
        before = len(synced)
        syncer._pass()
        assert len(synced) == before  # a clean file costs nothing
    assert syncer.stop()


def test_an_ended_file_is_closed_within_a_second_however_rarely_the_disk_is_synced(tmp_path: Path) -> None:
    space = Space(tmp_path, 1)
    syncer = Syncer(FixedClock(), space, 30.0, None)
    assert (syncer._pause, syncer._passes) == (1.0, 30)
    going_on, ended = (Writer(tmp_path / name, space, syncer) for name in ("going on", "ended"))
    for writer in (going_on, ended):
        writer.write([b"data"])
    ended.close()
    assert not ended.closed  # no thread was woken for it
    syncer._pass(whole=False)
    assert ended.closed and not ended.dirty and going_on.dirty
    assert syncer.stop()
    assert not going_on.dirty


def test_closing_twice_and_writing_after_it_do_no_harm(store: Store) -> None:
    recorder, writer = store.start(header())
    finish(recorder, writer)
    writer.close([b"again"])
    with pytest.raises(RecorderFailed):
        writer.write([b"late"])
    with store.open(SESSION) as reader:
        assert list(reader) == [] and reader.state == "complete"


def test_what_a_gap_held_when_the_disk_failed_is_no_damage(store: Store) -> None:
    recorder, writer = store.start(header(), RecordingPolicy(burst_bytes=10))
    say(recorder, writer, b"x" * 100)
    recorder.data(1, TARGET, 0, b"never forwarded")
    recorder.note("said", 1)
    with mock.patch("os.writev", side_effect=OSError(errno.ENOSPC, "full")), pytest.raises(RecorderFailed):
        writer.write(recorder.take())
    finish(recorder, writer, "recorder_failed")
    with store.open(SESSION) as reader:
        assert joined(reader, 1, TARGET, 0).startswith(b"x" * 100) and reader.state == "complete"
