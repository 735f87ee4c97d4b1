"""What a gateway that does not come back has left on its disk, brought to its end without being that gateway (L4).

`bastion adopt` does this where the disk is now: rows that are owed are written, recordings that have no end get it,
and what is new in the ledger is told. Nobody is let in, and no other gateway sees a heartbeat. Blocks.

Invariants: as in `assembly.leftovers`, of which this is the form without a reactor. What it was killed in the middle
of is gone on with by the next run.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import select

from bastion.assembly.endings import DIED, is_to_be_told, line_of, rows_of
from bastion.clock import Clock
from bastion.errors import EndReason
from bastion.observe.audit import AuditLog
from bastion.observe.events.nodes import NodeAdopted
from bastion.observe.events.process import LedgerHead
from bastion.recording.booking import Books
from bastion.recording.sealing import Sealed
from bastion.recording.store import Store
from bastion.state.adopting import adopt, without_end
from bastion.state.changes import Change, apply
from bastion.state.database import Database
from bastion.state.folder import HOME
from bastion.state.rows import ledger_head
from bastion.state.schema import NODES

SEEN: Final = 150.0
"""Seconds after its last note in the store in which a gateway may well be alive: it leaves one every minute."""


@dataclass(slots=True)
class Left:
    """What came of it: `rows` that were owed, `sessions` that had died with their process, recordings that were
    `sealed` now, and what of them has no end, each as `session: why`."""

    rows: int = 0
    sessions: int = 0
    sealed: int = 0
    unended: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Estate:
    """What `node` has left: its `folder` of state, and a `store` that keeps its ledger and signs with its key."""

    database: Database
    folder: Path
    node: str
    store: Store
    books: Books
    audit: AuditLog
    clock: Clock

    def take(self, by: str) -> Left:
        """Write and end everything. `by` is who does. Raises StateDown, AuditFailed and OSError; what was done is
        done."""
        home = (self.folder / HOME).read_text("ascii", "replace").strip()
        adopted = adopt(self.database, self.folder, home, self.store, self.node)
        left = Left(adopted.written, adopted.ended)
        for session in without_end(self.database, self.node, self.folder):
            self._end(session, left)
        self.store.book_ended()
        self.audit.emit(NodeAdopted(self.node, by, left.rows, left.sessions, left.sealed, len(left.unended)))
        self._tell_head()
        return left

    def _end(self, session: str, left: Left) -> None:
        sealed = self.store.seal(session, EndReason.GATEWAY_DIED, DIED)
        if sealed is None:  # its process died before the file was there, or the file is gone
            return
        if sealed.problem:
            left.unended.append(f"{session}: {sealed.problem}")
        if sealed.again:
            return
        if is_to_be_told(sealed, EndReason.GATEWAY_DIED):
            self.audit.emit(*line_of(session, sealed, EndReason.GATEWAY_DIED, DIED))
        self._write(rows_of(session, sealed, EndReason.GATEWAY_DIED))
        left.sealed += _is_ended(sealed)

    def _tell_head(self) -> None:
        """The audit log's to the ledger, and the ledger's to the audit log and the store."""
        books, link = self.books, self.audit.head
        if link is not None:
            books.logged(link.chain, link.serial, link.digest)
        books.write()
        if books.waiting:
            raise OSError(errno.EIO, "cannot be written", "the ledger of recordings")
        head = books.head
        self.audit.emit(LedgerHead(self.node, head.serial, head.digest))
        self._write([ledger_head(self.node, head.serial, head.digest, self.clock.time())])

    def _write(self, changes: list[Change]) -> None:
        with self.database.write() as connection:
            apply(connection, changes)


def _is_ended(sealed: Sealed) -> bool:
    return sealed.totals is not None and sealed.totals.reason == EndReason.GATEWAY_DIED


def seen_at(database: Database, node: str) -> float:
    """When that gateway said last that it is there, in seconds since the epoch; 0 when it never did. Raises
    StateDown."""
    with database.read() as connection:
        found = connection.execute(select(NODES.c.seen_at).where(NODES.c.name == node)).scalar()
    return float(found or 0.0)
