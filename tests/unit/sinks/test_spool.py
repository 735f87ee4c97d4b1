"""What is left to be delivered, over rotations, compression, cuts and deaths."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bastion.clock import FixedClock
from bastion.sinks.files import LogFile
from bastion.sinks.lines import AuditLine
from bastion.sinks.position import Position, load, save
from bastion.sinks.spool import LATE, LIST_EVERY, Spool
from tests.support.sinks import Log, lines_of


class Bench:
    """A log, and one sink that confirms what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.clock = FixedClock()
        self.log = Log(folder / "audit.jsonl", self.clock)
        self.file = folder / "position.json"
        self.position = Position()
        self.spool = Spool(self.log.path, self.position, self.clock)
        self.got: list[AuditLine] = []

    def drain(self, most: int = 500, times: int = 1000) -> int:
        """Take and confirm until there is nothing; how many lines came."""
        count = 0
        for _ in range(times):
            lines = self.spool.take(most)
            if not lines:
                break
            self.spool.confirm(lines)
            self.got += lines
            count += len(lines)
        return count

    def restart(self) -> None:
        """As a process that died: what is on disk is all that is known."""
        save(self.file, self.position)
        self.spool.close()
        self.position = load(self.file)
        self.spool = Spool(self.log.path, self.position, self.clock)

    def later(self, seconds: float = LIST_EVERY) -> None:
        self.clock.advance(seconds)

    def numbers(self) -> list[int]:
        return [line.document["number"] for line in self.got if "number" in line.document]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.spool.close()
    made.log.close()


def packed(path: Path, suffix: str = ".gz") -> Path:
    """As logrotate packs: a new file, and the old one is removed."""
    data = path.read_bytes()
    made = path.with_name(path.name + suffix)
    made.write_bytes(gzip.compress(data) if suffix == ".gz" else zstandard.ZstdCompressor().compress(data))
    path.unlink()
    return made


def test_lines_come_in_order_with_the_bytes_that_stand_in_the_file(bench: Bench) -> None:
    bench.log.write(7)
    assert bench.drain(3) == 7
    assert bench.got == lines_of(bench.log.path)
    assert bench.drain() == 0
    bench.log.write(2)
    assert bench.drain() == 2 and bench.numbers() == list(range(1, 10))


def test_what_was_taken_comes_again_until_it_is_confirmed(bench: Bench) -> None:
    bench.log.write(5)
    first = list(bench.spool.take(3))
    assert list(bench.spool.take(3)) == first and bench.spool.behind().lines == 5
    bench.spool.confirm(first)
    assert [line.serial for line in bench.spool.take(3)] == [3, 4]


def test_more_are_taken_behind_those_that_are_held(bench: Bench) -> None:
    bench.log.write(1)
    assert len(bench.spool.take(10)) == 1
    bench.log.write(2)
    assert len(bench.spool.take(10)) == 1 and len(bench.spool.take(10, more=True)) == 3
    assert len(bench.spool.take(3, more=True)) == 3, "no more than it may be"


def test_a_line_that_is_being_written_is_waited_for(bench: Bench) -> None:
    bench.log.write(2)
    data = bench.log.path.read_bytes()
    bench.log.path.write_bytes(data[:-5])
    assert bench.drain() == 1
    bench.log.path.write_bytes(data)
    assert bench.drain() == 1 and bench.got == lines_of(bench.log.path)


def test_lines_of_no_chain_are_passed_by(bench: Bench, tmp_path: Path) -> None:
    bench.log.path.write_bytes(b'{"ts":"2026-01-01T00:00:00.000Z","event":"old"}\ntorn\n\n')
    bench.log.reopen()
    bench.log.write(2)
    assert bench.drain() == 2 and bench.numbers() == [1, 2]


def test_a_rotation_loses_nothing_and_doubles_nothing(bench: Bench) -> None:
    bench.log.write(3)
    assert bench.drain(2, times=1) == 2
    bench.log.rotate(".1")
    bench.log.write(3)
    assert bench.drain() == 1 + 1 + 3  # audit_continued
    bench.log.write(1)
    assert bench.drain() == 1 and bench.numbers() == list(range(1, 8))
    assert len({line.id for line in bench.got}) == len(bench.got)


