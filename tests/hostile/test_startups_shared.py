"""Silent connections from many sources hold the places for unfinished logins; everybody else still logs in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.faults.test_login_limits import read_to_end
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
HONEST = 20
DISPLACED = 'bastion_connections_refused_total{reason="displaced"}'


@pytest.fixture(params=["60:30:60", "20:30:120"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One where all places are taken, and one where the dice decide about the flood."""
    made = World(limits=f'startups = "{request.param}"\nlogin_grace = "1h"')  # a busy machine is no timer
    try:
        made.start()
        yield made
    finally:
        made.close()


def silent(world: World, source: str) -> socket.socket:
    """A connection from an address of our choice that says nothing."""
    made = socket.socket()
    made.bind((source, 0))
    made.connect((LOOPBACK, world.port))
    return made


@pytest.mark.parametrize("spread", ["12 networks", "one network", "the engineer's network"])
def test_20_of_20_honest_logins_get_in_beside_a_flood(world: World, spread: str) -> None:
    """As many as there are places and more, again after each login: those that are turned away come back."""
    sources = {
        "12 networks": [f"127.1.{number}.7" for number in range(12)],
        "one network": [f"127.1.1.{number + 1}" for number in range(120)],
        "the engineer's network": [f"127.0.0.{number + 2}" for number in range(12)],
    }[spread]
    with ExitStack() as stack:
        for turn in range(HONEST):
            for number in range(240 if turn == 0 else 12):
                stack.enter_context(silent(world, sources[number % len(sources)]))
            poll(lambda: world.metric("bastion_connections_live") >= 55, text="no flood")
            done = world.ssh("echo in")
            assert done.stdout == b"in\n", (turn, done.stderr)
        assert world.metric("bastion_connections_live") <= 120


def test_a_displaced_connection_is_closed_and_counted(world: World) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(silent(world, "127.1.1.7"))
        first.settimeout(60)
        assert first.recv(256).startswith(b"SSH-2.0-")
        for _ in range(9):
            stack.enter_context(silent(world, "127.1.1.7"))

        def displaced() -> bool:
            for number in range(100):
                stack.enter_context(silent(world, f"127.2.{number}.1"))
            return world.metric(DISPLACED) > 0

        poll(displaced, text="nobody lost a place")
        assert read_to_end(first) == b""
    poll(lambda: world.metric("bastion_connections_live") == 0)
    assert world.ssh("true").returncode == 0
