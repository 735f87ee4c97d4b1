"""Two gateways, two workers each, one real PostgreSQL: the security team sees one, and each failure does as is said."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pexpect
import pyotp
import pytest

from bastion.cli.output import CommandFailed
from bastion.control.node import Kill, LiveAsked, Selection, StatusAsked
from bastion.control.orders import AddLock, LocksAsked, RemoveLock
from bastion.net.mutual_tls import TlsFiles, context_of
from bastion.policy.locks import LockKind
from tests.support.client import Client
from tests.support.killing import KillWorld
from tests.support.net import LOOPBACK
from tests.support.nodes import Pair, pair
from tests.support.postgres import Postgres
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

PATIENCE = 10.0
"""Seconds for what has to take two on a machine that does nothing else."""


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def shell(world: World) -> Client:
    client = world.client("-tt")
    client.send(b"echo up-$((1+1))\n")
    client.expect(b"up-2")
    return client


def ended(client: Client, within: float = PATIENCE) -> bytes:
    began = time.monotonic()
    client.wait()
    assert time.monotonic() - began < within
    return client.out + client.err


def test_live_status_watch_and_kill_mean_both(both: Pair) -> None:
    one, two = both.one, both.two
    with shell(one) as here, shell(two) as there:
        for world in both.worlds:
            rows = poll(lambda w=world: [row for row in w.order(LiveAsked()).rows if row.kind == "session"])
            assert {row.node.split("/")[0] for row in rows} == {"gw1", "gw2"}
        nodes = {node.name.split("/")[0] for node in one.order(StatusAsked()).nodes}
        assert nodes == {"gw1", "gw2"} and len(one.order(StatusAsked()).nodes) == 4
        elsewhere = next(row for row in one.order(LiveAsked()).rows if row.node.startswith("gw2/"))
        command = ("watch", "--config", str(one.config), elsewhere.id[:8], "--reason", "look")
        watcher = subprocess.Popen(
            [sys.executable, "-m", "bastion", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        there.expect(b"somebody of the security team watches this session")
        there.send(b"echo seen-$((2+2))\n")
        there.expect(b"seen-4")
        killed = one.order(Kill(Selection(user="alice"), "an exercise"))
        assert killed.sessions == 2 and killed.silent == ()
        for client in (here, there):
            assert b"ended by the security team: an exercise" in ended(client)
        assert b"seen-4" in watcher.communicate(timeout=20)[0]
    (line,) = two.new_audit("killed")
    assert line["who"].endswith("@gw1") and line["sessions"] == 1
    assert two.audit("watch_started")[-1]["who"].endswith("@gw1")


def test_a_lock_is_at_the_other_when_the_command_is_done(both: Pair) -> None:
    one, two = both.one, both.two
    with shell(two) as there:
        made = one.order(AddLock(LockKind.USER, "alice", "stolen laptop"))
        assert made.sessions == 1 and made.uid == "u-alice"
        assert b"ended by the security team: stolen laptop" in ended(there)
    try:
        for world in both.worlds:
            assert b"stolen laptop" in world.ssh("true").stderr
        assert [lock.value for lock in two.order(LocksAsked()).locks] == ["alice"]
        assert two.audit("lock_followed")[-1]["node"] == "gw1"
    finally:
        two.order(RemoveLock("alice"))
    for world in both.worlds:
        assert world.ssh("true").returncode == 0


def test_a_code_that_was_used_at_one_is_used_up_at_the_other(both: Pair) -> None:
    one, two = both.one, both.two
    done = one.bastion("totp", "enroll", "carol", "--config", str(one.config))
    assert done.returncode == 0, done.stderr
    uri = re.search(r"otpauth://\S+", done.stdout.decode())
    assert uri is not None
    code = pyotp.TOTP(parse_qs(urlsplit(uri[0]).query)["secret"][0]).now()

    def logs_in(world: World) -> bool:
        options = [
            "-o", f"UserKnownHostsFile={world.folder}/client_known_hosts", "-F", "none",
            "-o", "PubkeyAuthentication=no", "-p", str(world.port), f"carol@{LOOPBACK}", "whoami",
        ]  # fmt: skip
        client = pexpect.spawn("ssh", options, env=world.environment(), timeout=20, encoding="utf-8")
        client.expect("One-time code of carol: ")
        client.sendline(code)
        over = [pexpect.EOF, "(?i)denied", "One-time code of carol: "]
        if client.expect(["(?i)password[^\\n]*: ", *over]) == 0:
            client.sendline(PASSWORD)
            client.expect(over)
        client.close()
        return client.exitstatus == 0

    assert logs_in(one) and not logs_in(two)
    assert two.audit("auth")[-1]["result"] == "refused"


def test_postgresql_goes_away_and_comes_back(both: Pair) -> None:
    one, two = both.one, both.two
    with shell(one) as here:
        both.server.stop()
        try:
            poll(
                lambda: any(line.split()[1].startswith("degraded") for line in _state(two)),
                30,
                "nobody noticed",
            )
            here.send(b"echo on-$((3+3))\n")
            here.expect(b"on-6")
            assert two.ssh("echo new").stdout == b"new\n", "the gateways tell each other what is locked"
            assert one.order(AddLock(LockKind.TARGET, "web1", "meanwhile")).sessions == 1
            assert b"meanwhile" in two.ssh("true").stderr
            two.order(RemoveLock("web1"))
            assert one.ssh("true").returncode == 0
        finally:
            both.server.start()
        ended(here)
    for world in both.worlds:
        poll(lambda w=world: w.metric("bastion_state_owed_rows") == 0, 30, "rows are owed still")
    assert all(world.order(LocksAsked()).locks == () for world in both.worlds)


def _state(world: World) -> list[str]:
    return [line.partition(" ")[2] for line in world.health()[1] if " state " in line]


def test_one_that_hangs_is_named_and_holds_nothing_up(both: Pair) -> None:
    one, two = both.one, both.two
    with shell(one) as here:
        os.kill(two.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            live = one.order(LiveAsked())
            took = time.monotonic() - began
            assert live.silent == ("gw2",) and took < PATIENCE
            assert [row.kind for row in live.rows if row.kind == "session"] == ["session"]
            with pytest.raises(CommandFailed, match="gw2 did not answer"):
                one.order(AddLock(LockKind.TARGET, "web1", "an exercise"))
            assert b"an exercise" in ended(here)
            poll(lambda: one.metric('bastion_nodes{state="missing"}') == 1, 20, "it is not missing")
        finally:
            os.kill(two.pid, signal.SIGCONT)
    both.together()
    poll(lambda: b"an exercise" in two.ssh("true").stderr, 10, "it has not heard of the lock")
    one.order(RemoveLock("web1"))
    poll(lambda: two.ssh("true").returncode == 0, 10, "it has not heard of the end of the lock")


@pytest.mark.soak
def test_an_upgrade_of_one_is_no_gap_and_its_last_sessions_are_reached(both: Pair) -> None:
    one, two = both.one, both.two
    with shell(one) as here:
        done = one.bastion("upgrade", "--config", str(one.config))
        assert done.returncode == 0, done.stderr
        successor = int(done.stdout.split()[-1])
        try:
            assert one.ssh("echo new").stdout == b"new\n", "it knows at once what is locked"
            both.together()
            live = poll(lambda: (found := two.order(LiveAsked())).rows and not found.silent and found)
            (row,) = [row for row in live.rows if row.kind == "session"]
            assert row.node.startswith("gw1/elder-")
            made = two.order(AddLock(LockKind.USER, "alice", "stolen laptop"))
            assert made.sessions == 1 and b"stolen laptop" in ended(here)
            assert b"stolen laptop" in one.ssh("true").stderr
            two.order(RemoveLock("alice"))
            assert one.ssh("true").returncode == 0
        finally:
            one.kill()
            os.kill(successor, signal.SIGTERM)
            poll(lambda: not Path(f"/proc/{successor}").exists(), 30, "the successor does not end")
    one.start()
    both.together()


@pytest.mark.parametrize("count", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_one_is_killed_with_its_sessions_and_its_successor_ends_their_recordings(
    both: Pair, count: int
) -> None:
    one, two = both.one, both.two
    clients = [shell(one) for _ in range(count)]
    seen = len(one.audit("session_ended"))
    ids = {row.id for row in two.order(LiveAsked()).rows if row.kind == "session"}
    assert len(ids) == count
    for pid in one.pids:
        os.kill(pid, signal.SIGKILL)
    one.kill()
    for client in clients:
        client.close()
    live = poll(lambda: (found := two.order(LiveAsked())).silent and found)
    assert live.silent == ("gw1",) and two.ssh("true").returncode == 0
    one.start()
    both.together()
    lines = one.new_audit("session_ended", seen, len(ids))
    assert {line["session"] for line in lines} == ids
    assert {line["reason"] for line in lines} == {"gateway_died"}
    states = {found["session_id"]: found["state"] for found in one.sessions()}
    assert {states[session] for session in ids} == {"ended"}


@pytest.mark.soak
def test_one_that_hears_nothing_lets_nothing_new_begin_after_thirty_seconds(both: Pair) -> None:
    one, two = both.one, both.two
    with shell(two) as there:
        both.isolate()
        try:
            began = time.monotonic()
            poll(lambda: two.ssh("true").returncode != 0, 90, "it let everybody in")
            assert time.monotonic() - began > 25.0
            said = two.ssh("true").stderr
            assert b"cannot learn now who is locked" in said and one.ssh("true").returncode == 0
            assert two.new_audit("refused")[-1]["reason"] == "locks_unconfirmed"
            assert two.health()[0] == 503
            there.send(b"echo on-$((3+3))\n")
            there.expect(b"on-6")
            assert one.metric('bastion_nodes{state="missing"}') == 1
        finally:
            both.heal()
        poll(lambda: two.ssh("true").returncode == 0, 30, "it never came back")
    both.together()


# -- a cable between two machines --------------------------------------------------------------------------------------

SPACE = "bastion-nodes"
HERE, THERE = "10.99.7.1", "10.99.7.2"
STORE_HERE, STORE_THERE = "10.99.8.1", "10.99.8.2"
CABLES = {"bn0": (HERE, "bn1", THERE), "bs0": (STORE_HERE, "bs1", STORE_THERE)}
"""One between the gateways, one to PostgreSQL for whoever wants it to have its own."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@pytest.fixture
def cable() -> Iterator[None]:
    """A network namespace of its own for gw2, and cables to it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip(8)")
    subprocess.run(["ip", "netns", "del", SPACE], capture_output=True, timeout=20)
    ip("netns", "add", SPACE)
    try:
        for near, (here, far, there) in CABLES.items():
            ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", SPACE)
            ip("addr", "add", f"{here}/30", "dev", near)
            ip("link", "set", near, "up")
            ip("-n", SPACE, "addr", "add", f"{there}/30", "dev", far)
            ip("-n", SPACE, "link", "set", far, "up")
        ip("-n", SPACE, "link", "set", "lo", "up")
        yield
    finally:
        subprocess.run(["ip", "netns", "del", SPACE], capture_output=True, timeout=20)
        for near in CABLES:
            subprocess.run(["ip", "link", "del", near], capture_output=True, timeout=20)


def part_of(world: KillWorld, part: str) -> str:
    """How a part of the first process of that gateway is."""
    nodes = [node for node in world.order(StatusAsked()).nodes if node.parts]
    own = next(node for node in nodes if node.name.startswith(f"{node_name(world)}/"))
    return next(one.state for one in own.parts if one.part == part)


def node_name(world: KillWorld) -> str:
    return str(re.search(r'node = "(\w+)"', world.config.read_text())[1])  # type: ignore[index]


@contextlib.contextmanager
def behind_a_cable(store_host: str = "") -> Iterator[Pair]:
    """gw1 here, gw2 in its namespace, both knowing what is locked."""
    with Postgres() as server:
        made = Pair(server, 2, hosts=(HERE, THERE), store_host=store_host)
        one, two = made.one, made.two
        try:
            assert one.bastion("state", "migrate", "--config", str(one.config)).returncode == 0
            one.start()
            two.start("ip", "netns", "exec", SPACE)
            poll(lambda: one.metric('bastion_nodes{state="connected"}') == 1, 30, "gw1 does not reach gw2")
            poll(lambda: part_of(two, "nodes") == "ok", 30, "gw2 does not know what is locked")
            yield made
        finally:
            made.close()


def said(world: KillWorld) -> bytes:
    """What an engineer reads at gw2. There is no target behind the cable: a session gets as far as the dial."""
    command = ["ip", "netns", "exec", SPACE, *world.ssh_command("true")]
    return subprocess.run(command, capture_output=True, timeout=60, env=world.environment()).stderr


@pytest.mark.soak
def test_a_cut_cable_ends_in_missing_and_the_thirty_seconds(cable: None) -> None:
    """gw2 is alone behind a cable, in a network namespace: what is cut is cut for the kernel too, without a word."""
    with behind_a_cable() as made:
        one, two = made.one, made.two
        assert b"connection refused" in said(two)
        ip("link", "set", "bn0", "down")
        began = time.monotonic()
        poll(lambda: one.metric('bastion_nodes{state="missing"}') == 1, 15, "gw1 has not noticed")
        poll(lambda: part_of(two, "nodes") == "refusing", 90, "gw2 goes on")
        assert 25.0 < time.monotonic() - began < 60.0
        assert b"cannot learn now who is locked" in said(two) and one.ssh("true").returncode == 0
        with pytest.raises(CommandFailed, match="gw2 did not answer"):
            one.order(AddLock(LockKind.USER, "alice", "meanwhile"))
        ip("link", "set", "bn0", "up")
        poll(lambda: part_of(two, "nodes") == "ok", 60, "gw2 has not come back")
        poll(lambda: b"meanwhile" in said(two), 10, "gw2 has not heard of the lock")
        poll(lambda: one.metric('bastion_nodes{state="connected"}') == 1, 60, "gw1 has not come back")
        one.order(RemoveLock("alice"))
        assert b"connection refused" in said(two)


@pytest.mark.soak
def test_a_cut_cable_between_the_gateways_alone_costs_engineers_nothing(
    cable: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL has a cable of its own, and tells each what the other has locked."""
    with behind_a_cable(STORE_HERE) as made:
        one, two = made.one, made.two
        with shell(one) as here:
            ip("link", "set", "bn0", "down")
            began = time.monotonic()
            for world in made.worlds:
                poll(lambda w=world: w.order(LiveAsked()).silent, 15, "it does not miss the other")
            poll(lambda: one.metric('bastion_nodes{state="missing"}') == 1, 15, "gw1 has not noticed")
            missing = time.monotonic() - began
            with pytest.raises(CommandFailed, match="gw2 did not answer"):
                one.order(AddLock(LockKind.TARGET, "web1", "meanwhile"))
            began = time.monotonic()
            assert b"meanwhile" in ended(here)
            poll(lambda: b"meanwhile" in said(two), PATIENCE, "PostgreSQL has not told gw2 of the lock")
            told = time.monotonic() - began
            began = time.monotonic()
            assert two.order(RemoveLock("web1")).silent == ("gw1",)
            poll(lambda: not one.order(LocksAsked()).locks, PATIENCE, "nor gw1 of its end")
            over = time.monotonic() - began
            assert one.ssh("true").returncode == 0
        until = time.monotonic() + 35.0
        while time.monotonic() < until:  # longer than an unconfirmed list is good for
            assert one.ssh("true").returncode == 0 and b"connection refused" in said(two)
        assert part_of(two, "nodes") != "refusing"
        ip("link", "set", "bn0", "up")
        poll(lambda: one.metric('bastion_nodes{state="connected"}') == 1, 60, "gw1 has not come back")
        assert one.order(LiveAsked()).silent == ()
    with capsys.disabled():
        print(
            f"\nmissing {missing:.1f} s after the cut; a lock was at the other {told:.1f} s after it was made, and had"
            f" ended at the one that made it {over:.1f} s after it was taken away at the other"
        )


# -- what docs/nodes.md has to be typed --------------------------------------------------------------------------------


def test_the_certificates_of_the_document_work(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "nodes.md").read_text()
    block = re.search(r"<!-- nodes: certificates -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert block is not None
    subprocess.run(["sh", "-e", "-c", block[1]], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    for name in ("gw1", "gw2"):
        files = TlsFiles(
            tmp_path / f"node-{name}.crt", tmp_path / f"node-{name}.key", tmp_path / "nodes_ca.crt"
        )
        for server in (True, False):
            context_of(files, server)
        checked = subprocess.run(
            ["openssl", "verify", "-CAfile", "nodes_ca.crt", f"node-{name}.crt"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, checked.stderr
        shown = subprocess.run(
            ["openssl", "x509", "-in", f"node-{name}.crt", "-noout", "-ext", "subjectAltName"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert f"DNS:{name}" in shown.stdout
