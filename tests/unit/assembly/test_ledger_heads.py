"""The ledger's head goes to the audit log and the store, once for each change."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock

from bastion.assembly.ledger_heads import PERIOD, LedgerHeads
from bastion.clock import FixedClock
from bastion.observe.audit_chain import Link
from bastion.observe.events.process import LedgerBroken, LedgerHead
from bastion.recording.ledger import Head
from bastion.session.gateway import Gateway


class Page:
    node = "gw1"

    def __init__(self) -> None:
        self.head, self.broken = Head(), list[str]()
        self.told: list[tuple[str, int, str]] = []

    def logged(self, chain: str, serial: int, digest: str) -> None:
        self.told.append((chain, serial, digest))
        self.head = Head(self.head.serial + 1, digest + chain)


class Log:
    def __init__(self, told: list[Any]) -> None:
        self.written, self.head, self._told = 0, Link("ab", -1, "00"), told

    def note(self, what: Any) -> None:
        self.written += 1
        self.head = Link("ab", self.head.serial + 1, "00")
        self._told.append(what)


class Fake:
    """Stands for the gateway: collects what it is told."""

    def __init__(self) -> None:
        self.reactor, self.clock = Clock(), FixedClock()
        self.state = self.store = self
        self.books = Page()
        self.told: list[Any] = []
        self.audit = Log(self.told)

    def note(self, what: Any) -> None:
        self.told += what if isinstance(what, list) else [what]


def test_each_head_is_told_once_and_the_last_at_the_end() -> None:
    gateway = Fake()
    books = gateway.books
    heads = LedgerHeads(cast(Gateway, gateway))
    heads.start()
    gateway.reactor.advance(PERIOD)
    assert gateway.told == []
    books.head = Head(3, "aa")
    gateway.reactor.advance(PERIOD)
    event, change = gateway.told
    assert event == LedgerHead("gw1", 3, "aa")
    assert dict(change.values) == {
        "node": "gw1", "serial": 3, "digest": "aa", "told_at": gateway.clock.time()
    }  # fmt: skip
    gateway.reactor.advance(PERIOD)
    assert len(gateway.told) == 2
    books.head, books.broken = Head(0, "bb"), ["/rec/ledger.gw1.jsonl.0.broken"]
    heads.stop()
    assert gateway.told[2:4] == [LedgerBroken("/rec/ledger.gw1.jsonl.0.broken"), LedgerHead("gw1", 0, "bb")]
    assert not gateway.reactor.getDelayedCalls() and books.broken == []


def test_how_far_the_audit_log_has_come_is_told_to_the_ledger_and_comes_to_rest() -> None:
    gateway = Fake()
    heads = LedgerHeads(cast(Gateway, gateway))
    heads.start()
    gateway.reactor.advance(PERIOD)
    assert gateway.books.told == []
    gateway.audit.note("a line")
    for _ in range(5):
        gateway.reactor.advance(PERIOD)
    assert gateway.books.told == [("ab", 0, "00")]
    assert [type(one) for one in gateway.told if isinstance(one, LedgerHead)] == [LedgerHead]
    gateway.audit.note("another")
    heads.stop()
    assert gateway.books.told == [("ab", 0, "00"), ("ab", 2, "00")]
