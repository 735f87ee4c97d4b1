"""A connection to a hop: one channel out, conversations with good and hostile hops."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.endpoint.hop import HopChannel, HopConnection
from bastion.endpoint.limits import HOP_NOISE, HOP_WINDOW, MAX_PACKET, QUEUE_LIMIT
from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.relay.limits import MIN_PACKET
from bastion.transport.byte_stream import BelowLost
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.wire import messages as m
from bastion.wire.forwards import TcpipOpen
from bastion.wire.numbers import OpenFailure
from tests.support.examples import examples
from tests.support.outer import Leg, opens_session, opens_tcpip

WINDOW, PACKET = 1 << 20, 32768


class SocketLeg(Leg):
    """One whose reads can be stopped, and which tells its hop when it is closed."""

    reading = True

    def set_reading(self, yes: bool) -> None:
        self.reading = yes

    def disconnect(self, code: int, text: str) -> None:
        super().disconnect(code, text)
        on_closed, self.on_closed = self.on_closed, None
        if on_closed is not None:
            on_closed(CloseReason(ClosedBy.US, code, text))


class Rider:
    """What runs in the channel."""

    def __init__(self) -> None:
        self.below: HopChannel | None = None
        self.data = b""
        self.pieces = 0
        self.ended: list[Failure] = []
        self.paused = self.resumed = 0
        self.pause_at: int | None = None

    def makeConnection(self, below: HopChannel) -> None:
        self.below = below
        below.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.pieces += 1
        if self.pause_at is not None and len(self.data) >= self.pause_at:
            assert self.below is not None
            self.below.pauseProducing()

    def connectionLost(self, reason: Failure) -> None:
        self.ended.append(reason)

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1


class Hop:
    """The connection, with a hop that the test plays."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.leg = SocketLeg()
        self.connection = HopConnection(self.leg, self.clock, "edge1")
        self.connection.start()
        self.rider = Rider()
        self.outcome: list[Any] = []

    def asked(self) -> list[m.Message]:
        """Ask for the channel."""
        self.opening = self.connection.open("10.20.0.7", 22)
        self.opening.addCallbacks(
            lambda _: self.rider.makeConnection(self.connection.carry(self.rider)), self.outcome.append
        )
        return self.leg.said()

    def opened(self, window: int = WINDOW, packet: int = PACKET) -> Hop:
        self.asked()
        self.hear(m.ChannelOpenConfirmation(0, 7, window, packet))
        return self

    def hear(self, *lines: m.Message | bytes) -> list[m.Message]:
        self.connection.burst([line if isinstance(line, bytes) else line.encode() for line in lines])
        return self.leg.said()

    @property
    def channel(self) -> HopChannel:
        assert self.rider.below is not None
        return self.rider.below

    @property
    def refusal(self) -> tuple[object, str]:
        (failure,) = self.outcome
        assert isinstance(failure.value, Refused)
        return failure.value.reason, failure.value.text


def test_the_channel_leads_where_the_inventory_says() -> None:
    hop = Hop()
    (opened,) = hop.asked()
    body = TcpipOpen("10.20.0.7", 22, "127.0.0.1", 65535).encode()
    assert opened == m.ChannelOpen("direct-tcpip", 0, HOP_WINDOW, MAX_PACKET, body)


def test_data_goes_both_ways_in_bursts() -> None:
    hop = Hop().opened()
    assert hop.hear(m.Data(0, b"SSH-"), m.Data(0, b"2.0")) == []
    assert (hop.rider.data, hop.rider.pieces) == (b"SSH-2.0", 1)
    hop.channel.write(b"SSH-2.0-us")
    assert hop.leg.said() == [m.Data(7, b"SSH-2.0-us")]


def test_what_comes_with_the_confirmation_is_not_lost() -> None:
    hop = Hop()
    hop.asked()
    hop.hear(m.ChannelOpenConfirmation(0, 7, WINDOW, PACKET), m.Data(0, b"SSH-2.0-early"))
    assert hop.rider.data == b"SSH-2.0-early"


