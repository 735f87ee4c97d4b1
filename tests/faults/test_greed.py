"""`yes` on a terminal for ten minutes beside 50 others who log in and work: only the greedy one is slowed, and ends."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.bench.process_cost import own_cpu, pss
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

MIB = 1 << 20
SECONDS = float(os.environ.get("GREED_SECONDS", "600"))
"""How long `yes` lasts, about: the limit of its recording is what it may pass in that time."""

OTHERS = int(os.environ.get("GREED_OTHERS", "50"))
PROGRAM = os.environ.get("GREED_PROGRAM", "yes")
WORKERS = int(os.environ.get("GREED_WORKERS", "1"))
"""One process by default: then nobody can get out of the greedy one's way."""

QUIET = max(15.0, SECONDS / 10)
"""Seconds in which the others work alone, before and after."""

STAYS = 30.0
"""Seconds from somebody's login to the next, on average."""

BURST, RATE = 64 * MIB, MIB
"""The defaults of `bulk_burst` and `terminal_rate`."""

LIMIT = int(BURST + RATE * SECONDS)
AT_ONCE = 8
"""The target's sshd lets no more begin at once."""

# For the others.
ECHO_P50, ECHO_P99, LONGEST_LOGIN = 0.020, 0.150, 5.0
MOST_SLOWER = 2.0
"""Of a keystroke, beside one before or after: where a machine that others use is slower than the figures above."""

MOST_GROWN = 0.10
"""Of the memory, between the first and the last third of `yes`."""


@dataclass
class Seen:
    """What the others saw for a while; seconds."""

    logins: list[float] = field(default_factory=list)
    keys: list[float] = field(default_factory=list)

    def add(self, more: Seen) -> None:
        self.logins += more.logins
        self.keys += more.keys

    def told(self, name: str) -> str:
        return f"{name}: {spread(self.logins)} logins, {spread(self.keys)} keystrokes"


def share(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(part * len(times)))]


def spread(times: list[float]) -> str:
    if not times:
        return "no"
    parts = (share(times, 0.5), share(times, 0.99), max(times))
    return f"{len(times)} x " + " / ".join(f"{seconds * 1000:.1f}" for seconds in parts) + " ms"


class Others:
    """People who log in, type at a terminal, and leave, again and again; each with a name of their own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seen, self.failed = Seen(), list[str]()
        self._over = threading.Event()
        self._door = threading.Semaphore(AT_ONCE)
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(OTHERS)]
        for thread in self._threads:
            thread.start()

    def _work(self, number: int) -> None:
        dice = random.Random(number)
        self._over.wait(dice.uniform(0, QUIET / 3))
        while not self._over.is_set():
            try:
                self._stay(number, dice)
            except (AssertionError, OSError) as error:
                self.failed.append(f"u{number}: {error}")
                self._over.wait(1)

    def _stay(self, number: int, dice: random.Random) -> None:
        with contextlib.ExitStack() as stack:
            with self._door:
                began = time.monotonic()
                client = stack.enter_context(
                    self._world.client("cat", user=f"u{number}+root+web1", options=("-tt",))
                )
                client.echo(b"in", 60)
                self.seen.logins.append(time.monotonic() - began)
            until = time.monotonic() + dice.uniform(0.5, 1.5) * STAYS
            turn = 0
            while time.monotonic() < until and not self._over.wait(dice.uniform(0.1, 0.9)):
                turn += 1
                self.seen.keys.append(client.echo(b"%d." % turn, 60))
            client.send(b"\x04")
            if code := client.wait(60):
                self.failed.append(f"u{number}: exit {code}: {client.err[-200:]!r}")

    def next_time(self) -> Seen:
        """What was seen so far; from now on it counts anew."""
        seen, self.seen = self.seen, Seen()
        return seen

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Greedy:
    """`yes` on a terminal, its output read as fast as it comes: counted, digested, and thrown away."""

    def __init__(self, world: World) -> None:
        self._process = subprocess.Popen(
            world.ssh_command(PROGRAM, options=("-tt",)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=world.environment(),
        )
        self.began, self.ended = time.monotonic(), 0.0
        self.bytes, self.digest, self.tail, self.said = 0, hashlib.sha256(), b"", b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None and self._process.stderr is not None
        while piece := os.read(self._process.stdout.fileno(), 256 << 10):
            self.bytes += len(piece)
            self.digest.update(piece)
            self.tail = (self.tail + piece)[-512:]
        self.said = self._process.stderr.read()
        self.ended = time.monotonic()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._process.kill()
        self._thread.join()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@dataclass
class Sample:
    """At a time: bytes that came to the greedy one's screen, bytes of its file and of all, memory, CPU-seconds."""

    at: float
    passed: int
    file: int
    disk: int
    memory: int
    cpu: float

    @property
    def slowed(self) -> bool:
        """Its bucket is full, but for what is on the way: it passes what drains."""
        return self.passed > BURST + RATE * self.at - 4 * MIB


def people(world: World) -> None:
    """The greedy alice, and the others beside her."""
    key = (world.keys / "alice.pub").read_text().strip()
    with world.users.open("a") as file:
        for number in range(OTHERS):
            file.write(f'[users.u{number}]\nid = "u-{number}"\nkeys = ["{key}"]\ngroups = ["ops"]\n')


