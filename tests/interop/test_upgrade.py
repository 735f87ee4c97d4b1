"""An upgrade cuts nobody: sessions live on in the old process, and nobody who connects is refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.versions import Versions
from tests.support.world import PASSWORD, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
SIZE = 96 << 20
STARTED = 'bastion_sessions_started_total{door="direct"}'


BOTH = pytest.mark.parametrize("world", [1, 2], ids=["one process", "two workers"], indirect=True)

BOTH_AT_LENGTH = pytest.mark.parametrize(
    "world",
    [pytest.param(1, id="one process"), pytest.param(2, id="two workers", marks=pytest.mark.soak)],
    indirect=True,
)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Versions]:
    made = Versions(limits='drain_timeout = "1m"', workers=getattr(request, "param", 1))
    yield made
    made.close()


class Knocking:
    """Connects again and again, and reads the version line: `faults` has what was not answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.faults: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._knock)

    def _knock(self) -> None:
        while not self._over.wait(0.005):
            try:
                with socket.create_connection((LOOPBACK, self.port), 15) as made:
                    made.settimeout(15)
                    line = made.recv(64)
                    made.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                self.faults.append(repr(error))
            else:
                if line.startswith(b"SSH-2.0-"):
                    self.answered += 1
                else:
                    self.faults.append(repr(line))

    def __enter__(self) -> Knocking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)


@contextmanager
def totals_rise(world: Versions) -> Iterator[list[float]]:
    """Within this, the number of sessions is scraped all the time, and never falls."""
    seen, over = [world.metric(STARTED)], threading.Event()
    faults: list[str] = []

    def scrape() -> None:
        while not over.wait(0.02):
            try:
                seen.append(world.metric(STARTED))
            except OSError as error:
                faults.append(repr(error))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(30)
    assert faults == [] and seen == sorted(seen), "a total fell"


@BOTH
def test_sessions_live_on_and_nobody_is_refused_there_and_back(world: Versions) -> None:
    world.start()
    read = ("head", "-c", str(SIZE), "/dev/zero;", "read", "line;", "echo", "$line")
    with (
        world.client(*read) as transfer,
        world.client(options=("-tt",)) as shell,
        world.jumping("cat") as jump,
    ):
        shell.send(b"echo fr''om the shell\n")
        shell.expect(b"from the shell")
        jump.echo(b"through")
        transfer.expect_bytes(1 << 20)
        with Knocking(world.port) as knocking, totals_rise(world) as seen:
            first = world.main
            second = world.upgrade("2.0")
            assert world.ssh("echo", "new").stdout == b"new\n"
            third = world.upgrade("1.0", signal.SIGHUP)  # the path leads elsewhere: no reload, a handover
            assert world.ssh("echo", "back").stdout == b"back\n"
            jump.echo(b"still through")
            transfer.expect_bytes(SIZE)
            transfer.send(b"whole\n")
            assert transfer.wait() == 0 and transfer.out[SIZE:] == b"whole\n"
            assert hashlib.sha256(transfer.out[:SIZE]).digest() == hashlib.sha256(bytes(SIZE)).digest()
            shell.send(b"exit 3\n")
            assert shell.wait() == 3
            jump.end_input()
            assert jump.wait() == 0
            world.wait_gone(first)
            world.wait_gone(second)  # nobody was left in it, but it is the way to the first
            poll(lambda: seen[-1] == 4, text=f"the page does not show all sessions: {seen[-1]}")
        assert knocking.faults == [] and knocking.answered > 20
    assert world._process is not None and world._process.wait(20) == 0
    assert not world.gone(third)
    assert len(world.sessions()) == 5 and {one["state"] for one in world.sessions()} == {"ended"}
    stopped = [line["signal"] for line in world.audit("gateway_stopped")]
    assert stopped == ["UPGRADE", "UPGRADE"]
    assert [line["version"] for line in world.audit("gateway_started")] == ["1.0", "2.0", "1.0"]


@pytest.mark.parametrize(
    "fault",
    [
        "sys.exit(4)",
        "import os; os.kill(os.getpid(), 9)",
        "import bastion.app; bastion.app.Program.accept = None",
    ],
)
def test_a_successor_that_fails_changes_nothing(world: Versions, fault: str) -> None:
    world.start()
    with world.client("cat") as cat:
        cat.echo(b"here")
        world.install("2.0", fault)
        world.switch("2.0")
        world.tell(signal.SIGUSR2)
        failed = world.outcome("handover_failed")
        assert "the successor ended before it served" in failed["text"]
        assert "This process goes on as before" in world.log.read_text()
        cat.echo(b"and here")
        assert world.ssh("echo", "old").stdout == b"old\n"
        assert world.metric("bastion_build_info") == 1 and world.metric(STARTED) == 2
        world.install("2.0")
        world.upgrade("2.0")
        cat.echo(b"still here")


