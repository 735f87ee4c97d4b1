"""The state store and the reading index, asked in threads (L4).

Each thread has a connection of its own. Invariants: threads and who waits for one are bounded, and shared fairly among
those who ask; every call has a deadline; what the store does not answer is a `Trouble`, never half a page.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.directory import Asker
from bastion.auth.totp import TotpKey
from bastion.auth.workers import DeadlinePassed, QueueFull, Workers, WorkersClosed
from bastion.clock import Clock
from bastion.errors import AuthReason, BastionError, ConsoleReason, Refused
from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.policy.locks import LockSet
from bastion.state.codes import use
from bastion.state.database import Database, StateDown, StateReadOnly
from bastion.state.database import Place as StatePlace
from bastion.state.shared_locks import in_force, kept_locks

T = TypeVar("T")
Z = TypeVar("Z")

THREADS: Final = 2
QUEUE: Final = 64
DEADLINE: Final = 12.0
"""Seconds; a statement has ten."""

READS_ALONE: Final = (
    "this console may only read the state store: that takes PostgreSQL, or the gateway's own account"
)

_log = Logger(namespace="bastion.console")


class Trouble(BastionError):
    """It cannot be shown now. `text` is ours, for whoever asked."""

    def __init__(self, reason: ConsoleReason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class Reads:
    """One per console."""

    def __init__(self, reactor: Any, clock: Clock, place: StatePlace, password: str, index: Path) -> None:
        self._clock, self._place, self._password, self._index = clock, place, password, index
        self._reactor = reactor
        self._workers = Workers(reactor, "console-reads", THREADS, QUEUE)
        self._local = threading.local()
        self._databases: list[Database] = []

    def ask(self, work: Callable[[Database], T], asker: Asker) -> Deferred[T]:
        """What `work` finds in the store, in a thread. Fails with Trouble."""
        return self._run(lambda: work(self._database()), asker)

    def change(
        self, work: Callable[[Database, Callable[[Z], None]], T], tell: Callable[[Z], None], asker: Asker
    ) -> Deferred[T]:
        """As `ask`, of what changes the store: `tell` writes the line about it, in the reactor's thread and before the
        change is kept; what it raises undoes that."""

        def told(what: Z) -> None:
            blockingCallFromThread(self._reactor, tell, what)

        return self._run(lambda: work(self._database(), told), asker)

    def search(self, work: Callable[[IndexFile], T], asker: Asker) -> Deferred[T]:
        """What `work` finds in the reading index, in a thread. Fails with Trouble."""

        def find() -> T:
            with self._reading_index() as file:
                return work(file)

        return self._run(find, asker)

    def both(self, work: Callable[[Database, IndexFile], T], asker: Asker) -> Deferred[T]:
        """What `work` finds in the store and in the reading index together, in a thread. Fails with Trouble."""

        def find() -> T:
            with self._reading_index() as file:
                return work(self._database(), file)

        return self._run(find, asker)

    @contextmanager
    def _reading_index(self) -> Iterator[IndexFile]:
        """Raises Trouble, IndexUnfit."""
        if not self._index.exists():
            text = "there is no reading index: `bastion index` makes it"
            raise Trouble(ConsoleReason.UNAVAILABLE, text)
        file = IndexFile(self._index)
        try:
            yield file
        finally:
            file.close()

    def locks(self, asker: Asker) -> Deferred[LockSet]:
        """What is locked now. Fails with Trouble."""
        now = self._clock.time()
        return self.ask(lambda database: LockSet(in_force(kept_locks(database, now))), asker)

    def codes(self, key: TotpKey) -> Callable[[str, str, Asker], Deferred[bool]]:
        """What `auth.attempt` asks about one-time codes: each is good once, for every gateway and console together."""

        def check(uid: str, answer: str, asker: Asker) -> Deferred[bool]:
            def spend(database: Database) -> bool:
                return use(database, key, uid, answer, self._clock.time())

            return self._run(lambda: spend(self._database()), asker).addErrback(_refused)

        return check

    def share(self, work: Callable[[Database], T]) -> Deferred[T]:
        """As `ask`, for nobody: it fails as `Workers.run`, and with StateDown, and nothing is logged."""
        return self._workers.run(lambda: work(self._database()), DEADLINE)

    def close(self) -> None:
        self._workers.close()
        for database in self._databases:
            database.close()

    def _run(self, work: Callable[[], T], asker: Asker) -> Deferred[T]:
        return self._workers.run(work, DEADLINE, asker=asker).addErrback(_troubled)

    def _database(self) -> Database:
        """Of this thread."""
        found: Database | None = getattr(self._local, "database", None)
        if found is None:
            found = self._local.database = Database(self._place, self._password)
            self._databases.append(found)
        return found


def _troubled(failure: Failure) -> Any:
    error = failure.value
    if isinstance(error, (Trouble, Refused)):
        failure.raiseException()
    if isinstance(error, (QueueFull, WorkersClosed)):
        raise Trouble(
            ConsoleReason.TOO_MANY, "too many ask at the same time: try again in a moment"
        ) from None
    if isinstance(error, DeadlinePassed):
        raise Trouble(ConsoleReason.UNAVAILABLE, "the state store does not answer in time") from None
    if isinstance(error, StateReadOnly):
        raise Trouble(ConsoleReason.UNAVAILABLE, READS_ALONE) from None
    if isinstance(error, StateDown):
        _log.warn("the state store: {text}", text=error.text)
        raise Trouble(ConsoleReason.UNAVAILABLE, "the state store does not answer") from None
    if isinstance(error, IndexUnfit):
        _log.warn("the reading index: {text}", text=error.text)
        raise Trouble(ConsoleReason.UNAVAILABLE, "the reading index cannot be used") from None
    failure.raiseException()


def _refused(failure: Failure) -> bool:
    if isinstance(failure.value, Refused):
        failure.raiseException()
    raise Refused(AuthReason.CODES_UNAVAILABLE, "the store of second factors does not answer") from None
