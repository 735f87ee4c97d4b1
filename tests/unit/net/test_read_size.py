"""How much one turn may take: large reads, small ones while somebody types, short slices of the processor."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bastion.net import read_size as paces
from bastion.net.read_size import GATHER, PIECE, READ_SIZE, SMALL_READ, THIN, TYPING, Pace
from tests.unit.transport.parts import log_in, raw_side

SLICES = """
import ctypes, os, platform, struct
from bastion.net.read_size import _ATTR, _SYSCALLS, SLICE, ask_for_short_slices
os.nice(3)
if not ask_for_short_slices():
    raise SystemExit("not taken")
buffer = ctypes.create_string_buffer(_ATTR.size)
assert ctypes.CDLL(None).syscall(_SYSCALLS[platform.machine()][1], 0, buffer, _ATTR.size, 0) == 0
size, policy, flags, nice, priority, runtime, deadline, period = _ATTR.unpack(buffer.raw)
print(policy, nice, runtime == SLICE, os.getpriority(os.PRIO_PROCESS, 0))
"""


def test_reads_are_small_while_somebody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(paces, "monotonic", lambda: now[0])
    pace = Pace()
    assert pace.read_size() == READ_SIZE
    pace.typed()
    assert pace.read_size() == SMALL_READ
    now[0] += TYPING - 0.01
    assert pace.read_size() == SMALL_READ
    now[0] += 0.02
    assert pace.read_size() == READ_SIZE


def test_bulk_in_small_reads_gathers_once_and_never_while_somebody_types(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(paces, "monotonic", lambda: now[0])
    pace = Pace()
    assert pace.gather() == 0.0, "nothing moves"
    pace.moved(THIN)
    assert pace.gather() == 0.0, "it brings enough as it is"
    pace.moved(THIN - 1)
    pace.moved(READ_SIZE)
    assert (pace.gather(), pace.gather()) == (GATHER, 0.0)
    pace.typed()
    pace.moved(1)
    assert pace.gather() == 0.0
    now[0] += TYPING
    assert pace.gather() == 0.0, "what came while somebody typed is over"
    pace.moved(1)
    assert pace.gather() == GATHER


def test_the_kernel_is_asked_for_short_slices_and_for_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", SLICES], capture_output=True, text=True, timeout=60)
    if "not taken" in done.stderr:
        pytest.skip("this kernel takes no such wish")
    policy, nice, taken, priority = done.stdout.split()
    assert (policy, nice) == ("0", priority), done.stderr
    if taken != "True":
        pytest.skip("this kernel forgets the wish: before Linux 6.12")


@pytest.mark.parametrize("machine", ["pdp11", ""])
def test_on_another_machine_all_is_as_it_was(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(paces.platform, "machine", lambda: machine)
    assert paces.ask_for_short_slices() is False


class Bursts:
    """A receiver that remembers what came in one piece."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.payloads: list[bytes] = []

    def burst(self, payloads: list[bytes]) -> None:
        self.sizes.append(sum(map(len, payloads)))
        self.payloads += payloads


@pytest.mark.parametrize("server", [True, False], ids=["upload", "download"])
def test_an_upload_goes_its_way_in_pieces_and_a_download_as_it_came(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bursts = Bursts()
    bench.transport.receiver = bursts.burst
    payloads = [b"\x5e" + bytes([number]) * 32_776 for number in range(15)]
    bench.transport.dataReceived(memoryview(bytearray(raw.writer.seal(payloads))))
    assert bursts.payloads == payloads
    if server:
        assert len(bursts.sizes) == 4 and max(bursts.sizes) <= PIECE + 32_777
    else:
        assert len(bursts.sizes) == 1
