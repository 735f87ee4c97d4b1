"""The process that detects (L4): `python -m bastion.assembly.detecting CONFIG`, started by the gateway.

One for each gateway, whatever number of workers it has: of several (an elder's) one holds `detections.lock` in the
folder of the state, and the others wait for it. It ends when its standard input does, so it never outlives who started
it; its successor goes on where it was. What it says to the gateway are lines on standard output, its log is standard
error.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bastion.assembly.alone import STOP, alone, modest, teller, until_end_of_input
from bastion.assembly.lookout import Lookout
from bastion.clock import SystemClock
from bastion.config.detections import Detections
from bastion.config.outputs import Audit, Recording, State, read_section
from bastion.detect.detector import Detector
from bastion.detect.posting import Poster, places
from bastion.detect.whereabouts import NoDatabase
from bastion.errors import ConfigError
from bastion.state.database import Database, Place, StateDown, password_of
from bastion.state.folder import make_folder

LOCK_NAME: Final = "detections.lock"
MEMORY_MAX: Final = 2 << 30
"""Bytes of data: 20,000 people take 300 MB."""

PAUSE: Final = 1.0
"""Seconds between two looks at the log."""

POST_PAUSE: Final = 0.2
"""Seconds between two looks at what is to be posted."""

_tell = teller("detections")


def main(arguments: list[str]) -> int:
    """Exit code 0 when it was told to end, 2 for a faulty configuration, 3 when it is to be started again."""
    modest(MEMORY_MAX)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    until_end_of_input(events)
    try:
        return _serve(Path(arguments[0]), events)
    except (ConfigError, NoDatabase) as error:
        _tell(str(error))
        return 2
    except StateDown as error:
        _tell(error.text)
        return 3
    except OSError as error:
        _tell(f"{error.filename or 'standard output'}: {error.strerror}")
        return 3


def _serve(config_file: Path, events: queue.SimpleQueue[Any]) -> int:
    recording, state = read_section(config_file, Recording), read_section(config_file, State)
    settings, log = read_section(config_file, Detections), read_section(config_file, Audit).file
    if log.exists() and not log.is_file():
        raise ConfigError(
            str(config_file), 0, "audit.file", f"{log} is no file", "one, so that detections can follow it"
        )
    where = Place.chosen(recording.directory, state.directory, state.url, state.password_file)
    make_folder(where.folder)
    with open(where.folder / LOCK_NAME, "ab") as lock:
        if not alone(lock.fileno(), events):
            return 0
        clock = SystemClock()
        posters = [Poster(one, clock) for one in places(*settings.ways, state.name)]
        database = Database(where, password_of(where))
        try:
            detector = Detector(settings, settings.locate())
            lookout = Lookout(database, state.name, log, detector, posters, clock, _say)
            with _posting(posters, events):
                _turn_until_told(lookout, events)
            lookout.close()
        finally:
            database.close()
    return 0


def _turn_until_told(lookout: Lookout, events: queue.SimpleQueue[Any]) -> None:
    told = ""
    while True:
        more = lookout.turn()
        if lookout.trouble != told:
            told = lookout.trouble
            _tell(told or "goes on")
        with suppress(queue.Empty):
            if events.get(timeout=0.0 if more else PAUSE) is STOP:
                return


@contextmanager
def _posting(posters: list[Poster], events: queue.SimpleQueue[Any]) -> Iterator[None]:
    """A thread for each place: one that answers slowly holds up nobody. At the end what is being posted has a
    moment."""
    over = threading.Event()

    def post(poster: Poster) -> None:
        try:
            posting(poster)
        except BaseException:
            _tell("the process that detects failed, and is started again")
            sys.excepthook(*sys.exc_info())
            os._exit(3)

    def posting(poster: Poster) -> None:
        told = ""
        while not over.wait(POST_PAUSE):
            poster.flush()
            if poster.told.settled:
                events.put(poster)  # somebody is to write that down
            if poster.told.fault != told:
                told = poster.told.fault
                state = f"{told}; {poster.waiting} findings wait" if told else "takes findings again"
                _tell(f"{poster.where.name}: {state}")

    threads = [threading.Thread(target=post, args=(one,), daemon=True) for one in posters]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(LAST_WAIT / len(threads))


LAST_WAIT: Final = 3.0
"""Seconds that posts have which are on their way at the end: less than `companion.KILL_AFTER`."""


def _say(line: bytes) -> None:
    """Raises OSError: without a gateway there is nobody to say it to."""
    while line:
        line = line[os.write(1, line) :]


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # a thread may still wait for an answer
