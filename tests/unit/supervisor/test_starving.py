"""Who has waited for a processor, of real processes: two that share one, and one that sleeps."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bastion.supervisor.starving import waited_for_processor
from tests.support.world import poll

BUSY = "while True: pass"
ASLEEP = "import sys; print(flush=True); sys.stdin.read()"


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this kernel does not say it")
def test_two_on_one_processor_wait_for_it_and_one_that_sleeps_does_not() -> None:
    processor = min(os.sched_getaffinity(0))
    words = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with (
        subprocess.Popen([sys.executable, "-c", BUSY]) as one,
        subprocess.Popen([sys.executable, "-c", BUSY]) as two,
        subprocess.Popen([sys.executable, "-c", ASLEEP], **words) as asleep,  # type: ignore[call-overload]
    ):
        try:
            for process in (one, two):
                os.sched_setaffinity(process.pid, {processor})
            assert asleep.stdout is not None and asleep.stdout.readline()
            before = waited_for_processor(asleep.pid)
            poll(lambda: min(map(waited_for_processor, (one.pid, two.pid))) > 0.2, 60, "nobody waited")
            assert waited_for_processor(asleep.pid) - before < 0.1
        finally:
            for process in (one, two, asleep):
                process.kill()


def test_of_one_that_is_not_there_nobody_can_say_it() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as over:
        pass
    assert waited_for_processor(over.pid) == 0.0
