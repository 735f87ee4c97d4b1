"""Draining: who is sent home, who is let finish, what is said when, and that no timer is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.doors.draining import LOOK, WARNED_IN_A_TURN, Drained, Draining
from tests.hostile.memory_gateway import (
    PTY,
    Closed,
    MemoryGateway,
    Peer,
    ask_channel,
    confirm,
    let_in,
    log_in,
    open_session,
)

TEXT = "the gateway is closing down"


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, monkeypatch, "keepalive_interval = 'off'\nmax_duration = 'off'")
    yield made
    for peer in made.peers:
        peer.hang_up()
    made.close()


def session(gateway: MemoryGateway) -> Peer:
    """An engineer in front of a terminal of web1."""
    peer = gateway.connect()
    log_in(peer)
    target = gateway.target()
    let_in(target)
    peer.read_until(52)
    peer.send(open_session())
    target.read_until(90)
    target.send(confirm(0, 0))
    peer.read_until(91)
    peer.send(ask_channel(0, b"pty-req", PTY, reply=False))
    return peer


def begun(
    gateway: MemoryGateway, seconds: float | None = None, patience: float = 0.0
) -> tuple[Draining, list[Drained]]:
    made, ended = Draining(gateway.front, TEXT, patience), []
    made.begin(seconds).addCallback(ended.append)
    return made, ended


def test_with_nobody_it_is_over_at_once(gateway: MemoryGateway) -> None:
    _, ended = begun(gateway, 60.0)
    assert ended == [Drained.EMPTY] and gateway.left_over() == {}


def test_a_session_is_told_and_waited_for(gateway: MemoryGateway) -> None:
    peer = session(gateway)
    gateway.gateway.draining = True
    _, ended = begun(gateway, 900.0)
    assert b"bastion: the gateway closes in 15 min, finish your work" in peer.read_until(94)
    for passes, words in ((600.0, b"closes in 5 min"), (240.0, b"closes in 1 min")):
        gateway.clock.advance(passes)
        assert words in peer.read_until(94)
    assert ended == []
    peer.hang_up()
    gateway.clock.advance(LOOK)
    assert ended == [Drained.EMPTY]


def test_the_time_is_over(gateway: MemoryGateway) -> None:
    session(gateway)
    gateway.gateway.draining = True
    _, ended = begun(gateway, 30.0)
    gateway.clock.advance(29.9)
    assert ended == []
    gateway.clock.advance(0.2)
    assert ended == [Drained.DEADLINE]


def test_whoever_has_no_time_is_hurried_and_no_timer_is_left(gateway: MemoryGateway) -> None:
    peer = session(gateway)
    made, ended = begun(gateway, 3600.0)
    made.finish()
    made.finish()
    assert ended == [Drained.HURRIED]
    peer.hang_up()
    gateway.wind_down(10)
    assert gateway.left_over() == {}


def test_who_is_not_logged_in_and_who_has_nothing_open_is_sent_home(gateway: MemoryGateway) -> None:
    stranger, master = gateway.connect(), gateway.connect()
    stranger.handshake()
    log_in(master, b"alice")
    master.read_until(52)
    gateway.gateway.draining = True
    _, ended = begun(gateway, 60.0)
    for peer in (stranger, master):
        gateway.clock.advance(0)
        assert TEXT.encode() in peer.read_until(1)
        peer.hang_up()
    gateway.clock.advance(LOOK)
    assert ended == [Drained.EMPTY]


def test_behind_a_successor_a_login_goes_on_and_an_idle_connection_has_its_time(
    gateway: MemoryGateway,
) -> None:
    """`draining` is not set: what is here may go on, only nothing new is accepted."""
    stranger, master = gateway.connect(), gateway.connect()
    stranger.handshake()
    log_in(master, b"alice")
    master.read_until(52)
    _, ended = begun(gateway, patience=10.0)
    gateway.clock.advance(9.0)
    assert not stranger.transport.closed and not master.transport.closed
    gateway.clock.pump([LOOK] * 8)
    assert master.transport.closed and not stranger.transport.closed and ended == []
    stranger.hang_up()
    master.hang_up()
    gateway.clock.advance(LOOK)
    assert ended == [Drained.EMPTY]


def test_many_sessions_are_told_in_many_turns(gateway: MemoryGateway) -> None:
    peers = [session(gateway) for _ in range(WARNED_IN_A_TURN + 1)]
    begun(gateway, 120.0)
    *first, last = peers
    assert all(b"closes in 2 min" in peer.read_until(94) for peer in first)
    with pytest.raises(Closed):  # there is nothing to read
        last.read_until(94)
    gateway.clock.advance(0)
    assert b"closes in 2 min" in last.read_until(94)
