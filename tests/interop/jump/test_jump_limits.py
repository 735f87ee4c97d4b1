"""Limits and endings of the outer connection and of what is inside it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncssh
import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.world import poll

pytestmark = pytest.mark.interop


@contextmanager
def special(**options: Any) -> Iterator[JumpWorld]:
    """A world of its own."""
    made = JumpWorld(**options)
    try:
        made.start()
        yield made
    finally:
        made.close()


def login(world: JumpWorld) -> dict[str, Any]:
    return {"client_keys": [str(world.keys / "alice")], "known_hosts": None, "agent_path": None}


async def inner(world: JumpWorld, outer: asyncssh.SSHClientConnection) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect("web1", world.sshd.port, username="root", tunnel=outer, **login(world))


def test_no_more_sessions_than_allowed_and_a_place_is_free_again() -> None:
    async def talk(world: JumpWorld) -> None:
        async with asyncssh.connect(LOOPBACK, world.port, username="alice", **login(world)) as outer:
            held = [await inner(world, outer) for _ in range(3)]
            with pytest.raises(asyncssh.ChannelOpenError, match="no more than 3 sessions per connection"):
                await inner(world, outer)
            held[0].close()
            await held[0].wait_closed()
            again = await inner(world, outer)
            assert (await again.run("echo again")).stdout == "again\n"
            assert (await held[1].run("echo still")).stdout == "still\n"

    with special(limits="sessions_per_connection = 3") as world:
        asyncio.run(asyncio.wait_for(talk(world), 60))
        assert world.audit("refused")[-1]["reason"] == "channel_limit"


def test_an_old_login_opens_nothing_new() -> None:
    async def talk(world: JumpWorld) -> None:
        async with asyncssh.connect(LOOPBACK, world.port, username="alice", **login(world)) as outer:
            early = await inner(world, outer)
            await asyncio.sleep(2.2)
            with pytest.raises(asyncssh.DisconnectError, match="too old to open anything new"):
                await inner(world, outer)
            with pytest.raises(asyncssh.ChannelOpenError, match="too old to open anything new"):
                await outer.run("targets")
            assert early.is_closed() is False

    with special(limits='max_auth_age = "2s"') as world:
        asyncio.run(asyncio.wait_for(talk(world), 60))


def test_one_stalled_session_does_not_stall_another(world: JumpWorld) -> None:
    """The first inner connection reads nothing, with megabytes waiting for it; the second goes on."""

    async def talk() -> None:
        async with asyncssh.connect(LOOPBACK, world.port, username="alice", **login(world)) as outer:
            slow, quick = await inner(world, outer), await inner(world, outer)
            stuck = await slow.create_process("head -c 64000000 /dev/zero; sleep 60", encoding=None)
            stuck.stdout.channel.pause_reading()
            sunk = await slow.create_process("sleep 60", encoding=None)
            sunk.stdin.write(bytes(8_000_000))  # nobody reads it on the target
            await asyncio.sleep(0.5)
            for number in range(5):
                done = await asyncio.wait_for(
                    quick.run(f"echo {number}; head -c 4000000 /dev/zero | wc -c"), 20
                )
                assert done.stdout == f"{number}\n4000000\n"
            slow.abort()

    asyncio.run(asyncio.wait_for(talk(), 90))


def test_a_stop_tells_everybody_inside_why() -> None:
    with special() as world, world.jumping("echo up; sleep 60") as client:
        client.expect(b"up\n")
        world.kill(signal.SIGTERM)
        client.wait()
        assert b"bastion: the gateway is closing down" in client.err
        assert world.audit("session_ended")[-1]["reason"] == "shutdown"


def test_the_end_of_the_target_is_told_inside_and_the_outer_connection_lives_on(world: JumpWorld) -> None:
    async def talk() -> None:
        async with asyncssh.connect(LOOPBACK, world.port, username="alice", **login(world)) as outer:
            first, second = await inner(world, outer), await inner(world, outer)
            done = await first.run("kill -9 $PPID")
            assert done.exit_status is None or done.exit_status != 0
            await first.wait_closed()
            assert (await second.run("echo on")).stdout == "on\n"
            third = await inner(world, outer)
            assert (await third.run("echo new")).stdout == "new\n"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_silent_client_is_ended_with_what_is_inside() -> None:
    limits = 'keepalive_interval = "1s"\nkeepalive_count = 1'
    with special(limits=limits) as world, world.jumping("echo up; sleep 60") as client:
        client.expect(b"up\n")
        os.killpg(client.pid, signal.SIGSTOP)
        try:
            poll(lambda: world.audit("session_ended"), timeout=20)
            assert world.audit("session_ended")[-1]["reason"] in ("keepalive", "client_closed")
        finally:
            os.killpg(client.pid, signal.SIGCONT)


def test_nothing_is_left_behind(world: JumpWorld) -> None:
    for _ in range(3):
        world.jump("true")
    poll(lambda: world.metric('bastion_sessions_live{door="jump"}') == 0)
    poll(lambda: world.metric("bastion_connections_live") == 0)
    assert world.log.read_text().count("Traceback") == 0, world.log.read_text()[-3000:]