@pytest.mark.parametrize(
    ("code", "text", "reason", "words"),
    [
        (
            OpenFailure.CONNECT_FAILED, "Connection refused",
            UpstreamReason.UNREACHABLE, 'it cannot connect to the next one: "Connection refused"',
        ),
        (
            OpenFailure.ADMINISTRATIVELY_PROHIBITED, "open failed",
            UpstreamReason.HOP_REFUSED, 'it does not let the gateway go on from there: "open failed"',
        ),
        (99, "", UpstreamReason.HOP_REFUSED, "it does not let the gateway go on from there"),
        (
            OpenFailure.CONNECT_FAILED, "bastion: \x1b[2Jyou\u202e",
            UpstreamReason.UNREACHABLE, r'it cannot connect to the next one: "bastion\x3a \x1b[2Jyou\u202e"',
        ),
    ],
)  # fmt: skip
def test_a_refusal_is_quoted(code: int, text: str, reason: UpstreamReason, words: str) -> None:
    hop = Hop()
    hop.asked()
    hop.hear(m.ChannelOpenFailure(0, code, text))
    assert hop.refusal == (reason, words)


def test_giving_up_closes_the_connection() -> None:
    hop = Hop()
    hop.asked()
    hop.opening.cancel()
    assert hop.outcome[0].check(CancelledError) and hop.leg.disconnected is not None
    assert hop.connection.fault is None


def test_a_hop_that_leaves_before_it_answers_is_the_reason() -> None:
    hop = Hop()
    hop.asked()
    assert hop.leg.on_closed is not None
    hop.leg.on_closed(CloseReason(ClosedBy.PEER, 11, "shutting down"))
    assert hop.refusal == (UpstreamReason.CLOSED, "it closed the connection")
    assert hop.connection.fault is not None and hop.connection.fault.text == "shutting down"


def test_with_the_connection_goes_what_it_carries() -> None:
    hop = Hop().opened()
    assert hop.leg.on_closed is not None
    hop.leg.on_closed(CloseReason(ClosedBy.NETWORK))
    assert [str(end.value) for end in hop.rider.ended] == [str(BelowLost("its hop edge1 is gone"))]
    hop.channel.write(b"nobody hears it")
    assert hop.leg.said() == [] and hop.leg.disconnected is None


@pytest.mark.parametrize("last", [m.Eof(0), m.Close(0)])
def test_with_what_it_carries_goes_the_connection(last: m.Message) -> None:
    hop = Hop().opened()
    said = hop.hear(m.Data(0, b"bye"), last)
    assert hop.rider.data == b"bye"
    assert [type(end.value) for end in hop.rider.ended] == [ConnectionDone]
    assert m.Close(7) in said and hop.leg.disconnected is not None and hop.connection.fault is None


def test_our_side_ends_behind_what_waits_and_an_abort_ends_at_once() -> None:
    hop = Hop().opened(window=4)
    hop.channel.write(b"12345678")
    hop.channel.loseWriteConnection()
    assert hop.leg.said() == [m.Data(7, b"1234")]
    assert hop.hear(m.WindowAdjust(0, 100)) == [m.Data(7, b"5678"), m.Eof(7)]
    assert hop.leg.disconnected is None
    hop.channel.abortConnection()
    assert hop.leg.said() == [m.Close(7)] and hop.leg.disconnected is not None
    assert len(hop.rider.ended) == 1


# -- flow control -----------------------------------------------------------------------------------------------


def test_credit_comes_back_for_what_was_used() -> None:
    hop = Hop().opened()
    given = 0
    for _ in range(0, 4 * HOP_WINDOW, MAX_PACKET):
        given += sum(
            one.size for one in hop.hear(m.Data(0, bytes(MAX_PACKET))) if isinstance(one, m.WindowAdjust)
        )
    assert len(hop.rider.data) == 4 * HOP_WINDOW and given > 3 * HOP_WINDOW


def test_a_rider_that_does_not_read_stops_the_socket_and_loses_nothing() -> None:
    hop = Hop().opened()
    hop.rider.pause_at = 1
    said = hop.hear(*[m.Data(0, bytes([n]) * 1000) for n in range(20)])
    assert not hop.leg.reading and said == [] and len(hop.rider.data) == 20_000
    # what the kernel had read before the stop, or comes in a key exchange of the hop
    hop.hear(*[m.Data(0, bytes([n]) * 1000) for n in range(20, 40)])
    assert len(hop.rider.data) == 20_000 and hop.connection.kept == 40_000
    hop.rider.pause_at = None
    hop.channel.resumeProducing()
    assert hop.leg.reading
    hop.clock.advance(0)
    assert hop.rider.data == b"".join(bytes([n]) * 1000 for n in range(40)) and hop.connection.kept == 0


def test_a_hop_that_gives_no_window_holds_up_who_writes() -> None:
    hop = Hop().opened(window=10)
    hop.channel.write(bytes(30))
    assert hop.leg.said() == [m.Data(7, bytes(10))] and (hop.rider.paused, hop.rider.resumed) == (1, 0)
    assert hop.hear(m.WindowAdjust(0, 5)) == [m.Data(7, bytes(5))]
    assert hop.hear(m.WindowAdjust(0, 100)) == [m.Data(7, bytes(15))] and hop.rider.resumed == 1


