"""SIGTERM: sessions end with a message, nothing new begins, everything is on the disk when the process is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

TOLD = "bastion: the gateway is closing down"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sessions_end_with_a_message_and_a_whole_recording(world: World, number: signal.Signals) -> None:
    world.start()
    seen = len(world.sessions())
    with world.client("cat") as plain, world.client(options=("-tt",)) as shell:
        plain.echo(b"to and fro")
        shell.send(b"echo fr''om the shell\n")
        shell.expect(b"from the shell")
        world.kill(number)
        assert plain.wait() == 255 and shell.wait() == 255
    sessions = world.sessions()[seen:]
    assert len(sessions) == 2
    for session in sessions:
        assert (session["state"], session["reason"]) == ("ended", "shutdown")
        assert f"{TOLD} (ref {session['session_id'][:6]})".encode() in plain.err + shell.err
    assert plain.err.count(TOLD.encode()) == 1
    assert shell.err.count(TOLD.encode()) == 1
    ids = {session["session_id"] for session in sessions}
    played = sorted((world.recorded(session) for session in ids), key=len)
    assert played[0] == plain.out
    # OpenSSH drops what it has not printed yet when a DISCONNECT comes in the same read.
    assert played[1].startswith(shell.out) and TOLD.encode() in played[1]
    ended = [line for line in world.audit("session_ended") if line["session"] in ids]
    assert [line["reason"] for line in ended] == ["shutdown", "shutdown"]
    assert world.audit()[-1]["event"] == "gateway_stopped"
    assert world.audit()[-1]["signal"] == number.name.removeprefix("SIG")


def test_a_login_under_way_does_not_hold_up_the_end(world: World) -> None:
    world.start()
    with world.hesitating() as waiting:
        began = time.monotonic()
        world.kill(signal.SIGTERM)
        assert time.monotonic() - began < 30
        assert waiting.running, "OpenSSH looks at its connection only when the person has answered"
    assert world.audit()[-1]["event"] == "gateway_stopped"


def test_it_starts_again_and_lists_what_was(world: World) -> None:
    world.start()
    assert world.ssh("true").returncode == 0
    world.kill(signal.SIGTERM)
    assert [session["state"] for session in world.sessions()] == ["ended"] * len(world.sessions())
