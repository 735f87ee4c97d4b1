"""A thousand warnings on terminals, and then 128 MiB each way on one of them: the gateway's own words take no window
that is the target's or the client's, so nothing hangs, nothing is overrun and every byte arrives. (What a terminal
shows is recorded in full and slowed beyond 64 MiB: the second half takes a minute.)

A session that is silent is warned on every terminal it has; a keystroke starts its silence again.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import threading
from collections.abc import Iterator

import asyncssh
import pytest

from tests.support.doors import DOORS, EVERYTHING, Door, opened_doors
from tests.support.jump import JumpWorld
from tests.support.patterns import pieces
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = pytest.mark.interop

# How much each way, and how often each terminal is warned before: asyncssh's 125, OpenSSH's 50.
SIZES = [
    pytest.param(8 << 20, (2, 2), id="8MiB"),
    pytest.param(128 << 20, (8, 20), id="128MiB", marks=pytest.mark.soak),
]
WARNED = b"bastion: no data for "
ENDS = b" s\r\n"  # of "this session ends in 6 s"
FROM_HERE = b"@"  # typed before what is counted: a slow start may have had warnings of its own
ECHO = "stty raw -echo; printf R; exec cat"
PATIENCE = 900.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if sshd_missing():
        pytest.skip(sshd_missing())
    made = JumpWorld(policy=EVERYTHING.replace("sftp_content = true", 'idle = "12s"'))
    try:
        yield made.start()
        assert "Traceback" not in made.log.read_text()
    finally:
        made.close()


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, world: World) -> Door:
    found: Door = opened_doors(world)[request.param]
    return found


def digest_of(size: int) -> str:
    made = hashlib.sha256()
    for piece in pieces(size):
        made.update(piece)
    return made.hexdigest()


@pytest.mark.parametrize(("size", "times"), SIZES)
def test_with_asyncssh(door: Door, size: int, times: tuple[int, int]) -> None:
    """It drops a peer that overruns a window. 125 terminals."""

    async def typed(process: asyncssh.SSHClientProcess[bytes]) -> None:
        process.stdin.write(FROM_HERE)
        await process.stdout.readuntil(FROM_HERE)

    async def warned(process: asyncssh.SSHClientProcess[bytes]) -> None:
        assert WARNED in await process.stdout.readuntil(ENDS)

    async def work() -> str:
        async with door.asyncssh() as connection:
            opening = (connection.create_process(ECHO, term_type="xterm", encoding=None) for _ in range(125))
            terminals = await asyncio.gather(*opening)
            for terminal in terminals:
                await terminal.stdout.readuntil(b"R")
            for _ in range(times[0]):
                await asyncio.gather(*map(warned, terminals))
                await typed(terminals[0])
            there = terminals[-1]
            await typed(there)

            async def send() -> None:
                for piece in pieces(size):
                    there.stdin.write(piece)
                    await there.stdin.drain()

            sending, came, left = asyncio.ensure_future(send()), hashlib.sha256(), size
            while left:
                data = await there.stdout.read(min(left, 1 << 20))
                assert data, "the session ended in the middle"
                came.update(data)
                left -= len(data)
            await sending
            return came.hexdigest()

    assert asyncio.run(asyncio.wait_for(work(), PATIENCE)) == digest_of(size)


def read_until(terminal: subprocess.Popen[bytes], end: bytes) -> bytes:
    """What a terminal shows, up to `end`."""
    assert terminal.stdout is not None
    shown = b""
    while not shown.endswith(end):
        byte = terminal.stdout.read(1)
        assert byte, f"the session ended after {shown!r}"
        shown += byte
    return shown


def type_into(terminal: subprocess.Popen[bytes]) -> None:
    """A keystroke, and its echo: the silence of the session begins again."""
    assert terminal.stdin is not None
    terminal.stdin.write(FROM_HERE)
    terminal.stdin.flush()
    read_until(terminal, FROM_HERE)


@pytest.mark.parametrize(("size", "times"), SIZES)
def test_with_openssh(door: Door, size: int, times: tuple[int, int]) -> None:
    """Fifty terminals on one shared connection."""
    with door.master() as shared:
        terminals = [door.open(ECHO, options=[*shared, "-tt", "-e", "none"]) for _ in range(50)]
        try:
            for terminal in terminals:
                assert terminal.stdout is not None and terminal.stdin is not None
                read_until(terminal, b"R")
            for _ in range(times[1]):
                for terminal in terminals:
                    assert WARNED in read_until(terminal, ENDS)
                type_into(terminals[0])
            type_into(terminals[-1])
            there, back = terminals[-1].stdin, terminals[-1].stdout
            assert there is not None and back is not None

            def send() -> None:
                for piece in pieces(size):
                    there.write(piece)
                there.flush()

            sending = threading.Thread(target=send, daemon=True)
            sending.start()
            came, left = hashlib.sha256(), size
            while left:
                data = back.read1(min(left, 1 << 20))  # type: ignore[attr-defined]
                assert data, "the session ended in the middle"
                came.update(data)
                left -= len(data)
            sending.join(60)
            assert came.hexdigest() == digest_of(size)
        finally:
            for terminal in terminals:
                terminal.kill()
                terminal.communicate()
