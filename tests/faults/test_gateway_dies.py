"""A gateway is killed as a whole: the next one writes the recordings that ran to their end, and says so once."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.processes import is_alive
from tests.support.sshd import sshd_missing
from tests.support.versions import Versions
from tests.support.world import World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

DIED = 'bastion_sessions_ended_total{door="direct",reason="gateway_died"}'


def kill_whole(world: World) -> None:
    """Every process at the same moment, so that none writes what became of another."""
    pids = world.pids
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    world.kill()
    poll(lambda: not any(map(is_alive, pids)), 30.0, "a worker outlives its gateway")  # and holds its files


def talking(world: World, count: int) -> list[Client]:
    clients = [world.client("cat") for _ in range(count)]
    for client in clients:
        client.send(b"before\n")
        client.expect(b"before")
    return clients


def ended(world: World, count: int) -> list[dict[str, Any]]:
    """The `session_ended` lines, once there are so many; never more."""
    poll(lambda: len(world.audit("session_ended")) >= count, 30.0, "not all of them are told")
    lines = world.audit("session_ended")
    assert len(lines) == len({line["session"] for line in lines}) == count
    return lines


@pytest.mark.parametrize("workers", [1, 2])
def test_what_ran_gets_its_end_from_the_next_gateway(workers: int) -> None:
    with running(workers=workers) as world:
        clients = talking(world, 4)
        kill_whole(world)
        for client in clients:
            client.close()
        files = sorted(world.recordings.glob("*/*.rec"))
        assert {one["state"] for one in world.sessions()} == {"truncated"} and len(files) == 4
        with files[0].open("r+b") as damaged:  # the first that is looked at, or any: it holds up no other
            damaged.seek(200)
            damaged.write(b"\xff" * 64)
        world.start()
        lines = ended(world, 4)
        assert {line["reason"] for line in lines} == {"gateway_died"}
        shown = world.bastion("sessions", "--recordings", str(world.recordings), "--json").stdout
        found = {one["session_id"]: one for one in json.loads(shown)}
        states = {(one["state"], one["reason"]) for name, one in found.items() if name != files[0].stem}
        assert states == {("ended", "gateway_died")} and found[files[0].stem]["state"] == "damaged"
        for file in files[1:]:
            assert world.recorded(file.stem) == b"before\n"
        poll(lambda: world.metric(DIED) >= 3, 20.0, "nobody counts them")
        state = str(world.config)
        poll(
            lambda: world.bastion("state", "check", "--config", state).stdout.count(b"the index has") == 0,
            20.0,
        )
        assert world.ssh("echo new").stdout == b"new\n"
        world.kill(signal.SIGTERM)
        world.start()  # ... and nothing is told twice
        assert world.ssh("echo newer").stdout == b"newer\n"
        ended(world, 6)


def test_an_older_gateway_that_lives_is_not_taken_for_dead() -> None:
    world = Versions()
    try:
        world.start()
        (before,) = talking(world, 1)
        kill_whole(world)
        before.close()
        world.start()
        (dead,) = ended(world, 1)
        (client,) = talking(world, 1)
        world.upgrade("2.0")
        assert world.ssh("echo new").stdout == b"new\n"
        client.send(b"after\n")
        client.expect(b"after")
        ended(world, 2)
        poll(lambda: [one["state"] for one in world.sessions()].count("live") == 1, 20.0)
        client.close()
        lines = ended(world, 3)
        assert [line["reason"] for line in lines].count("gateway_died") == 1
        assert lines[0]["session"] == dead["session"]
    finally:
        world.close()
