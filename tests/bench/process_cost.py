"""CPU time and memory of one process or of everything below it, from the kernel's own counters."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.processes import pids

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_CPUCLOCK_SCHED = 2  # linux/posix-timers.h
_TICKS = os.sysconf("SC_CLK_TCK")


def become_subreaper() -> None:
    """Orphans below this process become its children, so that nobody's CPU time is lost."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def own_cpu(pid: int) -> float:
    """CPU seconds of one process, all threads and those that ended, to the nanosecond; 0 when it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def cpu_with_waited(pid: int) -> float:
    """`own_cpu` and that of the children it has waited for (to 10 ms)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return own_cpu(pid) + (int(fields[13]) + int(fields[14])) / _TICKS


def descendants(root: int) -> set[int]:
    """Every process below `root`, by parent links."""
    parents: dict[int, int] = {}
    for pid in pids():
        with contextlib.suppress(OSError, IndexError, ValueError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    layer = {root}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer} - found
        found |= layer
    return found


def reap_orphans(keep: int) -> None:
    """Wait for every ended child but `keep`, so that its time stands in RUSAGE_CHILDREN."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == keep:
            return
        os.waitpid(ended.si_pid, 0)


def cpu_below() -> float:
    """CPU seconds of all that this process ever started: those running, those waited for by anybody.

    Exact only in a subreaper that reaps its orphans.
    """
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(cpu_with_waited(pid) for pid in descendants(os.getpid()))
    return waited.ru_utime + waited.ru_stime + running


def pss(processes: Iterable[int]) -> int:
    """Proportional set size in bytes: each page shared by n processes counts for 1/n."""
    total = 0
    for pid in processes:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
