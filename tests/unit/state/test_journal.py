"""What is owed is in a file before `append` returns, in order, and the file belongs to whoever lives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.state.journal import OWED_MAX, Journal, left_over


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path, "home.1")
    made.open()
    return made


def spooled(folder: Path) -> bytes:
    return (folder / "home.1.owed").read_bytes()


def test_a_line_is_in_the_file_before_append_returns(tmp_path: Path, journal: Journal) -> None:
    journal.append([b"one\n"], 1.0)
    journal.append([b"two\n"], 2.0)
    assert spooled(tmp_path) == b"one\ntwo\n"
    assert (len(journal), journal.bytes, journal.oldest) == (2, 8, 1.0)
    assert (tmp_path / "home.1.owed").stat().st_mode & 0o777 == 0o600


def test_lines_stay_until_they_are_settled_and_the_file_until_all_are(
    tmp_path: Path, journal: Journal
) -> None:
    for line in (b"1\n", b"2\n", b"3\n"):
        journal.append([line], 0.0)
    assert journal.batch(2) == [b"1\n", b"2\n"] == journal.batch(2)
    journal.settled(2)
    assert journal.batch(5) == [b"3\n"] and spooled(tmp_path) == b"1\n2\n3\n"
    journal.settled(1)
    assert spooled(tmp_path) == b"" and len(journal) == journal.bytes == 0
    journal.append([b"4\n"], 0.0)
    assert spooled(tmp_path) == b"4\n"


def test_a_disk_that_takes_nothing_is_told_and_the_line_is_owed_in_memory(journal: Journal) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._fd)
    os.close(full)
    journal.append([b"one\n"], 0.0)
    assert journal.fault and journal.batch(1) == [b"one\n"]


def test_more_than_may_be_owed_is_told_and_taken(journal: Journal) -> None:
    journal.append([b"x" * (OWED_MAX - 1)], 0.0)
    assert not journal.full
    journal.append([b"y"], 0.0)
    assert journal.full and len(journal) == 2


def test_a_living_process_keeps_its_file_and_a_dead_ones_is_left_over(
    tmp_path: Path, journal: Journal
) -> None:
    journal.append([b"mine\n"], 0.0)
    (tmp_path / "home.2.owed").write_bytes(b"a\n\nb\nto")
    found, living = left_over(tmp_path)
    assert living == ["home.1"] and [one.instance for one in found] == ["home.2"]
    assert list(found[0].lines()) == [b"a\n", b"b\n", b"to"]
    assert left_over(tmp_path) == ([], ["home.1", "home.2"]), "two do not take the same"
    found[0].done()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".owed")] == ["home.1.owed"]
    journal.close()
    again, living = left_over(tmp_path)
    assert living == [] and [list(one.lines()) for one in again] == [[b"mine\n"]]
    again[0].close()
    assert spooled(tmp_path) == b"mine\n", "what was not written stays"


def test_a_process_that_owes_nothing_leaves_nothing(tmp_path: Path, journal: Journal) -> None:
    journal.close()
    assert os.listdir(tmp_path) == []


def test_a_file_that_was_taken_for_left_over_before_it_was_locked_is_made_again(tmp_path: Path) -> None:
    """Another process may see it between its making and its lock."""
    journal = Journal(tmp_path, "home.1")
    stolen = os.open(tmp_path / "home.1.owed", os.O_CREAT | os.O_RDWR)
    (found,), _ = left_over(tmp_path)
    os.close(stolen)
    import threading

    opened = threading.Thread(target=journal.open)
    opened.start()
    found.done()
    opened.join(10)
    journal.append([b"one\n"], 0.0)
    assert spooled(tmp_path) == b"one\n"
