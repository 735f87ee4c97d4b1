"""What passes `ssh -J bastion root@web1` arrives whole, with its exit status, and stands in the recording."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.jump import JumpWorld
from tests.support.world import poll

pytestmark = pytest.mark.interop

MIB = 1 << 20


def test_output_errors_and_exit_status(world: JumpWorld) -> None:
    done = world.jump("echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert done.stderr == b"err\n"
    session = world.last_session()
    assert world.recorded(session) == b"out\n"
    assert world.recorded(session, "stderr") == b"err\n"


def test_the_session_is_one_of_the_jump_door(world: JumpWorld) -> None:
    before = world.metric('bastion_sessions_started_total{door="jump"}')
    world.jump("true")
    assert world.metric('bastion_sessions_started_total{door="jump"}') == before + 1
    session = world.last_session()
    (started,) = [line for line in world.audit("session_started") if line["session"] == session]
    assert (started["door"], started["user"], started["login"], started["target"]) == (
        "jump",
        "alice",
        "root",
        "web1",
    )
    (jump,) = [line for line in world.audit("jump") if line["session"] == session]
    assert (jump["host"], jump["originator_port"], jump["stdio"]) == ("web1", 65535, 1)


def test_explain_tells_of_both_connections(world: JumpWorld) -> None:
    world.jump("true")
    session = world.last_session()
    told = world.bastion("explain", session[:6], "--config", str(world.config))
    assert told.returncode == 0, told.stderr
    assert b"web1" in told.stdout
    assert b"publickey" in told.stdout  # the login of the outer connection


@pytest.mark.parametrize("size", [8 * MIB, pytest.param(1 << 30, marks=pytest.mark.soak)])
def test_downloads_are_whole(world: JumpWorld, size: int) -> None:
    command = ["ssh", "-F", str(world.jump_config()), "-J", "bastion", "root@web1"]
    count = size // MIB
    made = f"head -c {size} /dev/urandom | tee /dev/fd/2 2>{world.folder}/sum-in"
    if size > 64 * MIB:
        made = f"dd if=/dev/zero bs=1M count={count} 2>/dev/null"
    process = subprocess.Popen([*command, made], stdout=subprocess.PIPE, env=world.environment())
    assert process.stdout is not None
    digest, total = hashlib.sha256(), 0
    while piece := process.stdout.read(MIB):
        digest.update(piece)
        total += len(piece)
    process.stdout.close()
    assert (process.wait(60), total) == (0, size)
    if size > 64 * MIB:
        zeros = hashlib.sha256()
        for _ in range(count):
            zeros.update(bytes(MIB))
        assert digest.digest() == zeros.digest()
    else:
        sent = Path(world.folder, "sum-in").read_bytes()
        assert hashlib.sha256(sent).hexdigest() == digest.hexdigest()
        assert world.recorded(world.last_session()) == sent


@pytest.mark.parametrize("size", [8 * MIB, pytest.param(1 << 30, marks=pytest.mark.soak)])
def test_uploads_are_whole(world: JumpWorld, size: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(size // (4 * MIB)):
            file.write(os.urandom(4 * MIB))
    command = ["ssh", "-F", str(world.jump_config()), "-J", "bastion", "root@web1", "sha256sum"]
    with source.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=600, env=world.environment())
    digest = subprocess.run(["sha256sum", str(source)], capture_output=True, check=True).stdout.split()[0]
    assert done.stdout.split()[0] == digest, done.stderr


def test_both_ways_at_once(world: JumpWorld) -> None:
    data = os.urandom(6 * MIB)
    done = world.jump("cat", stdin=data)
    assert done.stdout == data


def test_a_terminal(world: JumpWorld) -> None:
    with world.jumping(options=["-tt", "-J", "bastion"]) as shell:
        shell.send(b"stty size; echo d''one\n")
        shell.expect(b"done")
        shell.send(b"exit 3\n")
        assert shell.wait() == 3
        seen = shell.out
    assert world.recorded(world.last_session()) == seen


def test_two_sessions_share_a_master_on_the_inner_hop(world: JumpWorld) -> None:
    path = world.folder / "m-inner"
    shared = ["-o", f"ControlPath={path}", "-J", "bastion"]
    assert world.jump(options=["-MNf", "-o", "ControlPersist=yes", *shared]).returncode == 0
    before = len(world.audit("session_started"))
    try:
        for number in range(3):
            assert world.jump(f"echo {number}", options=shared).stdout == b"%d\n" % number
    finally:
        world.jump(options=["-O", "exit", *shared])
    assert len(world.audit("session_started")) == before


def test_two_sessions_share_a_master_on_the_outer_hop(world: JumpWorld) -> None:
    """The second hop's key is a proof that needs no word: see test_jump_proof for what happens without one."""
    path = world.folder / "m-outer"
    config = world.jump_config("Host bastion", f"ControlPath {path}", "ControlMaster auto", "ControlPersist yes",
                               name="master_config")  # fmt: skip
    before = len(world.audit("outer_started"))
    try:
        for number in range(3):
            done = world.jump(f"echo {number}", config=config)
            assert done.stdout == b"%d\n" % number, done.stderr
    finally:
        world.jump(options=["-O", "exit"], to="bastion", config=config)
    assert len(world.audit("outer_started")) == before + 1


