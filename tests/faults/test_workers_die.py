"""Sessions with running transfers while the gateway is reloaded again and again and its workers are killed.

No session is cut that was not on a killed worker, no byte is wrong, every recording has an end, every audit line is
whole and there, and no total falls.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections import Counter
from typing import IO, Any

import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

AT_ONCE = 8
LINE = 1000
PROGRAM = (
    "import sys,time\n"
    "i=0\n"
    "while True:\n"
    "    sys.stdout.write('%08d ' % i + 'x' * 990 + '\\n'); sys.stdout.flush(); i += 1; time.sleep(0.1)\n"
)


class Transfers:
    """Many ssh clients whose output is a count: each line is the next, or something is wrong."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._script = world.folder / "count.py"
        self._script.write_text(PROGRAM)
        self._selector = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}
        self._next: dict[int, int] = {}
        self._clients: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.wrong: list[str] = []
        self.cut = 0
        self.lines = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def add(self, count: int) -> None:
        for _ in range(count):
            command = self._world.ssh_command(f"exec python3 -u {self._script}")
            made = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._world.environment(),
            )
            assert made.stdout is not None
            with self._lock:
                descriptor = made.stdout.fileno()
                self._clients[descriptor], self._rest[descriptor], self._next[descriptor] = made, b"", 0
                self._selector.register(descriptor, selectors.EVENT_READ)

    def fill(self, sessions: int) -> None:
        """Until so many run. A few at a time: the target lets no more begin at once."""
        until = time.monotonic() + 600.0
        while self.running < sessions:
            self.add(min(AT_ONCE, sessions - self.running))
            poll(lambda: self.running == self._alive, 120.0, "a session neither began nor was refused")
            assert time.monotonic() < until, "not all sessions began"

    @property
    def _alive(self) -> int:
        with self._lock:
            return len(self._clients)

    @property
    def running(self) -> int:
        """Those whose first line has come."""
        with self._lock:
            return sum(number > 0 for number in self._next.values())

    def _read(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.2):
                self._take(key.fd)

    def _take(self, descriptor: int) -> None:
        data = os.read(descriptor, 65536)
        with self._lock:
            if not data:
                self._selector.unregister(descriptor)
                client = self._clients.pop(descriptor)
                started = self._next.pop(descriptor) > 0
                self._rest.pop(descriptor)
                assert client.stdout is not None
                client.stdout.close()
                client.wait()
                self.cut += started
                return
            whole = self._rest[descriptor] + data
            while len(whole) >= LINE:
                wanted = b"%08d " % self._next[descriptor] + b"x" * 990 + b"\n"
                line, whole = whole[:LINE], whole[LINE:]
                if line != wanted:
                    self.wrong.append(f"{line[:20]!r} where {wanted[:20]!r} should stand")
                self._next[descriptor] += 1
                self.lines += 1
            self._rest[descriptor] = whole

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)
        for client in self._clients.values():
            client.kill()
            client.wait()
            assert client.stdout is not None
            client.stdout.close()
        self._selector.close()


def fallen(before: dict[str, float], now: dict[str, float]) -> list[str]:
    """Totals that are less than they were."""
    return [
        name for name, value in before.items()
        if name.startswith("bastion_") and ("_total" in name or "_count" in name) and now.get(name, 0.0) < value
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sessions", "reloads", "kills"),
    [
        pytest.param(12, 12, 3, id="few"),
        pytest.param(200, 1000, 20, id="many", marks=pytest.mark.soak),
    ],
)
def test_reloads_cut_nobody_and_kills_only_their_own(sessions: int, reloads: int, kills: int) -> None:
    with running(workers=2, limits="startups_per_source = 1000\nstartups = '1000:30:1000'") as world:
        transfers = Transfers(world)
        try:
            transfers.fill(sessions)
            totals = world.metrics()
            reload_many(world, reloads)
            assert transfers.cut == 0 and transfers.running == sessions, "a reload has cut somebody"
            for number in range(kills):
                died = kill_one(world, number)
                poll(lambda died=died: transfers.cut >= died, 20.0, "the clients of a dead worker went on")
                now = world.metrics()
                assert fallen(totals, now) == []
                totals = now
                transfers.cut = 0
                transfers.fill(sessions)
            assert transfers.wrong == [] and transfers.cut == 0
            seen = transfers.lines
            poll(lambda: transfers.lines > seen, text="nothing moves any more")
        finally:
            transfers.stop()
        poll(lambda: world.metric('bastion_sessions_live{door="direct"}') == 0, 60.0, "sessions stay")
        assert fallen(totals, world.metrics()) == []
        hold_books(world, kills)


def reload_many(world: World, reloads: int) -> None:
    """Each another configuration: the diff of every one is told."""
    text, log = world.config.read_text(), world.folder / "audit.jsonl"
    with log.open() as lines:
        lines.seek(0, os.SEEK_END)
        for number in range(reloads):
            world.config.write_text(text.replace("[limits]", f"[limits]\nidle = '{2 + number % 2}h'", 1))
            os.kill(world.pid, signal.SIGHUP)
            told = poll(lambda: next_reload(lines), 120.0, "no reload in the audit log")
            assert told["result"] == "ok" and len(told["changed"]) == 1, told


def next_reload(lines: IO[str]) -> dict[str, Any] | None:
    """The next reload that is told behind what has been read; a line that is not whole yet is read again."""
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return None
        found: dict[str, Any] = json.loads(line)
        if found["event"] == "reload":
            return found


def kill_one(world: World, number: int) -> int:
    """Kill a worker; how many sessions died with it. Their ends stand everywhere, within 5 s on a quiet machine."""
    poll(lambda: world.metric('bastion_workers{state="serving"}') == 2, 60.0, "no two workers")
    before = len(world.audit("worker_died"))
    os.kill(world.worker_pids[number % 2], signal.SIGKILL)
    began = time.monotonic()
    died = world.new_audit("worker_died", before)[0]
    wanted = sum(line["sessions"] for line in world.audit("worker_died"))

    def ended() -> list[dict[str, Any]]:
        return [line for line in world.audit("session_ended") if line["reason"] == "worker_died"]

    poll(lambda: len(ended()) == wanted, 60.0, "sessions of a dead worker have no end")
    print(f"{died['sessions']} sessions of a dead worker were ended in {time.monotonic() - began:.2f} s")
    return int(died["sessions"])


def hold_books(world: World, kills: int) -> None:
    """Every session has one beginning, one end, and a recording with the same end."""
    lines = world.audit()  # each line is JSON, or this fails
    began = Counter(line["session"] for line in lines if line["event"] == "session_started")
    ended = {line["session"]: line["reason"] for line in lines if line["event"] == "session_ended"}
    assert set(began.values()) == {1} and began.keys() == ended.keys()
    assert sum(line["event"] == "session_ended" for line in lines) == len(ended)
    entries = {one["session_id"]: (one["state"], one["reason"]) for one in world.sessions()}
    assert entries == {session: ("ended", reason) for session, reason in ended.items()}
    assert sum(line["event"] == "worker_died" for line in lines) == kills
    assert LOOPBACK in {line["source"] for line in lines if line["event"] == "session_started"}
