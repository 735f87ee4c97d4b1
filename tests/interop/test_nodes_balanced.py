"""Two gateways of two workers behind HAProxy, one PostgreSQL, one bucket: engineers who came through the balancer are
reached wherever they are, and whatever dies, all that was done is told once."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import parse_qs, urlsplit

import pexpect
import pyotp
import pytest

from bastion.control.node import Kill, LiveAsked, Selection
from bastion.control.orders import AddLock, RemoveLock
from bastion.policy.locks import LockKind
from bastion.state.schema import SESSIONS
from tests.support.balanced import Balanced, balanced, command, local
from tests.support.client import Client
from tests.support.haproxy import haproxy_missing
from tests.support.killing import KillWorld
from tests.support.net import LOOPBACK
from tests.support.nodes import NAMES
from tests.support.s3 import s3_missing
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(bool(haproxy_missing()), reason=haproxy_missing() or "available"),
    pytest.mark.skipif(bool(s3_missing()), reason=s3_missing() or "available"),
]

ENGINEER, ANOTHER = "127.0.0.7", "127.0.0.8"
PATIENCE = 10.0
MANY = pytest.param(100, marks=pytest.mark.soak)


@pytest.fixture(scope="module")
def company() -> Iterator[Balanced]:
    with balanced() as made:
        yield made


@pytest.fixture
def all_of_it(company: Balanced) -> Balanced:
    """Both gateways run."""
    company.start_again()
    return company


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Says a figure, on the terminal that runs the tests."""

    def said(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return said


def shell(world: KillWorld, source: str = ENGINEER) -> Client:
    client = world.client("-tt", options=("-b", source))
    client.send(b"echo up-$((1+1))\n")
    client.expect(b"up-2", 60)
    return client


@contextlib.contextmanager
def shells(there: Balanced, each: int, names: Sequence[str] = NAMES) -> Iterator[dict[str, list[Client]]]:
    """So many engineers at each of these gateways, all of whom came through the balancer."""
    with contextlib.ExitStack() as stack:
        found: dict[str, list[Client]] = {}
        for name in names:
            there.balancer.send_to(name)
            found[name] = [stack.enter_context(shell(there.front)) for _ in range(each)]
        there.balancer.send_to(*NAMES)
        yield found


def sessions_of(world: KillWorld) -> dict[str, str]:
    """id -> the gateway, as that one lists all of them."""
    return {row.id: row.node.split("/")[0] for row in world.order(LiveAsked()).rows if row.kind == "session"}


def all_ended(clients: Sequence[Client], word: bytes) -> None:
    for client in clients:
        client.wait(30)
        assert word in client.out + client.err


# -- who came through the balancer -------------------------------------------------------------------------------------


def test_who_came_through_the_balancer_is_listed_watched_ended_and_locked_out_from_either(
    all_of_it: Balanced, tell: Callable[[str], None]
) -> None:
    one, two, front = all_of_it.one, all_of_it.two, all_of_it.front
    with shells(all_of_it, 1) as at:
        for world in all_of_it.worlds:
            assert sorted(poll(lambda w=world: sessions_of(w)).values()) == ["gw1", "gw2"]
            assert {row.source for row in world.order(LiveAsked()).rows} == {ENGINEER}
        there = at["gw2"][0]
        (elsewhere,) = (session for session, node in sessions_of(one).items() if node == "gw2")
        words = ("watch", "--config", str(one.config), elsewhere[:8], "--reason", "look")
        watcher = subprocess.Popen(
            [sys.executable, "-m", "bastion", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        there.expect(b"somebody of the security team watches this session")
        there.send(b"echo seen-$((2+2))\n")
        there.expect(b"seen-4")
        began = time.monotonic()
        killed = one.order(Kill(Selection(user="alice"), "an exercise"))
        all_ended([*at["gw1"], there], b"ended by the security team: an exercise")
        took = time.monotonic() - began
        assert killed.sessions == 2 and killed.silent == ()
        assert b"seen-4" in watcher.communicate(timeout=20)[0]
    with shells(all_of_it, 1) as at:
        poll(lambda: len(sessions_of(two)) == 2)
        began = time.monotonic()
        made = two.order(AddLock(LockKind.SOURCE, ENGINEER, "a laptop that was stolen"))
        told = time.monotonic() - began
        try:
            assert made.sessions == 2
            all_ended([*at["gw1"], *at["gw2"]], b"a laptop that was stolen")
            locked = time.monotonic() - began
            for name in NAMES:
                all_of_it.balancer.send_to(name)
                assert front.ssh("true", options=("-b", ENGINEER)).returncode == 255
                assert front.ssh("true", options=("-b", ANOTHER)).returncode == 0
        finally:
            one.order(RemoveLock(ENGINEER))
            all_of_it.balancer.send_to(*NAMES)
    assert front.ssh("true", options=("-b", ENGINEER)).returncode == 0
    tell(
        f"both had ended {took:.2f} s after the kill at the other gateway; a lock was in force at both after"
        f" {told:.2f} s, and both had ended after {locked:.2f} s"
    )


def test_a_code_that_was_used_through_the_balancer_is_used_up_at_the_other(all_of_it: Balanced) -> None:
    one, front = all_of_it.one, all_of_it.front
    done = one.bastion("totp", "enroll", "carol", "--config", str(one.config))
    assert done.returncode == 0, done.stderr
    uri = re.search(r"otpauth://\S+", done.stdout.decode())
    assert uri is not None
    code = pyotp.TOTP(parse_qs(urlsplit(uri[0]).query)["secret"][0]).now()

    def logs_in() -> bool:
        options = [
            "-o", f"UserKnownHostsFile={front.folder}/client_known_hosts", "-F", "none", "-b", ENGINEER,
            "-o", "PubkeyAuthentication=no", "-p", str(front.port), f"carol@{LOOPBACK}", "whoami",
        ]  # fmt: skip
        client = pexpect.spawn("ssh", options, env=front.environment(), timeout=20, encoding="utf-8")
        client.expect("One-time code of carol: ")
        client.sendline(code)
        over = [pexpect.EOF, "(?i)denied", "One-time code of carol: "]
        if client.expect(["(?i)password[^\\n]*: ", *over]) == 0:
            client.sendline(PASSWORD)
            client.expect(over)
        client.close()
        return client.exitstatus == 0

    try:
        all_of_it.balancer.send_to("gw1")
        assert logs_in()
        all_of_it.balancer.send_to("gw2")
        assert not logs_in()
    finally:
        all_of_it.balancer.send_to(*NAMES)
    refused = [line for line in all_of_it.two.audit("auth") if line["user"] == "carol"]
    assert {(line["result"], line["source"]) for line in refused} == {("refused", ENGINEER)}


# -- without PostgreSQL ------------------------------------------------------------------------------------------------


def through(there: Balanced, word: str) -> None:
    """One session from its beginning to its end."""
    done = there.front.ssh(f"echo {word}", options=("-b", ENGINEER))
    assert (done.returncode, done.stdout) == (0, f"{word}\n".encode()), done.stderr


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=pytest.mark.soak)])
def test_without_postgresql_sessions_go_on_and_begin_and_every_row_is_there_afterwards(
    all_of_it: Balanced, seconds: float, tell: Callable[[str], None]
) -> None:
    one, two, front, server = all_of_it.one, all_of_it.two, all_of_it.front, all_of_it.server
    all_of_it.rows_written()
    before = {row["id"] for row in all_of_it.table(SESSIONS)}
    with shells(all_of_it, 1) as at, shells(all_of_it, 1) as others:
        server.stop()
        began, done = time.monotonic(), 0
        try:
            while done < 4 or time.monotonic() - began < seconds:
                for name in NAMES:
                    all_of_it.balancer.send_to(name)
                    through(all_of_it, f"{name}-{done}")
                    done += 1
                for client in (*at["gw1"], *at["gw2"]):
                    client.send(b"echo on-$((%d+1))\n" % done)
                    client.expect(b"on-%d" % (done + 1))
            for client in (*others["gw1"], *others["gw2"]):  # these end meanwhile
                client.send(b"exit\n")
                assert client.wait() == 0
            assert one.order(AddLock(LockKind.USER, "alice", "meanwhile")).sessions == 2
            all_ended([*at["gw1"], *at["gw2"]], b"meanwhile")
            assert b"meanwhile" in front.ssh("true", options=("-b", ENGINEER)).stderr
            two.order(RemoveLock("alice"))
            down = time.monotonic() - began
        finally:
            server.start()
            all_of_it.balancer.send_to(*NAMES)
    began = time.monotonic()
    all_of_it.rows_written()
    took = time.monotonic() - began
    rows = [row for row in all_of_it.table(SESSIONS) if row["id"] not in before]
    assert len(rows) == done + 4
    assert {row["state"] for row in rows} == {"ended"} and {row["source"] for row in rows} == {ENGINEER}
    assert {row["node"] for row in rows} == set(NAMES)
    for world, name in zip(all_of_it.worlds, NAMES, strict=True):
        all_of_it.rows_agree(world, name)
    said = (
        f"PostgreSQL was away for {down:.0f} s, with {done} sessions begun and ended and 4 that went on; all rows were"
        f" there {took:.1f} s after it was"
    )
    if seconds > PATIENCE:  # whoever uploads looks again every 30 s
        all_of_it.uploaded()
        said += f", all recordings in the bucket {time.monotonic() - began:.1f} s after it was"
        for world, name in zip(all_of_it.worlds, NAMES, strict=True):
            all_of_it.agree(world, name)
    tell(said)


