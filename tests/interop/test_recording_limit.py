"""Who fills recordings ends before the disk is full, and nobody else: `yes` on a terminal, beside people who work."""

from __future__ import annotations

from collections.abc import Iterator

import pexpect
import pytest

from tests.support.world import World, poll, running

pytestmark = pytest.mark.interop

LIMITS = 'max_recording_bytes = "4 MiB"\nmax_recording_bytes_per_user = "6 MiB"'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running(recording=LIMITS) as made:
        yield made


def shell(world: World) -> pexpect.spawn:
    command = world.ssh_command(options=["-tt"])
    return pexpect.spawn(command[0], command[1:], env=world.environment(None), timeout=30)


def test_yes_on_a_terminal_ends_and_the_others_work_on(world: World) -> None:
    quiet, greedy = shell(world), shell(world)
    quiet.expect(rb"[#$] ")
    greedy.expect(rb"[#$] ")
    greedy.sendline(b"yes")
    quiet.sendline(b"echo during $((20+3))")
    quiet.expect(rb"during 23")
    greedy.expect(rb"bastion: the session has ended: its recording has reached the limit of 4 MiB")
    greedy.expect(pexpect.EOF)
    quiet.sendline(b"echo after $((20+4))")
    quiet.expect(rb"after 24")
    (line,) = poll(
        lambda: [one for one in world.audit("session_ended") if one["reason"] == "recording_limit"]
    )
    (file,) = world.recordings.glob(f"*/{line['session']}.rec")
    assert 4 << 20 < file.stat().st_size < 5 << 20  # one burst more, and the goodbye
    assert world.ssh("echo new").stdout == b"new\n"  # an ended recording counts no more
    quiet.sendline(b"exit")
    quiet.expect(pexpect.EOF)
