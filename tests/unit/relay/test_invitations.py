"""What a target may open, and for how long: only while what the client asked for lives."""

from __future__ import annotations

import pytest

from bastion.errors import PolicyReason
from bastion.relay import events as e
from bastion.relay.invitations import MAX_PLACES
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import Playbook, asks, asks_all, confirms, no, opens
from tests.unit.relay.conftest import MakePlaybook

AGENT = asks(0, "auth-agent-req@openssh.com")
X11 = asks(0, "x11-req", r.X11Request(False, b"MIT-MAGIC-COOKIE-1", b"c00c1e", 0))
REQUESTS = {
    "auth-agent@openssh.com": (AGENT, b""),
    "x11": (X11, r.X11Open("::1", 6010).encode()),
}
UNINVITED = "the client has not asked for it"
OK, NO = m.ChannelSuccess(0), m.ChannelFailure(0)


def may_open(book: Playbook, kind: str, body: bytes, number: int = 9) -> None:
    """The target opens it, and the client gives it back: the book is as it was."""
    asked = opens(kind, number, body=body)
    book.target(asked).to_client(asked)
    refusal = m.ChannelOpenFailure(number, 2, "not now")
    book.client(refusal).to_target(refusal)


def may_not_open(book: Playbook, kind: str, body: bytes, number: int = 9) -> None:
    asked = len(book.policy.asked)
    book.target(opens(kind, number, body=body)).to_target(m.ChannelOpenFailure(number, 1, UNINVITED))
    assert len(book.policy.asked) == asked


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("closer", ["client", "target"])
def test_it_ends_with_the_session_that_asked(playbook: MakePlaybook, kind: str, closer: str) -> None:
    request, body = REQUESTS[kind]
    book = playbook()
    book.session()
    book.client(request).to_target(request)
    book.target(OK).to_client(OK)
    may_open(book, kind, body)
    if closer == "client":
        book.client(m.Close(0)).to_target(m.Close(0))
        may_not_open(book, kind, body)
        book.target(m.Close(0)).to_client(m.Close(0))
    else:
        book.target(m.Close(0)).to_client(m.Close(0))
        may_not_open(book, kind, body)
        book.client(m.Close(0)).to_target(m.Close(0))
    may_not_open(book, kind, body)
    book.session()  # another session, which has not asked, under the same numbers
    may_not_open(book, kind, body)
    book.done()


@pytest.mark.parametrize("kind", REQUESTS)
def test_another_session_that_asked_keeps_it(playbook: MakePlaybook, kind: str) -> None:
    request, body = REQUESTS[kind]
    book = playbook()
    book.session()
    book.client(request).to_target(request)
    book.session(1, 1)
    other = m.ChannelRequest(1, request.name, True, request.body)
    book.client(other).to_target(other)
    book.client(m.Close(0)).to_target(m.Close(0))
    book.target(m.Close(0)).to_client(m.Close(0))
    may_open(book, kind, body)
    book.done()


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_the_target_refused_is_none(playbook: MakePlaybook, kind: str) -> None:
    request, body = REQUESTS[kind]
    book = playbook()
    book.session()
    book.client(request).to_target(request)
    may_open(book, kind, body)  # its answer may be under way
    book.target(NO).to_client(NO)
    may_not_open(book, kind, body)
    book.done()


def test_what_runs_already_outlives_the_session(playbook: MakePlaybook) -> None:
    """A program may go on using the agent that it is connected to; RFC 4254 section 6.3.2 says so of X11."""
    book = playbook()
    book.session()
    book.client(AGENT).to_target(AGENT)
    asked = opens("auth-agent@openssh.com", 5)
    book.target(asked).to_client(asked)
    book.client(confirms(5, 6)).to_target(confirms(5, 6))
    book.client(m.Close(0)).to_target(m.Close(0))
    book.target(m.Close(0)).to_client(m.Close(0))
    book.target(m.Data(6, b"sign")).to_client(m.Data(6, b"sign"))
    book.done()


