"""What the processes of a gateway use of the machine (L2): each sets its own, and the page adds them up by role.

`process_*` of prometheus_client are those of the process that serves the page, which with several workers is the one
that does next to nothing.
"""

from __future__ import annotations

import os
import resource
from typing import Final

from bastion.observe.meters import (
    MICROSECONDS,
    PROCESS_CPU_SECONDS,
    PROCESS_OPEN_FDS,
    PROCESS_RESIDENT_BYTES,
    Meters,
)

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def look_at_this_process(meters: Meters, role: str) -> None:
    """Set what this process has used and holds. What the kernel does not tell stays as it was."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    meters.set(PROCESS_CPU_SECONDS, round((used.ru_utime + used.ru_stime) * MICROSECONDS), role)
    try:
        with open("/proc/self/statm", "rb") as file:
            meters.set(PROCESS_RESIDENT_BYTES, int(file.read().split()[1]) * _PAGE, role)
        # One of them is the one that reads the folder.
        meters.set(PROCESS_OPEN_FDS, len(os.listdir("/proc/self/fd")) - 1, role)
    except OSError:
        pass
