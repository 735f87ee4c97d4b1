"""Sessions with running transfers while the gateway is reloaded again and again, its workers are killed, it is upgraded
to another version and back, and drained at last.

No session is cut that was not on a killed worker, no byte is wrong, every recording has an end, every audit line is
whole and there, and no total falls.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.transfers import Transfers
from tests.support.versions import Versions
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

MANY = tuple(map(int, os.environ.get("WORKERS_SOAK", "200,1000,20").split(",")))
"""Sessions, reloads and kills of the long run."""

WORKERS = 2
LIMITS = "startups_per_source = 1000\nstartups = '1000:30:1000'\ndrain_timeout = '5m'"


def fallen(before: dict[str, float], now: dict[str, float]) -> list[str]:
    """Totals that are less than they were."""
    return [
        name for name, value in before.items()
        if name.startswith("bastion_") and ("_total" in name or "_count" in name) and now.get(name, 0.0) < value
    ]  # fmt: skip


@contextmanager
def no_total_falls(world: World) -> Iterator[None]:
    """Within this the page is looked at all the time, and no total is ever less than it was."""
    over = threading.Event()
    faults: list[str] = []
    pages = 0

    def look() -> None:
        nonlocal pages
        last = world.metrics()
        while not over.wait(0.25):
            try:
                now = world.metrics()
            except OSError as error:
                faults.append(repr(error))
                continue
            faults.extend(fallen(last, now))
            last, pages = now, pages + 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
    assert faults == [] and pages > 0, faults[:20]
    print(f"{pages} metrics pages, no total fell")


@pytest.mark.parametrize(
    ("sessions", "reloads", "kills"),
    [
        pytest.param(12, 12, 5, id="few"),
        pytest.param(*MANY, id="many", marks=pytest.mark.soak),
    ],
)
def test_reloads_and_upgrades_cut_nobody_and_kills_only_their_own(
    sessions: int, reloads: int, kills: int
) -> None:
    """A third of the sessions begins in each of three gateways, of which the first two are elders in the end."""
    began = time.monotonic()
    with Versions(workers=WORKERS, limits=LIMITS) as world:
        transfers = Transfers(world)
        try:
            with no_total_falls(world):
                ordeal = Ordeal(world, transfers, sessions, reloads, kills)
                ordeal.run()
            drain(world, transfers, sessions)
        finally:
            transfers.stop()
        assert transfers.wrong == []
        hold_books(world, kills)
        assert sum(line["result"] == "ok" for line in world.audit("reload")) == reloads
        print(
            f"{sessions} sessions, {reloads} reloads, {kills} kills, 2 upgrades, a drain: {transfers.lines} lines,"
        )
        print(f"{ordeal.lost} sessions cut with their workers, in {time.monotonic() - began:.0f} s")


class Ordeal:
    """What happens to the sessions until the drain."""

    def __init__(
        self, world: Versions, transfers: Transfers, sessions: int, reloads: int, kills: int
    ) -> None:
        self.world = world
        self.transfers = transfers
        self.sessions = sessions
        self.reloads = reloads
        self.kills = kills
        self.lost = 0
        self._reloaded = 0
        self._killed = 0
        self._text = world.config.read_text()

    def run(self) -> None:
        elders_too = 2
        for number, version in enumerate(("", "2.0", "1.0"), 1):
            if version:
                self.upgrade(version)
            self.transfers.fill(self.sessions * number // 3)
            self.reload(self.reloads * number // 3)
            while self._killed < (self.kills - elders_too) * number // 3:
                self.kill(self.world.main)
        for elder in self.world.started[:2]:
            self.kill(elder)
        seen = self.transfers.lines
        poll(lambda: self.transfers.lines > seen, text="nothing moves any more")

    def upgrade(self, version: str) -> None:
        there = self.transfers.running
        self.world.upgrade(version)
        assert self.transfers.cut == 0 and self.transfers.running == there, "an upgrade has cut somebody"

    def reload(self, until: int) -> None:
        """Each is another configuration: the diff of every one is told."""
        there = self.transfers.running
        with (self.world.folder / "audit.jsonl").open() as lines:
            lines.seek(0, os.SEEK_END)
            while self._reloaded < until:
                idle = f"[limits]\nidle = '{2 + self._reloaded % 2}h'"
                self.world.config.write_text(self._text.replace("[limits]", idle, 1))
                self.world.tell(signal.SIGHUP)
                told = poll(lambda: next_reload(lines), 120.0, "no reload in the audit log")
                assert told["result"] == "ok" and len(told["changed"]) == 1, told
                self._reloaded += 1
        assert self.transfers.cut == 0 and self.transfers.running == there, "a reload has cut somebody"

    def kill(self, gateway: int) -> None:
        """A worker of that process. As many others begin, in the gateway of now, as have ended with it."""
        there, before = self.transfers.running, len(self.world.audit("worker_started"))
        died = kill_one(self.world, gateway, self._killed)
        poll(lambda: self.transfers.cut >= died, 20.0, "the clients of a dead worker went on")
        self._killed += 1
        self.lost += died
        if gateway == self.world.main:  # so that both have some again
            poll(lambda: self.world.audit("worker_started")[before:], 60.0, "no other worker began")
        self.transfers.fill(there)
        assert self.transfers.cut == died, "others were cut than those of the dead worker"
        self.transfers.cut = 0


def next_reload(lines: IO[str]) -> dict[str, Any] | None:
    """The next reload that is told behind what has been read; a line that is not whole yet is read again."""
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return None
        found: dict[str, Any] = json.loads(line)
        if found["event"] == "reload":
            return found


def workers_of(gateway: int) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(gateway), "-f", "--", "--worker"], capture_output=True, text=True
    )
    return sorted(map(int, found.stdout.split()))


def kill_one(world: Versions, gateway: int, number: int) -> int:
    """Kill a worker; how many sessions died with it. Their ends stand everywhere, within 5 s on a quiet machine."""
    before = len(world.audit("worker_died"))
    workers = workers_of(gateway)  # those of an elder that have no session are gone
    os.kill(workers[number % len(workers)], signal.SIGKILL)
    began = time.monotonic()
    died = world.new_audit("worker_died", before)[0]
    wanted = sum(line["sessions"] for line in world.audit("worker_died"))

    def ended() -> list[dict[str, Any]]:
        return [line for line in world.audit("session_ended") if line["reason"] == "worker_died"]

    poll(lambda: len(ended()) == wanted, 60.0, "sessions of a dead worker have no end")
    print(f"{died['sessions']} sessions of a dead worker were ended in {time.monotonic() - began:.2f} s")
    return int(died["sessions"])


def drain(world: Versions, transfers: Transfers, sessions: int) -> None:
    """All three gateways end by themselves when the last session has, long before their time is over."""
    assert len(world.started) == 3 and transfers.running == sessions and transfers.cut == 0
    world.tell(signal.SIGTERM)
    poll(lambda: world.metric("bastion_draining") >= 1, text="nobody drains")
    transfers.finish()
    poll(lambda: transfers.running == 0, 120.0, "sessions stay")
    for pid in world.started:
        world.wait_gone(pid, 60.0)
    assert transfers.cut == 0 and transfers.finished == sessions, (transfers.cut, transfers.finished)
    assert [line["signal"] for line in world.audit("gateway_stopped")].count("TERM") >= 1
    assert {line["reason"] for line in world.audit("session_ended")} <= {
        "client_closed", "target_closed", "worker_died",
    }  # fmt: skip


def hold_books(world: World, kills: int) -> None:
    """Every session has one beginning, one end, and a recording with the same end."""
    lines = world.audit()  # each line is JSON, or this fails
    began = Counter(line["session"] for line in lines if line["event"] == "session_started")
    ended = {line["session"]: line["reason"] for line in lines if line["event"] == "session_ended"}
    assert set(began.values()) == {1} and began.keys() == ended.keys()
    assert sum(line["event"] == "session_ended" for line in lines) == len(ended)
    entries = {one["session_id"]: (one["state"], one["reason"]) for one in world.sessions()}
    assert entries == {session: ("ended", reason) for session, reason in ended.items()}
    assert sum(line["event"] == "worker_died" for line in lines) == kills
    assert LOOPBACK in {line["source"] for line in lines if line["event"] == "session_started"}


def test_what_an_elder_without_workers_leaves_is_ended_by_its_successor_of_one_process() -> None:
    with Versions(workers=WORKERS, limits=LIMITS) as world, world.client("cat") as cat:
        cat.echo(b"here")
        config = world.config.read_text()
        world.config.write_text(config.replace(f"workers = {WORKERS}", "workers = 1"))
        world.upgrade("2.0")
        poll(lambda: len(workers_of(world.started[0])) == 1, text="the worker that nobody is in does not end")
        assert kill_one(world, world.started[0], 0) == 1
        assert cat.wait() == 255
        world.wait_gone(world.started[0])
        hold_books(world, 1)
