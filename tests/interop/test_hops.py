"""Targets behind hops with real sshds: both doors, the usual tools, words that name the hop, and nothing left open."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import HOP, KEEP_ALL, Door, JumpDoor
from tests.support.jump import JumpWorld, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import Sshd, make_key, sshd_missing
from tests.support.talkers import Echo, Stranger, exchange, socks
from tests.support.trees import file_sum, make_file, make_tree, tree_sums
from tests.support.world import poll, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

# No rule is about a hop.
POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1", "behind-*"]
logins = ["root"]
verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local"]
"""
DIAL_TIMEOUT = 8


class HopWorld(JumpWorld):
    """web1 is behind edge1 and core2; `behind-NAME` is the same machine behind a hop with some fault."""

    def __init__(self) -> None:
        limits = f'dial_timeout = "{DIAL_TIMEOUT}s"'
        super().__init__(policy=POLICY, recording=KEEP_ALL, targets='via = "core2"\n', limits=limits)
        self.edge = self.add_sshd("edge1", more=HOP)
        self.core = self.add_sshd("core2", more=f'via = "edge1"\n{HOP}')
        self.pin("web1", self.sshd.port, self.sshd.host_public)

    def behind(self, hop: str) -> None:
        self.add_target(f"behind-{hop}", LOOPBACK, self.sshd.port, self.sshd.host_public, f'via = "{hop}"\n')

    def add_hop(self, name: str, **options: object) -> Sshd:
        made = self.add_sshd(name, more=HOP, **options)
        self.behind(name)
        return made

    def connections(self) -> list[int]:
        """Established connections of this machine to each of web1, core2 and edge1."""
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        to = [int(row[2].rpartition(":")[2], 16) for row in table if row[3] == "01"]
        return [to.count(sshd.port) for sshd in (self.sshd, self.core, self.edge)]

    def nothing_is_open(self) -> bool:
        return self.connections() == [0, 0, 0]


@pytest.fixture(scope="module")
def world() -> Iterator[HopWorld]:
    made = HopWorld()
    strangers = {"mute": Stranger(), "no-ssh": Stranger(b"HTTP/1.1 400\r\n\r\n", hang_up=True)}
    try:
        made.add_hop("closed", options=["AllowTcpForwarding no"])
        made.add_hop("elsewhere", options=["PermitOpen 192.0.2.1:22"])
        made.add_hop("distrustful", user_ca=made.keys / "login_ca.pub")
        old = make_key(made.keys / "old_host").with_suffix(".pub").read_text().split()[:2]
        made.add_hop("moved", known=" ".join(old))
        made.add_target("down", LOOPBACK, free_port(), more=HOP)
        made.behind("down")
        for name, stranger in strangers.items():
            made.add_target(name, LOOPBACK, stranger.port, more=HOP)
            made.behind(name)
        made.add_target("behind-dead", LOOPBACK, free_port(), more='via = "edge1"\n')
        made.add_target("behind-web", LOOPBACK, strangers["no-ssh"].port, more='via = "edge1"\n')
        made.start()
        yield made
        assert "Traceback" not in made.log.read_text()
    finally:
        made.close()
        for stranger in strangers.values():
            stranger.close()


@pytest.fixture(params=["direct", "jump"])
def door(request: pytest.FixtureRequest, world: HopWorld) -> Door:
    return Door(world) if request.param == "direct" else JumpDoor(world)


def test_commands_and_the_road_in_recording_and_audit_log(door: Door, world: HopWorld) -> None:
    watch = door.watch()
    done = door.ssh("cat; echo error >&2; exit 7", stdin=b"typed")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"typed", b"error\n")
    recorded = watch.session()
    header = recorded.header
    assert header.via == ("edge1", "core2")
    assert header.via_host_keys == (world.edge.host_fingerprint, world.core.host_fingerprint)
    assert header.host_key_fingerprint == world.sshd.host_fingerprint
    line = world.audit("session_started")[-1]
    assert (line["via"], line["target"]) == ("edge1,core2", "web1")
    for sshd in (world.edge, world.core, world.sshd):
        sshd.wait_for_log(rf"Accepted publickey for root .* ID alice {header.session_id} ")
    poll(world.nothing_is_open, text="a connection to a hop is left")


def test_a_shell_on_a_terminal(door: Door) -> None:
    with door.client(options=("-tt",)) as shell:
        shell.send(b"stty size; echo ready-$((40 + 2))\n")
        shell.expect(b"ready-42")
        shell.send(b"exit 3\n")
        assert shell.wait() == 3


def test_files_by_scp_sftp_and_rsync(door: Door, tmp_path: Path) -> None:
    here = make_tree(tmp_path / "here")
    large = make_file(tmp_path / "large", (3 << 20) + 1)
    for mode in ([], ["-O"]):
        there, back = tmp_path / f"there{len(mode)}", tmp_path / f"back{len(mode)}"
        for source, destination in (
            (str(large), f"{door.host}:{there}"),
            (f"{door.host}:{there}", str(back)),
        ):
            done = door.run(door.command("scp", *mode, source, destination))
            assert (done.returncode, done.stderr) == (0, b"")
        assert file_sum(back) == file_sum(large)
    batch = f"put {large} {tmp_path}/by-sftp\nls {tmp_path}\n".encode()
    done = door.run(door.command("sftp", "-b", "-", door.host), batch)
    assert done.returncode == 0 and file_sum(tmp_path / "by-sftp") == file_sum(large)
    done = door.run(["rsync", "-a", "-e", door.rsh, f"{here}/", f"{door.host}:{tmp_path}/synced"])
    assert done.returncode == 0, done.stderr
    assert tree_sums(tmp_path / "synced") == tree_sums(here)


