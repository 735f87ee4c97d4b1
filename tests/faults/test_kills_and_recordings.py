"""`kill -9` again and again while everybody is busy: what is left are recordings that prove themselves.

Workers die one after the other, every fifth time the whole gateway, always while a few more sessions are just
beginning. After each kill, once somebody has ended what the dead left: every recording verifies, the ledger knows all
of them, the index agrees with the files, and what a client has printed is the beginning of what is in its recording.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bastion.cli.main import cli
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

MANY = tuple(map(int, os.environ.get("KILLS_SOAK", "50,50").split(",")))
"""Kills and sessions of the long run."""

WHOLE_EVERY = 5
"""Of so many kills one takes the whole gateway."""

AT_ONCE = 8
"""The target's sshd lets no more begin at once."""

LATE = 2
"""Sessions that are just beginning when somebody is killed."""

LONGEST = 0.3
"""Seconds at most, at random, from their beginning to the kill."""

LIMITS = "startups_per_source = 1000\nstartups = '1000:30:1000'"
PROGRAM = (
    "import sys,time\n"
    "i = 0\n"
    "while True:\n"
    "    sys.stdout.write('%s %d %s\\n' % (sys.argv[1], i, 'x' * (i * 37 % 3000)))\n"
    "    sys.stdout.flush(); i += 1; time.sleep(0.2)\n"
)


def printed(name: str, size: int, newline: bytes) -> bytes:
    """The first `size` bytes of what PROGRAM prints."""
    made = bytearray()
    for number in count():
        made += f"{name} {number} {'x' * (number * 37 % 3000)}".encode() + newline
        if len(made) >= size:
            return bytes(made[:size])
    raise AssertionError


