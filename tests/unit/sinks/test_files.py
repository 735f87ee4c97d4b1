"""One file of the log: whole lines, long ones, cut ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.observe.log_files import LogUnreadable
from bastion.sinks.files import BLOCK, LINE_MAX, Head, LogFile, WasCut, head_of, heads_of
from tests.support.sinks import Log, lines_of


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "audit.jsonl", FixedClock())


def opened(path: Path) -> LogFile:
    return LogFile(path, path.stat())


def test_it_is_read_in_pieces_of_so_many_lines_or_bytes(log: Log) -> None:
    log.write(5)
    file, lines = opened(log.path), lines_of(log.path)
    assert file.read(2, 1 << 20) == lines[:2] and file.left == sum(len(line.raw) + 1 for line in lines[2:])
    assert file.read(100, 1) == lines[2:3], "one line more than there is room for"
    assert file.read(100, 1 << 20) == lines[3:] and file.read(100, 1 << 20) == [] and file.left == 0
    file.close()


def test_lines_over_the_ends_of_blocks(log: Log) -> None:
    log.write(300, padding="x" * 3000)
    file = opened(log.path)
    found = []
    while read := file.read(7, 1 << 30):
        found += read
    assert found == lines_of(log.path) and log.path.stat().st_size > 3 * BLOCK
    file.close()


def test_a_line_longer_than_any_of_ours_is_passed_over(log: Log) -> None:
    log.write(1)
    with log.path.open("ab") as file:
        file.write(b"x" * (LINE_MAX + BLOCK) + b"\n")
    log.write(1)
    read = opened(log.path)
    assert [line.serial for line in read.read(10, 1 << 30)] == [0, 1] and read.passed >= 1
    read.close()


def test_a_cut_is_told_and_not_read_over(log: Log) -> None:
    log.write(3)
    file = opened(log.path)
    assert len(file.read(2, 1 << 20)) == 2
    data = log.path.read_bytes()
    with log.path.open("r+b") as writing:
        writing.write(b"#" + data[1:300] + b"#" * (len(data) - 300) + b"\n")
    with pytest.raises(WasCut):
        file.read(2, 1 << 20)
    log.path.write_bytes(data)
    file.begin_again()
    assert file.read(10, 1 << 20) == lines_of(log.path)
    file.close()


def test_a_packed_one_goes_on_where_it_was_left(log: Log) -> None:
    log.write(5)
    packed = log.path.with_name("audit.jsonl.1.gz")
    packed.write_bytes(gzip.compress(log.path.read_bytes()))
    file, lines = opened(packed), lines_of(log.path)
    assert file.last_serial() == 4 and file.left == packed.stat().st_size
    assert file.read(2, 1 << 20) == lines[:2] and file.read(2, 1 << 20) == lines[2:4] and not file.at_end
    assert file.read(2, 1 << 20) == lines[4:] and file.at_end and file.left == 0 and file.read(2, 9) == []


def test_a_broken_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl.1.gz"
    path.write_bytes(gzip.compress(b"x" * 10_000)[:40])
    with pytest.raises(LogUnreadable):
        opened(path).read(1, 1)


def test_how_it_begins_and_ends(log: Log) -> None:
    assert head_of(log.path) == Head() and opened(log.path).last_serial() == -1
    log.path.write_bytes(b'{"event":"old"}\n')
    log.reopen()
    log.write(3, padding="x" * 9000)
    (first, *_) = lines_of(log.path)
    assert head_of(log.path) == Head(first.chain, 0, first.word("ts")) and opened(log.path).last_serial() == 2


def test_a_file_from_before_there_was_a_chain_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl.1"
    path.write_bytes(b'{"event":"old"}\n' * (BLOCK // 10))
    looked: list[Path] = []
    monkeypatch.setattr("bastion.sinks.files.head_of", lambda found: looked.append(found) or Head())
    file = opened(path)
    for _ in range(3):
        heads_of([file])
    assert looked == [path]
