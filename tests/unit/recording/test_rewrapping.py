"""Keys wrapped for others: the recording verifies as before, new recipients open it, dropped ones do not."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest

from bastion import age
from bastion.cli.recordings import unwrap_with
from bastion.recording import rewrapping
from bastion.recording.format import FormatError
from bastion.recording.listing import LEFTOVER
from bastion.recording.reader import Reader
from bastion.recording.rewrapping import rewrap, sweep
from bastion.recording.sealing import seal
from bastion.recording.unwrapping import DataKeys
from bastion.recording.verifying import State
from tests.unit.recording.samples import SESSION
from tests.unit.recording.sealed import NODE, blocks_of, recorded, verdict

ANNA, BERT, CARL = (pyrage.x25519.Identity.generate() for _ in range(3))


def name(identity: Any) -> str:
    return str(identity.to_public())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    recipients = age.recipients_of([name(ANNA), name(BERT)])
    keys = DataKeys.new((name(ANNA), name(BERT)), lambda both: age.seal(both, recipients))
    file = tmp_path / f"{SESSION}.rec"
    file.write_bytes(recorded(replace(NODE, keys=keys)))
    file.chmod(0o640)
    return file


def events(path: Path, identity: Any) -> list[bytes]:
    reader = Reader(io.BytesIO(path.read_bytes()), SESSION, unwrap=unwrap_with([identity]))
    return [event.payload for event in reader]


def test_one_is_added_and_one_dropped(path: Path) -> None:
    before, told = events(path, ANNA), path.stat()
    assert before and rewrap(path, unwrap_with([BERT]), lambda _: (name(ANNA), name(CARL)))
    assert events(path, ANNA) == events(path, CARL) == before
    assert events(path, BERT) == []
    assert verdict(path.read_bytes()).state is State.WHOLE
    assert (path.stat().st_mode, path.stat().st_mtime_ns) == (told.st_mode, told.st_mtime_ns)
    assert list(path.parent.iterdir()) == [path]


def test_what_has_them_already_is_left(path: Path) -> None:
    inode = path.stat().st_ino
    assert not rewrap(path, unwrap_with([ANNA]), lambda before: (*before[::-1], before[0]))
    assert path.stat().st_ino == inode


def test_what_is_not_encrypted_is_left(tmp_path: Path) -> None:
    file = tmp_path / f"{SESSION}.rec"
    file.write_bytes(recorded(NODE))
    assert not rewrap(file, unwrap_with([ANNA]), lambda _: (name(ANNA),))


@pytest.mark.parametrize(
    ("identity", "texts", "words"),
    [
        (CARL, [name(CARL)], "none of the identities"),
        (ANNA, [], "nobody"),
        (ANNA, ["age1nonsense"], "no age recipient"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_changes(
    path: Path, identity: Any, texts: list[str], words: str
) -> None:
    data = path.read_bytes()
    with pytest.raises(FormatError, match=words):
        rewrap(path, unwrap_with([identity]), lambda _: texts)
    assert path.read_bytes() == data


def test_one_whose_keys_were_taken_away_is_told_from_one_that_is_not_encrypted(path: Path) -> None:
    file = path.read_bytes()
    at, head = blocks_of(file)[1]
    path.write_bytes(file[:at] + file[at + head.block_size :])
    with pytest.raises(FormatError, match="keys is missing"):
        rewrap(path, unwrap_with([ANNA]), lambda _: (name(CARL),))


def test_foreign_keys_are_not_wrapped(path: Path) -> None:
    with pytest.raises(FormatError, match="not those of this recording"):
        rewrap(path, lambda _: DataKeys(bytes(32), bytes(32)), lambda _: (name(CARL),))


def test_a_running_one_is_not_touched(path: Path) -> None:
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(FormatError, match="still being written"):
            rewrap(path, unwrap_with([ANNA]), lambda _: (name(CARL),))


def test_a_full_disk_leaves_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = path.read_bytes()

    def refuse(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rewrapping.os, "fsync", refuse)
    with pytest.raises(OSError):
        rewrap(path, unwrap_with([ANNA]), lambda _: (name(CARL),))
    assert path.read_bytes() == data and list(path.parent.iterdir()) == [path]


def test_what_a_run_that_was_cut_off_has_left_goes_with_the_next(path: Path) -> None:
    left = path.with_name(path.name + LEFTOVER)
    left.write_bytes(b"half of one")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FormatError):
            rewrap(path, unwrap_with([ANNA]), lambda before: before)
        assert left.exists()  # of one that runs, perhaps
    assert sweep(path.parent.parent) == 0
    assert not rewrap(path, unwrap_with([ANNA]), lambda before: before)
    assert not left.exists()
    left.write_bytes(b"half of one")
    path.unlink()
    assert sweep(path.parent.parent) == 1 and list(path.parent.iterdir()) == []


def test_one_that_was_replaced_while_its_lock_was_waited_for_is_left(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, other = fcntl.flock, path.read_bytes()

    def replaced_before(fd: int, how: int) -> None:
        if how & fcntl.LOCK_EX:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(other)
            fresh.rename(path)
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", replaced_before)
    with pytest.raises(FormatError, match="was replaced"):
        rewrap(path, unwrap_with([ANNA]), lambda _: (name(CARL),))
    path.write_bytes(other[: blocks_of(other)[-1][0]])
    told = seal(path, "gateway_died", "died", NODE)
    assert told.again and told.totals is None and "was replaced" in told.problem
    assert path.read_bytes() == other
