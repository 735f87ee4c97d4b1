"""A GiB each way: equal checksums at both ends and in the recording, and the gateway's memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import Door, opened_doors, shared_world
from tests.support.memory import MIB, peak, reset_peak
from tests.support.patterns import pattern_command, pieces
from tests.support.recorded import digest

pytestmark = pytest.mark.interop

GIB = 1 << 30
# What a transfer may add at its peak: one read of 512 KiB, what the kernel did not take, and what malloc keeps.
GROWTH = 8 * MIB
SIZES = [
    pytest.param("direct", GIB, id="direct-1GiB"),
    pytest.param("jump", GIB // 4, id="jump-256MiB"),
    pytest.param("jump", GIB, id="jump-1GiB", marks=pytest.mark.soak),
]


@pytest.fixture(scope="module")
def doors() -> Iterator[dict[str, Door]]:
    """A gateway of its own: what others did to its memory would hide what this does."""
    world = shared_world()
    try:
        world.start()
        found = opened_doors(world)
        for door in found.values():
            assert door.ssh("cat", stdin=bytes(MIB)).returncode == 0  # everything imported and allocated once
        yield found
    finally:
        world.close()


class Flat:
    """Within it, the gateway's peak memory may grow by `GROWTH`."""

    def __init__(self, door: Door) -> None:
        self._pid = door.world.pid

    def __enter__(self) -> None:
        reset_peak(self._pid)
        self._before = peak(self._pid)

    def __exit__(self, kind: object, *_: object) -> None:
        grown = peak(self._pid) - self._before
        print(f"peak memory {self._before / MIB:.0f} MiB + {grown / MIB:.1f} MiB")
        if kind is None:
            assert grown < GROWTH, f"{grown / MIB:.1f} MiB more"


@pytest.mark.parametrize("name, size", SIZES)
def test_from_the_target(doors: dict[str, Door], name: str, size: int) -> None:
    door = doors[name]
    watch = door.watch()
    with Flat(door), door.open(pattern_command(size), options=["-n"]) as ssh:
        assert ssh.stdout is not None
        stdout = ssh.stdout
        seen = digest(iter(lambda: stdout.read(MIB), b""))
    assert ssh.returncode == 0
    assert seen == digest(pieces(size))
    recorded = watch.session(60)
    assert recorded.exported_sum() == seen
    recorded.remove()


@pytest.mark.parametrize("name, size", SIZES)
def test_to_the_target(doors: dict[str, Door], name: str, size: int, tmp_path: Path) -> None:
    door = doors[name]
    watch = door.watch()
    with Flat(door), door.open("sha256sum") as ssh:
        assert ssh.stdin is not None and ssh.stdout is not None
        for piece in pieces(size):
            ssh.stdin.write(piece)
        ssh.stdin.close()
        arrived = ssh.stdout.read().split()[0].decode()
    assert ssh.returncode == 0
    sent = digest(pieces(size))
    assert (size, arrived) == sent
    recorded = watch.session(60)
    assert recorded.exported_sum("stdin") == sent
    recorded.remove()
