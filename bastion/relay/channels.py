"""Channels as two half-machines each, and the table that finds them by number.

A half is one direction: what one side may still send. Its states and what they allow (RFC 4254 section 5.3;
the idea of OpenSSH's nchan.c):

    AWAITING   the side has not confirmed the channel yet: nothing at all from it but its answer to the open
    OPEN       data, requests, replies, window adjusts
    EOF        no data; the rest as before
    CLOSED     nothing. A window adjust or a reply that was under way is dropped, everything else is an error
    CUT        the gateway has said EOF in its place: data is dropped, the rest as before

Invariants. A number is taken from the CHANNEL_OPEN (or the confirmation) that brings it until CLOSE has
gone both ways, or until the open is refused; a side that uses a taken number for something new breaks the
protocol. Only this module changes a half's state; what a half may still send is its `window.Window`'s.
"""

from __future__ import annotations

from typing import Protocol

from bastion.errors import ProtocolError
from bastion.relay.ledger import Ledger
from bastion.relay.limits import Actions
from bastion.relay.window import Window
from bastion.sides import Side
from bastion.wire import numbers

AWAITING, OPEN, EOF, CLOSED, CUT = 0, 1, 2, 3, 4

_NEXT: dict[tuple[int, int], int] = {
    (AWAITING, numbers.MSG_CHANNEL_OPEN_CONFIRMATION): OPEN,
    (OPEN, numbers.MSG_CHANNEL_EOF): EOF,
    (OPEN, numbers.MSG_CHANNEL_CLOSE): CLOSED,
    (EOF, numbers.MSG_CHANNEL_CLOSE): CLOSED,
    (CUT, numbers.MSG_CHANNEL_EOF): EOF,
    (CUT, numbers.MSG_CHANNEL_CLOSE): CLOSED,
}
"""(state, message) -> state. A pair that is missing is a protocol error."""

_STATE_NAMES = ("before confirmation", "while open", "after EOF", "after CLOSE", "after our EOF")


class Content(Protocol):
    """Who reads the data of a channel as it passes, and then forwards it in the relay's place (sftp, streams)."""

    def data(self, half: Half, payload: bytes, data: bytes | memoryview, out: Actions) -> None:
        """The side of `half` sent `data` on stream 0, in `payload`, and had the window for it."""
        ...

    def eof(self, half: Half, out: Actions) -> None:
        """The side of `half` sends no more: the last moment for what was held back of it."""
        ...

    def credit(self, out: Actions) -> None:
        """The windows have changed, by an adjust of the client that filled the reserve or by stderr."""
        ...

    def stop(self, by: Side, why: str, out: Actions) -> None:
        """It is not what it was taken for, as `by` has shown."""
        ...

    def closed(self) -> None:
        """The channel is over; it has not been dropped yet."""
        ...


class Half:
    """One direction of a channel: the data that `side` sends. Plain ints, because the hot path reads them.

    `number` is what `side` calls the channel, `window` what it may still send. `moved` counts bytes of data
    forwarded. `content` reads the data in between.
    """

    __slots__ = (
        "channel",
        "content",
        "moved",
        "number",
        "side",
        "state",
        "twin",
        "window",
    )

    channel: Channel
    twin: Half

    def __init__(self, channel: Channel, side: Side, state: int) -> None:
        self.channel = channel
        self.side = side
        self.state = state
        self.number = 0
        self.window = Window()
        self.moved = 0
        self.content: Content | None = None

    def step(self, message: int) -> None:
        """Take the state that `message` from this side leads to, or raise `ProtocolError`."""
        state = _NEXT.get((self.state, message))
        if state is None:
            raise self.error(message)
        self.state = state

    def cut(self) -> bool:
        """Nothing more of this side's data may pass. True when its EOF is to be said in its place."""
        if self.state != OPEN:
            return False
        self.state = CUT
        return True

    def error(self, message: int) -> ProtocolError:
        """The error for a message that this half's state does not allow."""
        return ProtocolError(f"{numbers.name_of(message)} {_STATE_NAMES[self.state]}")


NOTHING: frozenset[str] = frozenset()  # one for all channels


