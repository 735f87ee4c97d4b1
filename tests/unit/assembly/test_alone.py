"""One of its kind at a time, until it is told to end."""

from __future__ import annotations

import os
import queue
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
