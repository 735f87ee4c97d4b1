"""How sessions end by the clock, with stock ssh and sshd: idle, longest duration, a target that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pexpect
import pytest

from tests.support.world import World, poll, running

pytestmark = pytest.mark.interop

POLICY = """
[[rule]]
name = "short"
groups = ["ops"]
targets = ["*"]
logins = ["root"]
verbs = ["shell", "pty", "exec", "sftp", "env"]
"""
SHORT = """
idle = "2s"
max_duration = "6s"
"""
KEEPALIVE = 'keepalive_interval = "1s"\nkeepalive_count = 2'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running(policy=POLICY + SHORT, limits=KEEPALIVE) as made:
        yield made


@pytest.fixture(scope="module")
def patient() -> Iterator[World]:
    """Nothing but the keepalive ends a session here."""
    with running(policy=POLICY, limits=KEEPALIVE) as made:
        yield made


def shell(world: World) -> pexpect.spawn:
    command = world.ssh_command(options=["-tt"])
    return pexpect.spawn(command[0], command[1:], env=world.environment(None), timeout=15, encoding="utf-8")


def test_a_silent_shell_is_warned_and_ended(world: World) -> None:
    terminal = shell(world)
    terminal.expect(r"[#$] ")
    terminal.expect("bastion: no data for .*: this session ends in ")
    terminal.expect("bastion: the session has ended: no data for 2 s")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 255
    ended = poll(lambda: [line for line in world.audit("session_ended") if line["reason"] == "idle"])
    assert ended
    # What the gateway said stands in the recording, as its own words.
    events = world.bastion(
        "export", ended[-1]["session"], "--recordings", str(world.recordings), "--format", "json"
    ).stdout.decode()
    assert "injected" in events and "no data for" in events


def test_a_busy_shell_outlives_the_idle_limit_and_ends_at_its_longest_duration(world: World) -> None:
    done = world.ssh("while :; do echo alive; read -t 0.3 < /dev/zero; sleep 0.3; done")
    assert done.returncode == 255
    assert done.stdout.count(b"alive") >= 6
    assert b"the session has ended: its longest duration is 6 s" in done.stderr
    assert world.audit("session_ended")[-1]["reason"] == "duration"


def test_a_target_that_answers_nothing_any_more_ends_the_session(patient: World) -> None:
    """SIGSTOP is a target whose kernel still acknowledges: only a keepalive can tell."""
    world = patient
    session = subprocess.Popen(
        world.ssh_command("while :; do echo x; sleep 0.2; done"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=world.environment(None),
    )
    assert session.stdout is not None
    assert session.stdout.readline() == b"x\n"
    stopped = [pid for pid in _session_sshd(world) if pid != world.sshd.pid]
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        _, stderr = session.communicate(timeout=20)
    finally:
        session.kill()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert session.returncode == 255
    assert b"the target has not answered" in stderr
    assert world.audit("session_ended")[-1]["reason"] == "keepalive"


def _session_sshd(world: World) -> list[int]:
    """The sshd processes below the listener."""
    found = subprocess.run(["pgrep", "-P", str(world.sshd.pid)], capture_output=True, text=True)
    children = [int(pid) for pid in found.stdout.split()]
    for child in list(children):
        more = subprocess.run(["pgrep", "-P", str(child), "-x", "sshd"], capture_output=True, text=True)
        children += [int(pid) for pid in more.stdout.split()]
    return children