def test_forwards_end_on_the_target(door: Door) -> None:
    with Echo() as echo:
        port, dynamic = free_port(), free_port()
        options = ["-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{echo.port}", "-D", f"{LOOPBACK}:{dynamic}"]
        with door.running(*options, ready=lambda: listens(port) and listens(dynamic)):
            with socket.create_connection((LOOPBACK, port), 10) as connection:
                assert exchange(connection, b"x" * 300_000) == b"x" * 300_000
            with socks(dynamic, LOOPBACK, echo.port) as connection:
                assert exchange(connection, b"through socks").endswith(b"through socks")


def test_one_connection_for_many(door: Door) -> None:
    with door.master() as shared:
        for number in range(5):
            assert door.ssh(f"exit {number}", options=shared).returncode == number


FAULTS = {
    "down": ("connection_refused", "its hop down: connection refused"),
    "closed": ("hop_refused", "its hop closed: it does not let the gateway go on from there"),
    "elsewhere": ("hop_refused", "its hop elsewhere: it does not let the gateway go on from there"),
    "distrustful": ("login_refused", "its hop distrustful: login root was refused with the gateway's key"),
    "moved": ("host_key_changed", "its hop moved: the host key has changed: known "),
    "mute": ("timeout", f"its hop mute: not ready within {DIAL_TIMEOUT} s (step: kex)"),
    "no-ssh": ("not_ssh", "its hop no-ssh: it does not speak SSH"),
    "dead": ("unreachable", 'its hop edge1: it cannot connect to the next one: "Connection refused"'),
    "web": ("not_ssh", "it does not speak SSH"),
}  # fmt: skip


@pytest.mark.parametrize("hop", FAULTS)
def test_the_words_name_the_hop(world: HopWorld, hop: str) -> None:
    reason, words = FAULTS[hop]
    with world.moves(f'bastion_upstream_dials_total{{reason="{reason}"}}'):
        text, reference = refusal(world.ssh("true", user=f"alice+root+behind-{hop}"))
    assert text.startswith(f"behind-{hop}: {words}")
    (line,) = [line for line in world.audit("refused") if line["ref"] == reference]
    assert (line["reason"], line["text"]) == (reason, text)
    assert text in world.explain(reference)
    poll(world.nothing_is_open, text="a connection to a hop is left")


def test_a_hop_is_no_door(world: HopWorld) -> None:
    text, _ = refusal(world.ssh("true", user="alice+root+edge1"))
    assert 'no target "edge1" for you' in text


def test_a_killed_session_closes_the_whole_road(world: HopWorld) -> None:
    with world.client("cat") as client:
        client.echo(b"there")
        assert world.connections() == [1, 1, 1]
        (live,) = json.loads(world.bastion("live", "--json", "-c", str(world.config)).stdout)["live"]
        done = world.bastion("kill", live["id"], "--reason", "an exercise", "-c", str(world.config))
        assert done.returncode == 0, done.stderr
        assert client.wait() == 255
    poll(world.nothing_is_open, text="a connection to a hop is left")


def test_a_hop_that_dies_ends_the_session(world: HopWorld) -> None:
    with world.client("cat") as client:
        client.echo(b"there")
        for pid in children_of(world.edge):
            os.kill(pid, signal.SIGKILL)
        assert client.wait() == 255 and b"its hop edge1 is gone" in client.err
    poll(world.nothing_is_open, text="a connection to a hop is left")
    assert world.ssh("true").returncode == 0


def children_of(sshd: Sshd) -> list[int]:
    """The processes of its connections."""
    found = subprocess.run(["pgrep", "-P", str(sshd.pid)], capture_output=True, text=True)
    return list(map(int, found.stdout.split()))


def test_a_lock_on_a_hop_ends_what_goes_through_it_and_refuses_the_rest(world: HopWorld) -> None:
    config = ("-c", str(world.config))
    with world.client("cat") as client:
        client.echo(b"there")
        done = world.bastion("lock", "target", "edge1", "--reason", "an exercise", *config)
        assert done.returncode == 0, done.stderr
        try:
            assert client.wait() == 255 and b"an exercise" in client.err
            text, _ = refusal(world.ssh("true"))
            assert text == "its hop edge1 is locked by the security team: an exercise"
        finally:
            assert world.bastion("unlock", "target", "edge1", *config).returncode == 0
    assert world.ssh("true").returncode == 0


def test_commands_know_the_road(world: HopWorld) -> None:
    config = ("--config", str(world.config))
    done = world.bastion("target", "test", "web1", "root", *config)
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert said.index(f"through edge1, host key {world.edge.host_fingerprint}") < said.index("through core2")
    done = world.bastion("target", "scan", "web1", "--json", *config)
    assert done.returncode == 0, done.stderr
    assert [(row["fingerprint"], row["state"]) for row in json.loads(done.stdout)] == [
        (world.sshd.host_fingerprint, "pinned_ok")
    ]
    done = world.bastion("why", "alice", "web1", "root", *config)
    assert b"reached through edge1 -> core2" in done.stdout
    done = world.bastion("access", "--target", "web1", *config)
    assert b"reached through core2" in done.stdout


def test_a_pin_goes_through_the_hops_and_is_for_the_name(world: HopWorld) -> None:
    world.add_target("behind-new", LOOPBACK, world.sshd.port, more='via = "edge1"\n')
    world.reload()
    text, _ = refusal(world.ssh("true", user="alice+root+behind-new"))
    command = text.rpartition("bastion ")[2].split()
    assert command[:3] == ["target", "pin", "behind-new"]
    done = world.bastion(*command, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    assert f"[behind-new]:{world.sshd.port} {world.sshd.host_public}" in world.known_hosts.read_text()
    world.reload()
    assert world.ssh("true", user="alice+root+behind-new").returncode == 0
