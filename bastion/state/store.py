"""The store as a gateway's process has it: rows are noted at once and written later, by a thread (L2).

Invariants: nothing here blocks the reactor; `note` never fails, what the store does not take is owed (`state.journal`)
and written in order when it is back; what waits is bounded, and so is how long a call may take. Rows are what the
gateway *knows*: no session waits for one to be written, and none ends because one is not.

`admit` is the one thing that can refuse: new sessions, while the store is down and `[state] unavailable` says so, or
when as much is owed as may be.
"""

from __future__ import annotations

import errno
import os
import secrets
import subprocess
import sys
from base64 import b32encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import select, text
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion import __version__
from bastion.auth.budget import LIMITS, Payer, Work
from bastion.auth.directory import OPERATOR, Asker
from bastion.auth.workers import DeadlinePassed, QueueFull, Workers, WorkersClosed
from bastion.clock import Clock, DelayedCall
from bastion.errors import ConfigError, LimitReason, Refused
from bastion.observe.meters import (
    MICROSECONDS,
    STATE_ERRORS,
    STATE_OWED_OLDEST_SECONDS,
    STATE_OWED_ROWS,
    STATE_REFUSALS,
    STATE_ROWS_WRITTEN,
    STATE_WRITE_SECONDS,
    Meters,
)
from bastion.recording.listing import Recordings
from bastion.state.adopting import Adopted, adopt, without_end, write_owed
from bastion.state.changes import BadChange, Change, apply, read_line
from bastion.state.database import TEXT_MAX, Database, Place, StateDown
from bastion.state.folder import HOME, make_folder
from bastion.state.journal import Journal
from bastion.state.lock_copy import change_copy, read_copy
from bastion.state.rows import Lock, Writer, config_loaded, lock_added, lock_ended, lock_removed, node_seen
from bastion.state.schema import LOCKS
from bastion.state.schema_version import SchemaUnfit, check_schema
from bastion.state.shared_locks import load_kept

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StateHealth:
    """How the store is: `down` says why it cannot be used, `spool` why owed rows are in memory only; `oldest` is the
    age in seconds of the oldest row that is `owed`; `full`: no more may be."""

    down: str = ""
    spool: str = ""
    owed: int = 0
    oldest: float = 0.0
    full: bool = False


BATCH: Final = 64
"""Changes in one transaction. Python's part of it takes 2 ms, in which a keystroke may wait for the interpreter."""

GATHER: Final = 1.0
"""Seconds that a row waits for others, unless a batch is full before: a transaction costs a tenth of a login, whatever
is in it. What is open is told from memory, and a listing looks into the files of sessions that have no row yet."""

SOON: Final = 0.02
"""The same for what somebody has typed: locks."""

DEADLINE: Final = 15.0
"""Seconds that one transaction may take; then its connection is cut, and the rows stay owed."""

RETRY_FIRST: Final = 0.5
RETRY_LONGEST: Final = 5.0
"""Seconds between two tries while the store is down, doubling."""

LOOK_EVERY: Final = 5.0
"""Seconds between two looks: does the store still answer, and has a process died?"""

QUEUE: Final = 64 + sum(LIMITS[payer, Work.DIRECTORY].everybody for payer in Payer)
"""Questions that may wait for a thread. Whoever logs in holds a place of a budget, so the gateway's own find one."""

MIGRATION_SECONDS: Final = 300.0

SEEN_EVERY: Final = 12
"""Looks between two notes that this gateway is there."""

LAST_WAIT: Final = 3.0
"""Seconds that a stop waits for what is owed; the rest is in the spool file, for the next process."""


def home_of(folder: Path) -> str:
    """What the instances of a folder begin with: made once, so that two gateways of one name on one database never
    take each other's sessions for dead. Raises OSError."""
    make_folder(folder)
    file = folder / HOME
    name = b32encode(secrets.token_bytes(5)).decode("ascii").lower()
    fresh = folder / f".home-{name}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as made:
        made.write(name)
    try:
        os.link(fresh, file)  # the first of several processes wins
    except FileExistsError:
        name = file.read_text("ascii", "replace").strip()
    finally:
        os.unlink(fresh)
    if not name.isalnum():
        raise OSError(errno.EINVAL, "is damaged: remove it", str(file))
    return name


