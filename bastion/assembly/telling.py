"""What the operator reads of a reload, and who wanted it (L4): the same lines from one process and a supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bastion.wire.printable import printable

LINES: Final = 20
"""Warnings, and changes, that a reload writes to standard error, 40 us each; `bastion check` has all warnings, the
audit log all changes."""

START: Final = "start"
SIGHUP: Final = "SIGHUP"
JOINED: Final = "a worker that started"
"""What puts a configuration in force, beside people and inventories."""

MOST_NAMED: Final = 4


def together(wanted: Sequence[str]) -> str:
    """Who wanted one reload, where several did at once."""
    named = list(dict.fromkeys(wanted))
    more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
    return ", ".join((*named[:MOST_NAMED], *more))


class Loaded(NamedTuple):
    """When one came in force (seconds since the epoch), and by what: all processes of a gateway are told the same."""

    at: float
    by: str


def tell(log: Any, warnings: Sequence[str], restart: Sequence[str], changes: Sequence[str]) -> None:
    """It was taken: what is odd, what waits for a restart, what has changed."""
    _each(log.info, "reload: {text}", changes, "reload: {more} more changes: see the audit log")
    _each(log.warn, "reload: warning: {text}", warnings, "reload: {more} more warnings: see bastion check")
    for option in restart:
        log.warn("reload: {option} has changed and needs a restart", option=option)


def tell_refusal(log: Any, faults: Sequence[str]) -> None:
    """It was not: every fault."""
    for fault in faults:
        log.error("reload refused: {line}", line=printable(fault))


def _each(say: Any, words: str, texts: Sequence[str], rest: str) -> None:
    for text in texts[:LINES]:
        say(words, text=printable(text))
    if len(texts) > LINES:
        say(rest, more=len(texts) - LINES)
