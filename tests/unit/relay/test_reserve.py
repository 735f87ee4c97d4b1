"""The gateway's own bytes: only from the reserve, refilled by withheld adjusts, never target output."""

from __future__ import annotations

import pytest

from bastion.relay import events as e
from bastion.relay.limits import RelayLimits
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import Recorded, adjusts, asks, opens, sends, sends_stderr
from tests.unit.relay.conftest import MakePlaybook


@pytest.mark.parametrize(
    ("window", "passed"),
    [
        (2 << 20, (2 << 20) - 32768),
        (262_144, 229_376),
        (8000, 7000),
        (7, 7),
        (0, 0),
        (0xFFFFFFFF, 0xFFFFFFFF - 32768),
    ],
)
def test_the_reserve_is_an_eighth_of_the_window_and_at_most_32_kib(
    playbook: MakePlaybook, window: int, passed: int
) -> None:
    book = playbook()
    book.client(opens("session", 0, window)).to_target(opens("session", 0, passed))
    book.done()


def test_injected_text_reaches_the_client_and_is_no_target_output(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session(3, 4)
    assert book.relay.inject(channel.id, b"15 minutes left\r\n", 0, book.out)
    assert book.relay.inject(channel.id, b"really\r\n", 1, book.out)
    book.to_client(sends(3, b"15 minutes left\r\n"), sends_stderr(3, b"really\r\n"))
    book.told(e.Injected(1, 0, b"15 minutes left\r\n"), e.Injected(1, 1, b"really\r\n"))
    assert channel.bytes == [0, 0]
    book.done()


def test_injected_text_keeps_to_the_maximum_packet_size(playbook: MakePlaybook) -> None:
    book = playbook(limits=RelayLimits(min_packet=6))
    book.client(opens("session", 0, 800, 6)).to_target(opens("session", 0, 700, 6))
    confirmed = m.ChannelOpenConfirmation(0, 0, 0, 32768)
    book.target(confirmed).to_client(confirmed)
    assert book.relay.inject(1, b"fifteen bytes..", 0, book.out)
    book.to_client(sends(0, b"fiftee"), sends(0, b"n byte"), sends(0, b"s.."))
    book.done()


def test_nothing_is_injected_beyond_the_reserve(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session(window=800)
    assert not book.relay.inject(channel.id, b"x" * 101, 0, book.out)
    assert book.relay.inject(channel.id, b"x" * 60, 0, book.out)
    assert not book.relay.inject(channel.id, b"x" * 41, 0, book.out)
    book.to_client(sends(0, b"x" * 60)).told(e.Injected(1, 0, b"x" * 60))
    book.done()


def test_the_target_can_use_all_that_it_was_told_beside_injected_text(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session(window=800)
    assert book.relay.inject(channel.id, b"x" * 100, 0, book.out)
    book.to_client(sends(0, b"x" * 100))
    book.target(sends(0, b"y" * 700)).to_client(sends(0, b"y" * 700))
    book.target_breaks(sends(0, b"z"), "overruns").done()


def test_the_reserve_is_refilled_by_withheld_adjusts(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session(window=800)
    assert book.relay.inject(channel.id, b"x" * 100, 0, book.out)
    book.to_client(sends(0, b"x" * 100))
    book.client(adjusts(0, 30)).silence()
    assert not book.relay.inject(channel.id, b"x" * 31, 0, book.out)
    book.client(adjusts(0, 100)).to_target(adjusts(0, 30))
    assert book.relay.inject(channel.id, b"x" * 100, 0, book.out)
    book.to_client(sends(0, b"x" * 100))
    book.client(adjusts(0, 100)).silence()
    book.client(adjusts(0, 7)).to_target(adjusts(0, 7))
    book.done()


def test_a_thousand_warnings_cost_the_target_no_window(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session(window=800)
    for _ in range(1000):
        assert book.relay.inject(channel.id, b"x" * 100, 0, book.out)
        book.to_client(sends(0, b"x" * 100))
        book.client(adjusts(0, 100)).silence()
    book.target(sends(0, b"y" * 700)).to_client(sends(0, b"y" * 700))
    book.client(adjusts(0, 700)).to_target(adjusts(0, 700))
    book.done()


def test_nothing_is_injected_where_it_could_not_be_read(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(opens("session", 0, 800)).to_target(opens("session", 0, 700))
    assert not book.relay.inject(1, b"unconfirmed", 0, book.out)
    assert not book.relay.inject(77, b"unknown", 0, book.out)
    book.target(m.ChannelOpenConfirmation(0, 0, 0, 32768)).to_client(
        m.ChannelOpenConfirmation(0, 0, 0, 32768)
    )
    assert not book.relay.inject(1, b"", 0, book.out)
    book.target(m.Eof(0)).to_client(m.Eof(0))
    assert not book.relay.inject(1, b"after EOF", 0, book.out)
    book.client(m.Close(0)).to_target(m.Close(0))
    assert not book.relay.inject(1, b"after the client's CLOSE", 0, book.out)
    tunnel = opens("direct-tcpip", 1, body=r.TcpipOpen("db", 1, "::1", 1).encode())
    book.client(tunnel).to_target(tunnel)
    book.target(m.ChannelOpenConfirmation(1, 1, 9, 999)).to_client(m.ChannelOpenConfirmation(1, 1, 9, 999))
    assert not book.relay.inject(2, b"into a tunnel", 0, book.out)
    book.done()


def test_nothing_is_injected_after_the_client_closed_alone(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session()
    book.client(m.Close(0)).to_target(m.Close(0))
    assert not book.relay.inject(channel.id, b"too late", 0, book.out)
    book.done()


def test_warnings_go_to_ptys_only(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 0)
    book.pty(1, 1)
    book.pty(2, 2)
    assert book.relay.warn(b"5 minutes left\r\n", book.out) == 2
    book.to_client(sends(1, b"5 minutes left\r\n"), sends(2, b"5 minutes left\r\n"))
    book.done()


def test_last_words_and_then_silence(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 0)
    book.pty(1, 1)
    assert book.relay.terminate(b"ended by the security team\r\n", book.out) == 1
    book.to_client(sends(1, b"ended by the security team\r\n"))
    book.untold()
    book.target(sends(1, b"more output"), m.Close(0)).silence()
    book.client(sends(1, b"more input"), opens("session", 9), asks(1, "shell")).silence().told()
    book.done()


def test_last_words_after_a_protocol_error(playbook: MakePlaybook) -> None:
    book = playbook()
    book.pty(1, 1)
    book.target_breaks(sends(9, b"x"), "unknown channel")
    assert book.relay.terminate(b"the target broke the protocol\r\n", book.out) == 1
    book.to_client(sends(1, b"the target broke the protocol\r\n"))
    book.done()


def test_a_channel_opened_by_the_target_has_no_reserve(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    agent = asks(0, "auth-agent-req@openssh.com")
    book.client(agent).to_target(agent)
    book.target(opens("auth-agent@openssh.com", 1, 800)).to_client(opens("auth-agent@openssh.com", 1, 800))
    confirmed = m.ChannelOpenConfirmation(1, 1, 800, 1000)
    book.client(confirmed).to_target(confirmed).untold()
    book.target(sends(1, b"x" * 100)).to_client(sends(1, b"x" * 100))
    book.told(Recorded(2, Side.TARGET, 0, b"x" * 100))
    book.done()
