"""Noise on a terminal hides nothing: what stands in it is in the recording, and the noise is slowed down instead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bastion.recording.format import Kind
from bastion.recording.store import Store
from tests.support.recorded import Watch
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
MIB = 1 << 20
LINES = 60
# 3 MiB as fast as they go, then 60 lines of a shell, each in 32 KiB of noise, at about 1.2 MB/s.
NOISE = (
    "stty raw; head -c 3145728 /dev/zero | tr '\\0' x;"
    f" for i in $(seq {LINES}); do head -c 32768 /dev/zero | tr '\\0' x; echo line-$i.; sleep 0.027; done"
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(recording='bulk_burst = "1 MiB"')
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_every_line_of_a_terminal_is_in_the_recording(world: World) -> None:
    watch = Watch(world)
    done = world.ssh(NOISE, options=["-tt"])
    assert done.returncode == 0
    recorded = watch.session()
    assert recorded.exported() == done.stdout
    assert done.stdout.count(b"line-") == LINES and recorded.totals["skipped"] == 0
    # A bucket of 1 MiB that drains at 1 MiB a second; one read may go beyond it.
    assert recorded.totals["duration_us"] / 1e6 >= len(done.stdout) / MIB - 2


def test_without_a_terminal_there_are_gaps_with_samples(world: World) -> None:
    watch = Watch(world)
    done = world.ssh(NOISE.removeprefix("stty raw;"))
    assert done.returncode == 0
    recorded = watch.session()
    totals = recorded.totals
    assert 0 < totals["skipped"] < len(done.stdout)
    at = 0
    with Store(world.recordings).open(recorded.session) as reader:
        for event in reader:
            if event.kind is Kind.GAP:
                at += event.gap.size
            elif event.kind is Kind.DATA and event.stream == 0:
                assert done.stdout[at : at + len(event.payload)] == event.payload
                at += len(event.payload)
    assert at == len(done.stdout)
