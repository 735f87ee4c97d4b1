"""The relay: a pure function between two legs, and the heart of the product.

`receive` takes one payload from one side and says what is to be sent to whom. Channel numbers and windows
pass through unchanged, so flow control is end to end and nothing is queued here: the only state is the
channel table, the ledgers and a few integers. Invariants:

* what crosses is what was parsed: data, adjusts, EOF and CLOSE are payloads that have no byte beyond their fields,
  every other message is encoded again from what was read of it, with the window and maximum packet of an open
  and its confirmation rewritten (`opens`; `bastion.wire.fates` has a row for each field);
* the tap has seen a payload before it stands in the `Actions`;
* after an error the state is final: nothing crosses any more;
* nobody is overrun, by the other side or by our own words (`window`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct

from bastion.errors import ProtocolError
from bastion.relay import events
from bastion.relay.channels import AWAITING, CLOSED, CUT, OPEN, Channel, ChannelTable, Half
from bastion.relay.decider import Decider
from bastion.relay.limits import Actions as Actions
from bastion.relay.limits import RelayLimits as RelayLimits
from bastion.relay.opens import Opens
from bastion.relay.paying import Accounts, Free, Payer
from bastion.relay.requests import Requests
from bastion.relay.tap import Tap
from bastion.sides import Counts, counted
from bastion.sides import Side as Side
from bastion.wire import numbers
from bastion.wire.messages import Close, Data, Eof, ExtendedData, WindowAdjust

_DATA_HEAD = 9  # number, recipient, length (RFC 4254 section 5.2)
_EXTENDED_HEAD = 13  # number, recipient, type, length
_DATA = slice(_DATA_HEAD, None)  # made once: 10 ns of each message
_EXTENDED_DATA = slice(_EXTENDED_HEAD, None)
_TWO = Struct(">II").unpack_from
_THREE = Struct(">III").unpack_from
_VIEW_FROM = 4096
"""Data of at least this many bytes is shown to the tap as a view; below it a copy costs no more."""

_FREE = Free()  # one for all relays that nobody pays for

_Route = Callable[["Relay", Side, bytes, Actions], None]
_Table = tuple[_Route | None, ...]
"""By message number; a look-up in a tuple is half of one in a dict."""


class LegError(ProtocolError):
    """A `ProtocolError` of one side of a relay, which is then over."""

    def __init__(self, text: str, side: Side, code: int = numbers.Disconnect.PROTOCOL_ERROR) -> None:
        super().__init__(text, code)
        self.side = side


class Unimplemented(LegError):
    """The payload's number is unassigned: answer UNIMPLEMENTED (RFC 4253 section 11.4). The relay goes on."""


