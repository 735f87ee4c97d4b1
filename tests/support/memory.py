"""Resident memory of a process and its peak, from /proc."""

from __future__ import annotations

from pathlib import Path

MIB = 1 << 20


def resident(pid: int) -> int:
    """Bytes in memory now."""
    return _field(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most bytes in memory since `reset_peak`."""
    return _field(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let the peak begin again at what is resident now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _field(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise AssertionError(f"no {name} of process {pid}")
