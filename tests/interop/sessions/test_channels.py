"""Many sessions over one connection, all at once: each client gets its own output, each channel its own record."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.doors import Door

pytestmark = pytest.mark.interop

COUNT = 20


def command(number: int) -> str:
    return f"for i in $(seq 200); do echo {number} $i; done; echo error {number} >&2; cat; exit {number}"


def test_twenty_sessions_over_one_master(door: Door) -> None:
    watch = door.watch()
    pipe = subprocess.PIPE
    with door.master() as shared:
        running = [
            subprocess.Popen(
                door.command("ssh", *shared, door.host, command(number)),
                stdin=pipe, stdout=pipe, stderr=pipe, env=door.environment(),
            )
            for number in range(1, COUNT + 1)
        ]  # fmt: skip
        seen = {}
        for number, ssh in enumerate(running, 1):
            out, err = ssh.communicate(b"typed by %d\n" % number, timeout=60)
            seen[command(number)] = (out, err)
            lines = b"".join(b"%d %d\n" % (number, i) for i in range(1, 201))
            assert (ssh.returncode, out) == (number, lines + b"typed by %d\n" % number)
            assert err == b"error %d\n" % number
    recorded = watch.session()
    out, err, typed = recorded.streams(), recorded.streams("stderr"), recorded.streams("stdin")
    kept = {
        channel.program.removeprefix("exec "): (out[number], err[number])
        for number, channel in recorded.channels().items()
    }
    assert kept == seen
    assert sorted(typed.values()) == sorted(b"typed by %d\n" % number for number in range(1, COUNT + 1))
    assert recorded.exported("stdout", 7) == out[7]


def test_channels_one_after_the_other(door: Door) -> None:
    """Channel numbers are used again; the recording counts on."""
    watch = door.watch()
    with door.master() as shared:
        for number in range(30):
            done = door.ssh(f"echo {number}; exit {number}", options=shared)
            assert (done.returncode, done.stdout) == (number, b"%d\n" % number)
    assert [*watch.session().streams().values()] == [b"%d\n" % number for number in range(30)]


def test_one_channel_that_nobody_reads_does_not_stop_the_others(door: Door) -> None:
    """The window of the channel is shut, the connection is not."""
    watch = door.watch()
    with door.master() as shared:
        stalled = subprocess.Popen(
            door.command("ssh", *shared, door.host, "head -c 64M /dev/zero"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=door.environment(),
        )  # fmt: skip
        assert stalled.stdout is not None
        begun = stalled.stdout.read(1)
        for number in range(5):
            done = door.ssh("cat", options=shared, stdin=b"%d" % number * 100_000)
            assert done.stdout == b"%d" % number * 100_000
        begun += stalled.stdout.read()
        assert stalled.wait(60) == 0 and begun == bytes(64 << 20)
        stalled.stdout.close()
    recorded = watch.session()
    assert [len(one) for one in recorded.streams().values()] == [64 << 20, *[100_000] * 5]