def test_fifty_sessions_at_once_share_a_master_on_the_outer_hop(world: JumpWorld) -> None:
    """Each is an inner connection with an upstream connection of its own, in one outer connection."""
    path, count = world.folder / "m-fifty", 50
    shared = world.jump_config("Host bastion", f"ControlPath {path}", name="fifty_config")
    before = len(world.audit("outer_started"))
    started = len(world.audit("session_started"))
    assert (
        world.jump(options=["-MNf", "-o", "ControlPersist=yes"], to="bastion", config=shared).returncode == 0
    )
    with ExitStack() as stack:
        stack.callback(world.jump, options=["-O", "exit"], to="bastion", config=shared)
        clients = [stack.enter_context(world.jumping("cat", config=shared)) for _ in range(count)]
        live = 'bastion_sessions_live{door="jump"}'
        poll(lambda: world.metric(live) == count, 60, "not all of them came up")
        for number, client in enumerate(clients):
            client.echo(b"number %d" % number)
        for client in clients:
            client.end_input()
        assert [client.wait() for client in clients] == [0] * count
    assert len(world.audit("outer_started")) == before + 1
    sessions = [line["session"] for line in world.audit("session_started")[started:]]
    assert len(sessions) == count
    assert {world.ended(session)["reason"] for session in sessions} == {"client_closed"}


def test_proxy_command(world: JumpWorld) -> None:
    config = world.jump_config()
    proxy = f"ProxyCommand=ssh -F {config} -W %h:%p bastion"
    assert world.jump("echo through", options=["-o", proxy]).stdout == b"through\n"


def test_stdio_that_is_a_socket(world: JumpWorld) -> None:
    """As in the hands of a program that gives `ssh -W` a socket pair instead of two pipes."""
    config = world.jump_config()
    script = world.folder / "socket-proxy"
    script.write_text(
        "import os, socket, subprocess, sys, threading\n"
        "near, far = socket.socketpair()\n"
        f"command = ['ssh', '-F', '{config}', '-W', sys.argv[1], 'bastion']\n"
        "subprocess.Popen(command, stdin=far, stdout=far)\n"
        "far.close()\n"
        "def send():\n"
        "    while data := os.read(0, 65536): near.sendall(data)\n"
        "    near.shutdown(1)\n"
        "threading.Thread(target=send, daemon=True).start()\n"
        "while data := near.recv(65536): os.write(1, data)\n"
    )
    proxy = f"ProxyCommand=python3 {script} %h:%p"
    assert world.jump("echo through", options=["-o", proxy]).stdout == b"through\n"


def test_the_end_of_the_outer_client_ends_the_session(world: JumpWorld) -> None:
    with world.jumping("echo up; sleep 60") as client:
        client.expect(b"up\n")
        found = subprocess.run(
            ["pgrep", "-P", str(client.pid)], capture_output=True, check=True
        ).stdout.split()
        os.kill(int(found[0]), signal.SIGKILL)
        client.wait()
    session = world.last_session()
    assert world.ended(session)["reason"] == "client_closed"
