"""Opening channels: what is asked, refused by whom and in which words, and how many there may be."""

from __future__ import annotations

import pytest

from bastion.errors import PolicyReason
from bastion.relay import events as e
from bastion.relay.relay import RelayLimits
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import asks, asks_all, confirms, no, opens, sends
from tests.unit.relay.conftest import MakePlaybook

TUNNEL = r.TcpipOpen("127.0.0.1", 5432, "127.0.0.1", 40000)


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
