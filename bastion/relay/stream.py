"""A channel of other programs' bytes (a forward, a socket), watched until it is plain that it is no SSH.

SSH inside a forward would be a session that nobody records. Nothing of a banner crosses: both sides read EOF
instead, what they still send is dropped (`channels.CUT`), and they close the channel. A CLOSE of our own would let
one side use its number again while the other still sends to it. Where a rule lets SSH pass it is noted.
"""

from __future__ import annotations

from collections.abc import Callable

from bastion.errors import PolicyReason
from bastion.policy.verdict import Verdict
from bastion.relay import events
from bastion.relay.channels import Channel, Half
from bastion.relay.first_bytes import FirstBytes, Look
from bastion.relay.limits import Actions
from bastion.relay.tap import Tap
from bastion.sides import Side
from bastion.wire.messages import Data, Eof

REFUSAL = "SSH inside a forward is a session that nobody records: reach the host through the gateway"
RULE = "builtin:nested-ssh"


class StreamContent:
    """Implements `channels.Content` until both directions have begun. `verdict` is the one on the open."""

    __slots__ = ("_channel", "_first", "_tap", "_verdict")

    def __init__(self, channel: Channel, tap: Tap, verdict: Verdict) -> None:
        self._channel = channel
        self._tap = tap
        self._verdict = verdict
        self._first = FirstBytes()

    def start(self) -> None:
        """From here on the channel's data comes here."""
        for side in Side:
            self._channel.half(side).content = self

    def _leave(self) -> None:
        for side in Side:
            self._channel.half(side).content = None

    def data(self, half: Half, payload: bytes, data: bytes | memoryview, out: Actions) -> None:
        """A data message of the side of `half`, which had the window for it."""
        look = self._first.look(half.side, data)
        if look is not Look.SSH:
            self._set_free(self._first.release, out)
            if self._first.over:
                self._leave()
        elif self._verdict.allow_ssh:
            self._tap.event(events.StreamSsh(self._channel.id, half.side, self._verdict.rule))
            self._set_free(self._first.end, out)
            self._leave()
        else:
            reason = PolicyReason.NESTED_SSH
            self._tap.event(events.StreamRefused(self._channel.id, half.side, reason, REFUSAL, RULE))
            self._leave()
            self._cut(out)
            return
        if look is not Look.HOLD:
            self._forward(half, payload, data, out)

    def _cut(self, out: Actions) -> None:
        for side in Side:
            half = self._channel.half(side)
            if half.cut():
                out.onward[side].append(Eof(half.twin.number).encode())

    def eof(self, half: Half, out: Actions) -> None:
        """The side of `half` sends no more: what was held of it is no SSH."""
        held = self._first.end(half.side)
        if held:
            self._forward(half, Data(half.twin.number, held).encode(), held, out)

    def _set_free(self, release: Callable[[Side], bytes], out: Actions) -> None:
        for side in Side:
            held, half = release(side), self._channel.half(side)
            if held:
                self._forward(half, Data(half.twin.number, held).encode(), held, out)

    def _forward(self, half: Half, payload: bytes, data: bytes | memoryview, out: Actions) -> None:
        half.moved += len(data)
        self._tap.data(self._channel, half.side, 0, data)
        out.onward[half.side].append(payload)

    def credit(self, out: Actions) -> None:
        """There is no reserve on such a channel."""

    def stop(self, by: Side, why: str, out: Actions) -> None:
        """There is nothing that it was taken for."""

    def closed(self) -> None:
        """What was held goes with the channel."""
