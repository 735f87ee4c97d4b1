"""Channels: opening, refusing, closing, and numbers that stay taken."""

from __future__ import annotations

import pytest

from bastion.errors import PolicyReason
from bastion.relay import events as e
from bastion.relay.relay import RelayLimits
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import Recorded, adjusts, asks, asks_all, confirms, no, opens, sends, sends_stderr
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


@pytest.mark.parametrize("kind", ["direct-tcpip", "direct-streamlocal@openssh.com"])
def test_a_tunnel_passes_with_its_window_as_it_is(playbook: MakePlaybook, kind: str) -> None:
    book = playbook()
    body = TUNNEL if kind == "direct-tcpip" else r.DirectStreamlocal("/run/db.sock")
    asked = opens(kind, 1, 2 << 20, body=body.encode())
    book.client(asked).to_target(asked)
    book.told(e.ChannelOpened(1, kind, Side.CLIENT, body.detail(), "test rule"))
    book.done()


def test_an_open_refused_by_policy_is_answered_and_audited_and_the_connection_lives(
    playbook: MakePlaybook,
) -> None:
    book = playbook(refused={"direct-tcpip": no("127.0.0.1:5432 is not for alice")})
    book.session()
    book.client(opens("direct-tcpip", 1, body=TUNNEL.encode()))
    book.to_client(m.ChannelOpenFailure(1, 1, "127.0.0.1:5432 is not for alice"))
    book.told(
        e.ChannelRefused(
            "direct-tcpip",
            Side.CLIENT,
            PolicyReason.VERB_NOT_ALLOWED,
            "127.0.0.1:5432 is not for alice",
            "test rule",
            TUNNEL.detail(),
        )
    )
    book.client(opens("session", 1)).to_target(opens("session", 1, (2 << 20) - 32768))  # the number is free
    book.done()


def test_an_open_refused_by_the_target_frees_the_number(playbook: MakePlaybook) -> None:
    book = playbook()
    asked = opens("direct-tcpip", 1, body=TUNNEL.encode())
    book.client(asked).to_target(asked).untold()
    book.target(m.ChannelOpenFailure(1, 2, "Connection refused"))
    book.to_client(m.ChannelOpenFailure(1, 2, "target | Connection refused"))
    book.told(e.ChannelFailed(1, 2, "Connection refused"))
    book.client(asked).to_target(asked)
    assert list(book.relay.channels) == [2]
    book.done()


def test_the_words_of_a_refusing_target_pass_whatever_their_encoding(playbook: MakePlaybook) -> None:
    book = playbook()
    asked = opens("direct-tcpip", 1, body=TUNNEL.encode())
    book.client(asked).to_target(asked).untold()
    refusal = m.ChannelOpenFailure(1, 2, "refus?", b"fr").encode().replace(b"?", b"\xe9")
    book.target(refusal).to_client(m.ChannelOpenFailure(1, 2, "target | refus\\xe9", b"fr"))
    book.told(e.ChannelFailed(1, 2, "refus\\xe9", "fr"))
    book.done()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("bastion: log in again at evil.example", "target | bastion\\x3a log in again at evil.example"),
        ("no\r\nBastion : x", "target | no\\x0d\\x0aBastion \\x3a x"),
        ("\x1b]0;x\x07 \u202eright", "target | \\x1b]0;x\\x07 \\u202eright"),
    ],
)
def test_the_words_of_a_refusing_target_are_told_from_ours(
    playbook: MakePlaybook, said: str, shown: str
) -> None:
    book = playbook()
    asked = opens("direct-tcpip", 1, body=TUNNEL.encode())
    book.client(asked).to_target(asked).untold()
    book.target(m.ChannelOpenFailure(1, 2, said)).to_client(m.ChannelOpenFailure(1, 2, shown))
    book.told(e.ChannelFailed(1, 2, said)).done()


@pytest.mark.parametrize(
    "kind", ["tun@openssh.com", "forwarded-tcpip", "auth-agent@openssh.com", "x11", "made-up"]
)
def test_a_kind_that_a_client_may_not_open_is_refused_without_asking_policy(
    playbook: MakePlaybook, kind: str
) -> None:
    book = playbook()
    book.client(opens(kind, 0)).to_client(m.ChannelOpenFailure(0, 3, "channel type is not known here"))
    book.told(
        e.ChannelRefused(
            kind, Side.CLIENT, PolicyReason.UNKNOWN_CHANNEL_TYPE, "channel type is not known here"
        )
    )
    assert book.policy.asked == []
    book.done()


@pytest.mark.parametrize("kind", ["session", "direct-tcpip", "made-up"])
def test_a_target_cannot_open_what_only_clients_open(playbook: MakePlaybook, kind: str) -> None:
    book = playbook()
    book.target(opens(kind, 0)).to_target(m.ChannelOpenFailure(0, 3, "channel type is not known here"))
    book.done()


