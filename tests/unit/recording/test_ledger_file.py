"""Several processes append to one chain; a torn line is cut off, a damaged ledger is put aside and named."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import pytest

from bastion.recording import ledger_file
from bastion.recording.ledger import Entry, Head, LedgerBroken, LedgerEvent, digest_of, follow
from bastion.recording.ledger_file import LedgerFile, ledger_path, ledgers_in, read_lines

SESSION = "aaaaaaaaaaaaaaaa"
ENTRY = Entry(0, 5.0, LedgerEvent.BEGAN, SESSION, "1" * 64)


def at(folder: Path) -> LedgerFile:
    return LedgerFile(ledger_path(folder, "node1"), "node1")


def test_it_begins_with_its_node_and_goes_on(tmp_path: Path) -> None:
    assert at(tmp_path).head() == Head()
    first = at(tmp_path).append([ENTRY], 4.0)
    second = at(tmp_path).append([ENTRY, ENTRY], 9.0)
    followed = list(follow(read_lines(ledger_path(tmp_path, "node1"))))
    assert [(entry.serial, entry.event) for entry, _ in followed] == [
        (0, LedgerEvent.OPENED),
        *((serial, LedgerEvent.BEGAN) for serial in (1, 2, 3)),
    ]
    assert followed[0][0].detail == "node1"
    assert (first.head, second.head) == (followed[1][1], followed[3][1])
    assert at(tmp_path).head() == second.head and not second.broken
    assert ledger_path(tmp_path, "node1").stat().st_mode & 0o777 == 0o600


def _append_fifty(folder: str) -> None:
    for _ in range(50):
        at(Path(folder)).append([ENTRY], 1.0)


def test_four_processes_make_one_chain(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        list(pool.map(_append_fifty, [str(tmp_path)] * 4))
    assert len(list(follow(read_lines(ledger_path(tmp_path, "node1"))))) == 201


@pytest.mark.parametrize("kept", [0, 1, 40])
def test_a_line_that_a_power_loss_tore_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = ledger_path(tmp_path, "node1")
    head = at(tmp_path).append([ENTRY], 4.0).head
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:kept])
    assert at(tmp_path).head() == head
    assert at(tmp_path).append([ENTRY], 5.0).head.serial == head.serial + 1
    assert path.read_bytes().startswith(whole) and len(list(follow(read_lines(path)))) == 3


def test_the_first_line_may_be_torn_too(tmp_path: Path) -> None:
    path = ledger_path(tmp_path, "node1")
    path.write_bytes(b'{"serial":0')
    assert at(tmp_path).append([ENTRY], 4.0).head.serial == 1


@pytest.mark.parametrize("end", [b"garbage\n", b"x" * 9000, b"\0" * 100 + b"\n"])
def test_a_damaged_ledger_is_put_aside_and_followed_by_another(tmp_path: Path, end: bytes) -> None:
    path = ledger_path(tmp_path, "node1")
    at(tmp_path).append([ENTRY], 4.0)
    path.write_bytes(path.read_bytes() + end)
    damaged = path.read_bytes()
    with pytest.raises(LedgerBroken):
        at(tmp_path).head()
    done = at(tmp_path).append([ENTRY], 5.0)
    assert Path(done.broken).read_bytes() == damaged
    opening, _ = next(follow(read_lines(path)))
    assert opening.digest == sha256(damaged).hexdigest()
    assert ledgers_in(tmp_path) == [path, Path(done.broken)]
    assert at(tmp_path).append([ENTRY], 6.0).head.serial == 2


def test_two_that_find_it_damaged_make_one_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ledger_path(tmp_path, "node1")
    path.write_bytes(b"garbage\n")
    put_aside = LedgerFile._put_aside

    def then_another_comes(self: LedgerFile, digest: str) -> str:
        aside = put_aside(self, digest)
        at(tmp_path).append([ENTRY], 5.0)
        return aside

    monkeypatch.setattr(LedgerFile, "_put_aside", then_another_comes)
    assert at(tmp_path).append([ENTRY], 6.0).broken
    followed = [entry for entry, _ in follow(read_lines(path))]
    assert [entry.event.value for entry in followed] == ["opened", "began"] * 2
    assert followed[2].digest == sha256(b"garbage\n").hexdigest()


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_what_the_disk_refuses_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    head = at(tmp_path).append([ENTRY], 4.0).head

    def refuse(fd: int, *data: bytes) -> int:
        if data:
            os.pwrite(fd, data[0][:10], os.fstat(fd).st_size)
            return 10
        raise OSError(errno.EIO, "the disk is ill")

    with monkeypatch.context() as patched:
        patched.setattr(ledger_file.os, call, refuse)
        with pytest.raises(OSError):
            at(tmp_path).append([ENTRY], 5.0)
    assert at(tmp_path).head() == head
    assert at(tmp_path).append([ENTRY], 6.0).head.serial == head.serial + 1


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    ledger_path(tmp_path, "node1").symlink_to(other)
    with pytest.raises(OSError):
        at(tmp_path).append([ENTRY], 4.0)
    assert other.read_text() == "mine"


def test_one_that_was_put_aside_by_another_meanwhile_is_left(tmp_path: Path) -> None:
    path = ledger_path(tmp_path, "node1")
    at(tmp_path).append([ENTRY], 4.0)
    with at(tmp_path)._locked() as fd:
        os.rename(path, tmp_path / "aside")
        assert not ledger_file.is_named(fd, path)
    assert at(tmp_path).append([ENTRY], 5.0).head.serial == 1
    assert digest_of(next(iter(read_lines(path)))) != ""
