"""The names of Twisted that this room uses and Twisted promises nobody, and whether the installed one has them (L2).

A name that is gone would be missed in the middle of somebody's session. So `check` looks before the reactor is made:
a Twisted without one of them is told in one line at the start, and nothing is served. `setup.cfg` keeps pip to the
versions that the tests ran with. Invariant: no other room uses such a name, and this list is what the room uses
(`tests/unit/net/test_twisted_names.py` walks the code for both).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

from twisted import __version__
from twisted.internet import tcp
from twisted.internet.base import DelayedCall

from bastion.errors import BastionError

CONNECTION = (
    "SEND_LIMIT",
    "_isSendBufferFull",
    "_maybePauseProducer",
    "_tempDataBuffer",
    "_tempDataLen",
    "_writeDisconnected",
    "_writeDisconnecting",
    "dataBuffer",
    "offset",
)
"""Of `tcp.Server` and `tcp.Client`: what is queued, and what is over."""

CLIENT = ("_connectDone",)
CONNECTOR = ("_makeTransport",)
PORT = ("_preexistingSocket", "numberAccepts")

TIMER = ("cancelled", "canceller", "kw", "resetter", "time")

REACTOR = (
    "_cancelCallLater",
    "_cancellations",
    "_disconnectSelectable",
    "_doReadOrWrite",
    "_insertNewDelayedCalls",
    "_justStopped",
    "_moveCallLaterSooner",
    "_newTimedCalls",
    "_pendingTimedCalls",
    "_poller",
    "_reads",
    "_selectables",
    "doPoll",
    "runUntilCurrent",
    "threadCallQueue",
    "timeout",
)
"""Of the epoll reactor: its timers and its descriptors."""


class UnknownTwisted(BastionError):
    """This Twisted lacks what the gateway is built on."""


def check(reactor: type[Any] | None = None) -> None:
    """Raise UnknownTwisted, which names what is missing, unless Twisted's connections, and the epoll reactor where it
    is used, have it all."""
    used: list[tuple[type[Any], tuple[str, ...]]] = [
        (tcp.Server, CONNECTION),
        (tcp.Client, CONNECTION + CLIENT),
        (tcp.Connector, CONNECTOR),
        (tcp.Port, PORT),
    ]
    if reactor is not None:
        used += [(reactor, REACTOR), (DelayedCall, TIMER)]
    missing = [
        f"{owner.__name__}.{name}" for owner, names in used for name in sorted({*names} - {*known(owner)})
    ]
    if missing:
        raise UnknownTwisted(
            f"Twisted {__version__} lacks {', '.join(missing)}: the gateway was not tested with this version;"
            " install the one that constraints.txt names"
        )


def known(owner: type[Any]) -> Iterator[str]:
    """The attributes of a class and its bases, and every name that their methods mention, such as `self.name = ...`."""
    for base in owner.__mro__:
        for name, value in vars(base).items():
            yield name
            if isinstance(value, FunctionType):
                yield from value.__code__.co_names