# -- a gateway that dies -----------------------------------------------------------------------------------------------


def die(world: KillWorld) -> None:
    """All of it at once, as when the power goes."""
    pids = world.pids
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    world.kill()


def reconnect(there: Balanced) -> float:
    """Seconds until an engineer who comes through the balancer is in again, trying as one does."""
    began = time.monotonic()
    poll(lambda: there.front.ssh("true", options=("-b", ENGINEER)).returncode == 0, 30, "nobody gets in")
    return time.monotonic() - began


@pytest.mark.parametrize("count", [10, MANY])
def test_who_was_on_one_that_died_is_at_the_other_and_its_successor_seals_and_uploads(
    all_of_it: Balanced, count: int, tell: Callable[[str], None]
) -> None:
    one, two = all_of_it.one, all_of_it.two
    with shells(all_of_it, count, ["gw1"]) as at:
        ids = set(sessions_of(two))
        assert len(ids) == count
        die(one)
        back = reconnect(all_of_it)
        all_ended(at["gw1"], b"")
    live = poll(lambda: (found := two.order(LiveAsked())).silent and found)
    assert live.silent == ("gw1",)
    with shells(all_of_it, 1, ["gw2"]):
        assert set(sessions_of(two).values()) == {"gw2"}
    assert len(local(one)) >= count
    began = time.monotonic()
    one.start()
    started = time.monotonic() - began
    all_of_it.pair.together()
    poll(lambda: {line["session"] for line in one.audit("session_ended")} >= ids, 60, "not all were ended")
    sealed = time.monotonic() - began
    over = [line for line in one.audit("session_ended") if line["session"] in ids]
    assert {line["reason"] for line in over} == {"gateway_died"} and len(over) == count
    all_of_it.uploaded(one)
    uploaded = time.monotonic() - began
    all_of_it.rows_written()
    all_of_it.agree(one, "gw1")
    tell(
        f"killed with {count} sessions: the next login through the balancer took {back:.2f} s; from the start of its"
        f" successor, which took {started:.1f} s to be ready, {sealed:.1f} s until all recordings had their end and"
        f" {uploaded:.1f} s until all were in the bucket"
    )


