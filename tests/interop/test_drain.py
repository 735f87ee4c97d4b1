"""SIGTERM with `drain_timeout`: what runs finishes, nothing new begins, and whoever is left at the end is told."""

from __future__ import annotations

import hashlib
import os
import signal
import time

import pytest

from tests.support.jump import JumpWorld
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
SIZE = 64 << 20
LONG = 'drain_timeout = "2m"'


def begin(world: World) -> None:
    """SIGTERM, and wait until it drains."""
    os.kill(world.pid, signal.SIGTERM)
    poll(lambda: world.audit("drain_started"), text="no drain")


def ended(world: World) -> int:
    """The exit code of the gateway, once it has ended by itself."""
    assert world._process is not None
    return world._process.wait(20)


def test_a_transfer_and_a_shell_finish_and_then_it_ends() -> None:
    with World(limits=LONG) as world:
        read = ("head", "-c", str(SIZE), "/dev/zero;", "read", "line;", "echo", "$line")
        with world.client(*read) as transfer, world.client(options=("-tt",)) as shell:
            shell.send(b"echo fr''om the shell\n")
            shell.expect(b"from the shell")
            transfer.expect_bytes(1 << 20)
            begin(world)
            shell.expect(b"bastion: the gateway closes in 2 min, finish your work")
            assert world.metric("bastion_draining") == 1
            status, lines = world.health()
            assert status == 503 and "gateway refusing: the gateway is closing down" in lines
            refused = world.ssh("true")
            assert refused.returncode == 255
            assert b"bastion: the gateway is closing down, try again in a moment" in refused.stderr
            assert world.audit("connection_refused")[-1]["reason"] == "draining"
            transfer.expect_bytes(SIZE)
            transfer.send(b"whole\n")
            assert transfer.wait() == 0 and transfer.out[SIZE:] == b"whole\n"
            assert hashlib.sha256(transfer.out[:SIZE]).digest() == hashlib.sha256(bytes(SIZE)).digest()
            shell.send(b"exit 3\n")
            assert shell.wait() == 3
        assert ended(world) == 0
        started, last = world.audit("drain_started")[-1], world.audit("drain_ended")[-1]
        assert (started["sessions"], started["seconds"], started["signal"]) == (2, 120.0, "TERM")
        assert (last["result"], last["sessions"]) == ("empty", 0)
        reasons = {line["reason"] for line in world.audit("session_ended")}
        assert reasons <= {"client_closed", "target_closed"}


def test_who_is_still_there_at_the_end_is_told() -> None:
    with World(limits='drain_timeout = "1s"') as world, world.client("cat") as cat:
        cat.echo(b"here")
        begin(world)
        assert cat.wait() == 255
        assert b"bastion: the gateway is closing down (ref " in cat.err
        assert ended(world) == 0
        assert world.audit("drain_ended")[-1]["result"] == "deadline"
        assert world.audit("session_ended")[-1]["reason"] == "shutdown"
        assert world.sessions()[-1]["state"] == "ended"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    with World(limits=LONG) as world, world.client("cat") as cat:
        cat.echo(b"here")
        begin(world)
        began = time.monotonic()
        world.kill(second)
        assert cat.wait() == 255 and b"bastion: the gateway is closing down (ref " in cat.err
        assert time.monotonic() - began < 30
        assert world.audit("drain_ended")[-1]["result"] == "hurried"


def test_with_nobody_there_it_ends_at_once() -> None:
    with World(limits=LONG) as world, world.hesitating():
        began = time.monotonic()
        world.kill(signal.SIGTERM)
        assert time.monotonic() - began < 30
        assert world.audit("drain_ended")[-1]["result"] == "empty"


def test_a_session_through_an_outer_connection_finishes_and_opens_no_second() -> None:
    with JumpWorld(limits=LONG) as world:
        assert isinstance(world, JumpWorld)
        with world.jumping("cat") as cat:
            cat.echo(b"here")
            begin(world)
            for number in range(3):
                cat.echo(b"still %d" % number)
            cat.end_input()
            assert cat.wait() == 0
        assert ended(world) == 0
        assert world.audit("drain_ended")[-1]["result"] == "empty"


def test_a_reload_while_it_drains_changes_nothing_of_that() -> None:
    with World(limits=LONG) as world, world.client("cat") as cat:
        cat.echo(b"here")
        begin(world)
        world.reload()
        cat.echo(b"and now")
        cat.end_input()
        assert cat.wait() == 0
        assert ended(world) == 0