def test_a_line_that_is_written_late_into_a_rotated_file_comes_too(bench: Bench) -> None:
    bench.log.write(1)
    assert bench.drain() == 1
    other = Log(bench.log.path, bench.clock)  # another process, which has not opened the new file yet
    bench.log.rotate(".1")
    bench.log.write(1)
    assert bench.drain() == 2
    other.write(1, late=1)
    assert bench.drain() == 1 and bench.got[-1].document["late"] == 1
    bench.later(LATE + 1)
    assert bench.drain() == 0
    bench.later(LATE + 1)
    other.write(1, late=2)  # long after its descriptor was let go
    bench.later()
    assert bench.drain() == 1 and bench.got[-1].document["late"] == 2
    other.close()


def test_nothing_comes_twice_after_a_death_at_any_point(bench: Bench) -> None:
    for _ in range(4):
        bench.log.write(5)
        bench.drain(2, times=2)
        bench.restart()
        bench.log.rotate(f".{bench.log.written}")
    bench.log.write(1)
    bench.restart()
    bench.drain()
    assert bench.numbers() == list(range(1, 22))
    assert len({line.id for line in bench.got}) == len(bench.got)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_was_packed_during_an_outage_is_read_where_it_was_left(bench: Bench, suffix: str) -> None:
    bench.log.write(6)
    assert bench.drain(2, times=1) == 2
    bench.restart()  # nothing is open any more
    packed(bench.log.rotate("-20261201"), suffix)
    bench.log.write(2)
    assert bench.spool.behind().lines == 4 + 3
    assert bench.drain(3) == 4 + 3 and bench.numbers() == list(range(1, 9))
    bench.restart()
    assert bench.drain() == 0 and bench.spool.behind().lines == 0


def test_a_packed_file_that_was_delivered_is_not_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.log.write(3)
    bench.drain()
    file = bench.log.rotate(".1")
    bench.log.write(1)
    bench.drain()
    packed(file)
    bench.later()
    assert bench.drain() == 0
    bench.restart()
    bench.log.write(1)
    read: list[str] = []
    monkeypatch.setattr(LogFile, "read", counted(LogFile.read, read))
    assert bench.drain() == 1 and "audit.jsonl.1.gz" not in read


def counted(read: Any, names: list[str]) -> Any:
    def reading(file: LogFile, *most: int) -> Any:
        names.append(file.path.name)
        return read(file, *most)

    return reading


