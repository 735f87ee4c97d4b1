"""Channels: from open to close, what each state allows, and numbers that stay taken."""

from __future__ import annotations

import pytest

from bastion.relay import events as e
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import Recorded, adjusts, asks, confirms, no, opens, sends, sends_stderr
from tests.unit.relay.conftest import MakePlaybook

TUNNEL = r.TcpipOpen("127.0.0.1", 5432, "127.0.0.1", 40000)


def test_a_session_from_open_to_close(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(opens("session", 3, 80_000)).to_target(opens("session", 3, 70_000))
    book.told(e.ChannelOpened(1, "session", Side.CLIENT, {}, "test rule"))
    book.target(confirms(3, 9, 0)).to_client(confirms(3, 9, 0)).told(e.ChannelConfirmed(1))
    book.client(asks(9, "exec", r.Exec(b"make"))).to_target(asks(9, "exec", r.Exec(b"make")))
    book.told(e.RequestForwarded(1, Side.CLIENT, "exec", {"command": "make"}, "test rule"))
    book.target(adjusts(3, 100), m.ChannelSuccess(3)).to_client(adjusts(3, 100), m.ChannelSuccess(3))
    book.told(e.RequestAnswered(1, Side.TARGET, "exec", True))
    book.client(sends(9, b"input"), m.Eof(9)).to_target(sends(9, b"input"), m.Eof(9))
    book.told(Recorded(1, Side.CLIENT, 0, b"input"), e.EofSent(1, Side.CLIENT))
    book.target(sends(3, b"out"), sends_stderr(3, b"err")).to_client(
        sends(3, b"out"), sends_stderr(3, b"err")
    )
    book.told(Recorded(1, Side.TARGET, 0, b"out"), Recorded(1, Side.TARGET, 1, b"err"))
    status = asks(3, "exit-status", r.ExitStatus(7), reply=False)
    book.target(status, m.Eof(3), m.Close(3)).to_client(status, m.Eof(3), m.Close(3))
    book.told(e.ExitStatus(1, 7), e.EofSent(1, Side.TARGET))
    book.client(m.Close(9)).to_target(m.Close(9)).told(e.ChannelClosed(1, "session", 5, 6))
    assert not book.relay.channels
    book.done()


def test_output_in_the_same_burst_as_the_confirmation(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(opens("session", 0)).to_target(opens("session", 0, (2 << 20) - 32768))
    book.target(confirms(0, 5), sends(0, b"early")).to_client(confirms(0, 5), sends(0, b"early"))
    book.done()


def test_requests_right_after_the_confirmation_without_waiting(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 5)
    lines = asks(5, "exec", r.Exec(b"cat")), sends(5, b"data at once"), m.Eof(5)
    book.client(*lines).to_target(*lines)
    book.done()


def test_several_channels_with_numbers_of_their_own_on_each_side(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 4)
    book.session(4, 0)
    book.client(sends(4, b"first")).to_target(sends(4, b"first"))
    book.untold()
    book.target(sends(4, b"second")).to_client(sends(4, b"second")).told(
        Recorded(2, Side.TARGET, 0, b"second")
    )
    book.done()


# -- numbers


def test_a_number_stays_taken_until_close_has_gone_both_ways(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(5, 6)
    book.target(m.Close(5)).to_client(m.Close(5))
    book.client_breaks(opens("session", 5), "number is taken").done()


def test_a_number_is_free_after_close_both_ways(playbook: MakePlaybook) -> None:
    book = playbook()
    for _ in range(3):
        book.session(5, 6)
        book.client(m.Close(6)).to_target(m.Close(6))
        book.target(m.Close(5)).to_client(m.Close(5))
    book.done()


def test_a_target_cannot_confirm_with_a_number_it_has_given_away(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 6)
    book.client(opens("session", 1, 0)).to_target(opens("session", 1, 0))
    book.target_breaks(confirms(1, 6), "number is taken").done()


def test_a_client_cannot_open_with_the_number_of_a_pending_open(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(opens("session", 1, 0)).to_target(opens("session", 1, 0))
    book.client_breaks(opens("session", 1, 0), "number is taken").done()


def test_a_taken_number_is_an_error_even_where_the_open_would_be_refused(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(1, 1)
    book.client_breaks(opens("made-up", 1), "number is taken").done()


def test_numbers_need_not_be_small(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0xFFFFFFFF, 0xFFFFFFFE)
    book.client(sends(0xFFFFFFFE, b"x")).to_target(sends(0xFFFFFFFE, b"x"))
    book.done()


# -- answers to opens


def test_a_confirmation_of_something_not_opened(playbook: MakePlaybook) -> None:
    book = playbook()
    book.target_breaks(confirms(0, 0), "nobody waits for").done()


def test_a_second_confirmation(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 0)
    book.target_breaks(confirms(0, 1), "nobody waits for").done()


def test_a_failure_after_the_confirmation(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 0)
    book.target_breaks(m.ChannelOpenFailure(0, 2, "late"), "nobody waits for").done()


def test_a_client_cannot_confirm_its_own_open(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(opens("session", 0, 0)).to_target(opens("session", 0, 0))
    book.client_breaks(confirms(0, 0), "nobody waits for").done()


def test_a_target_cannot_confirm_what_policy_refused(playbook: MakePlaybook) -> None:
    book = playbook(refused={"session": no()})
    book.client(opens("session", 0)).to_client(m.ChannelOpenFailure(0, 1, "not for you"))
    book.target_breaks(confirms(0, 0), "nobody waits for").done()


@pytest.mark.parametrize(
    "line",
    [
        sends(0, b"x"),
        sends_stderr(0, b"x"),
        adjusts(0, 1),
        m.Eof(0),
        m.Close(0),
        asks(0, "exit-status"),
        m.ChannelSuccess(0),
    ],
)
def test_a_target_that_has_not_confirmed_can_do_nothing_on_the_channel(
    playbook: MakePlaybook, line: m.Message
) -> None:
    book = playbook()
    book.client(opens("session", 0, 0)).to_target(opens("session", 0, 0))
    book.target_breaks(line, "before confirmation").done()


@pytest.mark.parametrize(
    "line",
    [
        sends(7, b"x"),
        sends_stderr(7, b"x"),
        adjusts(7, 1),
        m.Eof(7),
        m.Close(7),
        asks(7, "shell"),
        m.ChannelFailure(7),
    ],
)
def test_an_unknown_channel_is_an_error_from_either_side(playbook: MakePlaybook, line: m.Message) -> None:
    for side in "client", "target":
        book = playbook()
        book.session(0, 0)
        (book.client_breaks if side == "client" else book.target_breaks)(line, "unknown channel").done()


# -- EOF and CLOSE


@pytest.mark.parametrize("line", [sends(0, b"x"), sends(0, b""), sends_stderr(0, b"x"), m.Eof(0)])
def test_nothing_more_to_read_after_eof(playbook: MakePlaybook, line: m.Message) -> None:
    book = playbook()
    book.session()
    book.target(m.Eof(0)).to_client(m.Eof(0))
    book.target_breaks(line, "after EOF").done()


def test_stderr_exit_status_and_adjusts_of_the_other_kind_after_eof(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(m.Eof(0), adjusts(0, 5)).to_target(m.Eof(0), adjusts(0, 5))
    status = asks(0, "exit-status", r.ExitStatus(0), reply=False)
    book.target(sends(0, b"still"), m.Eof(0), status).to_client(sends(0, b"still"), m.Eof(0), status)
    book.done()


@pytest.mark.parametrize(
    "line",
    [sends(0, b"x"), sends_stderr(0, b"x"), m.Eof(0), m.Close(0), asks(0, "exit-status", r.ExitStatus(0))],
)
def test_nothing_after_close(playbook: MakePlaybook, line: m.Message) -> None:
    book = playbook()
    book.session()
    book.target(m.Close(0)).to_client(m.Close(0))
    book.target_breaks(line, "after CLOSE").done()


def test_adjusts_and_replies_that_crossed_a_close_are_dropped(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.target(asks(0, "keepalive@openssh.com")).to_client(asks(0, "keepalive@openssh.com"))
    book.client(m.Close(0)).to_target(m.Close(0)).untold()
    book.client(adjusts(0, 1000), m.ChannelFailure(0)).silence().told()
    book.done()


def test_data_under_way_when_the_other_side_closed_still_passes(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(m.Close(0)).to_target(m.Close(0))
    book.target(sends(0, b"under way"), m.Eof(0), m.Close(0))
    book.to_client(sends(0, b"under way"), m.Eof(0), m.Close(0))
    book.done()


def test_close_without_eof(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.target(m.Close(0)).to_client(m.Close(0))
    book.client(m.Close(0)).to_target(m.Close(0)).told(e.ChannelClosed(1, "session", 0, 0))
    book.done()


def test_the_end_of_the_connection_closes_every_channel_once(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 0)
    book.client(sends(0, b"abc")).to_target(sends(0, b"abc"))
    tunnel = opens("direct-tcpip", 1, body=TUNNEL.encode())
    book.client(tunnel).to_target(tunnel).untold()
    book.relay.finish()
    book.told(e.ChannelClosed(1, "session", 3, 0), e.ChannelClosed(2, "direct-tcpip", 0, 0))
    book.relay.finish()
    book.client(sends(0, b"late")).silence().told()
    book.done()
