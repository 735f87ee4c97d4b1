"""How commands end: by an exit status, by a signal, with nothing said."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest

from tests.support.doors import Door

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("code", [0, 1, 7, 254, 255])
def test_the_exit_status_of_the_command_is_that_of_ssh(door: Door, code: int) -> None:
    watch = door.watch()
    done = door.ssh(f"echo before; exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"before\n", b"")
    recorded = watch.session()
    assert recorded.exported() == b"before\n"
    assert [event["status"] for event in recorded.events("exit_status")] == [code]


def test_the_exit_status_of_a_shell(door: Door) -> None:
    watch = door.watch()
    done = door.ssh(options=["-T"], stdin=b"echo typed\nexit 7\n")
    assert (done.returncode, done.stdout) == (7, b"typed\n")
    recorded = watch.session()
    assert recorded.exported() == done.stdout and recorded.exported("stdin") == b"echo typed\nexit 7\n"


@pytest.mark.parametrize("name", ["TERM", "KILL", "USR1"])
def test_a_command_that_dies_by_a_signal(door: Door, name: str) -> None:
    """ssh says -1 for it, as it does without a gateway; the signal's name is in the recording."""
    watch = door.watch()
    done = door.ssh(f"echo alive; kill -{name} $$")
    assert (done.returncode, done.stdout) == (255, b"alive\n")
    recorded = watch.session()
    assert recorded.exported() == b"alive\n"
    assert [event["signal"] for event in recorded.events("exit_signal")] == [name]
    assert recorded.events("exit_status") == []


def test_a_client_that_shows_signals_is_told_the_name(door: Door) -> None:
    async def run() -> asyncssh.SSHCompletedProcess:
        async with door.asyncssh() as connection:
            return await connection.run("echo alive; kill -TERM $$")

    done = asyncio.run(asyncio.wait_for(run(), 60))
    assert done.exit_signal is not None and done.exit_signal[0] == "TERM"
    assert (done.exit_status, done.stdout) == (-1, "alive\n")


def test_a_command_that_does_not_exist(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("no-such-command-anywhere")
    assert done.returncode == 127 and done.stdout == b"" and b"not found" in done.stderr
    recorded = watch.session()
    assert recorded.exported("stderr") == done.stderr and recorded.exported() == b""
