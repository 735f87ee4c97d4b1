"""The allocator keeps what a burst has freed: no page faults from one burst to the next."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bastion.net.tuning import keep_freed_memory

BURSTS = """
import resource, sys
from bastion.net.tuning import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    raise SystemExit("not glibc")
def burst():
    parts = [bytes(32768 + size) for size in range(8)]
    return b"".join(parts)
for _ in range(20):
    burst()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    burst()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", BURSTS, mode], capture_output=True, text=True, timeout=60)
    if "not glibc" in done.stderr:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)


def test_bursts_fault_no_pages() -> None:
    assert faults("keep") < 200  # without it: thousands


def test_it_may_be_called_again() -> None:
    assert keep_freed_memory() is keep_freed_memory()
