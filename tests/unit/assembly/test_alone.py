"""One of its kind at a time, until it is told to end."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from bastion.assembly import alone as module
from bastion.assembly.alone import STOP, alone, until_end_of_input


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    first, second, third = ((tmp_path / "lock").open("ab") for _ in range(3))
    assert alone(first.fileno(), events)
    got: list[bool] = []
    waiting = threading.Thread(target=lambda: got.append(alone(second.fileno(), events)))
    waiting.start()
    first.close()
    waiting.join(10)
    assert got == [True]
    events.put(STOP)
    assert not alone(third.fileno(), events), "it was told to end before it had it"
    second.close()
    third.close()


def test_it_is_modest_and_no_signal_ends_it() -> None:
    script = """
import os, resource, signal, subprocess
from bastion.assembly.alone import modest, teller
before = os.nice(0)
modest(1 << 30)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    os.kill(os.getpid(), number)
teller("uploads", 9)("one\\x1btwo and more")
print(os.nice(0) - before, resource.getrlimit(resource.RLIMIT_DATA))
subprocess.run(["sh", "-c", "kill -TERM $$; echo not reached"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"10 {(1 << 30, 1 << 30)}\n", "what it starts can be ended"
    assert done.stderr.startswith("bastion: uploads: one") and "\x1b" not in done.stderr
    assert "more" not in done.stderr


def test_the_end_of_input_is_the_end(monkeypatch) -> None:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    reading, writing = os.pipe()
    read = os.read
    monkeypatch.setattr(module.os, "read", lambda fd, size: read(reading, size))
    until_end_of_input(events)
    os.write(writing, b"anything")
    assert events.empty()
    os.close(writing)
    assert events.get(timeout=10) is STOP
    os.close(reading)
