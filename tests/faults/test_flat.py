"""Half an hour of logins, transfers, tunnels and watchers over two workers: memory and descriptors stay as they are."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.bench.process_cost import pss
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, running

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

SECONDS = float(os.environ.get("FLAT_SECONDS", "1800"))
WARM = 1 / 6
"""The share of the time in which caches fill and the allocator finds its size; not judged."""

MOST_GROWN = 0.05
"""Of the memory of all processes, between the first and the last third of what is judged."""

MOST_DESCRIPTORS = 2
"""That are open at the end, nobody being there, beyond those at the beginning."""

MIB = 1 << 20


def descriptors(world: World) -> dict[int, int]:
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in world.pids}


def live(world: World) -> list[str]:
    """The ids of the sessions that are open."""
    shown = json.loads(world.bastion("live", "--config", str(world.config), "--json").stdout)
    return [row["id"] for row in shown["live"] if row["kind"] == "session"]


def transfer(world: World) -> None:
    done = world.ssh("head -c 4194304 /dev/zero")
    assert len(done.stdout) == 4 << 20, done.stderr


class Greeter(socketserver.BaseRequestHandler):
    """What stands behind the tunnels."""

    def handle(self) -> None:
        self.request.sendall(b"hello")


def tunnel(world: World, behind: int) -> None:
    """A login with -L, and one connection through it."""
    port = free_port()
    options = (
        "-N",
        "-L",
        f"{LOOPBACK}:{port}:{LOOPBACK}:{behind}",
        "-o",
        "ExitOnForwardFailure=yes",
    )
    client = subprocess.Popen(
        world.ssh_command(options=options), stdin=subprocess.DEVNULL, env=world.environment()
    )
    try:

        def through() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 5) as made:
                made.settimeout(10)
                return made.recv(64) == b"hello"
            return False

        poll(through, 30, "nothing came through the tunnel")
    finally:
        client.terminate()
        client.wait(30)


def watched(world: World) -> None:
    """A session that is watched while it echoes, by a watcher that is killed."""
    with world.client("cat") as client:
        client.echo(b"begin")
        session = poll(lambda: next(iter(live(world)), None), 10)
        command = [sys.executable, "-m", "bastion", "watch", session, "--config", str(world.config)]
        watcher = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            assert watcher.stdout is not None
            assert watcher.stdout.read(1)
            client.echo(b"seen")
        finally:
            watcher.kill()
            watcher.wait()
            assert watcher.stdout is not None
            watcher.stdout.close()
        client.end_input()
        assert client.wait() == 0


def test_memory_and_descriptors_stay_flat(capsys: pytest.CaptureFixture[str]) -> None:
    limits = "startups_per_source = 1000\npenalties = { free = 1000 }"
    with (
        socketserver.TCPServer((LOOPBACK, 0), Greeter) as greeter,
        running(workers=2, limits=limits) as world,
    ):
        threading.Thread(target=greeter.serve_forever, daemon=True).start()
        transfer(world)
        before = descriptors(world)
        began, samples, rounds = time.monotonic(), list[tuple[float, int]](), 0
        while (at := time.monotonic() - began) < SECONDS:
            assert world.ssh("true").returncode == 0
            assert world.ask("alice+root+web1", "wrong").returncode == 255
            transfer(world)
            tunnel(world, greeter.server_address[1])
            watched(world)
            rounds += 1
            if rounds % 10 == 0:
                os.kill(world.pid, signal.SIGHUP)
            samples.append((at, pss(world.pids)))
            for file in Path(world.recordings).rglob("*.rec"):
                file.unlink()
        poll(lambda: world.metric("bastion_connections_live") == 0, 60)
        after = descriptors(world)
        judged = [size for at, size in samples if at >= SECONDS * WARM]
        third = len(judged) // 3
        first, last = statistics.median(judged[:third]), statistics.median(judged[-third:])
        greeter.shutdown()
        with capsys.disabled():
            print(
                f"\n{rounds} rounds in {SECONDS:.0f} s: {first / MIB:.1f} MiB in the first third, {last / MIB:.1f} in"
                f" the last; descriptors {sum(before.values())} -> {sum(after.values())}"
            )
        assert last <= first * (1 + MOST_GROWN)
        assert after.keys() == before.keys()
        assert sum(after.values()) <= sum(before.values()) + MOST_DESCRIPTORS