class Busy:
    """One client that prints into a file, every other one with a terminal."""

    def __init__(self, world: World, number: int) -> None:
        self.name = f"c{number:05}"
        self._terminal = number % 2 == 1
        self._file = world.folder / f"{self.name}.out"
        with self._file.open("wb") as out:
            self._process = subprocess.Popen(
                world.ssh_command(
                    f"exec python3 -u {world.folder}/busy.py {self.name}",
                    options=("-tt",) if self._terminal else (),
                ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env=world.environment(),
            )

    @property
    def began(self) -> bool:
        return self._file.stat().st_size > 0

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def hold(self, recorded: bytes, by_target: bytes) -> int:
        """What it printed is the beginning of what was recorded, and that, but for the gateway's own words, of what
        the program printed; how many bytes it did not print.
        """
        assert self.ended and self._process.returncode == 255, self.name
        seen = self._file.read_bytes()
        assert recorded.startswith(seen), f"{self.name}: {len(seen)} bytes seen, {len(recorded)} recorded"
        newline = b"\r\n" if self._terminal else b"\n"
        assert by_target == printed(self.name, len(by_target), newline), self.name
        return len(recorded) - len(seen)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Ordeal:
    """The kills, and what is held against what after each of them."""

    def __init__(self, world: World, sessions: int, dice: random.Random) -> None:
        self.world, self.sessions, self._dice = world, sessions, dice
        self.clients: dict[str, Busy] = {}
        self.states: Counter[str] = Counter()
        self.bytes = self.beyond = 0
        self._held: dict[str, str] = {}  # session: its client
        self._live: set[str] = set()
        self._numbers = count()
        (world.folder / "busy.py").write_text(PROGRAM)

    def begin(self, number: int) -> list[Busy]:
        made = [Busy(self.world, next(self._numbers)) for _ in range(number)]
        self.clients |= {one.name: one for one in made}
        return made

    @property
    def busy(self) -> int:
        return sum(one.began and not one.ended for one in self.clients.values())

    def fill(self) -> None:
        """Until so many are busy as there should be, and nobody is on the way."""
        until = time.monotonic() + 300.0
        while self.busy < self.sessions:
            assert time.monotonic() < until, "not all sessions began"
            self.settle(self.begin(min(AT_ONCE, self.sessions - self.busy)))

    def settle(self, clients: list[Busy]) -> None:
        poll(lambda: all(one.began or one.ended for one in clients), 60.0, "neither began nor was refused")

    def kill(self, whole: bool) -> None:
        late = self.begin(LATE)
        threading.Event().wait(self._dice.uniform(0.0, LONGEST))
        if whole:
            pids = self.world.pids
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    os.kill(pid, number)
            self.world.kill()
            poll(lambda: all(one.ended for one in self.clients.values()), 60.0, "clients of nobody go on")
            self.world.start()
        else:
            before = len(self.world.audit("worker_started"))
            os.kill(self._dice.choice(self.world.worker_pids), signal.SIGKILL)
            poll(lambda: len(self.world.audit("worker_started")) > before, 60.0, "no other worker began")
        self.settle(late)

    def hold(self) -> None:
        """Everything agrees, once the dead one's recordings have their ends; then the new ones are read."""
        verdicts = poll(self.agreed, 60.0, "recordings, ledger and index do not agree")
        self.states = Counter(one["state"] for one in verdicts)
        for one in verdicts:
            if one["state"] != "live" and one["session_id"] not in self._held:
                self._read(one["session_id"])
        for client in self.clients.values():
            if client.ended and client.began:
                assert client.name in self._held.values(), f"{client.name} is in no recording"

    def agreed(self) -> list[dict[str, Any]]:
        """The verdicts of all recordings, or none yet. What is bad does not become good: it fails at once."""
        code, verdicts = self._call("verify", "--all")
        faults = [
            one for one in verdicts if one.get("state") == "bad" or one.get("fault", "unknown") != "unknown"
        ]
        assert not faults, faults[:5]
        if code != 0:  # cut, or not told to the ledger: for as long as nobody has ended it
            return []
        code, _ = self._call("state", "check")
        return verdicts if code == 0 else []

    def _call(self, *arguments: str) -> tuple[int, Any]:
        """A command in this process: starting Python some hundred times would take long."""
        done = CliRunner().invoke(cli, [*arguments, "--config", str(self.world.config), "--json"])
        assert done.exit_code in (0, 1, 3), (arguments, done.stderr, done.exception)
        return done.exit_code, json.loads(done.stdout)

    def _read(self, session: str) -> None:
        recorded, by_target = self._raw(session), self._raw(session, "--target-only")
        if not recorded:  # it began, and died before its program said anything
            self._held[session] = ""
            return
        name = by_target[:6].decode()
        assert name not in self._held.values(), f"{name} is in two recordings"
        self.beyond += self.clients[name].hold(recorded, by_target)
        self.bytes += len(recorded)
        self._held[session] = name

    def _raw(self, session: str, *more: str) -> bytes:
        where = ("--recordings", str(self.world.recordings))
        done = CliRunner().invoke(cli, ["export", session, "--format", "raw", *more, *where])
        # without a channel there is nothing to export
        assert done.exit_code == 0 or not done.stdout_bytes, done.stderr
        return done.stdout_bytes

    def stop(self) -> None:
        for client in self.clients.values():
            client.stop()


def ledger_lines(folder: Path) -> Counter[str]:
    (ledger,) = folder.glob("ledger.*")
    return Counter(json.loads(line)["event"] for line in ledger.read_bytes().splitlines())


@pytest.mark.parametrize(
    ("kills", "sessions"),
    [pytest.param(2, 6, id="few"), pytest.param(*MANY, id="many", marks=pytest.mark.soak)],
)
def test_what_is_killed_leaves_recordings_that_prove_themselves(kills: int, sessions: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when the test fails
    began = time.monotonic()
    with running(workers=2, limits=LIMITS) as world:
        ordeal = Ordeal(world, sessions, random.Random(seed))
        try:
            for number in range(1, kills + 1):
                ordeal.fill()
                ordeal.kill(whole=number % WHOLE_EVERY == 1)
                ordeal.hold()
                print(f"kill {number}: {dict(ordeal.states)}, {time.monotonic() - began:.0f} s", flush=True)
            world.kill(signal.SIGTERM)
            poll(lambda: ordeal.busy == 0, 60.0, "clients of nobody go on")
            ordeal.hold()
        finally:
            ordeal.stop()
        assert not ordeal.states.keys() - {"whole", "incomplete"} and ordeal.states["incomplete"] >= sessions
        lines = ledger_lines(world.recordings)
        assert lines["incomplete"] >= ordeal.states["incomplete"]
        print(
            f"{kills} kills, {sessions} sessions at once: recordings {dict(ordeal.states)}, ledger {dict(lines)}, "
            f"{ordeal.bytes} bytes, {ordeal.beyond} of them not seen by their client; "
            f"{time.monotonic() - began:.0f} s"
        )
