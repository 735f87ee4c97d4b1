"""What systemd does with the gateway: sockets handed in, what it is told, and the watchdog."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


class Systemd:
    """NOTIFY_SOCKET, and all that was said to it."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self.said: list[str] = []

    def heard(self) -> list[str]:
        """Everything so far, a line each."""
        try:
            while True:
                self.said += self._socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self.said

    def expect(self, line: str, times: int = 1) -> None:
        poll(lambda: self.heard().count(line) >= times, text=f"{line} was not said: {self.said}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.close()


def test_it_says_when_it_is_ready_reloads_and_stops(systemd: Systemd) -> None:
    world = World(limits='drain_timeout = "1m"')
    try:
        world.start(environment={"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": "600000"})
        systemd.expect("READY=1")
        systemd.expect("WATCHDOG=1", 4)
        systemd.expect("STATUS=0 sessions")
        world.reload()
        systemd.expect("READY=1", 2)
        said = systemd.heard()
        began = said.index("RELOADING=1")
        assert said[began + 1].startswith("MONOTONIC_USEC=")
        assert int(said[began + 1].partition("=")[2]) > 10**6 and "READY=1" in said[began:]
        world.config.write_text("nonsense")
        world.reload()
        systemd.expect("READY=1", 3)  # what is in force is ready, whatever became of the reload
        with world.client("cat") as cat:
            cat.echo(b"here")
            systemd.expect("STATUS=1 session")
            os.kill(world.pid, signal.SIGTERM)
            systemd.expect("STATUS=closing down, 1 session still run")
            assert "STOPPING=1" in systemd.said and "EXTEND_TIMEOUT_USEC=30000000" in systemd.said
            cat.end_input()
            assert cat.wait() == 0
        assert not any(line.startswith("MAINPID") for line in systemd.heard())
    finally:
        world.close()


def test_sockets_of_another_process_are_not_taken() -> None:
    world = World()
    try:
        world.start(environment={"LISTEN_FDS": "3", "LISTEN_PID": "1"})
        assert world.ssh("true").returncode == 0
    finally:
        world.close()


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="no systemd-socket-activate")
def test_sockets_of_systemd_are_served() -> None:
    """As bastion.socket does for port 22: systemd listens, and the first connection starts the gateway."""
    world, ports = World(), [free_port() for _ in range(3)]
    names = "ssh:bastion.socket:metrics"
    try:
        listen = [part for port in ports for part in ("-l", f"{LOOPBACK}:{port}")]
        knocking = threading.Thread(target=knock, args=(ports[1],))
        knocking.start()
        world.start("systemd-socket-activate", *listen, f"--fdname={names}")
        knocking.join(20)
        assert (world.port, world.metrics_port) == (ports[0], ports[2])
        assert world.ssh("echo", "in").stdout == b"in\n"
        world.port = ports[1]
        with (world.folder / "client_known_hosts").open("a") as known:
            known.write(f"[{LOOPBACK}]:{ports[1]} " + (world.keys / "gateway_host.pub").read_text())
        assert world.ssh("echo", "in").stdout == b"in\n"
        assert world.metric("bastion_sessions_started_total") == 2
        assert "sockets that were handed in" in world.log.read_text()
    finally:
        world.close()


def knock(port: int) -> None:
    """Connect as soon as somebody listens."""

    def try_it() -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), 1):
                return True
        except OSError:
            return False

    poll(try_it, 20)


def test_who_comes_while_none_runs_is_served_by_the_next() -> None:
    """The socket is systemd's: connections wait in its queue over a restart."""
    world = World()
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(16)
        port = listener.getsockname()[1]
        adopt = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{listener.fileno()}'

        def start() -> None:
            world.start("bash", "-c", adopt, "bash", pass_fds=(listener.fileno(),))

        try:
            start()
            assert world.port == port and world.ssh("true").returncode == 0
            world.kill(signal.SIGTERM)
            with world.client("echo", "served") as waiting:
                start()
                assert waiting.wait() == 0 and waiting.out == b"served\n", waiting.err
        finally:
            world.close()


@pytest.mark.parametrize(
    ("names", "words"), [("web", 'a socket is called "web"'), ("ssh:ssh", "2 names for 1 sockets")]
)
def test_sockets_that_make_no_sense_stop_the_start(names: str, words: str) -> None:
    world = World()
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(16)
        adopt = f'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={names} exec "$@" 3<&{listener.fileno()}'
        try:
            with pytest.raises(AssertionError, match="did not start"):
                world.start("bash", "-c", adopt, "bash", pass_fds=(listener.fileno(),))
            assert words in world.log.read_text()
            assert world._process is not None and world._process.wait(10) == 2
        finally:
            world.close()
