"""Sessions that end without a word: the target's sshd is killed, the engineer's ssh is killed, a network is cut."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.client import Client
from tests.support.doors import Door
from tests.support.world import poll

pytestmark = pytest.mark.interop

LIVE = 'bastion_sessions_live{{door="{}"}}'
TALK = "echo $$ $PPID; while :; do echo tick; sleep 0.01; done"


def kill(client: Client) -> None:
    """kill -9, and wait until all that it printed is there."""
    os.kill(client.pid, signal.SIGKILL)
    assert client.wait() == -signal.SIGKILL


def test_the_sshd_of_the_session_is_killed(door: Door) -> None:
    watch = door.watch()
    with door.client(TALK) as client:
        client.expect(b"tick\n" * 20)
        _, sshd = map(int, client.out.split(b"\n")[0].split())
        os.kill(sshd, signal.SIGKILL)
        assert client.wait() == 255
        assert b"bastion: the target closed the connection" in client.err
        shown = client.out
    recorded = watch.session()
    assert recorded.exported() == shown
    assert recorded.totals["reason"] == "target_closed"


def test_the_ssh_of_the_engineer_is_killed(door: Door) -> None:
    """What had left the gateway and was not printed is in the recording too: it begins with what was seen."""
    watch = door.watch()
    with door.client(TALK) as client:
        client.expect(b"tick\n" * 20)
        _, sshd = map(int, client.out.split(b"\n")[0].split())
        kill(client)
        shown = client.out
    recorded = watch.session()
    kept = recorded.exported()
    assert kept.startswith(shown) and set(kept[len(shown) :].split(b"\n")) <= {b"tick", b""}
    assert recorded.totals["reason"] == "client_closed"
    door.wait_until_gone(sshd)
    poll(lambda: door.world.metric(LIVE.format(door.name)) == 0)


def test_a_shell_with_a_terminal_is_hung_up(door: Door) -> None:
    with door.client(TALK, options=["-tt"]) as client:
        client.expect(b"tick\r\n" * 20)
        shell, _ = map(int, client.out.split(b"\r\n")[0].split())
        kill(client)
    door.wait_until_gone(shell)


def test_twenty_that_vanish_leave_nothing_behind(door: Door) -> None:
    watch = door.watch()
    clients = [door.client(TALK) for _ in range(20)]
    try:
        for client in clients:
            client.expect(b"tick\n" * 3)
    finally:
        for client in clients:
            kill(client)
    shown = sorted(client.out.partition(b"\n")[0] for client in clients)
    for client in clients:
        client.close()
    recorded = watch.sessions(20)
    assert sorted(one.streams()[1].partition(b"\n")[0] for one in recorded) == shown
    poll(lambda: door.world.metric(LIVE.format(door.name)) == 0)
    poll(lambda: door.world.metric("bastion_connections_live") == 0)