class Relay:
    """One session's relay. Not re-entrant: a tap must not call back.

    `swallowed` counts bytes of unassigned extended data that were dropped and given back, by side.
    `_routes` is one of three tables that all relays share.
    """

    __slots__ = ("_channels", "_opens", "_requests", "_routes", "_sent_by", "_tap", "swallowed")

    def __init__(
        self, policy: Decider, tap: Tap, limits: RelayLimits | None = None, payer: Payer | None = None
    ) -> None:
        limits = limits or RelayLimits()
        self._channels = ChannelTable()
        self._requests = Requests(self._channels, policy, tap, limits, Accounts(payer or _FREE, tap))
        self._opens = Opens(self._channels, self._requests, policy, tap, limits)
        self._sent_by = self._channels.sent_by
        self._tap = tap
        self.swallowed: Counts = (0, 0)
        self._routes = _ROUTES

    @property
    def channels(self) -> dict[int, Channel]:
        """The live channels by id. To read, not to change."""
        return self._channels.by_id

    @property
    def unsolicited(self) -> Counts:
        """Replies to nothing, by the side that sent them: dropped."""
        return self._requests.unsolicited

    @property
    def answered(self) -> Callable[[Side], None] | None:
        """Called with the side that answered a request made by `ask`."""
        return self._requests.answered

    @answered.setter
    def answered(self, call: Callable[[Side], None] | None) -> None:
        self._requests.answered = call

    def prove_host_keys(self, prove: Callable[[bytes], bytes]) -> None:
        """The client was told of our host keys: `prove` answers the body of its one question, empty for none."""
        self._requests.prove = prove

    def receive(self, side: Side, payload: bytes, out: Actions) -> None:
        """One payload (with its number, without padding) from `side`; what follows from it is added to `out`.

        Raises `LegError` when the peer broke the protocol (the relay is then over), `Unimplemented` for a
        number without a meaning (it is not), and whatever the tap raises (it is over).
        """
        try:
            route = self._routes[payload[0]]
        except IndexError:  # it is empty
            route = None
        if route is None:
            raise self._stray(side, payload)
        try:
            route(self, side, payload, out)
        except ProtocolError as error:
            self._routes = _OVER
            raise LegError(error.text, side, error.code) from None
        except BaseException:
            self._routes = _OVER
            raise

    # -- the hot path ------------------------------------------------------------------------------------

    def _data(self, side: Side, payload: bytes, out: Actions) -> None:
        length = len(payload) - _DATA_HEAD
        if length < 0:
            raise ProtocolError("CHANNEL_DATA is truncated")
        number, size = _TWO(payload, 1)
        half = self._sent_by[side].get(number)
        if half is None:
            raise ProtocolError("CHANNEL_DATA for an unknown channel")
        if size != length or half.state != OPEN or not half.window.take(size):
            if _dropped(half, length, size):
                return
            raise _data_error(half, numbers.MSG_CHANNEL_DATA, length, size)
        data = payload[_DATA] if size < _VIEW_FROM else memoryview(payload)[_DATA]
        if half.content is not None:
            half.content.data(half, payload, data, out)
            return
        half.moved += size
        self._tap.data(half.channel, side, 0, data)
        out.onward[side].append(payload)

    def _extended_data(self, side: Side, payload: bytes, out: Actions) -> None:
        length = len(payload) - _EXTENDED_HEAD
        if length < 0:
            raise ProtocolError("CHANNEL_EXTENDED_DATA is truncated")
        number, kind, size = _THREE(payload, 1)
        half = self._sent_by[side].get(number)
        if half is None:
            raise ProtocolError("CHANNEL_EXTENDED_DATA for an unknown channel")
        if size != length or half.state != OPEN or not half.window.fits(size):
            if _dropped(half, length, size):
                return
            raise _data_error(half, numbers.MSG_CHANNEL_EXTENDED_DATA, length, size)
        # On sftp the client's stderr means nothing, and what a target made of it could not be judged.
        unread = half.content is not None and side is Side.CLIENT and half.channel.kind == "session"
        if kind != numbers.EXTENDED_DATA_STDERR or unread:
            self._swallow(half, size, out)
            return
        half.window.take(size)
        half.moved += size
        data = payload[_EXTENDED_DATA] if size < _VIEW_FROM else memoryview(payload)[_EXTENDED_DATA]
        self._tap.data(half.channel, side, 1, data)
        out.onward[side].append(payload)
        if half.content is not None:
            half.content.credit(out)  # stderr uses the same window

    def _window_adjust(self, side: Side, payload: bytes, out: Actions) -> None:
        if len(payload) != 9:
            raise ProtocolError("CHANNEL_WINDOW_ADJUST is of the wrong size")
        number, size = _TWO(payload, 1)
        own = self._sent_by[side].get(number)
        if own is None:
            raise ProtocolError("CHANNEL_WINDOW_ADJUST for an unknown channel")
        state = own.state
        if state == AWAITING:
            raise own.error(numbers.MSG_CHANNEL_WINDOW_ADJUST)
        if state == CLOSED:
            return  # it was under way when the side closed; OpenSSH ignores it too
        half = own.twin
        told = half.window.adjust(size)
        if told == size and (size or half.window.full):
            out.onward[side].append(payload)
            return
        if told:
            out.onward[side].append(WindowAdjust(number, told).encode())
        if half.content is not None:
            half.content.credit(out)

    def _swallow(self, half: Half, size: int, out: Actions) -> None:
        """Drop data of an unassigned type and give the window back to its sender (else it shrinks for
        ever).
        """
        side = half.side
        self.swallowed = counted(self.swallowed, side, size)
        if size and half.twin.state != CLOSED:
            out.back[side].append(WindowAdjust(half.number, size).encode())

    # -- endings of channels -----------------------------------------------------------------------------

    def _eof(self, side: Side, payload: bytes, out: Actions) -> None:
        half = self._channels.find(side, Eof.parse(payload).recipient, numbers.MSG_CHANNEL_EOF)
        cut = half.state == CUT
        half.step(numbers.MSG_CHANNEL_EOF)
        if cut:
            return
        if half.content is not None:
            half.content.eof(half, out)
        self._tap.event(events.EofSent(half.channel.id, side))
        out.onward[side].append(payload)

    def _close(self, side: Side, payload: bytes, out: Actions) -> None:
        half = self._channels.find(side, Close.parse(payload).recipient, numbers.MSG_CHANNEL_CLOSE)
        half.step(numbers.MSG_CHANNEL_CLOSE)
        if half.content is not None:
            half.content.eof(half, out)
        if half.twin.state == CLOSED:
            self._drop(half.channel)
        out.onward[side].append(payload)

    def finish(self) -> None:
        """The connection is over: the tap learns that every channel is, and nothing crosses any more."""
        self._routes = _SILENT
        self._requests.accounts.finish()
        for channel in list(self._channels.by_id.values()):
            self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        content = channel.half(Side.TARGET).content
        if content is not None:
            content.closed()
        self._tap.event(_closed(channel))
        self._channels.drop(channel)

    # -- the gateway's own words -------------------------------------------------------------------------

    def inject(self, channel_id: int, text: bytes, stream: int, out: Actions) -> bool:
        """Show `text` to the client on a session channel, stream 0 or 1, all of it or nothing.

        False when the channel is gone, ending or sftp, or the reserve does not hold `text`: try again later
        or let it be.
        """
        channel = self._channels.by_id.get(channel_id)
        if channel is None or not text:
            return False
        half = channel.half(Side.TARGET)
        window = half.window
        if half.state != OPEN or half.twin.state == CLOSED or half.content or len(text) > window.reserve:
            return False
        self._tap.event(events.Injected(channel_id, stream, text))
        window.speak(len(text))
        number = half.twin.number
        for at in range(0, len(text), window.max_packet):
            piece = text[at : at + window.max_packet]
            message = ExtendedData(number, stream, piece) if stream else Data(number, piece)
            out.to_client.append(message.encode())
        return True

    def warn(self, text: bytes, out: Actions) -> int:
        """Show `text` on every pty; how many took it."""
        ptys = [channel.id for channel in self._channels.by_id.values() if channel.has_pty]
        return sum(self.inject(channel_id, text, 0, out) for channel_id in ptys)

    def terminate(self, text: bytes, out: Actions) -> int:
        """Last words on every pty; from then on whatever arrives is dropped. The shell then disconnects."""
        self._routes = _SILENT
        return self.warn(text, out)

    def ask(self, side: Side, name: str, out: Actions) -> bool:
        """Send `side` a global request of ours, as keepalive@openssh.com. Its reply is swallowed and
        `answered` called.

        False, and nothing sent, when that side owes too many replies already.
        """
        return self._requests.ask(side, name, out)

    # -- what has no route -------------------------------------------------------------------------------

    def _stray(self, side: Side, payload: bytes) -> LegError:
        """The error for a payload that has no route."""
        if not payload:
            text = "payload is empty"
        elif payload[0] >= numbers.FIRST_CONNECTION_MESSAGE:
            # RFC 4253 section 11.4. 192/193 are OpenSSH's ping and pong: bound to their leg, not announced.
            return Unimplemented(f"{numbers.name_of(payload[0])} is not implemented", side)
        else:
            text = f"{numbers.name_of(payload[0])} is bound to its leg"
        self._routes = _OVER
        return LegError(text, side)


