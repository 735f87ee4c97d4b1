"""Targets that a program leads to: one that works, one that fails, hangs, floods, ends midway, and what it is given."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import HOP, Door, JumpDoor
from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.processes import is_alive
from tests.support.sshd import sshd_missing
from tests.support.world import poll, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1", "by-*"]
logins = ["root"]
verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local"]
"""
# What a tunnel tool does; it notes what it was given, and its number.
RELAY = """
import os, socket, subprocess, sys, threading
folder, host, port, login = sys.argv[1:5]
child = subprocess.Popen(["/bin/sleep", "300"])
with open(folder + "/given", "a") as given:
    print(os.getpid(), child.pid, os.getpgid(0) == os.getpid(), dict(os.environ), os.getcwd(), sys.argv[2:], file=given)
far = socket.create_connection((host, int(port)))
def up():
    while data := os.read(0, 65536):
        far.sendall(data)
    far.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := far.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""
# The same by a process that is not of its group, until that is cut off.
AWAY = """
import os, signal, socket, sys, threading
folder, host, port = sys.argv[1:]
if os.fork():
    with open(folder + "/away", "w") as away:
        away.write(str(os.getpid()))
    while True:
        signal.pause()
os.setsid()
far = socket.create_connection((host, int(port)))
def up():
    while data := os.read(0, 65536):
        far.sendall(data)
    far.close()
    os._exit(0)
threading.Thread(target=up, daemon=True).start()
while data := far.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""
FAILS = """
import os, sys
sys.stderr.write("cannot log in to the relay\\x1b[2J\\n" + "x" * 100000)
sys.exit(3)
"""
MIDWAY = """
import os, socket, sys
far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
os.write(1, far.recv(65536))  # the version line, and no more
sys.exit(0)
"""
DIAL_TIMEOUT = 3


class ProxyWorld(JumpWorld):
    """web1 by the relay, and a target by each program that does something else."""

    def __init__(self) -> None:
        super().__init__(
            policy=POLICY, targets='proxy_command = "relay"\n', limits=f'dial_timeout = "{DIAL_TIMEOUT}s"'
        )
        scripts = {"relay": RELAY, "fails": FAILS, "midway": MIDWAY, "away": AWAY}
        for name, text in scripts.items():
            (self.folder / f"{name}.py").write_text(text)
        python, folder = sys.executable, self.folder
        commands = {
            "relay": [python, f"{folder}/relay.py", str(folder), "%h", "%p", "%r", "100%%", "a b;$(id)"],
            "fails": [python, f"{folder}/fails.py"],
            "midway": [python, f"{folder}/midway.py", "%h", "%p"],
            "away": [python, f"{folder}/away.py", str(folder), "%h", "%p"],
            "hangs": ["/bin/sleep", "300"],
            "missing-interpreter": [f"{folder}/bad"],
        }
        bad = folder / "bad"
        bad.write_text("#!/no/such/interpreter\n")
        bad.chmod(0o755)
        lines = "".join(f"{name} = {words!r}\n" for name, words in commands.items())
        with self.config.open("a") as config:
            config.write(f"[targets.proxy_commands]\n{lines}")
        self.pin("web1", self.sshd.port, self.sshd.host_public)
        for name in commands:
            more = f'proxy_command = "{name}"\n'
            self.add_target(f"by-{name}", LOOPBACK, self.sshd.port, more=more)
            self.pin(f"by-{name}", self.sshd.port, self.sshd.host_public)
        self.add_target("edge1", LOOPBACK, self.sshd.port, more=f'proxy_command = "relay"\n{HOP}')
        self.pin("edge1", self.sshd.port, self.sshd.host_public)
        self.add_target("by-hop", LOOPBACK, self.sshd.port, self.sshd.host_public, 'via = "edge1"\n')

    def given(self) -> list[str]:
        return (self.folder / "given").read_text().splitlines()

    def pids(self) -> list[int]:  # type: ignore[override]
        """The last relay and what it has started."""
        return [int(word) for word in self.given()[-1].split()[:2]]

    def relay_is_gone(self) -> bool:
        return not any(map(is_alive, self.pids()))


@pytest.fixture(scope="module")
def world() -> Iterator[ProxyWorld]:
    made = ProxyWorld()
    try:
        made.start()
        yield made
        assert "Traceback" not in made.log.read_text()
    finally:
        made.close()