class StateStore:
    """One per process. `open` it before anything listens, `start` it in the reactor, `stop` it last of all."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        meters: Meters,
        recordings: Recordings,
        place: Place,
        node: str,
    ) -> None:
        self.place = place
        self.writer = Writer(node, "")
        self.refuse = False  # new sessions, while the store is down
        self.down = ""  # why the store cannot be used now
        self._reactor = reactor
        self._clock = clock
        self._meters = meters
        self._recordings = recordings
        self._home = ""
        self._journal: Journal | None = None  # while rows are taken
        self._database: Database | None = None
        self._reading: Database | None = None
        self._known = False  # the schema was looked at, and fits
        self._writers = Workers(reactor, "state", 1, QUEUE)
        self._readers = Workers(reactor, "state-read", 1, QUEUE)
        self._pause = RETRY_FIRST
        self._busy = False
        self._soon = False  # somebody waits for one of the rows
        self._looks = 0
        self._began = clock.time()
        self._timer: DelayedCall | None = None  # the next write
        self._due = 0.0  # of that, on the reactor's clock
        self._looking: DelayedCall | None = None
        self._log = Logger(namespace="bastion.state")

    # -- life --------------------------------------------------------------------------------------------

    def open(self, password: str = "") -> None:
        """Make the folder and the spool, look at the schema. Blocks, for as long as a connection may take.

        A store that cannot be reached is `down`, and is tried again. Raises SchemaUnfit, and ConfigError for the URL.
        """
        self._database, self._reading = Database(self.place, password), Database(self.place, password)
        self._open_journal()
        try:
            self._look_at_schema(self._database)
            with self._reading.read() as connection:  # whatever a first statement imports is imported now
                connection.execute(select(LOCKS).limit(1)).all()
        except SchemaUnfit:
            self.close()
            raise
        except (StateDown, OSError) as error:
            self._fell(_text_of(error))

    def _open_journal(self) -> None:
        """Where rows are owed. Without a folder they are owed in memory, and the folder is tried again."""
        place = self.place.folder
        try:
            self._home = home_of(place)
            instance = f"{self._home}.{os.getpid()}.{secrets.token_hex(4)}"
            fresh = Journal(place, instance)
            fresh.open()
        except OSError as error:
            if self._journal is None:
                self._journal = Journal(place, "")
            self._journal.fault = _text_of(error)
            return
        if self._journal is not None:
            fresh.take_over(self._journal)
        self._journal = fresh
        self.writer = replace(self.writer, instance=instance)

    def start(self) -> None:
        """In the reactor: look after the store from now on."""
        if self._looking is None:
            self._look()

    async def stop(self) -> None:
        """Write what is owed, if that can be done in a moment; then give all up."""
        until = self._clock.monotonic() + LAST_WAIT
        while self._journal and not self.down and self._clock.monotonic() < until:
            self._later(0.0)
            await deferLater(self._reactor, 0.02)
        self.close()

    def close(self) -> None:
        """Give all up; what is owed stays in the spool file."""
        for timer in (self._timer, self._looking):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._looking = None
        journal, self._journal = self._journal, None
        self._writers.close()
        self._readers.close()
        if journal is not None:
            journal.close()
        for database in (self._database, self._reading):
            if database is not None:
                database.close()

    # -- for the gateway ---------------------------------------------------------------------------------

    def note(self, changes: Iterable[Change], soon: bool = False) -> None:
        """These rows are to be written, within GATHER or SOON. Takes 20 us each; nothing is owed by a store that was
        not started."""
        journal = self._journal
        if journal is None or self._looking is None:
            return
        lines = []
        for change in changes:
            try:
                lines.append(change.line())
            except BadChange:
                self._meters.add(STATE_ERRORS, "rejected")
        journal.append(lines, self._clock.monotonic())
        if journal.fault:
            self._meters.add(STATE_ERRORS, "spool")
        self._soon |= soon
        if not self.down:
            self._write_what_waits()

    def admit(self) -> None:
        """May a session begin? Raises Refused."""
        reason, text = None, ""
        if self._journal is not None and self._journal.full:
            reason, text = (
                LimitReason.STATE_OWED,
                "the gateway's store has been away for too long, try again later",
            )
        elif self.refuse and self.down:
            reason, text = (
                LimitReason.STATE_UNAVAILABLE,
                "the gateway's store does not answer, try again in a moment",
            )
        if reason is not None:
            self._meters.add(STATE_REFUSALS, reason)
            raise Refused(reason, text)

    def in_force(self, digest: str, by: str, version: str) -> None:
        """A configuration is in force from now on; sessions say which."""
        self.writer = replace(self.writer, config=digest)
        self.note([config_loaded(digest, self.writer.node, self._clock.time(), by, version)])

    def health(self) -> StateHealth:
        """Plain values, for /readyz and the meters."""
        journal = self._journal
        oldest = None if journal is None else journal.oldest
        return StateHealth(
            down=self.down,
            spool=journal.fault if journal is not None else "",
            owed=0 if journal is None else len(journal),
            oldest=0.0 if oldest is None else self._clock.monotonic() - oldest,
            full=journal is not None and journal.full,
        )

    def refresh(self) -> None:
        """Gauges that are read when somebody looks."""
        health = self.health()
        self._meters.set(STATE_OWED_ROWS, health.owed)
        self._meters.set(STATE_OWED_OLDEST_SECONDS, round(health.oldest * MICROSECONDS))

    def unfinished(self) -> Deferred[list[str]]:
        """Sessions of this gateway whose process died, and of which nobody has written yet how they ended. Fails with
        StateDown, or as `Workers.run`."""

        def find(database: Database) -> list[str]:
            self._adopt(database)
            return without_end(database, self.writer.node, self.place.folder)

        return self.ask(find)

    # -- locks -------------------------------------------------------------------------------------------

    def load_locks(self) -> Deferred[list[Lock]]:
        """All locks that are kept, those too that have expired. Fails with StateDown, or as `Workers.run`.

        What processes that died have left unwritten is written first; what this one owes may be missing. While the
        store is away it is what this gateway knew last, if that is known.
        """

        def load(database: Database) -> list[Lock]:
            if self._home:
                write_owed(database, self.place.folder, self._recordings, self.writer.node)
            return load_kept(database, self.place.folder, self._clock.time())

        def known(failure: Failure) -> list[Lock]:
            locks = read_copy(self.place.folder)
            if locks is None:
                failure.raiseException()
            self._log.warn(
                "the state store is away: locks are those of last time ({count})", count=len(locks)
            )
            return locks

        return self.ask(load).addErrback(known)

    def add_lock(self, lock: Lock) -> None:
        """Keep a lock, in the place of an earlier one of the same; owed like any row."""
        self.note([lock_added(lock)], soon=True)
        self._copy(lock)

    def remove_lock(self, kind: str, value: str, made_at: float) -> None:
        """Keep the one that was made then no more, and that it is over."""
        over = lock_ended(kind, value, made_at, self._clock.time())
        self.note([over, lock_removed(kind, value, made_at)], soon=True)
        self._copy(Lock(kind, value, "", "", made_at), gone=True)

    def _copy(self, lock: Lock, gone: bool = False) -> None:
        """Somebody typed a command: a small file that is synced, once."""
        try:
            change_copy(self.place.folder, lock, gone)
        except OSError as error:
            self._log.warn("the copy of the locks cannot be written: {why}", why=_text_of(error))

    def ask(self, question: Callable[[Database], T]) -> Deferred[T]:
        """Call `question` in a thread, where it may block. Fails with StateDown, or as `Workers.run`."""
        database = self._reading
        if database is None:
            return fail(StateDown("the state store is not open"))
        return self._readers.run(partial(question, database), DEADLINE, database.cut)

    def decide(self, decision: Callable[[Database], T], asker: Asker = OPERATOR) -> Deferred[T]:
        """As `ask`, in the thread that writes, in the turns of `asker`: what it changes is changed when this fires."""
        database = self._database
        if database is None:
            return fail(StateDown("the state store is not open"))
        return self._writers.run(partial(decision, database), DEADLINE, database.cut, asker)

    # -- writing -----------------------------------------------------------------------------------------

    def _write_what_waits(self) -> None:
        journal = self._journal
        if journal:
            self._later(0.0 if len(journal) >= BATCH else SOON if self._soon else GATHER)

    def _later(self, seconds: float) -> None:
        """Write in so many seconds, or when it was to be written anyway, if that is sooner."""
        if self._busy or self._journal is None:
            return
        due = self._reactor.seconds() + seconds
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._timer, self._due = self._reactor.callLater(seconds, self._write), due

    def _write(self) -> None:
        self._timer, self._soon = None, False
        journal, database = self._journal, self._database
        if journal is None or database is None or self._busy:
            return
        lines = journal.batch(BATCH)
        self._busy = True
        began = self._clock.monotonic()
        done = self._writers.run(partial(self._to_database, database, lines), DEADLINE, database.cut)
        done.addCallbacks(self._wrote, self._failed, callbackArgs=(len(lines), began))

    def _to_database(self, database: Database, lines: list[bytes]) -> int:
        """In the thread: write `lines`; how many of them no database would take."""
        if not self._known:
            self._look_at_schema(database)
        changes = [read_line(line) for line in lines]
        try:
            with database.write() as connection:
                apply(connection, changes) if changes else connection.execute(text("SELECT 1"))
            return 0
        except StateDown as error:
            if not error.refused:
                raise
        return sum(self._is_refused(database, change) for change in changes)

    def _is_refused(self, database: Database, change: Change) -> bool:
        """One change by itself: what no repetition makes right may not hold up the others."""
        try:
            with database.write() as connection:
                apply(connection, [change])
        except StateDown as error:
            if not error.refused:
                raise
            self._log.error("a row of {table} was refused: {text}", table=change.table, text=error.text)
            return True
        return False

    def _look_at_schema(self, database: Database) -> None:
        try:
            check_schema(database)
        except SchemaUnfit as error:
            if not (error.older and self.place.embedded):
                raise
            migrate_in_child(self.place)
            check_schema(database)
        self._known = True

    def _wrote(self, rejected: int, count: int, began: float) -> None:
        self._busy = False
        self._meters.observe(STATE_WRITE_SECONDS, self._clock.monotonic() - began)
        self._meters.add(STATE_ROWS_WRITTEN, by=count - rejected)
        self._meters.add(STATE_ERRORS, "rejected", by=rejected)
        self.down, self._pause = "", RETRY_FIRST
        journal = self._journal
        if journal is not None:
            journal.settled(count)
            self._write_what_waits()

    def _failed(self, failure: Failure) -> None:
        self._busy = False
        error = failure.value
        if error is None or isinstance(error, WorkersClosed) or self._journal is None:
            return
        if not isinstance(error, StateDown | DeadlinePassed | QueueFull | ConfigError | OSError):
            self._log.failure("writing to the state store failed", failure=failure)
        self._fell("it does not answer" if isinstance(error, DeadlinePassed | QueueFull) else _text_of(error))
        self._later(self._pause)
        self._pause = min(RETRY_LONGEST, self._pause * 2)

    def _fell(self, why: str) -> None:
        """The store is down; one line when it goes, not one for each try."""
        if not self.down:
            self._log.error("the state store is down, rows are owed: {why}", why=why)
        self._meters.add(STATE_ERRORS, "unavailable")
        self.down = why

    # -- looking -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._looking = self._reactor.callLater(LOOK_EVERY, self._look)
        if self._looks % SEEN_EVERY == 0:
            now = self._clock.time()
            self.note([node_seen(self.writer.node, __version__, self._began, now)])
        self._looks += 1
        if self._journal is not None and not self._journal.kept and not self._busy:
            self._open_journal()
        if self.down or not self._journal:
            self._later(0.0)  # with nothing to write it asks whether it could be
        if self._home and not self.down:
            self.ask(self._adopt).addCallbacks(self._adopted, lambda _: None)

    def _adopt(self, database: Database) -> Adopted:
        return adopt(database, self.place.folder, self._home, self._recordings, self.writer.node)

    def _adopted(self, adopted: Adopted) -> None:
        self._meters.add(STATE_ERRORS, "rejected", by=adopted.bad)
        self._meters.add(STATE_ROWS_WRITTEN, by=adopted.written)
        if adopted.written or adopted.ended:
            self._log.info(
                "took over from a process that died: {written} rows, {ended} sessions",
                written=adopted.written,
                ended=adopted.ended,
            )


def migrate_in_child(place: Place) -> None:
    """Bring an SQLite file to this version in a process of its own: alembic stays out of this one. Raises StateDown."""
    command = [sys.executable, "-m", "bastion.state.migrating", str(place.folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MIGRATION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StateDown(f"migrating {place.file}: {type(error).__name__}") from None
    if done.returncode:
        raise StateDown(f"migrating {place.file}: {done.stderr.strip()[-TEXT_MAX:]}")


def _text_of(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the state folder'}: {error.strerror}"
    return error.text if isinstance(error, StateDown) else type(error).__name__
