"""Which reactor the process has: Twisted's epoll reactor with less in it (`net.epoll`), or another with our clock."""

from __future__ import annotations

import select
import time
from typing import Any

from twisted.internet.main import installReactor

from bastion.net.twisted_names import check


def install() -> None:
    """Make it the process's reactor, before anybody imports that; without epoll one of Twisted's with our clock.

    Raises UnknownTwisted.
    """
    if not hasattr(select, "epoll"):
        check()
        _install_another()
        return
    from twisted.internet.epollreactor import EPollReactor

    check(EPollReactor)
    from bastion.net.epoll import DirectReactor

    installReactor(DirectReactor())  # type: ignore[no-untyped-call]


def _install_another() -> None:
    """The reactor of poll(2), or of select(2) where there is no poll, counting monotonic seconds."""
    base: Any
    if hasattr(select, "poll"):
        from twisted.internet.pollreactor import PollReactor as base
    else:
        from twisted.internet.selectreactor import SelectReactor as base
    installReactor(type("MonotonicReactor", (base,), {"seconds": staticmethod(time.monotonic)})())  # type: ignore[no-untyped-call]