def elsewhere(world: KillWorld, name: str) -> KillWorld:
    """What another machine has with that one's disk: its folders are at another place, and nothing listens."""
    found = copy.copy(world)
    found.folder = world.folder.with_name(f"{world.folder.name}-{name}-disk")
    shutil.move(world.folder, found.folder)
    found.config, found.recordings = found.folder / "bastion.toml", found.folder / "recordings"
    found.config.write_text(found.config.read_text().replace(str(world.folder), str(found.folder)))
    return found


def comes_back(there: Balanced) -> None:
    """gw2, after all: it goes on from where it was adopted."""
    there.start_again()
    refused = command(there.two, "adopt")
    assert refused.returncode == 1 and b"runs here" in refused.stderr
    there.balancer.send_to("gw2")
    through(there, "back")
    there.balancer.send_to(*NAMES)
    there.uploaded(there.two)
    there.rows_written()
    there.agree(there.two, "gw2")


def listening(world: KillWorld) -> int:
    """How many sockets of this machine take connections where that gateway did."""
    done = subprocess.run(["ss", "-Hltn", f"sport = :{world.port}"], capture_output=True, check=True)
    return len(done.stdout.splitlines())


@pytest.mark.parametrize("count", [10, MANY])
def test_what_one_that_does_not_come_back_has_left_is_adopted_where_its_disk_is_now(
    all_of_it: Balanced, count: int, tell: Callable[[str], None]
) -> None:
    """It died while PostgreSQL was away: rows are owed, and recordings neither ended nor uploaded."""
    one, two, server = all_of_it.one, all_of_it.two, all_of_it.server
    with shells(all_of_it, count, ["gw2"]) as at:
        poll(lambda: len(sessions_of(two)) == count)
        server.stop()
        all_of_it.balancer.send_to("gw2")
        through(all_of_it, "owed")
        all_of_it.balancer.send_to(*NAMES)
        ids = set(sessions_of(two))
        die(two)
        reconnect(all_of_it)
        all_ended(at["gw2"], b"")
    server.start()
    there = elsewhere(two, "gw2")
    try:
        assert len(local(there)) > count
        early = command(there, "adopt")
        assert early.returncode == 1 and b"was seen" in early.stderr and b"--off" in early.stderr
        adopted = len(there.audit("node_adopted"))
        began = time.monotonic()
        done = command(there, "adopt", "--off", "--json")
        took = time.monotonic() - began
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["recordings"], said["unended"], said["waiting"]) == (count, [], 0)
        assert said["rows"] > 0 and said["uploaded"] > count
        over = [line for line in there.audit("session_ended") if line["reason"] == "gateway_died"]
        assert {line["session"] for line in over} >= ids
        (line,) = there.audit("node_adopted")[adopted:]
        assert (line["node"], line["recordings"], line["unended"]) == ("gw2", count, 0)
        assert listening(two) == 0 and one.order(LiveAsked()).silent == ("gw2",)
        all_of_it.agree(there, "gw2")
        again = json.loads(command(there, "adopt", "--off", "--json").stdout)
        assert (again["rows"], again["sessions"], again["recordings"], again["uploaded"]) == (0, 0, 0, 0)
    finally:
        shutil.move(there.folder, two.folder)
        two.config.write_text(two.config.read_text().replace(str(there.folder), str(two.folder)))
    if count > 10:
        comes_back(all_of_it)
    tell(
        f"adopted within {took:.1f} s: {said['rows']} rows that were owed, {said['recordings']} recordings that had no"
        f" end, {said['uploaded']} that waited for the bucket"
    )
