"""Relay tests that read like a conversation between a client and a target, with the gateway in between.

    book = Playbook()
    book.client(opens("session", 0))
    book.to_target(opens("session", 0))
    book.target(confirms(0, 7))
    book.to_client(confirms(0, 7))
    book.done()

`client(...)` and `target(...)` say what a leg sends; `to_client(...)` and `to_target(...)` what the gateway
then says, in order and complete; `told(...)` what the tap was told. A mismatch shows both conversations as
a diff. Invariant: whatever the gateway said must be expected before the next leg speaks, and `done()` must
be called; the `playbook` fixture in tests/unit/relay checks that it was.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from bastion.errors import PolicyReason, ProtocolError
from bastion.policy.sftp import SftpRights
from bastion.policy.verdict import Verdict
from bastion.relay.channels import Channel
from bastion.relay.events import Event
from bastion.relay.relay import Actions, Relay, RelayLimits
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from bastion.wire.numbers import name_of
from tests.support.declared import parse_message

YES = Verdict(True, PolicyReason.ALLOWED, "test rule")


def no(text: str = "not for you", reason: PolicyReason = PolicyReason.VERB_NOT_ALLOWED) -> Verdict:
    return Verdict(False, reason, "test rule", text)


@dataclass
class TableDecider:
    """Policy as a table: a name that is in `refused` gets that verdict, everything else yes. `asked`
    remembers.
    """

    refused: dict[str, Verdict] = field(default_factory=dict)
    asked: list[tuple[Side, str]] = field(default_factory=list)
    sftp: SftpRights | None = None

    def _verdict(self, side: Side, name: str) -> Verdict:
        self.asked.append((side, name))
        return self.refused.get(name, YES)

    def open(self, side: Side, kind: str, body: r.Body) -> Verdict:
        return self._verdict(side, kind)

    def request(self, side: Side, channel_kind: str, name: str, body: r.Body) -> Verdict:
        return self._verdict(side, name)

    def global_request(self, side: Side, name: str, body: r.Body) -> Verdict:
        return self._verdict(side, name)


@dataclass(frozen=True)
class Recorded:
    """Data as the tap saw it."""

    channel_id: int
    by: Side
    stream: int
    data: bytes


@dataclass
class ListTap:
    """A tap that keeps what it is told, in order, and breaks on request."""

    heard: list[Event | Recorded] = field(default_factory=list)
    broken: Exception | None = None
    before_forward: Callable[[], None] = lambda: None

    def data(self, channel: Channel, side: Side, stream: int, data: bytes | memoryview) -> None:
        self._note(Recorded(channel.id, side, stream, bytes(data)))

    def event(self, event: Event) -> None:
        self._note(event)

    def _note(self, what: Event | Recorded) -> None:
        if self.broken is not None:
            raise self.broken
        self.before_forward()
        self.heard.append(what)


Line = m.Message | bytes
"""One message of the conversation, as a value or, to be illegal, as raw payload."""


def raw(line: Line) -> bytes:
    return line if isinstance(line, bytes) else line.encode()


def shown(payload: bytes) -> str:
    """A payload for people."""
    try:
        text = repr(parse_message(payload))
    except ProtocolError:
        text = f"{name_of(payload[0]) if payload else 'nothing'} {payload.hex()}"
    return text if len(text) < 160 else f"{text[:150]}... ({len(payload)} bytes)"


class Playbook:
    """One conversation. `relay`, `tap` and `policy` are at hand for what is no conversation."""

    def __init__(self, refused: dict[str, Verdict] | None = None, limits: RelayLimits | None = None) -> None:
        self.policy = TableDecider(refused or {})
        self.tap = ListTap()
        self.relay = Relay(self.policy, self.tap, limits)
        self.out = Actions()
        self.finished = False
        self._said: list[str] = []
        self._told = 0

    # -- what a leg says

    def client(self, *lines: Line) -> Playbook:
        return self._speak(Side.CLIENT, lines)

    def target(self, *lines: Line) -> Playbook:
        return self._speak(Side.TARGET, lines)

    def _speak(self, side: Side, lines: tuple[Line, ...]) -> Playbook:
        self._nothing_left(f"before the {side.name.lower()} speaks again")
        self.finished = False
        for line in lines:
            self._said.append(f"{side.name.lower()}: {shown(raw(line))}")
            self.relay.receive(side, raw(line), self.out)
        return self

    def client_breaks(self, line: Line, match: str) -> Playbook:
        return self._break(Side.CLIENT, line, match)

    def target_breaks(self, line: Line, match: str) -> Playbook:
        return self._break(Side.TARGET, line, match)

    def _break(self, side: Side, line: Line, match: str) -> Playbook:
        """The line is a protocol error of that side, nothing of it crosses, and the relay is over."""
        with pytest.raises(ProtocolError, match=match) as caught:
            self._speak(side, (line,))
        assert getattr(caught.value, "side", None) is side
        self._nothing_left("after a protocol error")
        with pytest.raises(ProtocolError, match="over"):
            self.relay.receive(side, raw(m.GlobalRequest("keepalive@openssh.com", True)), self.out)
        self._nothing_left("after the relay was over")
        return self

    # -- what the gateway says

    def to_client(self, *lines: Line) -> Playbook:
        return self._expect("client", self.out.to_client, lines)

    def to_target(self, *lines: Line) -> Playbook:
        return self._expect("target", self.out.to_target, lines)

    def silence(self) -> Playbook:
        """The gateway says nothing to anybody."""
        self._nothing_left("where silence was expected")
        return self

    def _expect(self, whom: str, said: list[bytes], lines: tuple[Line, ...]) -> Playbook:
        wanted = [raw(line) for line in lines]
        if said != wanted:
            self._mismatch(f"to {whom}", [shown(one) for one in wanted], [shown(one) for one in said])
        said.clear()
        self._said += [f"  gateway to {whom}: {shown(one)}" for one in wanted]
        return self

    def _nothing_left(self, when: str) -> None:
        for whom, said in (("client", self.out.to_client), ("target", self.out.to_target)):
            if said:
                self._mismatch(f"to {whom}, {when}", [], [shown(one) for one in said])

    # -- what the tap was told

    def told(self, *wanted: Event | Recorded) -> Playbook:
        """Everything that the tap was told since the last `told` or `untold`."""
        heard = self.tap.heard[self._told :]
        if heard != list(wanted):
            self._mismatch("to the tap", [repr(one) for one in wanted], [repr(one) for one in heard])
        return self.untold()

    def untold(self) -> Playbook:
        """Whatever the tap was told up to here is not the point of the test."""
        self._told = len(self.tap.heard)
        return self

    def _mismatch(self, where: str, wanted: list[str], said: list[str]) -> None:
        diff = "\n".join(difflib.ndiff(wanted, said))
        before = "\n".join(self._said)
        self.out.clear()
        raise AssertionError(
            f"the gateway said something else {where} (- expected, + said):\n{diff}\nso far:\n{before}"
        )

    # -- the end

    def done(self) -> None:
        """The conversation is complete: the gateway owes no line."""
        self._nothing_left("at the end")
        self.finished = True

    # -- openings that many conversations share

    def session(
        self, client: int = 0, target: int = 0, window: int = 2 << 20, target_window: int = 2 << 20
    ) -> Channel:
        """An open session channel between number `client` and number `target`, 32 KiB packets."""
        reserve = min(32 * 1024, window // 8)
        self.client(opens("session", client, window))
        self.to_target(opens("session", client, window - reserve))
        self.target(confirms(client, target, target_window))
        self.to_client(confirms(client, target, target_window))
        self.untold()
        return max(self.relay.channels.values(), key=lambda channel: channel.id)

    def pty(self, client: int = 0, target: int = 0, window: int = 2 << 20) -> Channel:
        """A session channel whose pty the target granted."""
        channel = self.session(client, target, window)
        asked = asks(target, "pty-req", r.PtyRequest(b"xterm", 80, 24))
        self.client(asked).to_target(asked)
        self.target(m.ChannelSuccess(client)).to_client(m.ChannelSuccess(client)).untold()
        return channel


# -- the vocabulary of both legs


def opens(
    kind: str, number: int, window: int = 2 << 20, max_packet: int = 32768, body: bytes = b""
) -> m.ChannelOpen:
    return m.ChannelOpen(kind, number, window, max_packet, body)


def confirms(
    recipient: int, number: int, window: int = 2 << 20, max_packet: int = 32768
) -> m.ChannelOpenConfirmation:
    return m.ChannelOpenConfirmation(recipient, number, window, max_packet)


def asks(recipient: int, name: str, body: r.Body | bytes = b"", reply: bool = True) -> m.ChannelRequest:
    return m.ChannelRequest(recipient, name, reply, body if isinstance(body, bytes) else body.encode())


def asks_all(name: str, body: r.Body | bytes = b"", reply: bool = True) -> m.GlobalRequest:
    return m.GlobalRequest(name, reply, body if isinstance(body, bytes) else body.encode())


def sends(recipient: int, data: bytes) -> m.Data:
    return m.Data(recipient, data)


def sends_stderr(recipient: int, data: bytes) -> m.ExtendedData:
    return m.ExtendedData(recipient, 1, data)


def adjusts(recipient: int, size: int) -> m.WindowAdjust:
    return m.WindowAdjust(recipient, size)