@BOTH_AT_LENGTH
def test_a_faulty_configuration_is_no_reason_to_stop(world: Versions) -> None:
    world.start()
    whole = world.config.read_text()
    world.config.write_text(whole.replace("[audit]", "[audits]"))
    world.switch("2.0")
    world.tell(signal.SIGHUP)
    world.outcome("handover_failed")
    assert "audits" in world.log.read_text()
    assert world.ssh("echo", "old").stdout == b"old\n"
    world.config.write_text(whole)
    world.upgrade("2.0", signal.SIGHUP)
    assert world.ssh("echo", "new").stdout == b"new\n"


@BOTH_AT_LENGTH
def test_the_end_of_the_gateway_is_the_elders_too(world: Versions) -> None:
    world.start()
    first = world.main
    with world.client("cat") as cat, world.client("cat") as other:
        cat.echo(b"here")
        other.echo(b"here")
        world.upgrade("2.0")
        world.tell(signal.SIGTERM)
        poll(lambda: len(world.audit("drain_started")) == 2 * world.workers, text="the elder does not drain")
        cat.end_input()
        assert cat.wait() == 0
        assert not world.gone(first) and not world.gone(world.main)
        world.tell(signal.SIGTERM)
        assert other.wait() == 255 and b"the gateway is closing down" in other.err
        world.wait_gone(first)
        world.wait_gone(world.main)
    assert {line["reason"] for line in world.audit("session_ended")} <= {
        "client_closed",
        "target_closed",
        "shutdown",
    }


def test_an_elder_outlives_a_successor_that_is_killed(world: Versions) -> None:
    world.start()
    first = world.main
    with world.client("cat") as cat:
        cat.echo(b"here")
        os.kill(world.upgrade("2.0"), signal.SIGKILL)
        world.wait_gone(world.main)
        cat.echo(b"still here")
        cat.end_input()
        assert cat.wait() == 0
    world.wait_gone(first)


def test_an_idle_connection_is_sent_to_the_new_one_and_a_rotated_log_is_left(world: Versions) -> None:
    world.start()
    with world.client("cat") as cat:
        cat.echo(b"here")
        world.upgrade("2.0")
        audit = world.folder / "audit.jsonl"
        audit.rename(world.folder / "audit.1")
        before = len(world.audit("reload"))
        world.tell(signal.SIGHUP)
        world.new_audit("reload", before)
        cat.end_input()
        assert cat.wait() == 0
        poll(lambda: world.audit("session_ended"), text="the elder writes into the log that was rotated away")


@BOTH_AT_LENGTH
def test_the_command_hands_over_and_what_was_ordered_stays_in_force(world: Versions) -> None:
    world.start()
    config = ("--config", str(world.config))
    with world.client("cat") as cat, world.client("cat") as other:
        cat.echo(b"here")
        other.echo(b"there")
        assert world.bastion("lock", *config, "carol", "--reason", "left").returncode == 0
        world.switch("2.0")
        done = world.bastion("upgrade", *config)
        assert done.returncode == 0 and done.stdout.startswith(b"version 2.0 serves, pid "), done
        world.started.append(int(done.stdout.split()[-1]))
        refused = world.ask("carol+root+web1", PASSWORD)
        assert refused.returncode == 255 and b"left" in refused.stderr
        shown = json.loads(world.bastion("live", *config, "--json").stdout)
        rows = [row for row in shown["live"] if row["kind"] == "session"]
        assert len(rows) == 2 and all(row["node"].startswith(f"elder-{world.started[0]}") for row in rows)
        assert world.bastion("kill", *config, rows[0]["id"], "--reason", "enough").returncode == 0
        poll(lambda: cat.running != other.running)
        killed, locked = (other, cat) if cat.running else (cat, other)
        assert killed.wait() == 255 and b"enough" in killed.err
        assert world.bastion("lock", *config, "alice", "--reason", "stolen").returncode == 0
        assert locked.wait() == 255 and b"stolen" in locked.err
        world.wait_gone(world.started[0])
        world.install("1.0", "sys.exit(4)")
        world.switch("1.0")
        failed = world.bastion("upgrade", *config)
        assert (
            failed.returncode == 1 and b"no handover: the successor ended before it served" in failed.stderr
        )