class Channel:
    """One channel as policy and recording see it. `id` counts from 1 in the session and is never used again.

    `program` is the shell, exec or subsystem request that was forwarded and not refused by the target;
    `pty_asked`: a pty-req was forwarded, whatever the answer. `invites`: kinds of channels that the target may
    open while this one is open (`invitations`).
    """

    __slots__ = (
        *("_client", "_target", "has_pty", "id", "invites", "kind"),
        *("opened_by", "owed", "program", "pty_asked"),
    )

    def __init__(self, channel_id: int, kind: str, opened_by: Side) -> None:
        self.id = channel_id
        self.kind = kind
        self.opened_by = opened_by
        self.has_pty = False
        self.pty_asked = False
        self.invites = NOTHING
        self.program = ""
        # Replies that each side owes, by Side; made when the first is.
        self.owed: list[Ledger | None] = [None, None]
        opener, answerer = OPEN, AWAITING
        by_client = opened_by is Side.CLIENT
        self._client = Half(self, Side.CLIENT, opener if by_client else answerer)
        self._target = Half(self, Side.TARGET, answerer if by_client else opener)
        self._client.twin, self._target.twin = self._target, self._client

    def half(self, side: Side) -> Half:
        return self._target if side else self._client

    @property
    def bytes(self) -> list[int]:
        """Bytes of data forwarded: [client -> target, target -> client]."""
        return [self._client.moved, self._target.moved]

    def ledger(self, side: Side, limit: int) -> Ledger:
        """The replies that `side` owes on this channel."""
        ledger = self.owed[side]
        if ledger is None:
            ledger = self.owed[side] = Ledger(limit)
        return ledger

    def release(self) -> None:
        """Cut the circles between halves and channel, so that a dead channel needs no garbage collection."""
        for half in (self._client, self._target):
            half.content = None
            del half.channel, half.twin


class ChannelTable:
    """Every live channel, found by side and number. `sent_by[side][number]` is the half that `side` sends
    on when it names `number`, which is the other side's number: the only lookup of the hot path.
    """

    __slots__ = ("_ids", "by_id", "sent_by")

    def __init__(self) -> None:
        self._ids = 0
        self.by_id: dict[int, Channel] = {}
        self.sent_by: tuple[dict[int, Half], dict[int, Half]] = ({}, {})

    def __len__(self) -> int:
        return len(self.by_id)

    def check_free(self, side: Side, number: int) -> None:
        """`ProtocolError` when `side` already calls a live channel `number`."""
        if number in self.sent_by[side.other]:
            raise ProtocolError("channel number is taken")

    def open(self, kind: str, side: Side, number: int) -> Channel:
        """A channel that `side` opens and calls `number`; the other side has yet to confirm it."""
        self.check_free(side, number)
        self._ids += 1
        channel = Channel(self._ids, kind, side)
        channel.half(side).number = number
        self.sent_by[side.other][number] = channel.half(side.other)
        self.by_id[channel.id] = channel
        return channel

    def awaited(self, side: Side, number: int) -> Half:
        """The half of `side` whose confirmation the open `number` of the other side waits for."""
        half = self.sent_by[side].get(number)
        if half is None or half.state != AWAITING:
            raise ProtocolError("answer to a channel open that nobody waits for")
        return half

    def confirm(self, half: Half, number: int) -> None:
        """The side of `half` grants the channel and calls it `number`."""
        side = half.side
        self.check_free(side, number)
        half.step(numbers.MSG_CHANNEL_OPEN_CONFIRMATION)
        half.number = number
        self.sent_by[side.other][number] = half.twin

    def find(self, side: Side, number: int, message: int) -> Half:
        """The half that `side` sends on when it names `number`; `ProtocolError` if there is none yet."""
        half = self.sent_by[side].get(number)
        if half is None:
            raise ProtocolError(f"{numbers.name_of(message)} for an unknown channel")
        if half.state == AWAITING:
            raise half.error(message)
        return half

    def drop(self, channel: Channel) -> None:
        """Free both numbers: after CLOSE both ways, or when the open was refused."""
        for half in (channel.half(Side.CLIENT), channel.half(Side.TARGET)):
            if half.state != AWAITING:
                self.sent_by[half.side.other].pop(half.number)
        del self.by_id[channel.id]
        channel.release()