def _dropped(half: Half, length: int, size: int) -> bool:
    """Data of a side that was cut off goes nowhere, and uses up the window that it was told of."""
    return half.state == CUT and size == length and half.window.take(size)


def _data_error(half: Half, message: int, length: int, size: int) -> ProtocolError:
    """What is wrong with a data message that failed the combined check."""
    if half.state != OPEN:
        return half.error(message)
    name = numbers.name_of(message)
    if size != length:
        return ProtocolError(f"{name} has a length that is not its own")
    if size > half.window.max_packet:
        return ProtocolError(f"{name} is longer than the maximum packet size")
    return ProtocolError(f"{name} overruns the window")


def _closed(channel: Channel) -> events.ChannelClosed:
    moved = channel.bytes
    return events.ChannelClosed(channel.id, channel.kind, moved[Side.CLIENT], moved[Side.TARGET])


# -- where a message goes ----------------------------------------------------------------------------------


def _by_requests(call: Callable[[Requests, Side, bytes, Actions], None]) -> _Route:
    return lambda relay, side, payload, out: call(relay._requests, side, payload, out)


def _by_opens(call: Callable[[Opens, Side, bytes, Actions], None]) -> _Route:
    return lambda relay, side, payload, out: call(relay._opens, side, payload, out)


def _table(routes: Mapping[int, _Route]) -> _Table:
    return tuple(routes.get(number) for number in range(256))


def _over(relay: Relay, side: Side, payload: bytes, out: Actions) -> None:
    """The route of every message after an error."""
    raise ProtocolError("the relay is over after an error")


def _silent(relay: Relay, side: Side, payload: bytes, out: Actions) -> None:
    """The route of every message after the last words: nothing crosses."""


_ROUTES = _table(
    {
        numbers.MSG_GLOBAL_REQUEST: _by_requests(Requests.global_request),
        numbers.MSG_REQUEST_SUCCESS: _by_requests(Requests.global_reply),
        numbers.MSG_REQUEST_FAILURE: _by_requests(Requests.global_reply),
        numbers.MSG_CHANNEL_OPEN: _by_opens(Opens.open),
        numbers.MSG_CHANNEL_OPEN_CONFIRMATION: _by_opens(Opens.confirm),
        numbers.MSG_CHANNEL_OPEN_FAILURE: _by_opens(Opens.fail),
        numbers.MSG_CHANNEL_WINDOW_ADJUST: Relay._window_adjust,
        numbers.MSG_CHANNEL_DATA: Relay._data,
        numbers.MSG_CHANNEL_EXTENDED_DATA: Relay._extended_data,
        numbers.MSG_CHANNEL_EOF: Relay._eof,
        numbers.MSG_CHANNEL_CLOSE: Relay._close,
        numbers.MSG_CHANNEL_REQUEST: _by_requests(Requests.channel_request),
        numbers.MSG_CHANNEL_SUCCESS: _by_requests(Requests.channel_reply),
        numbers.MSG_CHANNEL_FAILURE: _by_requests(Requests.channel_reply),
    }
)
"""Message number -> what takes it while the relay lives."""

_OVER: _Table = tuple(route and _over for route in _ROUTES)
_SILENT: _Table = tuple(route and _silent for route in _ROUTES)