@contextlib.contextmanager
def office() -> Iterator[tuple[World, Others]]:
    limits = "startups_per_source = 1000\nstartups = '1000:30:1000'"
    world = World(workers=WORKERS, recording=f"max_recording_bytes = {LIMIT}", limits=limits)
    try:
        people(world)
        others = Others(world.start())
        try:
            yield world, others
        finally:
            others.stop()
    finally:
        world.close()


def watch(world: World, greedy: Greedy, session: str) -> Iterator[Sample]:
    """A look each second until the greedy one has ended."""
    pause = threading.Event()
    while greedy.running:
        at = time.monotonic() - greedy.began
        assert at < 2 * SECONDS + 60, "its recording never reached the limit"
        files = {path: path.stat().st_size for path in world.recordings.rglob("*.rec")}
        own = next((size for path, size in files.items() if path.stem == session), 0)
        cpu = sum(map(own_cpu, world.pids))
        yield Sample(at, greedy.bytes, own, sum(files.values()), pss(world.pids), cpu)
        pause.wait(1.0)


def median(samples: list[Sample], part: int) -> float:
    """Of the memory in a third of the samples."""
    third = len(samples) // 3
    return share([sample.memory for sample in samples[part * third : (part + 1) * third]], 0.5)


def digest_of_beginning(world: World, session: str, size: int) -> str:
    """Of so many bytes at the beginning of what was recorded."""
    where = ("--recordings", str(world.recordings))
    command = [sys.executable, "-m", "bastion", "export", session, *where, "--format", "raw"]
    found = hashlib.sha256()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while size and (piece := process.stdout.read(min(MIB, size))):
            found.update(piece)
            size -= len(piece)
        process.kill()
    assert size == 0, f"{size} bytes were seen and not recorded"
    return found.hexdigest()


def played(world: World, others: Others) -> tuple[Greedy, str, list[Sample], Seen]:
    """The greedy one from beginning to end; the session, and what the others saw until it was slowed."""
    greedy, samples, burst = Greedy(world), list[Sample](), Seen()
    try:
        (line,) = poll(lambda: [one for one in world.audit("session_started") if one["user"] == "alice"])
        for sample in watch(world, greedy, line["session"]):
            if sample.slowed and not (samples and samples[-1].slowed):
                burst.add(others.next_time())
            samples.append(sample)
    finally:
        greedy.stop()
    return greedy, line["session"], samples, burst


def test_greed_ends_the_greedy(capsys: pytest.CaptureFixture[str]) -> None:
    with office() as (world, others):
        threading.Event().wait(QUIET)
        before = others.next_time()
        greedy, session, samples, burst = played(world, others)
        slowed = others.next_time()
        threading.Event().wait(QUIET)
        after = others.next_time()
        others.stop()
        (ended,) = [one for one in world.audit("session_ended") if one["reason"] == "recording_limit"]
        size = next(world.recordings.glob(f"*/{session}.rec")).stat().st_size
        steady = [sample for sample in samples if sample.slowed]
        assert len(steady) >= 3, (
            "the target was slower than what its limit lets pass: give it more GREED_SECONDS"
        )
        first, last = steady[0], steady[-1]
        rate, grows, cpu = (
            (getattr(last, name) - getattr(first, name)) / (last.at - first.at)
            for name in ("passed", "file", "cpu")
        )
        memory = [median(steady, part) for part in (0, 2)]
        with capsys.disabled():
            print(
                f"\n{OTHERS} others, {WORKERS} workers, {PROGRAM} for {greedy.ended - greedy.began:.0f} s, of which"
                f" {first.at:.0f} s unslowed: {greedy.bytes / MIB:.0f} MiB seen, {size / MIB:.0f} recorded; then"
                f" {rate / MIB:.3f} MiB/s, its file {grows / MIB:.3f}; all recordings {last.disk / MIB:.0f} MiB;"
                f" memory {memory[0] / MIB:.1f} -> {memory[1] / MIB:.1f} MiB; {cpu:.2f} of a core"
                f"\n{before.told('before')}\n{burst.told('burst')}\n{slowed.told('slowed')}\n{after.told('after')}"
            )
        words = b"bastion: the session has ended: its recording has reached the limit of"
        assert words in greedy.tail or words in greedy.said, (greedy.tail, greedy.said)
        assert ended["session"] == session and LIMIT < size < LIMIT + MIB
        assert digest_of_beginning(world, session, greedy.bytes) == greedy.digest.hexdigest()
        assert not others.failed, others.failed[:5]
        assert all(sample.passed < BURST + RATE * sample.at + 4 * MIB for sample in samples)
        assert all(sample.disk - sample.file < OTHERS * MIB for sample in samples)
        assert rate < 1.1 * RATE and grows < 1.1 * RATE
        assert memory[1] <= memory[0] * (1 + MOST_GROWN)
        for seen in (burst, slowed):
            assert seen.keys and max(seen.logins) <= LONGEST_LOGIN
            for part, limit in ((0.5, ECHO_P50), (0.99, ECHO_P99)):
                alone = max(share(before.keys, part), share(after.keys, part))
                assert share(seen.keys, part) <= max(limit, MOST_SLOWER * alone), f"{part} of the keystrokes"
