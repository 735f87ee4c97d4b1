"""How much the operator's log tells, to be changed while the gateway runs (L4)."""

from __future__ import annotations

from typing import Any

from twisted.logger import ILogFilterPredicate, LogEvent, LogLevel, PredicateResult
from zope.interface import implementer

from bastion.control import orders

_BY_NAME = {orders.LogLevel(level.name): level for level in (
    LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error
)}  # fmt: skip


@implementer(ILogFilterPredicate)
class LevelFilter:
    """Lets through what is as grave as `level`; at first everything."""

    def __init__(self) -> None:
        self.level = orders.LogLevel.DEBUG

    def __call__(self, event: LogEvent) -> Any:
        level = event.get("log_level")
        quiet = level is not None and level < _BY_NAME[self.level]
        return PredicateResult.no if quiet else PredicateResult.maybe

    def set(self, level: orders.LogLevel) -> orders.LevelSet:
        """From now on."""
        before, self.level = self.level, level
        return orders.LevelSet(level, before)
