"""The gateway's socket as the console asks it: watching shares a few connections. tests/interop/test_console_live.py
has a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from bastion.console.gateway import EACH, LINKS, MOST_WATCHED, GatewaySocket, by, trouble
from bastion.console.reads import Trouble
from bastion.control.asking import By, ControlError, Stream
from bastion.control.orders import Watched, WatchSession
from bastion.errors import ConsoleReason, ControlReason

OVER = Watched("ended", "the session has ended")


class Link:
    """A connection."""

    def __init__(self) -> None:
        self.lost = self.dropped = False
        self.asked: list[Deferred[Watched]] = []

    def ask(self, request: object, stream: object = None) -> Deferred[Watched]:
        made: Deferred[Watched] = Deferred()
        self.asked.append(made)
        return made

    def drop(self) -> None:
        self.dropped = True


class Socket(GatewaySocket):
    def __init__(self) -> None:
        super().__init__(Clock(), Path("/nowhere"))
        self.links: list[Link] = []
        self.connecting: list[Deferred[None]] | None = None

    async def _connected(self) -> Any:
        if self.connecting is not None:
            self.connecting.append(Deferred())
            await self.connecting[-1]
        self.links.append(Link())
        return self.links[-1]

    def begin(self) -> list[Any]:
        """One that watches, and what came of it."""
        stream = Stream(lambda event, size: None)
        watching = Deferred.fromCoroutine(self.watch(WatchSession("a" * 16, "", by("ada")), stream))
        ended: list[Any] = [watching]
        watching.addBoth(ended.append)
        return ended


def test_whom_it_is_asked_for() -> None:
    assert by("ada") == By(-1, "", "ada")


def test_sessions_share_connections_and_so_many_are_watched() -> None:
    socket = Socket()
    ended = [socket.begin() for _ in range(MOST_WATCHED)]
    assert [len(link.asked) for link in socket.links] == [EACH] * LINKS
    (_, refused) = socket.begin()
    assert refused.value.reason is ConsoleReason.TOO_MANY
    socket.links[0].asked[3].callback(OVER)
    assert ended[3][1] == OVER
    socket.begin()
    assert len(socket.links) == LINKS and len(socket.links[0].asked) == EACH + 1


def test_many_that_begin_at_the_same_time_open_no_more_connections() -> None:
    socket = Socket()
    socket.connecting = []
    for _ in range(EACH + 1):
        socket.begin()
    assert len(socket.connecting) == 1
    socket.connecting[0].callback(None)
    assert len(socket.connecting) == 2
    socket.connecting[1].callback(None)
    assert [len(link.asked) for link in socket.links] == [EACH, 1]


def test_a_connection_that_nobody_needs_is_ended() -> None:
    socket = Socket()
    one, two = socket.begin(), socket.begin()
    (link,) = socket.links
    one[0].cancel()
    assert one[1].check(CancelledError) and not link.dropped
    link.asked[1].callback(OVER)
    assert two[1] == OVER and link.dropped
    socket.begin()
    assert len(socket.links) == 2


def test_one_that_was_lost_is_used_no_more() -> None:
    socket = Socket()
    ended = socket.begin()
    socket.links[0].lost = True
    socket.begin()
    assert len(socket.links) == 2
    socket.links[0].asked[0].errback(ControlError(ControlReason.LINK_LOST, "the gateway is gone"))
    assert ended[1].value.reason is ConsoleReason.UNAVAILABLE and "is gone" in ended[1].value.text


def test_a_gateway_that_does_not_answer_takes_no_place() -> None:
    socket = Socket()
    socket.connecting = []
    ended = socket.begin()
    socket.connecting[0].errback(Trouble(ConsoleReason.UNAVAILABLE, "no gateway answers"))
    assert ended[1].value.text == "no gateway answers"
    socket.connecting = None
    for _ in range(MOST_WATCHED):
        assert len(socket.begin()) == 1


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (ControlReason.NOT_FOUND, ConsoleReason.NOT_FOUND),
        (ControlReason.BY_POLICY, ConsoleReason.UNAVAILABLE),
        (ControlReason.NO_ROLE, ConsoleReason.UNAVAILABLE),
    ],
)
def test_what_is_refused_is_told_in_words(reason: ControlReason, told: ConsoleReason) -> None:
    found = trouble(ControlError(reason, "so it is"))
    assert found.reason is told and "so it is" in found.text
    assert ("own account" in found.text) is (reason is ControlReason.NO_ROLE)
