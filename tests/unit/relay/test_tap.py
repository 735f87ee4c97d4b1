"""Record, then forward: the tap sees it first, and a tap that breaks stops everything."""

from __future__ import annotations

import pytest

from bastion.errors import ProtocolError, RecorderFailed, RecorderReason
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import Playbook, asks, asks_all, confirms, no, opens, raw, sends, sends_stderr
from tests.unit.relay.conftest import MakePlaybook

TUNNEL = opens("direct-tcpip", 5, body=r.TcpipOpen("db", 1, "::1", 1).encode())
ENV = asks(0, "env", r.Env("A", b"b"))
SPOKEN = [
    (Side.CLIENT, sends(0, b"input")),
    (Side.TARGET, sends(0, b"output")),
    (Side.TARGET, sends_stderr(0, b"errors")),
    (Side.CLIENT, m.Eof(0)),
    (Side.CLIENT, TUNNEL),
    (Side.CLIENT, opens("made-up", 5)),
    (Side.CLIENT, asks(0, "exec", r.Exec(b"id"))),
    (Side.CLIENT, asks(0, "made-up")),
    (Side.CLIENT, asks(0, "window-change", r.WindowChange(1, 1))),
    (Side.TARGET, asks(0, "exit-status", r.ExitStatus(1))),
    (Side.TARGET, m.ChannelSuccess(0)),
    (Side.CLIENT, asks_all("tcpip-forward", r.TcpipForward("", 1))),
    (Side.CLIENT, asks_all("made-up")),
]


def prepared() -> Playbook:
    """A session with one request pending, so that a reply is legal."""
    book = Playbook()
    book.session()
    book.client(ENV).to_target(ENV).untold()
    return book


@pytest.mark.parametrize(("side", "line"), SPOKEN)
def test_the_tap_is_told_before_anything_stands_in_the_actions(side: Side, line: m.Message) -> None:
    book = prepared()
    seen: list[bool] = []
    book.tap.before_forward = lambda: seen.append(bool(book.out.to_client or book.out.to_target))
    book.relay.receive(side, raw(line), book.out)
    assert seen == [False]


@pytest.mark.parametrize(("side", "line"), SPOKEN)
def test_a_tap_that_breaks_leaves_nothing_forwarded_and_ends_the_relay(side: Side, line: m.Message) -> None:
    book = prepared()
    book.tap.broken = RecorderFailed(RecorderReason.DISK_FULL, "no space left")
    with pytest.raises(RecorderFailed):
        book.relay.receive(side, raw(line), book.out)
    book.silence()
    book.tap.broken = None
    with pytest.raises(ProtocolError, match="over"):
        book.relay.receive(Side.CLIENT, raw(sends(0, b"next")), book.out)
    book.done()


def test_a_tap_that_breaks_at_a_confirmation(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(TUNNEL).to_target(TUNNEL)
    book.tap.broken = RecorderFailed(RecorderReason.WRITE_FAILED, "I/O error")
    with pytest.raises(RecorderFailed):
        book.relay.receive(Side.TARGET, raw(confirms(5, 1)), book.out)
    book.silence().done()


def test_a_tap_that_breaks_at_an_injection(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session()
    book.tap.broken = RecorderFailed(RecorderReason.WRITE_FAILED, "I/O error")
    with pytest.raises(RecorderFailed):
        book.relay.inject(channel.id, b"unrecorded", 0, book.out)
    book.silence().done()


def test_a_tap_that_breaks_at_an_open_refused_by_policy(playbook: MakePlaybook) -> None:
    book = playbook(refused={"session": no()})
    book.tap.broken = RecorderFailed(RecorderReason.WRITE_FAILED, "I/O error")
    with pytest.raises(RecorderFailed):
        book.relay.receive(Side.CLIENT, raw(opens("session", 0)), book.out)
    book.silence().done()
