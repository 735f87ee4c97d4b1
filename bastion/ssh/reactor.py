"""Twisted's epoll reactor with less between the kernel's event and the connection that reads.

Twisted wraps every event in a log context that names the connection; our log lines name it themselves, and what
a connection raises is caught in the transport. The context costs more than all the rest of a keystroke's way
through the reactor: 7 of 10 microseconds an event, twice for every echo. Everything but a plain "there is input"
goes Twisted's way.
"""

from __future__ import annotations

import select
from typing import Any

from twisted.internet.main import installReactor
from twisted.python import log

MAX_EVENTS = 128
"""Events of one poll. More wait for the next: with more connections ready than this, none starves."""


def install() -> None:
    """Make it the process's reactor, before anybody imports that. Without epoll, Twisted's choice stays."""
    if not hasattr(select, "epoll"):
        return
    from twisted.internet.epollreactor import EPollReactor

    class DirectReactor(EPollReactor):
        """One per process."""

        def doPoll(self, timeout: float | None) -> None:
            """Wait for events and let each connection take its own."""
            try:
                ready = self._poller.poll(-1 if timeout is None else timeout, MAX_EVENTS)
            except InterruptedError:
                return
            selectables = self._selectables
            for descriptor, event in ready:
                selectable: Any = selectables.get(descriptor)
                if selectable is None:
                    continue  # an earlier event of this turn closed it
                if event == select.EPOLLIN and getattr(selectable, "direct", False):  # ssh.io's connections
                    try:
                        ended = selectable.doRead()
                    except Exception as error:
                        ended = error
                        log.err()  # type: ignore[no-untyped-call]
                    if ended is not None:
                        self._disconnectSelectable(  # type: ignore[no-untyped-call]
                            selectable, ended, True
                        )
                else:
                    log.callWithLogger(  # type: ignore[no-untyped-call]
                        selectable, self._doReadOrWrite, selectable, descriptor, event
                    )

        doIteration = doPoll

    installReactor(DirectReactor())  # type: ignore[no-untyped-call]
