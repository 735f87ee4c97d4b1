"""The new side of a handover (L4): everything is read; begin when the old process has stopped to accept."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory

from bastion import __version__
from bastion.control.link import Link
from bastion.errors import ConfigError
from bastion.handover.elders import Elders
from bastion.handover.questions import ASKED_BY_ELDERS, Begun, Ready
from bastion.net.listening import Listeners, from_text
from bastion.policy.locks import Lock

T = TypeVar("T")


def predecessor_of(text: str | None) -> Predecessor | None:
    """What hands over to this process, None when it was started by nobody of ours; or exit 2."""
    try:
        return Predecessor(text) if text else None
    except ConfigError as error:
        print(f"bastion: {error}", file=sys.stderr)
        sys.exit(2)


class Predecessor:
    """The process that started this one, by its option `--successor`."""

    def __init__(self, text: str) -> None:
        """Raises ConfigError for what no gateway has written."""
        number, slash, sockets = text.partition("/")
        if not number.isdecimal() or not slash:
            raise ConfigError("the command line", 0, "--successor", "is for a gateway that hands over")
        self.listeners: Listeners = from_text(sockets)
        self._descriptor = int(number)
        self._link: Link | None = None

    def take_over(
        self,
        reactor: Any,
        elders: Elders,
        lock: Callable[[Iterable[Lock]], Any],
        begin: Callable[[], T | Deferred[T]],
    ) -> Deferred[T]:
        """Call `begin` as soon as the old process says so, which is one of `elders` then; fires with what that gave.

        `lock` puts locks in force: those that are, before anybody is let in.
        """
        factory: Any = Factory.forProtocol(lambda: link)
        factory.noisy = False
        link = Link(
            reactor, "elder", lambda _, request, __: elders.answer(link, request), requests=ASKED_BY_ELDERS
        )
        with socket.socket(fileno=self._descriptor) as made:
            reactor.adoptStreamConnection(made.fileno(), socket.AF_UNIX, factory)
        return Deferred.fromCoroutine(self._take_over(link, elders, lock, begin))

    async def _take_over(
        self,
        link: Link,
        elders: Elders,
        lock: Callable[[Iterable[Lock]], Any],
        begin: Callable[[], T | Deferred[T]],
    ) -> T:
        ready = await link.ask(Ready(os.getpid(), __version__))
        await maybeDeferred(lock, ready.locks)
        begun = begin()
        given = await begun if isinstance(begun, Deferred) else begun
        last = await link.ask(Begun())
        elders.join(link)
        await maybeDeferred(lock, last.locks)
        return given
