"""The process that uploads (L4): `python -m bastion.assembly.uploading CONFIG`, started by the gateway.

One for each folder of recordings: of several (an elder's, two gateways by mistake) one holds `uploads.lock`, and the
others wait for it. It ends when its standard input does, so it never outlives who started it; what it was uploading is
gone on with by the next one. Its reports are lines on standard output, its log is standard error.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from bastion.archive.bucket import Bucket
from bastion.archive.report import Report, leave
from bastion.archive.schedule import Schedule
from bastion.archive.spool import LOCK_NAME, Held, Spool
from bastion.archive.upload import Upload
from bastion.archive.uploader import Done, Hangs, Uploader, Wiring
from bastion.assembly.alone import STOP, alone, modest, teller, until_end_of_input
from bastion.clock import SystemClock
from bastion.config.outputs import Recording, State, read_section
from bastion.errors import ConfigError, StoreFault, StoreReason
from bastion.recording.listing import Recordings
from bastion.state.database import Database, Place, StateDown, password_of
from bastion.state.folder import make_folder

MEMORY_MAX: Final = 512 << 20
"""Bytes of data. boto3 reads an answer whole: one that never ends ends this process, which is started again."""

PATIENCE: Final = 30.0
"""Seconds in which nothing has gone after which a command gives up: a store that is away is not waited for."""

_tell = teller("uploads")


def main(arguments: list[str]) -> int:
    """Exit code 0 when it was told to end, 2 for a faulty configuration, 3 when it is to be started again."""
    modest(MEMORY_MAX)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    until_end_of_input(events)
    try:
        return _serve(Path(arguments[0]), events)
    except ConfigError as error:
        _tell(str(error))
        return 2
    except (StateDown, OSError, StoreFault) as error:
        _tell(str(error))
        return 3


def _serve(config_file: Path, events: queue.SimpleQueue[Any]) -> int:
    recording, state = read_section(config_file, Recording), read_section(config_file, State)
    place = recording.store.place()
    if place is None:
        raise ConfigError(
            str(config_file), 0, "recording.store.kind", "is not s3: there is nothing to upload to"
        )
    where = Place.chosen(recording.directory, state.directory, state.url, state.password_file)
    make_folder(where.folder)
    with open(where.folder / LOCK_NAME, "ab") as lock:
        if not alone(lock.fileno(), events):
            return 0
        database = Database(where, password_of(where))
        try:
            return _upload(Bucket(place), Recordings(recording.directory), database, events)
        finally:
            database.close()


def _upload(
    bucket: Bucket, recordings: Recordings, database: Database, events: queue.SimpleQueue[Any]
) -> int:
    report = partial(_report, database.place.folder)
    return turn_until_told(_uploader(bucket, recordings, database, events, report, _tell), events)


def _uploader(
    bucket: Bucket,
    recordings: Recordings,
    database: Database,
    events: queue.SimpleQueue[Any],
    report: Callable[[Report], None],
    tell: Callable[[str], None],
) -> Uploader:
    clock, place = SystemClock(), bucket.place

    def upload(held: Held) -> Upload:
        return Upload(bucket, held.fd, place.key(held.waiting.path), clock)

    wiring = Wiring(upload, partial(_in_thread, events), place.url, report, tell)
    return Uploader(Spool(recordings, database), Schedule(clock, place.uploads), wiring, clock, os.getpid())


def turn_until_told(uploader: Uploader, events: queue.SimpleQueue[Any]) -> int:
    """Until STOP is in `events` (0), or a request hangs (3)."""
    while True:
        try:
            pause = uploader.turn()
        except Hangs:
            _tell("a request to the store does not come to its end: starting again")
            return 3
        with suppress(queue.Empty):
            event = events.get(timeout=pause)
            if event is STOP:
                return 0
            uploader.done(event)


def upload_what_waits(
    bucket: Bucket, recordings: Recordings, database: Database, tell: Callable[[str], None]
) -> tuple[int, int | None]:
    """For a command: (recordings that are in the bucket now, those that wait still, None when that cannot be seen).

    It gives up when nothing has gone for PATIENCE. Whoever calls it holds LOCK_NAME. Raises StoreFault.
    """
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    uploader = _uploader(bucket, recordings, database, events, lambda _: None, tell)
    clock = SystemClock()
    gone, since = 0, clock.monotonic()
    while True:
        try:
            pause = uploader.turn()
        except Hangs:
            return uploader.gone, uploader.left
        now = clock.monotonic()
        if uploader.running or uploader.gone != gone:
            gone, since = uploader.gone, now
        if uploader.left == 0 or now - since > PATIENCE:
            return uploader.gone, uploader.left
        with suppress(queue.Empty):
            uploader.done(events.get(timeout=min(pause, 1.0)))


def _in_thread(events: queue.SimpleQueue[Any], held: Held, job: Upload) -> None:
    """A thread for each upload: one that hangs holds up nobody, and ends with the process."""
    threading.Thread(target=lambda: events.put(outcome(held, job)), daemon=True).start()


def outcome(held: Held, job: Upload) -> Done:
    """What came of it, whatever came of it."""
    try:
        return Done(held, job.run())
    except StoreFault as fault:
        return Done(held, None, fault)
    except Exception as error:  # of this one recording, as far as anybody knows
        text = f"{held.waiting.path}: {type(error).__name__}"
        return Done(held, None, StoreFault(StoreReason.BAD_ANSWER, text))


def _report(folder: Path, report: Report) -> None:
    with suppress(OSError):  # a full disk is told elsewhere, and who started us may be gone
        leave(folder, report)
    with suppress(OSError):
        os.write(1, report.line())


if __name__ == "__main__":
    # Nothing is left to tidy up. To take boto3 apart costs 0.2 s of processor time, and at this nice that is seconds
    # on a busy machine, which whoever stops the gateway would wait for.
    os._exit(main(sys.argv[1:]))
