"""Signals that a client sends by message (RFC 4254 section 6.9). OpenSSH's client sends none, others do.

The target is asyncssh: OpenSSH's sshd signals nothing when the login is root, which it must be in these tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncssh
import pytest

from tests.support.doors import Door, shared_world
from tests.support.loops import Loop
from tests.support.net import LOOPBACK
from tests.support.recorded import Watch

pytestmark = pytest.mark.interop


async def serve_signals(process: asyncssh.SSHServerProcess) -> None:
    """Says "up", then which signals come; TERM is the last."""
    process.stdout.write("up\n")
    try:
        while await process.stdin.readline():
            pass
    except asyncssh.SignalReceived as received:
        process.stdout.write(f"got {received.signal}\n")
        process.exit_with_signal(received.signal)


class Lenient(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


async def serve(key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
    return await asyncssh.listen(
        LOOPBACK, 0, server_factory=Lenient, server_host_keys=[key], process_factory=serve_signals
    )


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """The direct door to a target called node0."""
    world = shared_world()
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = Loop()
    try:
        server = loop.run(serve(key))
        known = key.export_public_key().decode().strip()
        world.add_target("node0", LOOPBACK, server.get_port(), known)
        world.start()
        yield Door(world, "node0")
        server.close()
    finally:
        loop.close()
        world.close()


@pytest.mark.parametrize("name", ["TERM", "INT", "USR1"])
def test_a_signal_reaches_the_target(door: Door, name: str) -> None:
    async def run() -> asyncssh.SSHCompletedProcess:
        async with door.asyncssh() as connection, connection.create_process("run") as process:
            assert await process.stdout.readline() == "up\n"
            process.send_signal(name)
            return await process.wait()

    watch = Watch(door.world)
    done = asyncio.run(asyncio.wait_for(run(), 20))
    assert done.exit_signal is not None and done.exit_signal[0] == name
    assert done.stdout == f"got {name}\n"
    recorded = watch.session()
    assert recorded.exported() == f"up\ngot {name}\n".encode()
    sent = [event for event in recorded.events("request_forwarded") if event["name"] == "signal"]
    assert [event["detail"]["signal"] for event in sent] == [name]
    assert [event["signal"] for event in recorded.events("exit_signal")] == [name]
