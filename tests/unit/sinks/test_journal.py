"""journald's native protocol, to a socket of the test; tests/interop/test_audit_sinks.py has a real one."""

from __future__ import annotations

import array
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from bastion.observe.labels import SinkReason
from bastion.sinks.fault import SinkFault
from bastion.sinks.journal import SLACK, Journal, JournalCtl, socket_of
from bastion.sinks.section import Sink
from tests.unit.sinks.test_shapes import fields_of, made


class Journald:
    """Keeps what it gets. `drops` are numbers that it loses once, as its rate limit would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, bytes]] = []
        self.drops: set[int] = set()
        self.asked: list[int] = []
        self.hides = False  # nothing is shown
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._reading.join(10)
        self._socket.close()

    def _read(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            if not data and not ancillary:
                return
            if ancillary:
                (memory,) = array.array("i", ancillary[0][2])
                data = os.pread(memory, os.fstat(memory).st_size, 0)
                with pytest.raises(PermissionError):
                    os.pwrite(memory, b"x", 0)
                os.close(memory)
            entry = dict(fields_of(data))
            serial = int(entry["BASTION_SEQ"])
            if serial in self.drops:
                self.drops.remove(serial)
            else:
                self.entries.append(entry)

    def shown(self, chain: str, count: int) -> frozenset[int]:
        self.asked.append(count)
        found = [int(one["BASTION_SEQ"]) for one in self.entries if one["BASTION_CHAIN"].decode() == chain]
        return frozenset() if self.hides else frozenset(found[-count:])

    def serials(self) -> list[int]:
        return [int(entry["BASTION_SEQ"]) for entry in self.entries]


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    with Journald(tmp_path / "socket") as found:
        yield found


def journal(journald: Journald, confirm: bool = True, timeout: float = 5.0) -> Journal:
    sink = Sink(kind="journald", confirm=confirm, timeout=timeout)
    return Journal(sink, str(journald.path), journald.shown)


def test_lines_are_entries_and_are_confirmed(journald: Journald) -> None:
    lines = [made(number, user="alice") for number in range(5)]
    assert journal(journald).deliver(lines) == ()
    assert [entry["MESSAGE"] for entry in journald.entries] == [line.raw for line in lines]
    assert max(journald.asked) == 5 + SLACK


def test_after_a_death_only_what_is_not_there_is_sent(journald: Journald) -> None:
    lines = [made(number) for number in range(6)]
    first = journal(journald)
    first.deliver(lines[:4])
    second = journal(journald)  # whose position was never noted
    second.deliver(lines[:2])
    second.deliver(lines[2:4])
    assert journald.serials() == [0, 1, 2, 3]
    second.deliver(lines[2:])
    assert journald.serials() == [0, 1, 2, 3, 4, 5]
    second.deliver([made(6)])
    assert journald.serials() == [0, 1, 2, 3, 4, 5, 6]


def test_what_journald_dropped_is_sent_again_and_nothing_else(journald: Journald) -> None:
    lines = [made(number) for number in range(6)]
    journald.drops = {1, 4}
    one = journal(journald, timeout=0.2)
    with pytest.raises(SinkFault) as caught:
        one.deliver(lines)
    assert caught.value.reason is SinkReason.UNCONFIRMED and "2 of 6" in caught.value.text
    one.deliver(lines)
    assert sorted(journald.serials()) == [0, 1, 2, 3, 4, 5]


def test_a_journal_that_may_not_be_read_is_not_asked(journald: Journald) -> None:
    journald.hides = True
    journal(journald, confirm=False).deliver([made(1), made(2)])
    assert journald.asked == []
    with pytest.raises(SinkFault) as caught:
        journal(journald, timeout=0.1).deliver([made(3)])
    assert caught.value.reason is SinkReason.UNCONFIRMED


def test_an_entry_longer_than_a_datagram_goes_as_sealed_memory(journald: Journald) -> None:
    line = made(1, ids=["x" * 4000] * 120)
    assert len(line.raw) > 400_000
    journal(journald).deliver([line])
    assert journald.entries[0]["MESSAGE"] == line.raw


def test_nobody_there(tmp_path: Path) -> None:
    one = Journal(Sink(kind="journald"), str(tmp_path / "none"), lambda chain, count: frozenset())
    for call in (one.probe, lambda: one.deliver([made(1)])):
        with pytest.raises(SinkFault) as caught:
            call()
        assert caught.value.reason is SinkReason.UNREACHABLE


def test_a_full_socket_is_busy(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(path)  # and nobody reads
        one = Journal(Sink(kind="journald", confirm=False, timeout=0.2), path)
        with pytest.raises(SinkFault) as caught:
            one.deliver([made(number, padding="x" * 4000) for number in range(2000)])
        assert caught.value.reason is SinkReason.BUSY


def test_the_socket_and_the_question_of_a_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert socket_of(None) == "/run/systemd/journal/socket"
    assert socket_of("bastion") == "/run/systemd/journal.bastion/socket"
    program = tmp_path / "journalctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho \'{{"BASTION_SEQ":"7"}}\'\necho torn\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = JournalCtl(Sink(kind="journald", namespace="bastion")).shown("c" * 16, 12)
    asked = (tmp_path / "asked").read_text().split()
    assert 7 in found and "--namespace=bastion" in asked and f"BASTION_CHAIN={'c' * 16}" in asked
    assert "--lines=12" in asked
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SinkFault) as caught:
        JournalCtl(Sink(kind="journald")).shown("c" * 16, 12)
    assert caught.value.reason is SinkReason.UNCONFIRMED
