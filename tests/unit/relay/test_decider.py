"""The seam to policy: who answers, and that the relay asks about nothing but what it has read."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bastion.policy.decide import GrantDecider
from bastion.relay import passlist
from bastion.relay.decider import Decider
from bastion.relay.relay import Actions, LegError, Relay
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import ListTap, TableDecider, confirms, opens

BODIES: dict[str, r.Body] = {
    "pty-req": r.PtyRequest(b"xterm", 80, 24),
    "x11-req": r.X11Request(False, b"MIT-MAGIC-COOKIE-1", b"00", 0),
    "env": r.Env("LANG", b"C"),
    "shell": r.Empty(),
    "exec": r.Exec(b"id"),
    "subsystem": r.Subsystem("netconf"),
    "auth-agent-req@openssh.com": r.Empty(),
    "tcpip-forward": r.TcpipForward("localhost", 8080),
    "cancel-tcpip-forward": r.TcpipForward("localhost", 8080),
    "streamlocal-forward@openssh.com": r.StreamlocalForward("/run/s"),
    "cancel-streamlocal-forward@openssh.com": r.StreamlocalForward("/run/s"),
    "session": r.Empty(),
    "direct-tcpip": r.TcpipOpen("db", 5432, "::1", 5),
    "direct-streamlocal@openssh.com": r.DirectStreamlocal("/run/s"),
}


class Listener(TableDecider):
    """Says yes, and keeps what it was asked with."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Any, ...]] = []

    def open(self, side: Side, kind: str, body: r.Body) -> Any:
        self.heard.append((side, kind, body))
        return super().open(side, kind, body)

    def request(self, side: Side, channel_kind: str, name: str, body: r.Body) -> Any:
        self.heard.append((side, channel_kind, name, body))
        return super().request(side, channel_kind, name, body)

    def global_request(self, side: Side, name: str, body: r.Body) -> Any:
        self.heard.append((side, name, body))
        return super().global_request(side, name, body)


@pytest.fixture
def asked() -> Listener:
    return Listener()


@pytest.fixture
def relay(asked: Listener) -> Relay:
    relay, out = Relay(asked, ListTap()), Actions()
    relay.receive(Side.CLIENT, opens("session", 0).encode(), out)
    relay.receive(Side.TARGET, confirms(0, 0).encode(), out)
    asked.heard.clear()
    return relay


@pytest.mark.parametrize("name", ["open", "request", "global_request"])
@pytest.mark.parametrize("kind", [GrantDecider, TableDecider])
def test_whoever_decides_is_asked_with_the_same_values(kind: type, name: str) -> None:
    wanted = inspect.signature(getattr(Decider, name)).parameters
    assert list(inspect.signature(getattr(kind, name)).parameters) == list(wanted)


@pytest.mark.parametrize("name", sorted(passlist.JUDGED_REQUESTS))
def test_a_request_is_asked_about_with_its_body_read(relay: Relay, asked: Listener, name: str) -> None:
    relay.receive(Side.CLIENT, m.ChannelRequest(0, name, True, BODIES[name].encode()).encode(), Actions())
    assert asked.heard == [(Side.CLIENT, "session", name, BODIES[name])]


@pytest.mark.parametrize("name", sorted(passlist.JUDGED_GLOBAL_REQUESTS))
def test_so_is_one_of_the_connection(relay: Relay, asked: Listener, name: str) -> None:
    relay.receive(Side.CLIENT, m.GlobalRequest(name, True, BODIES[name].encode()).encode(), Actions())
    assert asked.heard == [(Side.CLIENT, name, BODIES[name])]


@pytest.mark.parametrize("kind", sorted(passlist.OPENABLE[Side.CLIENT]))
def test_so_is_an_open(relay: Relay, asked: Listener, kind: str) -> None:
    relay.receive(Side.CLIENT, opens(kind, 1, body=BODIES[kind].encode()).encode(), Actions())
    assert asked.heard == [(Side.CLIENT, kind, BODIES[kind])]


@pytest.mark.parametrize(
    "line",
    [
        m.ChannelRequest(0, "exec", True, b"\x00"),
        m.ChannelRequest(0, "shell", True, b"more"),
        m.GlobalRequest("tcpip-forward", True, b""),
        opens("direct-tcpip", 1, body=b"\x00\x00\x00\x09short"),
    ],
)
def test_what_cannot_be_read_is_asked_of_nobody(relay: Relay, asked: Listener, line: m.Message) -> None:
    with pytest.raises(LegError):
        relay.receive(Side.CLIENT, line.encode(), Actions())
    assert asked.heard == []


@pytest.mark.parametrize(
    ("side", "line"),
    [
        (Side.CLIENT, m.ChannelRequest(0, "made-up", True, b"")),
        (Side.TARGET, m.ChannelRequest(0, "exec", True, BODIES["exec"].encode())),
        (Side.TARGET, m.GlobalRequest("tcpip-forward", True, BODIES["tcpip-forward"].encode())),
        (Side.TARGET, opens("session", 1)),
        (Side.CLIENT, m.ChannelRequest(0, "window-change", False, r.WindowChange(1, 2).encode())),
    ],
)
def test_what_a_table_decides_is_asked_of_nobody(
    relay: Relay, asked: Listener, side: Side, line: m.Message
) -> None:
    relay.receive(side, line.encode(), Actions())
    assert asked.heard == []
