"""Kill, lock and watch with a stock ssh: what is an engineer's ends with words, within a second, and stays out."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.control import frames
from bastion.control.node import Kill, LiveAsked, Selection
from bastion.control.orders import AddLock, LocksAsked, RemoveLock
from bastion.policy.locks import LockKind
from tests.support.killing import KINDS, KillWorld, ended_in, running
from tests.support.sshd import sshd_missing
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

PATIENCE = 10.0
"""Seconds for what has to take one: this does not measure, `tests/faults/test_kill_times.py` does."""


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def world(request: pytest.FixtureRequest) -> Iterator[KillWorld]:
    with contextlib.closing(KillWorld(workers=request.param)) as made:
        made.start()
        yield made


@pytest.fixture
def alone(world: KillWorld) -> KillWorld:
    """For what no number of processes makes another: once is enough."""
    if world.workers > 1:
        pytest.skip("the same with one process")
    return world


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_ends_it_with_words(world: KillWorld, kind: str) -> None:
    before = len(world.audit())
    with running(world, kind) as processes:
        took, ended = ended_in(world, processes, Kill(Selection(user="alice"), "an exercise"))
        said = b"".join(process.communicate()[1] for process in processes)
    assert took < PATIENCE and ended.all >= 1
    assert b"bastion: ended by the security team: an exercise (ref " in said
    lines = world.new_audit(after=before)
    (killed,) = [line for line in lines if line["event"] == "killed"]
    who = pwd.getpwuid(os.getuid()).pw_name
    assert (killed["who"], killed["who_uid"], killed["why"]) == (who, os.getuid(), "an exercise")
    ends = [line["reason"] for line in lines if line["event"] in ("session_ended", "tunnel_closed")]
    assert ends and set(ends) == {"killed"}


def test_the_recording_and_the_metric_say_that_it_was_killed(alone: KillWorld) -> None:
    world = alone
    line = 'bastion_sessions_ended_total{door="direct",reason="killed"}'
    before = world.metric(line)
    with running(world, "shell") as processes:
        (row,) = world.rows()
        ended_in(world, processes, Kill(Selection(id=row.id), "found out"))
    assert world.metric(line) == before + 1
    told = json.loads(
        world.bastion(
            "export", "--config", str(world.config), row.id, "--format", "json"
        ).stdout.splitlines()[-1]
    )
    assert told["end"]["reason"] == "killed"
    assert "found out" in world.explain(row.id[:6])


def test_a_tunnel_is_ended_alone_and_its_connection_goes_on(alone: KillWorld) -> None:
    world = alone
    with running(world, "tunnel") as (client,):
        (tunnel,) = [row for row in world.rows() if row.kind == "tunnel"]
        assert world.order(Kill(Selection(id=tunnel.id), "x")).tunnels == 1
        poll(lambda: [row.kind for row in world.rows()] == ["connection"])
        assert client.poll() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_ends_it_and_nothing_new_opens(world: KillWorld, kind: str) -> None:
    with running(world, kind) as processes:
        took, ended = ended_in(world, processes, AddLock(LockKind.USER, "alice", "stolen laptop"))
    try:
        assert took < PATIENCE and ended.all >= 1
        for done in (world.ssh("true"), world.jump("true")):
            assert done.returncode == 255 and b"locked by the security team: stolen laptop" in done.stderr
    finally:
        world.order(RemoveLock("alice"))
    assert world.ssh("true").returncode == 0


def test_a_locked_target_is_for_nobody_and_others_stay(alone: KillWorld) -> None:
    world = alone
    with running(world, "jump") as processes:
        sessions = processes[1:]
        _, ended = ended_in_sessions(world, sessions)
        try:
            assert ended.sessions == len(sessions) and ended.connections == 0
            assert processes[0].poll() is None  # the connection itself may go elsewhere
            assert b"locked by the security team: broken into" in world.jump("true").stderr
        finally:
            world.order(RemoveLock("web1"))


def ended_in_sessions(world: KillWorld, sessions: list[subprocess.Popen[bytes]]):
    ended = world.order(AddLock(LockKind.TARGET, "web1", "broken into"))
    for session in sessions:
        session.wait(timeout=20)
    return None, ended


def test_a_locked_source_is_not_greeted_and_a_lock_outlives_the_gateway(alone: KillWorld) -> None:
    world = alone
    world.order(AddLock(LockKind.SOURCE, "127.0.0.0/8", "elsewhere"))
    try:
        assert world.ssh("true").returncode == 255
        world.kill()
        world.start()
        poll(lambda: [lock.value for lock in world.order(LocksAsked()).locks] == ["127.0.0.0/8"])
        assert world.ssh("true").returncode == 255
    finally:
        world.order(RemoveLock("127.0.0.0/8"))
    poll(lambda: world.ssh("true").returncode == 0)


def watching(world: KillWorld, session: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "bastion",
        "watch",
        "--config",
        str(world.config),
        session,
        "--reason",
        "look",
    ]
    before = world.metric("bastion_watchers")
    made = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    poll(lambda: world.metric("bastion_watchers") == before + 1, 20, "nobody watches")
    return made


def test_a_session_is_watched_and_its_engineer_reads_of_it(world: KillWorld) -> None:
    with world.client("-tt") as engineer:
        engineer.send(b"echo first-$((1+1))\n")
        engineer.expect(b"first-2")
        (row,) = poll(world.settled)
        watcher = watching(world, row.id[:8])
        engineer.expect(b"somebody of the security team watches this session")
        engineer.send(b"echo second-$((2+2))\n")
        engineer.expect(b"second-4")
        world.order(Kill(Selection(id=row.id), "enough"))
        shown, said = watcher.communicate(timeout=20)
    assert said == b"-- the engineer is told that somebody watches --\n" and watcher.returncode == 0
    for text in (b"first-2", b"watches this session", b"second-4", b"ended by the security team: enough"):
        assert text in shown
    assert world.audit("watch_ended")[-1]["session"] == row.id


@pytest.mark.parametrize("watched", ["silent", "no"])
def test_the_rules_say_who_may_watch_and_whether_the_engineer_reads_of_it(
    alone: KillWorld, watched: str
) -> None:
    world = alone
    rules = world.policy_file.read_text()
    said = {
        "silent": b"-- the engineer is not told that somebody watches --",
        "no": b"say that nobody watches it",
    }
    try:
        world.policy_file.write_text(rules.replace("[[rule]]", f'[[rule]]\nwatch = "{watched}"', 1))
        world.reload()
        with world.client("-tt") as engineer:
            engineer.send(b"echo first-$((1+1))\n")
            engineer.expect(b"first-2")
            (row,) = poll(world.settled)
            if watched == "silent":
                watcher = watching(world, row.id)
                engineer.send(b"echo second-$((2+2))\n")
                engineer.expect(b"second-4")
                world.order(Kill(Selection(id=row.id), "enough"))
                shown, err = watcher.communicate(timeout=20)
                assert b"second-4" in shown and world.audit("watch_started")[-1]["told"] is False
                assert b"watches this session" not in shown
            else:
                done = world.bastion("watch", "--config", str(world.config), row.id)
                err = done.stderr
                assert (done.returncode, done.stdout) == (1, b"")
                line = world.audit("control_refused")[-1]
                assert (line["reason"], line["command"]) == ("by_policy", "watch") and row.id in line["text"]
            assert said[watched] in err
    finally:
        world.policy_file.write_text(rules)
        world.reload()


def test_a_watcher_that_never_reads_holds_nobody_up(world: KillWorld) -> None:
    process = world.pid if world.workers == 1 else None
    command = world.ssh_command("read x; head -c 200000000 /dev/zero")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engineer:
        assert engineer.stdin is not None and engineer.stdout is not None
        poll(lambda: len(world.settled()) == 1)
        (row,) = world.rows()
        with socket.socket(socket.AF_UNIX) as watcher:
            watcher.connect(str(world.folder / "run" / "control.sock"))

            question = {"id": 1, "command": "watch", "args": {"id": row.id}}
            watcher.sendall(frames.encode(question))
            poll(lambda: world.metric("bastion_watchers") == 1)
            before = world.memory() if process else 0
            engineer.stdin.write(b"\n")
            engineer.stdin.flush()
            received = 0
            while data := engineer.stdout.read(1 << 20):
                received += len(data)
            assert received == 200_000_000
            if process:
                assert world.memory() - before < 64 << 20
            assert world.metric("bastion_watch_blocks_dropped_total") > 0
        poll(lambda: world.metric("bastion_watchers") == 0)


@pytest.mark.skipif(
    os.getuid() != 0 or not Path("/usr/bin/python3").exists(), reason="needs root to be somebody else"
)
def test_who_has_no_role_can_do_nothing(alone: KillWorld) -> None:
    """With the socket open to everybody, as no installation should have it: the kernel still says who asks."""
    world = alone
    place = world.folder / "run" / "control.sock"
    before = place.stat().st_mode
    place.chmod(0o666)
    try:
        nobody = pwd.getpwnam("nobody")
        command = ["/usr/bin/python3", "-c", _ASK, str(place)]
        counted = 'bastion_control_requests_total{command="kill",result="refused"}'
        with world.moves('bastion_control_refusals_total{reason="no_role"}', counted):
            done = subprocess.run(command, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
                                  capture_output=True, timeout=30, cwd="/")  # fmt: skip
        assert b'"reason":"no_role"' in done.stdout, done.stderr
        line = world.audit("control_refused")[-1]
        assert (line["who"], line["who_uid"], line["command"]) == ("nobody", nobody.pw_uid, "kill")
    finally:
        place.chmod(before)


_ASK = """
import socket, struct, sys
asked = b'{"id":1,"command":"kill","args":{"selection":{"everything":true},"reason":"x"}}'
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(struct.pack(">I", len(asked)) + asked)
    print(s.recv(65536))
"""


def test_hostile_local_clients_hold_nobody_up(world: KillWorld) -> None:
    place = str(world.folder / "run" / "control.sock")
    junk = [b"\0" * (1 << 20), os.urandom(1 << 20), b"\0\0\0\x20" + b"{" * 32, b"\0\0\xff\xff" + b"x" * 100]
    kept = []
    for _ in range(5):
        for data in junk:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(5)
            kept.append(client)
            with contextlib.suppress(OSError):
                client.connect(place)
                client.sendall(data)
    began = time.monotonic()
    threading.Thread(target=lambda: [client.close() for client in kept], daemon=True).start()
    poll(lambda: _answers(world), 15, "the control socket does not answer")
    assert world.ssh("true").returncode == 0 and time.monotonic() - began < 30


def _answers(world: KillWorld) -> bool:
    try:
        world.order(LiveAsked())
    except Exception:
        return False
    return True
