"""What this process uses is counted under its role, and processes are added up."""

from __future__ import annotations

import tempfile
import time

from bastion.observe.meters import (
    MICROSECONDS,
    PROCESS_CPU_SECONDS,
    PROCESS_OPEN_FDS,
    PROCESS_RESIDENT_BYTES,
    ROLES,
    Meters,
    merge,
)
from bastion.observe.process_figures import look_at_this_process


def test_it_is_this_process() -> None:
    meters = Meters()
    look_at_this_process(meters, "worker")
    spent = time.process_time() - meters.value(PROCESS_CPU_SECONDS, "worker") / MICROSECONDS
    assert 0 <= spent < 5
    with open("/proc/self/status") as file:
        (resident,) = (int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))
    assert abs(meters.value(PROCESS_RESIDENT_BYTES, "worker") - resident) < 8 << 20
    before = meters.value(PROCESS_OPEN_FDS, "worker")
    with tempfile.TemporaryFile():
        look_at_this_process(meters, "worker")
    assert meters.value(PROCESS_OPEN_FDS, "worker") == before + 1


def test_processes_of_a_role_are_added_up_and_roles_stay_apart() -> None:
    processes = []
    for role, descriptors in (("supervisor", 10), ("worker", 20), ("worker", 30)):
        processes.append(Meters())
        processes[-1].set(PROCESS_OPEN_FDS, descriptors, role)
    whole = merge(processes[0].families, [one.snapshot() for one in processes])[PROCESS_OPEN_FDS.name]
    assert {role: whole[role][0] for role in ROLES} == {"gateway": 0, "supervisor": 10, "worker": 50}
