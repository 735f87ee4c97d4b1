"""The folder: who may begin a recording there, under which name, and what is left when the process or the disk dies."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bastion.clock import FixedClock, SystemClock
from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording.booking import Books
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.store import Store, new_session_id
from bastion.recording.writer import SLOW_FOR, SLOW_WRITE
from tests.support.world import poll
from tests.unit.recording.disk import OTHER, SOON, finish, say
from tests.unit.recording.samples import SESSION, TARGET, header, joined


def test_files_are_private_and_named_by_id_and_day_alone(store: Store) -> None:
    recorder, writer = store.start(header(identity="../../etc/passwd", target="/dev/null"))
    finish(recorder, writer)
    path = store.directory / "2027-01-15" / f"{SESSION}.rec"
    assert path.is_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


def test_in_a_shared_folder_they_are_its_groups_to_read(store: Store) -> None:
    store.directory.mkdir(exist_ok=True)
    store.directory.chmod(0o2750)
    recorder, writer = store.start(header())
    path = store.directory / "2027-01-15" / f"{SESSION}.rec"
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o640, store.directory.stat().st_gid)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o2750
    finish(recorder, writer)


def test_new_ids_are_file_names_and_do_not_repeat() -> None:
    ids = {new_session_id() for _ in range(100)}
    assert len(ids) == 100 and all(len(name) == 16 and name.isalnum() and name.islower() for name in ids)


def test_an_id_that_is_none_never_becomes_a_path(store: Store) -> None:
    with pytest.raises(ValueError, match="session id"):
        store.create(header("../escape"))
    with pytest.raises(FileNotFoundError), store.open("../../etc/passwd"):
        pass
    assert store.find("../") == [] and store.find("*") == []


def test_a_second_recording_under_the_same_id_is_refused_and_the_first_unhurt(store: Store) -> None:
    recorder, writer = store.start(header())
    with pytest.raises(RecorderFailed) as caught:
        store.create(header())
    assert caught.value.reason is RecorderReason.OPEN_FAILED
    say(recorder, writer, b"still here")
    finish(recorder, writer)
    with store.open(SESSION) as reader:
        assert joined(reader, 1, TARGET, 0) == b"still here"


def test_after_a_failed_sync_nobody_is_admitted_until_a_probe_is_synced(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=1)
    syncer = store._syncer
    _, writer = store.start(header())
    syncer.stop()  # passes are made here
    writer.dirty = True
    syncer._writers[writer] = None
    with mock.patch("os.fdatasync", side_effect=OSError(errno.EIO, "no")):
        syncer._pass()
    assert "cannot sync" in store.health().trouble
    with mock.patch("os.fsync", side_effect=OSError(errno.EIO, "no")):
        syncer._pass()
        with pytest.raises(RecorderFailed) as caught:
            store.admit()
    assert caught.value.reason is RecorderReason.SYNC_FAILED
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []  # the probe is gone
    syncer._pass()
    store.admit()
    assert store.health().trouble == ""


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EDQUOT, errno.ENOSPC])
def test_after_a_refused_write_nobody_is_admitted_until_a_probe_is_written(
    tmp_path: Path, number: int
) -> None:
    store = Store(tmp_path, disk_floor_bytes=1)
    syncer = store._syncer
    recorder, writer = store.start(header())
    syncer.stop()  # passes are made here
    recorder.note("said", 1)
    refuses, alone = (
        mock.patch("os.writev", side_effect=OSError(number, "no")),
        mock.patch.object(syncer, "begin"),
    )
    with refuses, alone, pytest.raises(RecorderFailed) as broken:
        writer.write(recorder.take())
    assert store.health().trouble == "cannot write the recording: no"
    with mock.patch("os.write", side_effect=OSError(number, "still no")):
        syncer._pass()
    with pytest.raises(RecorderFailed) as caught:
        store.admit()
    assert caught.value.reason is broken.value.reason
    assert caught.value.text == "cannot write the recording: still no"
    syncer._pass()
    store.admit()
    assert store.health().trouble == ""


def test_a_disk_that_makes_no_file_is_probed_though_none_was_ever_made(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=1, sync_seconds=SOON)
    refuses = mock.patch("bastion.recording.writer._create_locked", side_effect=OSError(errno.EROFS, "no"))
    with refuses, pytest.raises(RecorderFailed, match="cannot create the recording: no"):
        store.create(header())
    poll(lambda: not store.health().trouble)
    store.admit()
    assert store.close()


def test_a_name_that_is_taken_says_nothing_of_the_disk(store: Store) -> None:
    recorder, writer = store.start(header())
    with pytest.raises(RecorderFailed):
        store.create(header())
    assert store.health().trouble == ""
    finish(recorder, writer)


def test_without_inodes_nobody_is_admitted_however_much_is_free(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=1)
    for files, left, refused in ((100, 0, True), (100, 1, False), (0, 0, False)):  # btrfs counts none
        answer = mock.Mock(f_bavail=1 << 20, f_frsize=4096, f_files=files, f_favail=left)
        with mock.patch("os.statvfs", return_value=answer):
            if refused:
                with pytest.raises(RecorderFailed, match="no inodes") as caught:
                    store.admit()
                assert caught.value.reason is RecorderReason.DISK_FULL and "inodes" in store.health().trouble
            else:
                store.admit()
                assert store.health().trouble == ""


def test_a_slow_write_is_told_and_keeps_new_sessions_away_for_a_while(tmp_path: Path) -> None:
    clock = FixedClock()
    store = Store(tmp_path, disk_floor_bytes=1, clock=clock)
    recorder, writer = store.start(header())
    written = os.writev

    def slow(fd: int, buffers: Any) -> int:
        clock.advance(SLOW_WRITE)
        return written(fd, buffers)

    recorder.note("said", 1)
    with mock.patch("os.writev", slow):
        writer.write(recorder.take())
    assert store.health().slow_writes == 1 and "took 1.0 s" in store.health().trouble
    with pytest.raises(RecorderFailed) as caught:
        store.admit()
    assert caught.value.reason is RecorderReason.DISK_SLOW
    recorder.note("goes on", 1)
    writer.write(recorder.take())  # those that run do
    clock.advance(SLOW_FOR)
    store.admit()
    assert store.health().trouble == ""
    writer.close()
    store.close()


def test_below_the_floor_nobody_starts_and_below_half_of_it_running_sessions_end(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=1000, sync_seconds=SOON)
    recorder, writer = store.start(header())
    free = 999

    def statvfs(path: object) -> os.statvfs_result:
        return os.statvfs_result((1, 1, 1000, free, free, 9, 9, 9, 0, 255))

    with mock.patch("os.statvfs", statvfs):
        with pytest.raises(RecorderFailed) as refused:
            store.start(header(OTHER))
        assert refused.value.reason is RecorderReason.DISK_FLOOR
        say(recorder, writer, b"goes on")
        free = 499
        with pytest.raises(RecorderFailed):
            store.admit()
        with pytest.raises(RecorderFailed) as ended:
            say(recorder, writer, b"ends")
        assert ended.value.reason is RecorderReason.DISK_FLOOR
        finish(recorder, writer, "recorder_failed")
    store.admit()  # recovers by itself
    assert [entry.path.stem for entry in store.sessions()] == [SESSION]
    assert store.health().failures[RecorderReason.DISK_FLOOR] == 3
    assert store.close()


def test_a_disk_that_hangs_in_a_sync_admits_nobody(tmp_path: Path) -> None:
    clock = FixedClock()
    store = Store(tmp_path, disk_floor_bytes=1, clock=clock)
    store._syncer._busy = True
    clock.advance(31)
    with pytest.raises(RecorderFailed) as caught:
        store.admit()
    assert caught.value.reason is RecorderReason.SYNC_FAILED and store.health().sync_behind == 31


def test_no_folder_no_session(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "recordings")
    with pytest.raises(RecorderFailed) as caught:
        store.start(header())
    assert caught.value.reason is RecorderReason.OPEN_FAILED
    assert list(store.sessions()) == []


def test_a_header_that_cannot_be_written_leaves_no_file(store: Store) -> None:
    with mock.patch("os.writev", side_effect=OSError(errno.ENOSPC, "full")), pytest.raises(RecorderFailed):
        store.start(header())
    assert list(store.sessions()) == []


def test_a_stopped_store_leaves_unfinished_files_playable_and_can_start_again(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=1, sync_seconds=SOON)
    recorder, writer = store.start(header())
    say(recorder, writer, b"hello")
    assert store.close()
    (entry,) = store.sessions()
    assert (entry.state, entry.bytes) == ("truncated", 5)
    finish(*store.start(header(OTHER)))
    assert store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"no tmpfs may be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_session_with_whole_blocks_and_recovers_when_freed(small_disk: Path) -> None:
    store = Store(small_disk, disk_floor_bytes=0, sync_seconds=SOON)
    recorder, writer = store.start(header(), RecordingPolicy(mode=Mode.FULL))
    accepted = 0
    with pytest.raises(RecorderFailed) as caught:
        while True:
            recorder.data(1, TARGET, 0, bytes([accepted % 251]) * 10_000)
            writer.write(recorder.take())
            accepted += 1
    assert caught.value.reason is RecorderReason.DISK_FULL
    assert accepted > 20
    with pytest.raises(RecorderFailed):
        Store(small_disk, disk_floor_bytes=100_000).start(header(OTHER))
    finish(recorder, writer, "recorder_failed")
    with store.open(SESSION) as reader:
        kept = joined(reader, 1, TARGET, 0)
    assert kept == b"".join(bytes([number % 251]) * 10_000 for number in range(accepted))
    writer.path.unlink()
    again, second = store.start(header(OTHER))
    say(again, second, b"room again")
    finish(again, second)
    with store.open(OTHER) as reader:
        assert joined(reader, 1, TARGET, 0) == b"room again" and reader.state == "complete"
    assert store.close()


WRITER = """
import os, sys
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.format import Header
from bastion.recording.store import Store
store = Store(sys.argv[1], disk_floor_bytes=0)
header = Header(sys.argv[2], "alice", "1", "web1", "deploy", 1_800_000_000.0)
recorder, writer = store.start(header, RecordingPolicy(mode=Mode.FULL))
number = 0
while True:
    data = b"%09d\\n" % number * 500
    for _ in range(4):
        recorder.data(1, 1, 0, data)
    writer.write(recorder.take())
    os.write(1, b"%09d\\n" % number)  # forwarded: the client has seen it
    number += 1
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_bursts_loses_nothing_that_was_forwarded(tmp_path: Path) -> None:
    for round_number in range(5):
        name = SESSION[:-1] + "abcde"[round_number]
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], stdout=subprocess.PIPE)
        assert child.stdout is not None
        try:
            for _ in range(20 + round_number * 37):
                last = child.stdout.readline()
            (live,) = Store(tmp_path).find(name)
            assert live.state == "live"
        finally:
            child.kill()
            child.wait()
        lines = [last, *child.stdout.read().splitlines(keepends=True)]
        child.stdout.close()
        seen = int([line for line in lines if len(line) == 10][-1])
        (entry,) = Store(tmp_path).find(name)
        assert entry.state == "truncated" and entry.bytes >= (seen + 1) * 20_000
        with Store(tmp_path).open(entry) as reader:
            kept = joined(reader, 1, TARGET, 0)
            assert not reader.damage
        assert kept.startswith(b"".join(b"%09d\n" % number * 2000 for number in range(seen + 1)))


def test_the_ledger_is_told_what_its_process_died_with(tmp_path: Path) -> None:
    """Killed between the end of a recording and the ledger's line."""
    folder, first, second, third = tmp_path / "r", "a" * 16, "b" * 16, "c" * 16
    clock = SystemClock()

    def ended(session: str, books: Books | None, whole: bool = True) -> Path:
        store = Store(folder, disk_floor_bytes=0, books=books)
        recorder, writer = store.start(replace(header(session), started_at=clock.time()))
        writer.close(recorder.finish("client_closed") if whole else None, recorder.link)
        assert store.close()
        return writer.path

    folder.mkdir()
    ended(first, Books(folder, "gw1", clock))
    ended(second, None)
    untouched = ended(third, None, whole=False)
    size = untouched.stat().st_size
    for _ in range(2):  # the second time there is nothing more to tell
        after = Store(folder, disk_floor_bytes=0, books=Books(folder, "gw1", clock))
        after.book_ended()
        told = [(one.event.value, one.session) for one in Books(folder, "gw1", clock).recent()[1:]]
        assert told == [("began", first), ("ended", first), ("began", second), ("ended", second)]
    assert untouched.stat().st_size == size
