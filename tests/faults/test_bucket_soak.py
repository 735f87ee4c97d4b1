"""Uploads while everything around them dies: workers, the whole gateway, the process that uploads, the store for a day.

Each kill meets a large upload at a moment that is chosen: before a part, before its parts are put together, before the
proof. The day passes on the uploading process's own clock, which a module that Python imports at its start sets.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bastion.clock import SystemClock
from tests.bench.process_cost import pss
from tests.faults.test_bucket_away import bastion, local, told, uploader_of
from tests.support.hostile_s3 import HostileS3
from tests.support.memory import MIB, peak
from tests.support.s3 import BUCKET, S3Server, s3_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(s3_missing()), reason=s3_missing() or "available"),
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

VICTIMS = ("worker", "gateway", "uploader")
MOMENTS = ("part 1", "part 2", "part 3", "complete", "proof")
SIZE = 40 << 20
"""Bytes of chance that a session shows: three parts of its recording."""

PATIENCE = 120.0
MOST_MEMORY = 120 * MIB
"""Of the process that uploads, at its peak."""

DAY, STEP = 86400, 60
MOST_GROWN = 0.05
"""Of the memory of a process between the first and the last third of the day."""


@pytest.fixture
def server() -> Iterator[S3Server]:
    made = S3Server()
    try:
        yield made.start().make_buckets()
    finally:
        made.close()


class Gate:
    """Holds the first request that is `wanted` until it is opened; then it passes, or is cut off."""

    def __init__(self, wanted: Callable[[str, str], bool]) -> None:
        self.reached = threading.Event()
        self._wanted, self._cut, self._opened = wanted, False, threading.Event()

    def __call__(self, method: str, path: str) -> bool:
        if self.reached.is_set() or not self._wanted(method, path):
            return False
        self.reached.set()
        self._opened.wait(PATIENCE)
        return self._cut

    def open(self, cut: bool) -> None:
        self._cut = cut
        self._opened.set()


def part_of(path: str) -> int:
    """The number of the part that a request sends, 0 for another request."""
    return int(parse_qs(urlsplit(path).query).get("partNumber", ["0"])[0])


def completes(method: str, path: str) -> bool:
    return method == "POST" and "uploadId" in parse_qs(urlsplit(path).query)


class Ordeal:
    """A gateway of two workers, a store behind a gate, and what was seen."""

    def __init__(self, world: World, server: S3Server, hostile: HostileS3) -> None:
        self.world, self.server, self.hostile = world, server, hostile
        self.digests: dict[str, str] = {}
        self.took: list[float] = []
        self.again = self.memory = 0

    def wanted(self, moment: str) -> Callable[[str, str], bool]:
        if moment == "complete":
            return completes
        if moment == "proof":
            return lambda method, path: method == "HEAD" and self._completed(urlsplit(path).path)
        number = int(moment.removeprefix("part "))
        return lambda method, path: method == "PUT" and part_of(path) == number

    def _completed(self, key: str) -> bool:
        return any(
            completes(method, path) and urlsplit(path).path == key for method, path in self.hostile.requests
        )

    def kill(self, victim: str, moment: str) -> None:
        """One large recording, whose upload meets the kill at this moment, and comes to its end."""
        gate = Gate(self.wanted(moment))
        self.hostile.fault, self.hostile.applies = "cut", gate
        with self.world.client("cat") as cat:
            cat.echo(b"before")
            session = self.transfer()
            assert gate.reached.wait(PATIENCE), f"{moment}: it never came to that"
            (path,) = self.world.recordings.glob(f"*/{session}.rec")
            uploader = uploader_of(self.world)
            self.memory = max(self.memory, peak(uploader))
            began = time.monotonic()
            before = len(self.world.audit("worker_started"))
            self._end(victim, uploader)
            gate.open(cut=victim != "worker")
            if victim == "gateway":
                assert cat.wait() == 255
                self.world.start()
            elif victim == "uploader":
                cat.echo(b"after")
            else:
                self._started(before)
                assert uploader_of(self.world) == uploader, "uploads stopped because a worker died"
        poll(lambda: not path.exists(), PATIENCE, f"{victim}, {moment}: the local copy stays")
        self.took.append(time.monotonic() - began)
        self.hold(session, victim, moment)
        self.hostile.heal()

    def _started(self, before: int) -> None:
        poll(lambda: len(self.world.audit("worker_started")) > before, PATIENCE, "no other worker began")

    def transfer(self) -> str:
        """A session whose client has every byte; its id."""
        done = self.world.ssh(f"head -c {SIZE} /dev/urandom", timeout=120)
        assert done.returncode == 0 and len(done.stdout) == SIZE, done.stderr
        session = str(self.world.audit("session_started")[-1]["session"])
        self.digests[session] = sha256(done.stdout).hexdigest()
        return session

    def _end(self, victim: str, uploader: int) -> None:
        if victim == "gateway":
            pids = self.world.pids
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    os.kill(pid, number)
            self.world.kill()
        else:
            workers = self.world.worker_pids
            os.kill(uploader if victim == "uploader" else workers[len(self.took) % 2], signal.SIGKILL)

    def hold(self, session: str, victim: str, moment: str) -> None:
        """What had arrived was not sent again, and the proof was asked for behind all else."""
        mine = [(method, path) for method, path in list(self.hostile.requests) if session in path]
        sent = [part_of(path) for method, path in mine if method == "PUT" and part_of(path)]
        held = int(moment.removeprefix("part ")) if moment.startswith("part") else 4
        for number in (1, 2, 3):
            cut = number == held and victim != "worker"
            assert sent.count(number) == 1 + cut, (victim, moment, sent)
        self.again += len(sent) - 3
        last = [at for at, (method, path) in enumerate(mine) if completes(method, path)][-1]
        assert any(method == "HEAD" for method, _ in mine[last + 1 :]), "let go without a proof"

    def conclude(self) -> int:
        """Everything is in the bucket, proved, and the bytes that clients saw; how many recordings there are."""
        poll(lambda: not local(self.world), PATIENCE, "local copies stay")
        started = {line["session"] for line in self.world.audit("session_started")}
        assert {Path(name).stem for name in self.server.names()} == started
        assert "Uploads" not in self.server.client.list_multipart_uploads(Bucket=BUCKET)
        done = bastion(self.world, "verify", "--store", "--json")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        states = [one["state"] for one in json.loads(done.stdout)]
        assert len(states) == len(started) and set(states) <= {"whole", "incomplete"}
        for session, digest in self.digests.items():
            raw = bastion(self.world, "export", session, "--format", "raw", "--unredacted").stdout
            assert sha256(raw).hexdigest() == digest, session
        assert bastion(self.world, "state", "check").returncode == 0
        return len(started)


def test_kills_in_the_middle_of_large_uploads_lose_nothing(
    server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with HostileS3(server.port) as hostile:
        config = server.section(hostile.port)
        with World(workers=2, config=config, recording='mode = "full"') as world:
            ordeal = Ordeal(world, server, hostile)
            for moment in MOMENTS:
                for victim in VICTIMS:
                    ordeal.kill(victim, moment)
            recordings = ordeal.conclude()
    with capsys.disabled():
        print(
            f"\n{len(ordeal.took)} kills, {recordings} recordings, {ordeal.again} parts sent again; from the kill until"
            f" all was in the bucket {statistics.median(ordeal.took):.1f} s (middle), {max(ordeal.took):.1f} s (most);"
            f" the process that uploads had {ordeal.memory / MIB:.0f} MiB at its peak;"
            f" {time.monotonic() - began:.0f} s"
        )
    assert ordeal.memory < MOST_MEMORY


HASTY = """
import sys
if "bastion.assembly.uploading" in sys.orig_argv:
    import os, queue, time
    file, wall, steady = os.environ["AHEAD"], time.time, time.monotonic
    def ahead():
        with open(file) as given:
            return float(given.read())
    time.time = lambda: wall() + ahead()
    time.monotonic = lambda: steady() + ahead()
    class Hasty(queue.SimpleQueue):
        def get(self, block=True, timeout=None):
            return super().get(block, timeout if timeout is None else min(timeout, 0.02))
    queue.SimpleQueue = Hasty
