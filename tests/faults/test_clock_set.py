"""The machine's clock is set while the gateway runs: timers go on, and it is written down.

The process really runs with another wall clock: a module that Python imports at its start puts the seconds that stand
in a file before `time.time`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_login_limits import read_to_end
from tests.support.client import Client
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
HOUR = 3600
SET = """
import os, time
wall, file = time.time, os.environ["WALL_CLOCK"]
def now():
    with open(file) as ahead:
        return wall() + float(ahead.read())
time.time = now
"""


class Wall:
    """The gateway's wall clock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: float) -> None:
        """That many seconds before ours, in one step."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[World, Wall]]:
    (tmp_path / "sitecustomize.py").write_text(SET)
    file = tmp_path / "ahead"
    wall = Wall(file)
    world = World(limits='login_grace = "3s"\nkeepalive_interval = "1s"\nmax_duration = "30m"')
    try:
        world.start(environment={"PYTHONPATH": str(tmp_path), "WALL_CLOCK": str(file)})
        yield world, wall
    finally:
        world.close()


def test_set_back_an_hour_a_login_still_ends_in_its_grace(running: tuple[World, Wall]) -> None:
    world, wall = running
    with socket.create_connection((LOOPBACK, world.port), timeout=10) as silent:
        silent.settimeout(60)
        assert silent.recv(4) == b"SSH-"
        wall.set(-HOUR)
        assert b"took too long" in read_to_end(silent)
    (line,) = poll(lambda: world.audit("clock_stepped"), text="nobody noticed")
    assert line["seconds"] == pytest.approx(-HOUR, abs=5)
    assert world.metric('bastion_clock_steps_total{step="back"}') == 1
    assert "the clock was set 3600" in world.log.read_text()


def test_set_forward_an_hour_a_session_of_30_minutes_goes_on(running: tuple[World, Wall]) -> None:
    world, wall = running
    with Client(world.ssh_command("cat"), world.environment()) as client:
        client.echo(b"before")
        wall.set(HOUR)
        poll(lambda: world.audit("clock_stepped"), text="nobody noticed")
        client.echo(b"after")
        client.end_input()
        assert client.wait() == 0
    (ended,) = poll(lambda: world.audit("session_ended"))
    assert ended["reason"] == "client_closed"
