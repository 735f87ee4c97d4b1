"""Any moment of a large recording is there in less than a second, masked, and is the one that was there.

BASTION_SEEK_BYTES: how large (1 GB); BASTION_SEEK_FOLDER: where it is kept from run to run.
"""

from __future__ import annotations

import base64
import os
import pty
import random
import resource
import select
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.indexing.playing import IndexedSession
from bastion.indexing.store import IndexFile
from bastion.recording.channels import survey
from bastion.recording.format import Header
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.recording.redacted import reading
from bastion.recording.redacting import Redaction
from bastion.recording.seeking import Film
from bastion.recording.store import Store
from tests.support.world import poll
from tests.unit.recording.test_reference import NAMES, traces

SIZE = int(os.environ.get("BASTION_SEEK_BYTES", 1_000_000_000))
SEEKS = 10
SECOND = 1.0
ID = "seekseekseekseek"
ALL = Redaction.of()
SECRET = b"hunter2horse"


def output(size: int, chance: random.Random) -> list[list[bytes]]:
    """Pieces of a session: programs as they drew, logs, progress bars; and secrets, in pieces too."""
    programs = [
        [base64.b64decode(step["data"]) for step in trace["steps"] if "data" in step]
        for name in NAMES
        if not name.startswith("resized")
        for trace in traces(name)
        if (trace["cols"], trace["rows"]) == (80, 24)
    ]
    line = b"10:%02d:%02d host%d app[%d]: request %d from 10.0.%d.%d took %d ms, and was answered at once\r\n"
    logs = [
        b"".join(line % (at // 60, at % 60, *(chance.randrange(250) for _ in range(6))) for at in range(300))
        for _ in range(50)
    ]
    bar = b"\r\x1b[K%5.1f%% [%-50s] %6d KiB/s"
    bars = [
        b"".join(bar % (at / 3, b"#" * (at // 6), chance.randrange(99999)) for at in range(300))
        for _ in range(50)
    ]
    made: list[list[bytes]] = []
    while size > 0:
        kind = chance.random()
        pieces = (
            chance.choice(programs) if kind < 0.3 else [chance.choice(logs if kind < 0.75 else bars)] * 30
        )
        if chance.random() < 0.3:
            said = b"\r\n$ export PASSWORD=" + SECRET + b"\r\n"
            cut = chance.randrange(len(said) - len(SECRET) - 1, len(said) - 3)
            pieces = [*pieces, said[:cut], said[cut:]]
        made.append(pieces)
        size -= sum(map(len, pieces))
    return made


def record(folder: Path, size: int) -> Path:
    """A terminal's session of so many bytes and eight hours."""
    about, clock = Header(ID, "alice", "u", "web1", "deploy", 1_800_000_000.0), FixedClock()
    store = Store(folder, disk_floor_bytes=0, sync_seconds=5)
    writer, recorder = store.create(about), Recorder(about, clock)
    recorder.note("channel_opened", 1, {"kind": "session"})
    terminal = {"term": "xterm-256color", "cols": 80, "rows": 24}
    recorder.note("request_forwarded", 1, {"name": "pty-req", "detail": terminal})
    recorder.note("request_forwarded", 1, {"name": "shell", "detail": {}})
    for pieces in output(size, random.Random(1)):
        for piece in pieces:
            clock.advance(len(piece) / size * 8 * 3600)
            recorder.data(1, 1, 0, piece)
            writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")
    assert store.close()
    return writer.path


def recording(folder: Path) -> AbstractContextManager[Reader]:
    """It, as people are shown it."""
    return Store(folder).open(ID, reading(ALL, unmasked=True))


def seek_once(folder: Path, seconds: float) -> tuple[float, float]:
    """Seconds of wall and of the processor until `bastion replay` on a terminal has painted, from its start."""
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "bastion",
        "replay",
        "--recordings",
        str(folder),
        ID,
        "--at",
        f"{seconds:.1f}",
    ]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    child = subprocess.Popen(
        [*command, "--speed", "0.001"], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
    )
    seen = b""
    while b"\x1b[?7h" not in seen.partition(b"\x1b[2J")[2]:  # it stands behind what is painted
        assert select.select([ours], [], [], 600)[0]
        seen += os.read(ours, 65536)
    wall = time.monotonic() - began
    assert SECRET not in seen
    os.write(ours, b"q")
    while child.poll() is None:
        if select.select([ours], [], [], 0.05)[0]:
            os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.soak
def test_any_moment_of_a_large_recording_is_there_at_once(tmp_path: Path) -> None:
    folder = Path(os.environ.get("BASTION_SEEK_FOLDER", tmp_path))
    path = next(folder.glob(f"*/{ID}.rec"), None) or record(folder, SIZE)
    subprocess.run([sys.executable, "-m", "bastion", "index", "--recordings", str(folder)], check=True)
    chance = random.Random(2)
    file = IndexFile(folder / "index" / "reading.db")
    found = IndexedSession.find(file, path, ALL.digest)
    assert found is not None and found.played.channels.channels[1].bytes_out >= SIZE
    with recording(folder) as reader:
        found.mask(reader)
        length = reader.tail().time_us / 1e6
        film = Film(reader, found.played.channels.channels[1], stored=found.keyframe)
        within = []
        for _ in range(5 * SEEKS):
            began = time.process_time()
            assert SECRET.decode() not in film.seek(chance.random() * length)
            within.append(time.process_time() - began)
    whole = [seek_once(folder, chance.random() * length) for _ in range(SEEKS)]
    print(
        f"{path.stat().st_size} bytes, index {file.path.stat().st_size} bytes; a key: processor "
        f"{sorted(within)[len(within) // 2]:.3f} s in the middle, {max(within):.3f} s at most; the command: processor "
        f"{sorted(one[1] for one in whole)[SEEKS // 2]:.2f} s, at most {max(one[1] for one in whole):.2f} s, wall "
        f"{sorted(one[0] for one in whole)[SEEKS // 2]:.2f} s"
    )
    assert max(within) < SECOND
    assert max(one[1] for one in whole) < SECOND


@pytest.mark.soak
def test_a_large_recording_is_the_same_from_the_index_and_from_its_beginning(tmp_path: Path) -> None:
    path = record(tmp_path, min(SIZE, 30_000_000))
    subprocess.run([sys.executable, "-m", "bastion", "index", "--recordings", str(tmp_path)], check=True)
    found = IndexedSession.find(IndexFile(tmp_path / "index" / "reading.db"), path, ALL.digest)
    assert found is not None
    chance, shown = random.Random(3), 0
    with recording(tmp_path) as reader, recording(tmp_path) as other:
        found.mask(reader)
        channel = survey(reader).channels[1]
        times = sorted(chance.random() * reader.tail().time_us / 1e6 for _ in range(40))
        from_index, from_beginning = Film(reader, channel, stored=found.keyframe), Film(other, channel)
        for seconds in times:
            one, two = (film.seek(seconds).partition("\x1b[2J")[2] for film in (from_index, from_beginning))
            assert one == two and SECRET.decode() not in one, seconds
            shown += bool(one.strip())
    assert from_index.opened_at is not None and from_beginning.opened_at is None and shown > 30
