"""The gateway has no file descriptor left: for a target, for a client that connects, and afterwards."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Iterator

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
def left(world: World, count: int) -> Iterator[Callable[[], None]]:
    """The gateway may open `count` files more, and one more each time that what is yielded is called.

    The metrics page needs one, too: look at it afterwards.
    """
    used = {int(name) for name in os.listdir(f"/proc/{world.pid}/fd")}
    free = [number for number in range(max(used) + count + 2) if number not in used]
    before = resource.prlimit(world.pid, resource.RLIMIT_NOFILE)
    limit = free[count]
    resource.prlimit(world.pid, resource.RLIMIT_NOFILE, (limit, before[1]))

    def one_more() -> None:
        nonlocal limit
        limit += 1
        resource.prlimit(world.pid, resource.RLIMIT_NOFILE, (limit, before[1]))

    try:
        yield one_more
    finally:
        resource.prlimit(world.pid, resource.RLIMIT_NOFILE, before)


TRIES = 10
"""How often a descriptor that the gateway closed meanwhile (a page that was asked for, a probe) is taken away again, or
one that it opened is given back."""


def connect(world: World) -> socket.socket:
    made = socket.create_connection((LOOPBACK, world.port), timeout=20)
    made.settimeout(20)
    return made


def test_an_engineer_reads_what_it_is(world: World) -> None:
    before = world.metric(EXHAUSTED.format("dial"))
    with left(world, 1) as one_more, contextlib.ExitStack() as held:
        for _ in range(TRIES):
            said = world.ssh("true")
            if b"out of file descriptors" in said.stderr:
                break
            assert b"no route" not in said.stderr
            if said.returncode == 0:
                held.enter_context(connect(world))
            else:
                one_more()  # the engineer's own connection found none
    assert b"out of file descriptors" in said.stderr
    assert world.audit("refused")[-1]["reason"] == "no_descriptor"
    assert world.metric(EXHAUSTED.format("dial")) == before + 1
    assert world.ssh("true").returncode == 0, "it works again"


def test_who_connects_is_closed_and_counted(world: World) -> None:
    before = world.metric(EXHAUSTED.format("accept"))
    greeting = b"?"
    with left(world, 0), contextlib.ExitStack() as held:
        for _ in range(TRIES):
            refused = held.enter_context(connect(world))
            try:
                greeting = refused.recv(100)
            except ConnectionResetError:
                greeting = b""
            if not greeting:
                break
    assert greeting == b""
    assert world.metric(EXHAUSTED.format("accept")) > before
    poll(lambda: world.ssh("true").returncode == 0)


def test_the_gateway_takes_all_that_the_system_gives(world: World) -> None:
    soft, hard = resource.prlimit(world.pid, resource.RLIMIT_NOFILE)
    assert soft == hard or soft >= 1 << 20
