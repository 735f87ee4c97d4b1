"""`kill -9` of the gateway in the middle of a session: what the engineer has seen is in the recording.

The target streams a numbered sequence as fast as its shell can, the client prints it, the gateway dies at a
random moment. Everything that the client printed must stand in the recording, in order, and the recording must
be listed, played and exported.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from bastion.cli.main import cli
from tests.support.client import Client
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

FEW, MANY = 6, 50
# Numbered lines on both streams, without an end; bash makes some 100,000 a second.
COUNT = "i=0; while :; do i=$((i+1)); echo line $i; [ $((i%7)) = 0 ] && echo error $i >&2; done"
SLOWLY = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.005; done"
SHELL = b"stty -echo; echo; " + COUNT.encode() + b"\n"
STREAMS = ("stdout", "stderr")
LONGEST = 0.5  # seconds from the first output to the kill, at random


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def begin(world: World, kind: str) -> Client:
    """A client that prints the sequence: by a command (fast or slowly), or by a shell on a terminal."""
    if kind == "terminal":
        client = world.client(options=("-tt",))
        client.send(SHELL)
    else:
        client = world.client(COUNT if kind == "command" else SLOWLY)
    return client


def die(world: World, kinds: tuple[str, ...], wait: float) -> list[Client]:
    """One round: start the gateway, stream, kill it after `wait` more seconds; the clients, ended."""
    world.start()
    clients = [begin(world, kind) for kind in kinds]
    for client in clients:
        client.expect(b"line 1", timeout=30)
    threading.Event().wait(wait)
    world.kill()
    for client in clients:
        assert client.wait() == 255
    return clients


def call(world: World, *arguments: str) -> bytes:
    """A command on the recordings, in this process: starting Python in each round would take long."""
    result = CliRunner().invoke(cli, [*arguments, "--recordings", str(world.recordings)])
    assert result.exit_code == 0, result.stderr
    return result.stdout_bytes


def count_in_sequence(seen: bytes, word: bytes = b"line", step: int = 1) -> int:
    """How many whole lines `word N` are in `seen`; their numbers must be unbroken from the first one on."""
    lines = seen.replace(b"\r", b"").split(b"\n")[:-1]
    numbers = [int(found[1]) for line in lines if (found := re.fullmatch(word + rb" (\d+)", line))]
    assert numbers == list(range(step, step * (len(numbers) + 1), step))
    return len(numbers)


def from_the_target(complaints: bytes) -> bytes:
    """Standard error without what OpenSSH's client says of its own at the end."""
    return re.split(rb"client_loop|Connection |Read from remote|Disconnected", complaints)[0]


@pytest.mark.parametrize("rounds", [FEW, pytest.param(MANY, marks=pytest.mark.soak)], ids=["few", "many"])
def test_nothing_that_was_seen_is_lost(world: World, rounds: int) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    print(f"seed {seed}")  # shown when the test fails
    known = {path.stem for path in world.recordings.glob("*/*.rec")}
    lines = errors = 0
    for number in range(rounds):
        kinds = ("command", "terminal") if number % 2 else ("command", "slowly")
        clients = die(world, kinds, dice.uniform(0.0, LONGEST))
        found = json.loads(call(world, "sessions", "--json"))
        listed = {one["session_id"]: one for one in found if one["session_id"] not in known}
        known |= listed.keys()
        assert len(listed) == len(clients)
        assert {one["state"] for one in listed.values()} == {"truncated"}, f"round {number}"
        assert {one["identity"] for one in listed.values()} == {"alice"}
        recorded = {}
        for session in listed:
            streams = (call(world, "export", session, "--format", "raw", "--stream", one) for one in STREAMS)
            recorded[session] = tuple(streams)
        for client in clients:
            printed, complaints = client.out, client.err
            count_in_sequence(printed)
            owners = [s for s, (out, _) in recorded.items() if out.startswith(printed)]
            assert len(owners) == 1, f"round {number}: {len(printed)} bytes printed are in no recording"
            out, err = recorded.pop(owners[0])
            lines += count_in_sequence(out)
            assert err.startswith(from_the_target(complaints)), f"round {number}"
            errors += count_in_sequence(err, b"error", 7)
            client.close()
    assert lines > rounds and errors > rounds
    print(f"{lines} lines and {errors} errors in {len(known)} recordings")
    check_played(world, sorted(known)[0])


def check_played(world: World, session: str) -> None:
    """The commands that an auditor uses, as processes, on one of them."""
    shown = world.bastion("sessions", "--recordings", str(world.recordings))
    assert shown.returncode == 0 and session[:6].encode() in shown.stdout and b"truncated" in shown.stdout
    played = world.bastion("replay", session, "--recordings", str(world.recordings), "--speed", "0")
    assert b"line 1" in played.stdout, played.stderr
    for form in ("asciicast", "text", "json"):
        done = world.bastion("export", session, "--recordings", str(world.recordings), "--format", form)
        assert b"line 1" in done.stdout and done.returncode in (0, 1), done.stderr


def test_the_gateway_that_starts_again_goes_on_in_the_same_folder(world: World) -> None:
    world.start()
    assert world.ssh("echo after").stdout == b"after\n"
    session = world.last_session()
    assert world.recorded(session) == b"after\n"
    world.kill()
