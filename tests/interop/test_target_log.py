"""One session id through everything: audit log, recording, certificate, and the target's own sshd log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running() as made:
        yield made


@pytest.mark.parametrize("way", ["key", "password"])
def test_the_targets_log_names_the_engineer_and_the_session(world: World, way: str) -> None:
    done = world.ssh("echo in") if way == "key" else world.ask("alice+root+web1", PASSWORD)
    assert done.returncode == 0, done.stderr
    session = world.last_session()
    line = world.sshd.wait_for_log(rf"Accepted publickey for root from 127\.0\.0\.1 .*{session}.*").group()
    assert f"ID alice {session} (serial " in line and "ED25519-CERT" in line
    poll(lambda: session in {line["session"] for line in world.audit("session_ended")})
    audit = [line for line in world.audit() if line.get("session") == session]
    assert [line["event"] for line in audit][:2] == ["authorise", "session_started"]
    assert audit[-1]["event"] == "session_ended"
    assert {line["ref"] for line in audit} == {session[:6]}
    assert world.audit("auth")[-1]["connection"] == session
    header = world.sessions()[-1]
    assert (header["session_id"], header["identity"], header["login"]) == (session, "alice", "root")
    assert header["file"].endswith(f"/{session}.rec")
    assert session in world.explain(session[:6])


def test_every_session_has_an_id_of_its_own(world: World) -> None:
    for _ in range(2):
        assert world.ssh("true").returncode == 0
    started = [line["session"] for line in world.audit("session_started")]
    assert len(set(started)) == len(started)
    assert all(f"ID alice {session} " in world.sshd.log_text() for session in started)
