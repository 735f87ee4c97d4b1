"""This machine's journal (L2): systemd's native protocol, a datagram for each line. Blocks: call it in a thread.

A datagram is not answered, and journald drops what is above its rate limit, or what it held when it was killed. So the
journal is asked which numbers of the chain it shows, and a line counts as delivered when it is among them. That also
tells, after an outage or a death of ours, which were delivered and not noted: those are not sent again, and the journal
has each line once. Where it may not be read (`confirm = false`) a line counts when the kernel has it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from bastion.ca.programs import Program, ProgramFailed
from bastion.observe.labels import SinkReason
from bastion.sinks.fault import SinkFault, fault_of
from bastion.sinks.lines import AuditLine
from bastion.sinks.section import FACILITIES, Sink
from bastion.sinks.shapes import journal_entry

SLACK: Final = 256
"""Entries that are looked at beyond those that are looked for: some may be there twice."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks, doubling."""

OUTPUT_MAX: Final = 4 << 20
"""Bytes of journalctl's answer, some 300 for each entry."""

Shown = Callable[[str, int], frozenset[int]]
"""Of a chain and a count: the numbers of the last so many entries that the journal shows. Raises SinkFault."""


def socket_of(namespace: str | None) -> str:
    """systemd.journal-fields(7), and systemd-journald.service(8) for namespaces."""
    return f"/run/systemd/journal{'.' + namespace if namespace else ''}/socket"


class Journal:
    """One socket; a new one when journald has another."""

    def __init__(self, sink: Sink, path: str = "", shown: Shown | None = None) -> None:
        """`path` and `shown`: in place of those of the machine."""
        self._sink = sink
        self._facility = FACILITIES[sink.facility]
        self._path = path or socket_of(sink.namespace)
        self._shown = shown or JournalCtl(sink).shown
        self._doubtful = True  # some of what comes next may be there already

    def deliver(self, lines: Sequence[AuditLine]) -> Sequence[int]:
        """None is ever refused. Raises SinkFault."""
        until = time.monotonic() + self._sink.timeout
        missing = list(lines)
        if self._sink.confirm and self._doubtful:
            missing = self._missing(missing)
        self._doubtful = True
        if missing:
            self._send(missing, until)
        if self._sink.confirm and missing:
            self._wait_for(missing, until)
        self._doubtful = not missing  # all of these were there: so may the next ones be
        return ()

    def probe(self) -> None:
        """Is somebody there, and may the journal be read? Raises SinkFault."""
        with self._connected():
            pass
        if self._sink.confirm:
            self._shown("0" * 16, 1)

    def _wait_for(self, lines: list[AuditLine], until: float) -> None:
        pause, never = FIRST_PAUSE, threading.Event()
        while missing := self._missing(lines):
            left = until - time.monotonic()
            if left <= 0:
                text = f"{len(missing)} of {len(lines)} lines are not in the journal"
                raise SinkFault(SinkReason.UNCONFIRMED, f"{self._sink.place}: {text}")
            never.wait(min(pause, left))
            pause = min(LONGEST_PAUSE, pause * 2)

    def _missing(self, lines: list[AuditLine]) -> list[AuditLine]:
        """Those that the journal does not show."""
        found: list[AuditLine] = []
        for chain in dict.fromkeys(line.chain for line in lines):
            wanted = [line for line in lines if line.chain == chain]
            shown = self._shown(chain, len(wanted) + SLACK)
            found += [line for line in wanted if line.serial not in shown]
        return found

    # -- the socket --------------------------------------------------------------------------------------

    def _connected(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            made.connect(self._path)
        except OSError as error:
            made.close()
            raise fault_of(error, self._sink.place) from None
        return made

    def _send(self, lines: Sequence[AuditLine], until: float) -> None:
        with self._connected() as connected:
            for line in lines:
                connected.settimeout(max(0.01, until - time.monotonic()))
                try:
                    self._send_one(connected, journal_entry(line, self._facility))
                except TimeoutError:
                    raise SinkFault(SinkReason.BUSY, f"{self._sink.place}: its socket is full") from None
                except OSError as error:
                    raise fault_of(error, self._sink.place) from None

    def _send_one(self, connected: socket.socket, entry: bytes) -> None:
        try:
            connected.send(entry)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            _send_in_memory(connected, entry)


def _send_in_memory(connected: socket.socket, entry: bytes) -> None:
    """An entry that is too long for a datagram, as sealed memory of which journald gets the descriptor."""
    memory = os.memfd_create("bastion-audit", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(entry)
        while view:
            view = view[os.write(memory, view) :]
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
        connected.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [memory]))])
    finally:
        os.close(memory)


class JournalCtl:
    """Asks the journal by `journalctl`, whose output is JSON."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def shown(self, chain: str, count: int) -> frozenset[int]:
        """As `Shown`."""
        command = ["journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=BASTION_SEQ"]
        if self._sink.namespace:
            command.append(f"--namespace={self._sink.namespace}")
        command += ["--reverse", f"--lines={count}", f"BASTION_CHAIN={chain}"]
        try:
            output = Program(command, self._sink.timeout, OUTPUT_MAX, "journalctl").output()
        except ProgramFailed as failed:
            raise SinkFault(SinkReason.UNCONFIRMED, f"{self._sink.place}: {failed.problem}") from None
        return frozenset(_serial_of(row) for row in output.splitlines())


def _serial_of(row: bytes) -> int:
    try:
        found = orjson.loads(row)["BASTION_SEQ"]
        return int(found if isinstance(found, str) else -1)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return -1
