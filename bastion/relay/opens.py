"""Opening channels: what is asked, clamped, refused and confirmed (RFC 4254 section 5.1).

Invariant: an open reaches the other side only when a table in `passlist`, the channel limit and policy have
all said yes, and the window it carries towards the target is the client's less the reserve.
"""

from __future__ import annotations

from dataclasses import replace

from bastion.errors import PolicyReason, ProtocolError
from bastion.relay import events
from bastion.relay.channels import ChannelTable, Half
from bastion.relay.decider import Decider
from bastion.relay.limits import Actions, RelayLimits
from bastion.relay.passlist import OPENABLE, STREAMS
from bastion.relay.paying import UNPAID
from bastion.relay.requests import Requests
from bastion.relay.stream import StreamContent
from bastion.relay.tap import Tap
from bastion.sides import Side
from bastion.wire.messages import DESCRIPTION_LIMIT, ChannelOpen, ChannelOpenConfirmation, ChannelOpenFailure
from bastion.wire.numbers import OpenFailure
from bastion.wire.printable import said_by
from bastion.wire.requests import CHANNEL_OPENS, Body, Detail, parse_body, printable


class Opens:
    """CHANNEL_OPEN and its two answers, from either side."""

    __slots__ = ("_channels", "_limits", "_policy", "_requests", "_tap")

    def __init__(
        self, channels: ChannelTable, requests: Requests, policy: Decider, tap: Tap, limits: RelayLimits
    ) -> None:
        self._channels = channels
        self._requests = requests
        self._policy = policy
        self._tap = tap
        self._limits = limits

    def open(self, side: Side, payload: bytes, out: Actions) -> None:
        message = ChannelOpen.parse(payload)
        self._channels.check_free(side, message.sender)
        if message.max_packet == 0:
            # Nothing can be sent in packets of no bytes; stock Conch loops for ever (docs/security.md, C7).
            raise ProtocolError("CHANNEL_OPEN with a maximum packet size of 0")
        if not self._requests.accounts.pay_open(side, message.body):
            self._refuse_unpaid(side, message, out)
            return
        if message.kind not in OPENABLE[side]:
            reason, code = PolicyReason.UNKNOWN_CHANNEL_TYPE, OpenFailure.UNKNOWN_CHANNEL_TYPE
            self._refuse(side, message, out, reason, "channel type is not known here", code=code)
            return
        body = parse_body(CHANNEL_OPENS, message.kind, message.body)
        assert body is not None, "what may be opened has a codec"
        message = replace(message, body=body.encode())
        detail = body.detail()
        if message.max_packet < self._limits.min_packet:
            text = f"maximum packet size is below {self._limits.min_packet} bytes"
            code = OpenFailure.RESOURCE_SHORTAGE
            self._refuse(side, message, out, PolicyReason.CHANNEL_LIMIT, text, detail=detail, code=code)
            return
        if len(self._channels) >= self._limits.channels:
            text = f"no more than {self._limits.channels} channels per connection"
            code = OpenFailure.RESOURCE_SHORTAGE
            self._refuse(side, message, out, PolicyReason.CHANNEL_LIMIT, text, detail=detail, code=code)
            return
        forbidden = self._forbidden(side, message.kind, body)
        if forbidden:
            self._refuse(side, message, out, PolicyReason.VERB_NOT_ALLOWED, forbidden, detail=detail)
            return
        verdict = self._policy.open(side, message.kind, body)
        if not verdict.allowed:
            self._refuse(side, message, out, verdict.reason, verdict.text, verdict.rule, detail)
            return
        channel = self._channels.open(message.kind, side, message.sender)
        half = channel.half(side.other)
        window, max_packet = self._grant(half, message.window, message.max_packet)
        self._tap.event(events.ChannelOpened(channel.id, message.kind, side, detail, verdict.rule))
        if message.kind in STREAMS:
            StreamContent(channel, self._tap, verdict).start()
        crossing = ChannelOpen(message.kind, message.sender, window, max_packet, message.body)
        out.onward[side].append(crossing.encode())

    def _forbidden(self, side: Side, kind: str, body: Body) -> str:
        """Why the course of the session forbids the open, "" when it does not."""
        live = self._channels.by_id.values()
        if side is Side.TARGET and not self._requests.invitations.has(kind, body, live):
            return "the client has not asked for it"
        # OpenSSH PROTOCOL section 2.2: after no-more-sessions, session opens are refused.
        if kind == "session" and self._requests.no_more_sessions:
            return "no more sessions, as the client asked"
        return ""

    def _grant(self, half: Half, window: int, max_packet: int) -> tuple[int, int]:
        """Give `half` what its receiver offers, clamped and less our reserve: what its sender is told."""
        kept = spare = 0
        if half.side is Side.TARGET and half.channel.kind == "session":
            kept = self._limits.reserve_of(window)
            if self._policy.sftp is not None:
                # Clients send an adjust only when half of their window is used (asyncssh, Conch). Refused
                # sftp requests alone must use that much, or the answers to them would wait for ever.
                spare = window // 2
        half.window.grant(window, min(max_packet, self._limits.max_packet), kept, spare)
        return half.window.room, half.window.max_packet

    def _refuse(
        self,
        side: Side,
        message: ChannelOpen,
        out: Actions,
        reason: PolicyReason,
        text: str,
        rule: str = "",
        detail: Detail | None = None,
        code: OpenFailure = OpenFailure.ADMINISTRATIVELY_PROHIBITED,
    ) -> None:
        """Say no ourselves: audited, and nothing stays of the open."""
        self._requests.count_refusal(side)
        self._tap.event(events.ChannelRefused(message.kind, side, reason, text, rule, detail or {}))
        out.back[side].append(ChannelOpenFailure(message.sender, code, text).encode())

    def _refuse_unpaid(self, side: Side, message: ChannelOpen, out: Actions) -> None:
        """Nobody pays for what would be written of it: the first is told, the others are counted."""
        if self._requests.accounts.refuse(side):
            code = OpenFailure.RESOURCE_SHORTAGE
            self._refuse(side, message, out, UNPAID.reason, UNPAID.text, code=code)
            return
        self._requests.count_refusal(side)
        out.back[side].append(
            ChannelOpenFailure(message.sender, OpenFailure.RESOURCE_SHORTAGE, UNPAID.text).encode()
        )

    def confirm(self, side: Side, payload: bytes, out: Actions) -> None:
        message = ChannelOpenConfirmation.parse(payload)
        half = self._channels.awaited(side, message.recipient)
        if message.max_packet < self._limits.min_packet:
            # Both sides would have to be told that the channel is none, and its number to stay taken meanwhile. Who
            # confirms with less than RFC 4253 section 6.1 asks of everybody is no peer to go to such lengths for.
            raise ProtocolError(
                f"CHANNEL_OPEN_CONFIRMATION with a maximum packet size of {message.max_packet}, "
                f"which is below {self._limits.min_packet}"
            )
        self._channels.confirm(half, message.sender)
        window, max_packet = self._grant(half.twin, message.window, message.max_packet)
        self._tap.event(events.ChannelConfirmed(half.channel.id))
        out.onward[side].append(replace(message, window=window, max_packet=max_packet).encode())

    def fail(self, side: Side, payload: bytes, out: Actions) -> None:
        message = ChannelOpenFailure.parse(payload)
        channel = self._channels.awaited(side, message.recipient).channel
        language = printable(message.language)
        self._tap.event(events.ChannelFailed(channel.id, message.code, message.text, language))
        self._channels.drop(channel)
        if side is Side.TARGET:  # the engineer's client shows it, beside lines of ours
            message = replace(message, text=said_by("target", message.text, DESCRIPTION_LIMIT))
        out.onward[side].append(message.encode())