def test_whoever_writes_on_all_the_same_ends_it_at_a_limit() -> None:
    hop = Hop().opened(window=0)
    hop.channel.write(bytes(QUEUE_LIMIT))
    assert hop.rider.ended == []
    hop.channel.write(b"x")
    assert len(hop.rider.ended) == 1 and hop.connection.queued == 0 and hop.leg.disconnected is not None


def test_a_connection_that_takes_nothing_holds_up_who_writes() -> None:
    hop = Hop().opened()
    hop.leg.blocked = True
    hop.channel.write(b"later")
    assert hop.leg.said() == [] and hop.rider.paused == 1
    hop.leg.drain()
    assert hop.leg.said() == [m.Data(7, b"later")] and hop.rider.resumed == 1


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 200_000)),
        st.tuples(st.just("adjust"), st.integers(0, 150_000)),
        st.tuples(st.just("block"), st.just(0)),
        st.tuples(st.just("drain"), st.integers(0, 100_000)),
        st.tuples(st.just("data"), st.integers(0, MAX_PACKET)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("resume"), st.just(0)),
        st.tuples(st.just("turn"), st.just(0)),
    ),
    max_size=60,
)


@examples(200)
@given(STEPS, st.integers(0, 100_000), st.integers(MIN_PACKET, 70_000))
def test_whatever_happens_in_between_all_bytes_arrive_in_order_and_nobody_is_overrun(
    steps: list[Step], window: int, packet: int
) -> None:
    hop = Hop().opened(window, packet)
    said: list[m.Message] = []
    written, sent_in, ours, theirs = b"", b"", HOP_WINDOW, window
    counter = 0

    def fresh(size: int) -> bytes:
        nonlocal counter
        counter += 1
        return (counter.to_bytes(4, "big") * (size // 4 + 1))[:size]

    for what, size in [*steps, ("resume", 0), ("drain", 1 << 30), ("adjust", 1 << 24)]:
        if what == "write" and len(written) < 4_000_000:
            piece = fresh(size)
            written += piece
            hop.channel.write(piece)
        elif what == "adjust":
            theirs += size
            said.extend(hop.hear(m.WindowAdjust(0, size)))
        elif what == "block":
            hop.leg.blocked = True
        elif what == "drain":
            hop.leg.drain(size)
        elif what == "data" and 0 < size <= ours:
            piece = fresh(size)
            sent_in, ours = sent_in + piece, ours - size
            said.extend(hop.hear(m.Data(0, piece)))
        elif what == "pause":
            hop.channel.pauseProducing()
        elif what == "resume":
            hop.channel.resumeProducing()
        elif what == "turn":
            hop.clock.advance(0)
        new = hop.leg.said()
        said += new
        ours = HOP_WINDOW - len(sent_in) + sum(one.size for one in said if isinstance(one, m.WindowAdjust))
        out = [one for one in said if isinstance(one, m.Data)]
        assert sum(len(one.data) for one in out) <= theirs
        assert all(len(one.data) <= packet for one in out)
        assert hop.connection.kept <= HOP_WINDOW and hop.connection.queued <= QUEUE_LIMIT
    for _ in range(100):
        hop.clock.advance(0)
        said += hop.leg.said()
    assert b"".join(one.data for one in said if isinstance(one, m.Data)) == written
    assert hop.rider.data == sent_in
    assert hop.rider.ended == [] and hop.connection.queued == hop.connection.kept == 0


# -- hostile hops -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (m.Data(1, b"x"), "unknown channel"),
        (m.Eof(1), "unknown channel"),
        (m.Close(1), "unknown channel"),
        (m.WindowAdjust(1, 1), "unknown channel"),
        (m.ChannelRequest(1, "keepalive@openssh.com", True, b""), "unknown channel"),
        (m.ExtendedData(1, 1, b"x"), "unknown channel"),
        (m.Data(0, bytes(MAX_PACKET + 1)), "maximum packet"),
        (m.ExtendedData(0, 1, bytes(MAX_PACKET + 1)), "maximum packet"),
        (m.WindowAdjust(0, 0xFFFFFFFF), "overflows the window"),
        (m.ChannelOpenConfirmation(0, 8, 1, PACKET), "not asked for"),
        (m.ChannelOpenFailure(0, 1, ""), "not asked for"),
        (m.ChannelSuccess(0), "answers nothing"),
        (m.ChannelFailure(0), "answers nothing"),
        (m.RequestSuccess(), "answers nothing"),
        (m.RequestFailure(), "answers nothing"),
        (b"\x5e\0\0\0\0\0\0\0\2x", "length"),
        (b"\x5e\0\0\0\0", "truncated"),
        (b"\x5f\0\0\0\0\0\0\0\1\0\0\0\2x", "length"),
        (b"\x5f\0\0\0\0", "truncated"),
        (b"\x5d\0\0\0\0", "wrong size"),
        (b"\x60\0\0\0\0x", "."),
        (b"\x5b\0\0\0\0", "."),
    ],
)
def test_a_broken_message_ends_the_connection(line: m.Message | bytes, match: str) -> None:
    hop = Hop().opened()
    with pytest.raises(ProtocolError, match=match):
        hop.hear(line)