def test_a_packed_file_that_was_half_there_is_read_when_it_is_whole(bench: Bench, tmp_path: Path) -> None:
    bench.log.write(400, padding=os.urandom(200).hex())
    file = bench.log.rotate(".2")
    bench.log.write(1)
    data = gzip.compress(file.read_bytes())
    bench.position.begun = True  # it is no new sink
    half = tmp_path / "audit.jsonl.2.gz"
    half.write_bytes(data[: len(data) // 2])
    file.unlink()
    bench.drain()
    assert "audit.jsonl.2.gz" in bench.spool.unreadable
    half.write_bytes(data)
    bench.later()
    bench.drain()
    assert sorted(bench.numbers()) == list(range(1, 402))


def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(bench: Bench, tmp_path: Path) -> None:
    bench.log.write(6)
    assert bench.drain(2, times=1) == 2
    bench.log.rotate(".1").unlink()
    bench.log.write(1)
    bench.later()
    assert bench.drain(2) == 4 + 2 and bench.spool.lost == 0
    bench.later(LATE + 1)
    assert bench.drain() == 0
    assert not [path for path in opened() if path.startswith(str(tmp_path)) and "deleted" in path]


def opened() -> list[str]:
    """What this process holds open."""
    entries = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [os.readlink(entry) for entry in entries if os.path.lexists(entry)]


def test_what_a_removed_file_had_is_counted_as_lost_once(bench: Bench) -> None:
    bench.log.write(6)
    assert bench.drain(2, times=1) == 2
    bench.restart()
    bench.log.rotate(".1").unlink()
    bench.log.write(5)
    bench.log.rotate(".1").unlink()  # a whole one, of which nothing was ever seen
    bench.log.write(1)
    bench.drain()
    assert bench.spool.lost == 6, "six of the second file; what was in front of that nobody can say any more"
    bench.restart()
    bench.log.write(1)
    assert bench.drain() == 1 and bench.spool.lost == 0


def test_the_rest_of_a_removed_file_is_lost_until_it_comes_back(bench: Bench) -> None:
    bench.log.write(6)
    assert bench.drain(2, times=1) == 2
    bench.restart()
    moved = bench.log.rotate(".1")
    data = moved.read_bytes()
    moved.unlink()
    bench.log.write(1)
    bench.drain()
    assert bench.spool.lost == 4
    bench.log.rotate(".2")
    bench.log.write(1)
    bench.restart()
    bench.drain()
    assert bench.spool.lost == 0, "it was told"
    moved.with_name("audit.jsonl-20260101").write_bytes(data)
    bench.later()
    bench.drain()
    assert sorted(bench.numbers()) == list(range(1, 9))


def test_a_new_sink_begins_with_the_file_that_is_written_now(bench: Bench) -> None:
    bench.log.write(3)
    bench.log.rotate(".1")
    bench.log.write(2)
    assert bench.drain() == 3 and bench.numbers() == [4, 5] and bench.spool.lost == 0
    bench.restart()
    bench.later()
    assert bench.drain() == 0, "and never comes back to what was there before"


def test_a_new_sink_that_never_delivered_begins_where_it_began(bench: Bench) -> None:
    bench.log.write(3)
    assert len(bench.spool.take(10)) == 3
    bench.restart()
    bench.log.rotate(".1")
    bench.log.write(1)
    assert bench.drain() == 3 + 2


def test_an_emptied_file_goes_on_with_its_chain_and_its_copy_comes_first(
    bench: Bench, tmp_path: Path
) -> None:
    bench.log.write(5)
    assert bench.drain(2, times=1) == 2
    assert len(bench.spool.take(1)) == 1
    bench.spool.confirm(bench.spool.take(1))
    (tmp_path / "audit.jsonl.1").write_bytes(bench.log.path.read_bytes())
    os.truncate(bench.log.path, 0)
    bench.log.write(2)
    bench.drain()
    assert bench.numbers()[:2] == [1, 2] and bench.numbers()[2:] == [4, 5, 6, 7]


def test_an_emptied_file_that_has_grown_again_is_noticed(bench: Bench, tmp_path: Path) -> None:
    bench.log.write(2)
    bench.drain()
    (tmp_path / "audit.jsonl.1").write_bytes(bench.log.path.read_bytes())
    os.truncate(bench.log.path, 0)
    bench.log.write(6)
    bench.drain()
    bench.drain()
    assert bench.numbers() == list(range(1, 9))


def test_how_far_behind_it_is(bench: Bench) -> None:
    bench.log.write(4)
    lines = bench.spool.take(2)
    behind = bench.spool.behind()
    assert (behind.lines, behind.size, behind.ending) == (4, bench.log.path.stat().st_size, False)
    bench.spool.confirm(lines)
    assert bench.spool.behind().lines == 2
    first = bench.log.rotate(".2")
    bench.log.write(1)
    assert not bench.spool.behind().ending, "the only rotated file is none that goes next"
    bench.log.rotate(".1")
    bench.log.write(1)
    behind = bench.spool.behind()
    assert behind.ending and behind.lines == 2 + 2 + 2
    bench.drain()
    assert bench.spool.behind().lines == bench.spool.behind().size == 0 and not bench.spool.behind().ending
    assert first.exists()


def test_other_files_of_the_folder_are_none_of_the_log(bench: Bench, tmp_path: Path) -> None:
    bench.log.write(1)
    bench.position.begun = True
    for name in ("audit.jsonl.bak", "audit.jsonl~", "other.jsonl", "audit.jsonl.1.gz.tmp"):
        (tmp_path / name).write_bytes(bench.log.path.read_bytes())
    (tmp_path / "audit.jsonl.1").mkdir()
    assert bench.drain() == 1


def test_without_a_log_there_is_nothing_and_without_a_folder_an_error(tmp_path: Path) -> None:
    assert Spool(tmp_path / "none.jsonl", Position(), FixedClock()).take(5) == ()
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path / "gone" / "audit.jsonl", Position(), FixedClock()).take(5)