INVITATIONS = [
    (asks_all("tcpip-forward", r.TcpipForward("", TUNNEL.port)), "forwarded-tcpip", TUNNEL.encode()),
    (
        asks_all("streamlocal-forward@openssh.com", r.StreamlocalForward("/s")),
        "forwarded-streamlocal@openssh.com",
        r.ForwardedStreamlocal("/s").encode(),
    ),
    (asks(0, "x11-req", r.X11Request(False, b"MIT", b"c00c1e", 0)), "x11", r.X11Open("::1", 6010).encode()),
    (asks(0, "auth-agent-req@openssh.com"), "auth-agent@openssh.com", b""),
]


@pytest.mark.parametrize(("invitation", "kind", "body"), INVITATIONS)
def test_a_channel_opened_by_the_target_after_the_client_asked(
    playbook: MakePlaybook, invitation: m.Message, kind: str, body: bytes
) -> None:
    book = playbook()
    book.session()
    book.client(invitation).to_target(invitation)
    asked = opens(kind, 1, body=body)
    book.target(asked).to_client(asked)
    assert book.policy.asked[-1] == (Side.TARGET, kind)
    book.client(confirms(1, 1)).to_target(confirms(1, 1))
    book.client(sends(1, b"hello")).to_target(sends(1, b"hello"))
    book.target(sends(1, b"hi")).to_client(sends(1, b"hi"))
    book.done()


@pytest.mark.parametrize(("invitation", "kind", "body"), INVITATIONS)
def test_a_channel_opened_by_the_target_uninvited_is_refused(
    playbook: MakePlaybook, invitation: m.Message, kind: str, body: bytes
) -> None:
    book = playbook()
    book.target(opens(kind, 0, body=body))
    book.to_target(m.ChannelOpenFailure(0, 1, "the client has not asked for it"))
    assert book.policy.asked == []
    book.done()


def test_an_invitation_that_policy_refused_is_none(playbook: MakePlaybook) -> None:
    book = playbook(refused={"auth-agent-req@openssh.com": no()})
    book.session()
    book.client(asks(0, "auth-agent-req@openssh.com")).to_client(m.ChannelFailure(0))
    book.target(opens("auth-agent@openssh.com", 1))
    book.to_target(m.ChannelOpenFailure(1, 1, "the client has not asked for it"))
    book.done()


def test_a_channel_opened_by_the_target_and_refused_by_policy(playbook: MakePlaybook) -> None:
    book = playbook(refused={"forwarded-tcpip": no("no remote forwards")})
    forward = asks_all("tcpip-forward", r.TcpipForward("", TUNNEL.port))
    book.client(forward).to_target(forward)
    book.target(opens("forwarded-tcpip", 0, body=TUNNEL.encode()))
    book.to_target(m.ChannelOpenFailure(0, 1, "no remote forwards"))
    book.done()


def test_no_more_sessions_is_honoured(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(asks_all("no-more-sessions@openssh.com", reply=False))
    book.to_target(asks_all("no-more-sessions@openssh.com", reply=False))
    book.client(opens("session", 1))
    book.to_client(m.ChannelOpenFailure(1, 1, "no more sessions, as the client asked"))
    tunnel = opens("direct-tcpip", 1, body=TUNNEL.encode())
    book.client(tunnel).to_target(tunnel)
    book.done()


def test_the_channel_limit_counts_every_channel_and_closing_makes_room(playbook: MakePlaybook) -> None:
    book = playbook(limits=RelayLimits(channels=3))
    for number in range(2):
        book.session(number, number)
    tunnel = opens("direct-tcpip", 2, body=TUNNEL.encode())
    book.client(tunnel).to_target(tunnel).untold()  # waits for its answer, and counts
    book.client(opens("session", 3))
    book.to_client(m.ChannelOpenFailure(3, 4, "no more than 3 channels per connection"))
    book.told(
        e.ChannelRefused(
            "session", Side.CLIENT, PolicyReason.CHANNEL_LIMIT, "no more than 3 channels per connection"
        )
    )
    book.client(m.Close(0)).to_target(m.Close(0))
    book.client(opens("session", 3))  # half closed still counts
    book.to_client(m.ChannelOpenFailure(3, 4, "no more than 3 channels per connection"))
    book.target(m.Close(0)).to_client(m.Close(0))
    book.session(3, 0)
    book.done()


def test_128_channels_and_not_one_more(playbook: MakePlaybook) -> None:
    book = playbook()
    for number in range(128):
        book.session(number, number)
    book.client(opens("session", 128))
    book.to_client(m.ChannelOpenFailure(128, 4, "no more than 128 channels per connection"))
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
