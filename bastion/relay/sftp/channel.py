"""An sftp channel that is followed as it passes: what `relay` calls in place of forwarding data itself.

Every byte goes on unchanged and at once. What cannot be followed any more is said once (`SftpUnparsed`), and
from then on the channel is one like any other. With a rule that restricts sftp the channel is a
`control.ControlledSftp` instead.
"""

from __future__ import annotations

from bastion.errors import ProtocolError
from bastion.relay import events
from bastion.relay.channels import Channel, Half
from bastion.relay.limits import Actions
from bastion.relay.sftp.audit import Conversation
from bastion.relay.sftp.packets import AnswerSink, RequestSink
from bastion.relay.sftp.stream import Bytes, PacketStream
from bastion.relay.tap import Tap
from bastion.sides import Side


class FollowedSftp:
    """What both ways of following a channel share (`channels.Content`, without `data` and `credit`)."""

    restricted = False

    def __init__(self, channel: Channel, tap: Tap, *, hashing: bool) -> None:
        self._channel = channel
        self._tap = tap
        self._conversation = Conversation(channel.id, tap.event, hashing=hashing)

    def _begin(self) -> None:
        self._tap.event(events.SftpStarted(self._channel.id, self.restricted))

    def stop(self, by: Side, why: str, out: Actions) -> None:
        """Follow the channel no longer."""
        for side in Side:
            self._channel.half(side).content = None
        self._conversation.finish()
        self._tap.event(events.SftpUnparsed(self._channel.id, by, why))

    def eof(self, half: Half, out: Actions) -> None:
        """Part of a message is no message: it stays here."""

    def closed(self) -> None:
        """The channel is over."""
        self._conversation.finish()


class AuditedSftp(FollowedSftp):
    """Follows one channel and changes nothing."""

    def __init__(self, channel: Channel, tap: Tap, *, hashing: bool) -> None:
        super().__init__(channel, tap, hashing=hashing)
        self._streams = (
            PacketStream(RequestSink(self._conversation)),
            PacketStream(AnswerSink(self._conversation)),
        )

    def start(self, out: Actions) -> None:
        """From here on the channel's data comes here."""
        for side in Side:
            self._channel.half(side).content = self
        self._begin()
        if self._channel.pty_asked:
            # A terminal changes bytes on their way: what was read here would not be what the target reads.
            self.stop(Side.CLIENT, "sftp on a terminal", out)

    def data(self, half: Half, payload: bytes, data: Bytes, out: Actions) -> None:
        """A data message of the side of `half`, which had the window for it."""
        side = half.side
        half.moved += len(data)
        try:
            self._streams[side].feed(data)
        except ProtocolError as error:
            self.stop(side, error.text, out)
        self._tap.data(self._channel, side, 0, data)
        out.onward[side].append(payload)

    def credit(self, out: Actions) -> None:
        """The client takes more of our bytes: there are none."""