"""


class Hours:
    """The clocks of the process that uploads, as many seconds ahead as is said."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(HASTY)
        self._file = folder / "ahead"
        self.environment = {"PYTHONPATH": str(folder), "AHEAD": str(self._file)}
        self.ahead = 0
        self.put(0)

    def put(self, seconds: int) -> None:
        """Forward."""
        self.ahead += seconds
        new = self._file.with_suffix(".new")
        new.write_text(str(self.ahead))
        new.replace(self._file)

    def passed(self, world: World) -> None:
        """One step, until the process has looked at its clock and said how it is."""
        self.put(STEP)
        since = SystemClock().time() + self.ahead
        file = poll(lambda: next(world.folder.rglob("uploads.json"), None), 60, "it never says how it is")
        poll(lambda: json.loads(file.read_bytes())["at"] >= since, 60, "it has not noticed the time")


def test_a_store_that_is_gone_for_a_day_costs_neither_memory_nor_a_recording(
    server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hours, sizes, kept = Hours(tmp_path), dict[str, list[int]](uploader=[], gateway=[]), dict[str, bytes]()
    with contextlib.closing(World(workers=2, config=server.section())) as world:
        world.start(environment=hours.environment)
        uploader = uploader_of(world)
        server.stop()
        for hour in range(DAY // 3600):
            assert world.ssh(f"echo {hour}").stdout == f"{hour}\n".encode()
            for _ in range(3600 // STEP):
                hours.passed(world)
            sizes["uploader"].append(pss([uploader]))
            sizes["gateway"].append(pss(world.pids))
        kept = {path.stem: path.read_bytes() for path in local(world)}
        assert len(kept) == DAY // 3600, "a local copy went"
        assert uploader_of(world) == uploader, "it was started again"
        tries = world.metric('bastion_recording_uploads_total{result="unreachable"}')
        assert DAY / 150 < tries < DAY / 50, "about one try a minute, whatever waits"
        assert len(told(world)) <= DAY / 600 + 10
        assert "uploads degraded" in " ".join(world.health()[1]) and world.health()[0] == 200
        server.start()
        hours.put(2 * STEP)
        began = time.monotonic()
        poll(lambda: not local(world), PATIENCE, "the local copies stay")
        took = time.monotonic() - began
        assert {Path(name).stem: server.get(name) for name in server.names()} == kept
        poll(lambda: "the store works again" in told(world)[-1], PATIENCE, "nobody says that it works again")
        poll(lambda: "uploads degraded" not in " ".join(world.health()[1]), PATIENCE)
        assert bastion(world, "verify", "--store").returncode == 0
    grown = {}
    with capsys.disabled():
        print(
            f"\na day without a store: {tries:.0f} tries, {len(kept)} recordings there {took:.1f} s after it was"
        )
        for name, found in sizes.items():
            third = len(found) // 3
            first, last = statistics.median(found[:third]), statistics.median(found[-third:])
            grown[name] = last / first - 1
            print(
                f"{name}: {first / MIB:.1f} MiB in the first third of the day, {last / MIB:.1f} in the last"
            )
    assert max(grown.values()) <= MOST_GROWN
