"""The operator's log: everything at first, and then what is grave enough."""

from __future__ import annotations

import pytest
from twisted.logger import LogLevel as Twisted
from twisted.logger import PredicateResult

from bastion.assembly.log_level import LevelFilter
from bastion.control.orders import LevelSet, LogLevel


@pytest.mark.parametrize("level", LogLevel)
def test_what_is_as_grave_is_told(level):
    levels = LevelFilter()
    assert levels.set(level) == LevelSet(level, LogLevel.DEBUG)
    kept = [
        one.name
        for one in (Twisted.debug, Twisted.info, Twisted.warn, Twisted.error, Twisted.critical)
        if levels({"log_level": one}) is PredicateResult.maybe
    ]
    assert kept == ["debug", "info", "warn", "error", "critical"][list(LogLevel).index(level) :]
    assert levels({}) is PredicateResult.maybe  # of old code, which says no level