@pytest.fixture(params=["direct", "jump"])
def door(request: pytest.FixtureRequest, world: ProxyWorld) -> Door:
    return Door(world) if request.param == "direct" else JumpDoor(world)


def test_a_session_by_a_program_that_gets_what_the_inventory_says_and_nothing_else(
    door: Door, world: ProxyWorld, tmp_path: Path
) -> None:
    data = os.urandom(3 << 20)
    done = door.ssh("cat", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")
    _, _, *rest = world.given()[-1].split(" ", 2)
    words = [LOOPBACK, str(world.sshd.port), "root", "100%", "a b;$(id)"]
    assert rest == [f"True {{'LC_CTYPE': 'C.UTF-8'}} / {words}"]  # Python sets the one variable itself
    assert world.audit("session_started")[-1]["proxy_command"] == "relay"
    poll(world.relay_is_gone, text="the program, or what it has started, is left")


def test_a_hop_may_be_reached_by_a_program(world: ProxyWorld) -> None:
    done = world.ssh("echo here", user="alice+root+by-hop")
    assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr
    line = world.audit("session_started")[-1]
    assert (line["via"], line["proxy_command"]) == ("edge1", "relay")
    poll(world.relay_is_gone, text="the program is left")


def test_a_killed_session_ends_the_program_and_what_it_has_started(world: ProxyWorld) -> None:
    with world.client("cat") as client:
        client.echo(b"there")
        assert all(map(is_alive, world.pids()))
        done = world.bastion("kill", "--user", "alice", "--reason", "an exercise", "-c", str(world.config))
        assert done.returncode == 0, done.stderr
        assert client.wait() == 255
    poll(world.relay_is_gone, text="the program is left")


def test_a_program_that_is_stopped_is_killed_all_the_same(world: ProxyWorld) -> None:
    with world.client("cat") as client:
        client.echo(b"there")
        os.kill(world.pids()[0], signal.SIGSTOP)
        client.close()
    poll(world.relay_is_gone, text="the program is left")


def test_a_program_that_ends_ends_the_session(world: ProxyWorld) -> None:
    with world.client("cat") as client:
        client.echo(b"there")
        os.kill(world.pids()[0], signal.SIGKILL)
        assert client.wait() == 255 and b"the target closed the connection" in client.err
    poll(world.relay_is_gone, text="what the program has started is left")
    assert world.ssh("true").returncode == 0


def test_it_ends_the_session_too_when_it_has_left_the_connection_to_another(world: ProxyWorld) -> None:
    with world.client("cat", user="alice+root+by-away") as client:
        client.echo(b"there")
        os.kill(int((world.folder / "away").read_text()), signal.SIGKILL)
        assert client.wait() == 255


FAULTS = {
    "fails": ("proxy_failed", "its proxy command fails ended with exit status 3, and spoke no SSH"),
    "missing-interpreter": (
        "proxy_failed",
        "its proxy command missing-interpreter cannot be started (ENOENT)",
    ),
    "midway": ("kex_failed", "the key exchange failed"),
    "hangs": ("timeout", f"by its proxy command hangs: not ready within {DIAL_TIMEOUT} s (step: kex)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_goes_wrong_is_told(world: ProxyWorld, name: str) -> None:
    reason, words = FAULTS[name]
    with world.moves(f'bastion_upstream_dials_total{{reason="{reason}"}}'):
        text, reference = refusal(world.ssh("true", user=f"alice+root+by-{name}"))
    assert text == f"by-{name}: {words}"
    assert text in world.explain(reference)


def test_what_it_says_is_for_the_operator_and_bounded(world: ProxyWorld) -> None:
    size = len(world.log.read_text())
    refusal(world.ssh("true", user="alice+root+by-fails"))
    line = poll(lambda: [one for one in world.log.read_text()[size:].splitlines() if "cannot log in" in one])[
        0
    ]
    assert "cannot log in to the relay\\x1b[2J" in line and "ended with exit status 3" in line
    assert len(line) < 8000 and "xxxx" in line


def test_commands_know_of_it(world: ProxyWorld) -> None:
    done = world.bastion("target", "test", "web1", "root", "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    before = len(world.given())
    done = world.bastion("target", "scan", "web1", "--config", str(world.config))
    assert len(world.given()) > before, "what the gateway itself sees at that address may be another machine"
    assert done.returncode == 0 and world.sshd.host_fingerprint.encode() in done.stdout, done.stderr
