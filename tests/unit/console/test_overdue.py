"""What the console leaves for the gateway's metrics about reviews."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.console.overdue import EVERY, TASK, Overdue
from bastion.console.reads import Trouble
from bastion.errors import ConsoleReason
from bastion.state.database import Database, Place
from bastion.state.review_queue import Rules
from bastion.state.runs import Run, left_runs
from bastion.state.schema_version import check_schema
from tests.unit.state.test_reviewing import session


class Asked:
    """Reads without a thread, or without a store."""

    def __init__(self, database: Database) -> None:
        self.database, self.down = database, False

    def ask(self, work, asker) -> Deferred[None]:  # type: ignore[no-untyped-def]
        if self.down:
            failed: Deferred[None] = Deferred()
            failed.errback(Trouble(ConsoleReason.UNAVAILABLE, "the state store does not answer"))
            return failed
        return succeed(work(self.database))


def test_overdue_reviews_are_counted_again_and_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    database = Database(Place(tmp_path))
    check_schema(database)
    session(database, emergency=1, ended_at=900.0)
    reactor, clock, reads = Clock(), FixedClock(1000.0), Asked(database)
    overdue = Overdue(reactor, clock, reads, Rules(3600.0))  # type: ignore[arg-type]
    overdue.start()
    assert left_runs(tmp_path)[TASK] == Run(1000.0, 0)
    clock.advance(3500.0)
    reactor.advance(EVERY)
    assert left_runs(tmp_path)[TASK] == Run(4500.0, 1)
    reads.down = True
    reactor.advance(EVERY)
    reads.down = False
    clock.advance(EVERY)
    reactor.advance(EVERY)
    assert left_runs(tmp_path)[TASK].at == 4800.0, "a store that was away is asked again"
    overdue.stop()
    assert not reactor.getDelayedCalls()
    database.close()