def test_more_data_than_the_window_ends_the_connection() -> None:
    hop = Hop().opened()
    hop.rider.pause_at = 1
    for _ in range(0, HOP_WINDOW, MAX_PACKET):
        hop.hear(m.Data(0, bytes(MAX_PACKET)))
    assert hop.connection.kept == HOP_WINDOW
    with pytest.raises(ProtocolError, match="overruns"):
        hop.hear(m.Data(0, b"x"))


@pytest.mark.parametrize("line", [m.Data(0, b"x"), m.WindowAdjust(0, 1), m.Eof(0), m.Close(0)])
def test_nothing_may_come_before_the_answer(line: m.Message) -> None:
    hop = Hop()
    hop.asked()
    with pytest.raises(ProtocolError, match="unknown channel"):
        hop.hear(line)


def test_nor_an_answer_before_the_question() -> None:
    with pytest.raises(ProtocolError, match="not asked for"):
        Hop().hear(m.ChannelOpenConfirmation(0, 7, WINDOW, PACKET))


def test_after_eof_and_close_nothing_is_read() -> None:
    hop = Hop().opened()
    hop.hear(m.Eof(0), m.Data(0, b"late"), m.Close(0), m.Close(0))
    assert hop.rider.data == b"" and len(hop.rider.ended) == 1


@pytest.mark.parametrize("packet", [0, 1, MIN_PACKET - 1])
def test_packets_of_no_use_are_not_taken(packet: int) -> None:
    hop = Hop()
    hop.asked()
    with pytest.raises(ProtocolError, match="maximum packet size"):
        hop.hear(m.ChannelOpenConfirmation(0, 7, WINDOW, packet))


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (opens_session(5), m.ChannelOpenFailure(5, 1, "nothing leads through the gateway from here")),
        (opens_tcpip(5), m.ChannelOpenFailure(5, 1, "nothing leads through the gateway from here")),
        (m.GlobalRequest("keepalive@openssh.com", True), m.RequestFailure()),
        (m.GlobalRequest("tcpip-forward", True, b"whatever"), m.RequestFailure()),
        (m.ChannelRequest(0, "keepalive@openssh.com", True, b""), m.ChannelFailure(7)),
        (m.ChannelRequest(0, "exec", True, b""), m.ChannelFailure(7)),
        (m.GlobalRequest("hostkeys-00@openssh.com", False, b"keys"), None),
        (m.ExtendedData(0, 1, b"noise"), None),
        (m.Data(0, b""), None),
    ],
)
def test_what_a_hop_has_no_business_with_is_refused_and_bounded(
    line: m.Message, answer: m.Message | None
) -> None:
    hop = Hop().opened()
    for _ in range(HOP_NOISE):
        assert hop.hear(line) == ([] if answer is None else [answer])
    assert hop.rider.data == b""
    with pytest.raises(ProtocolError, match="too many"):
        hop.hear(line)


def test_a_keepalive_now_and_then_is_none_too_many() -> None:
    hop = Hop().opened()
    for _ in range(5000):
        hop.clock.advance(15)
        assert hop.hear(m.GlobalRequest("keepalive@openssh.com", True)) == [m.RequestFailure()]


def test_places_on_one_road_seal_into_buffers_of_their_own() -> None:
    legs = [HopConnection(SocketLeg(), Clock(), "edge1", depth) for depth in range(4)]
    buffers = []
    for connection in legs:
        rider = Rider()
        connection.start()
        connection.open("h", 22).addCallback(lambda _, c=connection, r=rider: r.makeConnection(c.carry(r)))
        connection.burst([m.ChannelOpenConfirmation(0, 1, 1, PACKET).encode()])
        assert rider.below is not None
        buffers.append(rider.below.burst_buffer)
    assert len(set(map(id, buffers))) == 4