def test_x11_is_asked_for_once_in_a_session(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(X11).to_target(X11)
    book.target(OK).to_client(OK).untold()
    book.client(X11).to_client(NO)
    (told,) = book.tap.heard[-1:]
    assert isinstance(told, e.RequestRefused) and told.reason is PolicyReason.VERB_NOT_ALLOWED
    book.session(1, 1)
    other = m.ChannelRequest(1, X11.name, True, X11.body)
    book.client(other).to_target(other)
    book.done()


# -- remote forwards


def tcp(port: int) -> bytes:
    return r.TcpipOpen("localhost", port, "192.0.2.9", 4000).encode()


FORWARDS = {
    "forwarded-tcpip": ("tcpip-forward", r.TcpipForward("localhost", 8022), tcp(8022), tcp(8023)),
    "forwarded-streamlocal@openssh.com": (
        "streamlocal-forward@openssh.com",
        r.StreamlocalForward("/run/a.sock"),
        r.ForwardedStreamlocal("/run/a.sock").encode(),
        r.ForwardedStreamlocal("/run/b.sock").encode(),
    ),
}


@pytest.mark.parametrize("kind", FORWARDS)
@pytest.mark.parametrize("reply", [True, False])
def test_a_forward_lasts_from_its_request_to_its_cancel(
    playbook: MakePlaybook, kind: str, reply: bool
) -> None:
    name, place, body, elsewhere = FORWARDS[kind]
    book = playbook()

    def ask(line: m.GlobalRequest, ok: bool = True) -> None:
        book.client(line).to_target(line)
        if reply:
            answer = m.RequestSuccess() if ok else m.RequestFailure()
            book.target(answer).to_client(answer)

    may_not_open(book, kind, body)
    ask(asks_all(name, place, reply))
    may_open(book, kind, body)
    may_not_open(book, kind, elsewhere)
    if reply:
        ask(asks_all(f"cancel-{name}", place), ok=False)
        may_open(book, kind, body)
    ask(asks_all(f"cancel-{name}", place, reply))
    may_not_open(book, kind, body)
    book.done()


@pytest.mark.parametrize("kind", FORWARDS)
def test_a_forward_that_the_target_refused_is_none(playbook: MakePlaybook, kind: str) -> None:
    name, place, body, _ = FORWARDS[kind]
    book = playbook()
    forward = asks_all(name, place)
    book.client(forward).to_target(forward)
    book.target(m.RequestFailure()).to_client(m.RequestFailure())
    may_not_open(book, kind, body)
    book.client(forward, forward).to_target(forward, forward)  # one is bound, the other is there already
    book.target(m.RequestSuccess(), m.RequestFailure()).to_client(m.RequestSuccess(), m.RequestFailure())
    may_open(book, kind, body)
    book.done()


def test_the_port_that_a_target_chose(playbook: MakePlaybook) -> None:
    book = playbook()
    forward = asks_all("tcpip-forward", r.TcpipForward("localhost", 0))
    book.client(forward).to_target(forward)
    may_open(book, "forwarded-tcpip", tcp(40961))  # its answer may be under way
    book.target(m.RequestSuccess(b"\0\0\xa0\1")).to_client(m.RequestSuccess(b"\0\0\xa0\1"))
    may_open(book, "forwarded-tcpip", tcp(40961))
    may_not_open(book, "forwarded-tcpip", tcp(40962))
    cancel = asks_all("cancel-tcpip-forward", r.TcpipForward("localhost", 40961))
    book.client(cancel).to_target(cancel)
    book.target(m.RequestSuccess()).to_client(m.RequestSuccess())
    may_not_open(book, "forwarded-tcpip", tcp(40961))
    book.done()


def test_a_forward_that_policy_refused_is_none(playbook: MakePlaybook) -> None:
    book = playbook(refused={"tcpip-forward": no()})
    book.client(asks_all("tcpip-forward", r.TcpipForward("", 8022), reply=False)).silence()
    may_not_open(book, "forwarded-tcpip", tcp(8022))
    book.done()


def test_the_places_of_one_client_are_bounded(playbook: MakePlaybook) -> None:
    book = playbook()
    for port in range(1, MAX_PLACES + 1):
        forward = asks_all("tcpip-forward", r.TcpipForward("", port), reply=False)
        book.client(forward).to_target(forward)
    book.untold().client(asks_all("tcpip-forward", r.TcpipForward("", 9999))).to_client(m.RequestFailure())
    (told,) = book.tap.heard[-1:]
    assert isinstance(told, e.RequestRefused) and told.by is Side.CLIENT
    assert told.reason is PolicyReason.CHANNEL_LIMIT
    again = asks_all("tcpip-forward", r.TcpipForward("::1", 1), reply=False)
    book.client(again).to_target(again)
    book.done()
