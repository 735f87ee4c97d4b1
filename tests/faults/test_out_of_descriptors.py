"""The gateway has no file descriptor left: for a target, for a client that connects, and afterwards."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
EXHAUSTED = 'bastion_descriptors_exhausted_total{{what="{}"}}'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running() as made:
        yield made


@contextlib.contextmanager
def left(world: World, count: int) -> Iterator[None]:
    """The gateway may open `count` files more. The metrics page needs one, too: look at it afterwards."""
    used = {int(name) for name in os.listdir(f"/proc/{world.pid}/fd")}
    free = [number for number in range(max(used) + count + 2) if number not in used]
    before = resource.prlimit(world.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(world.pid, resource.RLIMIT_NOFILE, (free[count], before[1]))
    try:
        yield
    finally:
        resource.prlimit(world.pid, resource.RLIMIT_NOFILE, before)


def test_an_engineer_reads_what_it_is(world: World) -> None:
    with world.moves(EXHAUSTED.format("dial")), left(world, 1):
        said = world.ssh("true")
    assert b"out of file descriptors" in said.stderr and b"no route" not in said.stderr
    assert world.audit("refused")[-1]["reason"] == "no_descriptor"
    assert world.ssh("true").returncode == 0, "it works again"


def test_who_connects_is_closed_and_counted(world: World) -> None:
    before = world.metric(EXHAUSTED.format("accept"))
    with (
        left(world, 0),
        socket.create_connection((LOOPBACK, world.port), timeout=20) as refused,
        contextlib.suppress(ConnectionResetError),
    ):
        refused.settimeout(20)
        assert refused.recv(100) == b""
    assert world.metric(EXHAUSTED.format("accept")) > before
    poll(lambda: world.ssh("true").returncode == 0)


def test_the_gateway_takes_all_that_the_system_gives(world: World) -> None:
    soft, hard = resource.prlimit(world.pid, resource.RLIMIT_NOFILE)
    assert soft == hard or soft >= 1 << 20
