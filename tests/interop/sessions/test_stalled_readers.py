"""Somebody stops reading: the sender is slowed down, the gateway's memory stays flat, and all goes on afterwards.

Four who may stop: the engineer's ssh (nobody empties its socket), what ssh writes into (its channel's window
shuts), the target's sshd (socket) and the target's program (window).
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.doors import Door, opened_doors, shared_world
from tests.support.memory import MIB, resident
from tests.support.patterns import pattern, pattern_command
from tests.support.world import poll

pytestmark = pytest.mark.interop

SIZE = 96 << 20
# "Within a few MiB of before": one read each way and what the kernel did not take.
GROWTH = 4 * MIB
STALL = 1.0


@pytest.fixture(scope="module")
def doors() -> Iterator[dict[str, Door]]:
    world = shared_world()
    try:
        world.start()
        found = opened_doors(world)
        for door in found.values():
            assert door.ssh("cat", stdin=bytes(8 * MIB)).returncode == 0
        yield found
    finally:
        world.close()


def passed(door: Door) -> float:
    """Channel bytes that the gateway has passed on so far, all sessions and directions."""
    metrics = door.world.metrics()
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith('bastion_channel_bytes_total{kind="session"')
    )


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def check_flat(door: Door, before: int) -> None:
    """Nothing moves any more, nothing is piled up, and the gateway serves others."""
    pause = threading.Event()
    began, last = passed(door), [-1.0]

    def still() -> bool:
        now, then = passed(door), last[0]
        last[0] = now
        pause.wait(0.25)
        return now == then

    poll(still, text="the sender was never slowed down")
    pause.wait(STALL)
    assert passed(door) == last[0], "bytes pass although nobody reads"
    assert passed(door) - began < SIZE / 2, "all of it has passed"
    assert door.ssh("echo others").stdout == b"others\n"
    grown = resident(door.world.pid) - before
    print(f"{grown / MIB:+.1f} MiB while stalled")
    assert grown < GROWTH, f"{grown / MIB:.1f} MiB more"


class Download:
    """An ssh that brings the pattern; its output is read only when asked for."""

    def __init__(self, door: Door) -> None:
        self.before = resident(door.world.pid)
        self.ssh = door.open(pattern_command(SIZE), options=["-n"])
        assert self.ssh.stdout is not None
        self.out = bytearray(self.ssh.stdout.read(MIB))

    def finish(self) -> bytes:
        with self.ssh:
            assert self.ssh.stdout is not None
            self.out += self.ssh.stdout.read()
        assert self.ssh.returncode == 0
        return bytes(self.out)


@pytest.mark.parametrize("name", ["direct", "jump"])
def test_output_that_nobody_takes_from_ssh(doors: dict[str, Door], name: str) -> None:
    door = doors[name]
    download = Download(door)
    check_flat(door, download.before)
    assert download.finish() == pattern(SIZE)


@pytest.mark.parametrize("name", ["direct", "jump"])
def test_an_ssh_that_is_stopped(doors: dict[str, Door], name: str) -> None:
    door = doors[name]
    download = Download(door)
    victims = [download.ssh.pid, *children(download.ssh.pid)]
    with stopped(*victims):
        check_flat(door, download.before)
    assert download.finish() == pattern(SIZE)


class Upload:
    """An ssh that is given the pattern by a thread; the target's command says its process and its parent first."""

    def __init__(self, door: Door) -> None:
        self.before = resident(door.world.pid)
        # Nothing is read before the line comes that says go; the parent of the shell is the session's sshd.
        self.ssh = door.open("echo $$ $PPID; read go; exec sha256sum")
        assert self.ssh.stdout is not None and self.ssh.stdin is not None
        self.shell, self.sshd = map(int, self.ssh.stdout.readline().split())
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def _feed(self) -> None:
        assert self.ssh.stdin is not None
        self.ssh.stdin.write(b"go\n" + pattern(SIZE))
        self.ssh.stdin.close()

    def finish(self) -> str:
        with self.ssh:
            assert self.ssh.stdout is not None
            said = self.ssh.stdout.read().split()[0].decode()
            self._thread.join(60)
        assert self.ssh.returncode == 0
        return str(said)


@pytest.mark.parametrize("who", ["program", "sshd"])
@pytest.mark.parametrize("name", ["direct", "jump"])
def test_a_target_that_takes_no_input(doors: dict[str, Door], name: str, who: str) -> None:
    door = doors[name]
    upload = Upload(door)
    with stopped(upload.shell if who == "program" else upload.sshd):
        upload.begin()
        check_flat(door, upload.before)
    assert upload.finish() == hashlib.sha256(pattern(SIZE)).hexdigest()


def children(pid: int) -> list[int]:
    """The ssh that a jump runs as its proxy."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(child) for child in found.split()]
