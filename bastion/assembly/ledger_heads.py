"""The head of the ledger of recordings, told to others (L4): the audit log and the state store; and that of the audit
log, told to the ledger.

A ledger alone proves nothing to somebody who does not trust the machine that it lies on: it could be written anew. Its
head stands in two other places, which may be kept elsewhere, every minute. The audit log's own chain does not show that
its last lines are gone: the ledger knows how far it had come.

Each is told only what is new beside what this class has made new itself, so that a gateway with nothing to do writes
nothing.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import Logger

from bastion.observe.events.process import LedgerBroken, LedgerHead
from bastion.session.gateway import Gateway
from bastion.state.rows import ledger_head
from bastion.wire.printable import printable

PERIOD: Final = 60.0


class LedgerHeads:
    """One per process that records: `start` it, and `stop` it."""

    def __init__(self, gateway: Gateway) -> None:
        assert gateway.store.books is not None  # a gateway's store keeps a ledger
        self._gateway, self._books = gateway, gateway.store.books
        self._told = ""
        self._written = 0  # lines of the audit log, up to the last that is told or was written here
        self._timer: Any = None
        self._log = Logger(namespace="bastion.ledger")

    def start(self) -> None:
        """From now on."""
        self._timer = self._gateway.reactor.callLater(PERIOD, self._round)

    def stop(self) -> None:
        """Tell the last one; nothing fires after this."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self.tell()

    def _round(self) -> None:
        self.tell()
        self.start()

    def tell(self) -> None:
        """What is new."""
        gateway, books, head = self._gateway, self._books, self._books.head
        audit = gateway.audit
        if audit.written != self._written and audit.head is not None:
            self._written = audit.written
            books.logged(audit.head.chain, audit.head.serial, audit.head.digest)
        while books.broken:
            place = printable(books.broken.pop(0))
            self._log.error("the ledger of recordings was damaged and put aside: {place}", place=place)
            audit.note(LedgerBroken(place))
        if head.digest != self._told and head.serial >= 0:
            self._told, before = head.digest, audit.written
            audit.note(LedgerHead(books.node, head.serial, head.digest))
            gateway.state.note([ledger_head(books.node, head.serial, head.digest, gateway.clock.time())])
            self._written += audit.written - before
