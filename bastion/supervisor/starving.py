"""How long a process has waited for a processor (L5).

What it is for: who gives a process so many seconds must not count those in which the machine gave it none. From Linux'
scheduler, `/proc/PID/schedstat` (Documentation/scheduler/sched-stats.rst): of the first thread, which is the one that
starts. A process that waits for anything else, a lock, a disk or a server, does not wait for a processor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_NANOSECONDS: Final = 1e9


def waited_for_processor(pid: int) -> float:
    """Seconds since it was started; 0.0 where nobody can say it."""
    try:
        _, waited, _ = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
        return int(waited) / _NANOSECONDS
    except (OSError, ValueError):
        return 0.0
