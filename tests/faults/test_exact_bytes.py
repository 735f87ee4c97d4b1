"""Large, torn and tiny: what passed a real store comes out byte for byte and at its time, in flat memory.

Through the real recorder, writer and store, and out through the commands: random bytes, UTF-8 cut inside characters,
a great many tiny writes, resizes without end, and a line that never ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.store import Store
from tests.support.world import poll
from tests.unit.recording.samples import SESSION, TARGET, header

MIB = 1 << 20
SHARE = int(os.environ.get("EXACT_SOAK", "1000"))
"""Thousandths of the whole size: 1 GiB, a million writes, 100 MiB without a line's end."""

MOST_MEMORY = 64 * MIB
"""Resident bytes of an export at its largest, however large the recording: the interpreter and the commands are 30."""

Bursts = Iterator[bytes | tuple[int, int]]
"""What passes: bytes of the target, or a new size of the terminal."""


def noise(thousandths: int) -> Bursts:
    dice = random.Random(1)
    for _ in range(8192 * thousandths // 1000):
        yield dice.randbytes(128 << 10)


def split_characters(thousandths: int) -> Bursts:
    text = "aé漢🙂e\u0301\u202e한\r\n".encode() * 1000
    dice, at = random.Random(2), 0
    for _ in range(100_000 * thousandths // 1000):
        size = dice.randrange(1, 5)
        yield text[at : at + size]
        at = (at + size) % (len(text) - 5)


def tiny_writes(thousandths: int) -> Bursts:
    for number in range(1_000_000 * thousandths // 1000):
        yield bytes((number % 251,))


def resizes(thousandths: int) -> Bursts:
    dice = random.Random(3)
    for number in range(100_000 * thousandths // 1000):
        yield dice.randrange(1, 500), dice.randrange(1, 200)
        if number % 10 == 0:
            yield b"\x1b[2J%d" % number


def without_newline(thousandths: int) -> Bursts:
    for number in range(3200 * thousandths // 1000):
        yield bytes((97 + number % 26,)) * (32 << 10)


def record(folder: Path, bursts: Bursts) -> tuple[str, str, int]:
    """The digests of the bytes, and of the bursts with their times in microseconds; how many bursts there were."""
    clock = FixedClock()
    store = Store(folder, disk_floor_bytes=0, clock=clock)
    recorder, writer = store.start(header(), RecordingPolicy(mode=Mode.FULL))
    raw, timed, began, count = hashlib.sha256(), hashlib.sha256(), clock.monotonic(), 0
    recorder.note("channel_opened", 1, {"kind": "session"})
    for burst in bursts:
        clock.advance(0.000137)
        now = int((clock.monotonic() - began) * 1e6)
        if isinstance(burst, bytes):
            recorder.data(1, TARGET, 0, burst)
            raw.update(burst)
        else:
            recorder.note("window_change", 1, {"cols": burst[0], "rows": burst[1]})
        timed.update(repr((now, burst)).encode())
        writer.write(recorder.take())
        count += 1
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, 60.0, "the file was never closed")
    assert store.close()
    return raw.hexdigest(), timed.hexdigest(), count


def exported(folder: Path, form: str) -> tuple[str, str, int, int]:
    """The same of what `bastion export` gives, and its memory at its largest, in bytes."""
    program = (  # VmHWM begins anew with a program, unlike ru_maxrss, which knows what forked it
        "import sys; from bastion.cli.main import cli\n"
        "try: cli()\n"
        "finally: print(*[x for x in open('/proc/self/status') if 'VmHWM' in x], file=sys.stderr)\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "export",
        SESSION,
        "--recordings",
        str(folder),
        "--format",
        form,
        "--unredacted",  # a GiB of noise has `pwd:` in it seven times
    ]
    raw, timed, count = hashlib.sha256(), hashlib.sha256(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        if form == "raw":
            while piece := process.stdout.read(MIB):
                raw.update(piece)
        else:
            for line in process.stdout:
                burst, now = of_line(json.loads(line))
                if burst is not None:
                    timed.update(repr((now, burst)).encode())
                    count += 1
                    raw.update(burst if isinstance(burst, bytes) else b"")
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    found = re.findall(r"VmHWM:\s+(\d+) kB", said)
    return raw.hexdigest(), timed.hexdigest(), count, int(found[-1]) * 1024


def of_line(event: dict[str, object]) -> tuple[bytes | tuple[int, int] | None, int]:
    now = event.get("time")
    at = round(now * 1e6) if isinstance(now, float) else 0
    note = event.get("note")
    if event["kind"] == "data":
        return base64.b64decode(str(event["data"]), validate=True), at
    if isinstance(note, dict) and note["event"] == "window_change":
        return (note["cols"], note["rows"]), at
    return None, at


@pytest.mark.parametrize(
    "kind", [noise, split_characters, tiny_writes, resizes, without_newline], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize(
    "thousandths", [pytest.param(2, id="small"), pytest.param(SHARE, id="large", marks=pytest.mark.soak)]
)
def test_what_passed_comes_out_exactly(
    tmp_path: Path, kind: Callable[[int], Bursts], thousandths: int
) -> None:
    raw, timed, count = record(tmp_path, kind(thousandths))
    size = sum(path.stat().st_size for path in tmp_path.glob("*/*.rec"))
    by_raw = exported(tmp_path, "raw")
    assert by_raw[0] == raw
    by_json = exported(tmp_path, "json")
    assert (by_json[0], by_json[1], by_json[2]) == (raw, timed, count)
    print(
        f"{kind.__name__}: {count} bursts, {size >> 20} MiB; export raw {by_raw[3] >> 20}, json {by_json[3] >> 20} MiB"
    )
    assert max(by_raw[3], by_json[3]) < MOST_MEMORY
