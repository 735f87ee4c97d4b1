"""The process that sends the audit log on (L4): `python -m bastion.assembly.sending CONFIG`, started by the gateway.

One for each folder of state: of several (an elder's, two gateways by mistake) one holds `sinks.lock`, and the others
wait for it. A thread for each sink. It ends when its standard input does, after a last look at the log, so it never
outlives who started it; what was not confirmed is delivered by the next one. Its reports are lines on standard output,
its log is standard error.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bastion.assembly.alone import alone, modest, teller, until_end_of_input
from bastion.clock import Clock, SystemClock
from bastion.config.outputs import Audit, Recording, State, read_section
from bastion.errors import ConfigError
from bastion.observe.labels import SinkReason
from bastion.sinks.delivery import Delivery
from bastion.sinks.destinations import destination_of
from bastion.sinks.report import EVERY, Report, leave
from bastion.sinks.section import Sink
from bastion.state.folder import give_to_owner_of, make_folder

LOCK_NAME: Final = "sinks.lock"
FOLDER: Final = "sinks"

MEMORY_MAX: Final = 512 << 20
"""Bytes of data: of SINKS_MAX deliveries, each as text and as its shape, and of the answers."""

SOONER: Final = 1.0
"""Seconds between two reports of a sink that takes lines."""

LAST_WORDS: Final = 2.0
"""Seconds for what was written just before the end: less than `companion.KILL_AFTER`."""

tell = teller("audit sinks")


class Sending:
    """One sink in a thread of its own. `stop` and `wait` for it."""

    def __init__(self, name: str, delivery: Delivery, said: Said, clock: Clock) -> None:
        self._name, self._delivery, self._said, self._clock = name, delivery, said, clock
        self._told: tuple[SinkReason, int] | None = None
        self._reported = -EVERY
        self._stop, self._over = threading.Event(), threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def stop(self) -> None:
        """One more look at the log, and no more."""
        self._stop.set()

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _run(self) -> None:
        try:
            while True:
                is_last = self._stop.is_set()
                pause = self._delivery.turn()
                self._report(now_too=is_last)
                if is_last and pause:
                    break
                self._rest(pause)
        except BaseException:
            tell(f"{self._name}: the process that sends the audit log failed, and is started again")
            sys.excepthook(*sys.exc_info())
            os._exit(3)
        self._delivery.close()
        self._over.set()

    def _rest(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0 and not self._stop.wait(min(left, EVERY)):
            self._report()

    def _report(self, now_too: bool = False) -> None:
        """Every EVERY seconds, sooner when lines have gone, and at once when they begin to or do not."""
        since, state = self._clock.monotonic() - self._reported, self._delivery.state
        gone_since = state != self._told and since >= SOONER
        if now_too or since >= EVERY or gone_since or self._told is None or state[0] != self._told[0]:
            self._reported, self._told = self._clock.monotonic(), state
            self._said.report(self._delivery.report())


class Said:
    """The last report of each sink, for whoever reads the lines and for whoever reads the file."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._last: dict[str, Report] = {}

    def report(self, report: Report) -> None:
        with self._lock:
            before = self._last.get(report.name)
            self._last[report.name] = report
            if (before.reason if before else None) != report.reason and report.failing:
                tell(f"{report.name}: {report.reason}: {report.text}")
            elif before is not None and before.failing and not report.failing:
                tell(f"{report.name}: takes lines again")
            with suppress(OSError):  # a full disk is told elsewhere, and who started us may be gone
                leave(self._folder, self._last.values())
            with suppress(OSError):
                os.write(1, report.line())


def main(arguments: list[str]) -> int:
    """Exit code 0 when it was told to end, 2 for a faulty configuration, 3 when it is to be started again."""
    modest(MEMORY_MAX)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    until_end_of_input(events)
    try:
        return _serve(Path(arguments[0]), events)
    except ConfigError as error:
        tell(str(error))
        return 2
    except OSError as error:
        tell(str(error))
        return 3


def _serve(config_file: Path, events: queue.SimpleQueue[Any]) -> int:
    audit, state = read_section(config_file, Audit), read_section(config_file, State)
    recording = read_section(config_file, Recording)
    folder = state.directory or recording.directory / "state"
    make_folder(folder)
    make_folder(folder / FOLDER)
    with open(folder / LOCK_NAME, "ab") as lock:
        if not alone(lock.fileno(), events):
            return 0
        said, clock = Said(folder), SystemClock()
        all_of_them = [
            Sending(name, delivery_to(name, sink, audit.file, folder, state.name, clock), said, clock)
            for name, sink in audit.sinks.items()
        ]
        for one in all_of_them:
            one.start()
        events.get()  # STOP, and nothing else
        until = clock.monotonic() + LAST_WORDS
        for one in all_of_them:
            one.stop()
        for one in all_of_them:
            one.wait(max(0.0, until - clock.monotonic()))
    return 0


def send_what_is_left(config_file: Path) -> list[Report]:
    """For a command: how each sink is when it has taken all lines of the log, or takes no more. Each is tried until it
    fails once. Whoever calls it holds LOCK_NAME. Raises ConfigError and OSError."""
    audit, state = read_section(config_file, Audit), read_section(config_file, State)
    folder = state.directory or read_section(config_file, Recording).directory / "state"
    make_folder(folder / FOLDER)
    clock, reports = SystemClock(), list[Report]()
    for name, sink in audit.sinks.items():
        delivery = delivery_to(name, sink, audit.file, folder, state.name, clock)
        while not delivery.turn():
            pass
        reports.append(delivery.report())
        delivery.close()
        with suppress(FileNotFoundError):  # root may run it, and the gateway is to go on from there
            give_to_owner_of(folder, position_of(folder, name))
    return reports


def delivery_to(name: str, sink: Sink, log: Path, folder: Path, node: str, clock: Clock) -> Delivery:
    """What delivers to that sink, whose position is in a folder of the state's."""
    file = position_of(folder, name)
    names, deliver = (name, sink.kind), destination_of(sink, node).deliver
    return Delivery(names, deliver, log, file, clock, sink.batch, os.getpid())


def position_of(folder: Path, name: str) -> Path:
    """Where it stands how far that sink has come."""
    return folder / FOLDER / f"{name}.json"


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # threads may still wait for an answer
