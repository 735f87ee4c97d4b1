"""One channel of an outer connection: credit in, windows out, what waits, how it ends, requests about it."""

from __future__ import annotations

import tracemalloc

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from bastion.endpoint.channel import OuterChannel
from bastion.endpoint.limits import HAND_UP, MAX_PACKET, QUEUE_LIMIT, WIDE_WINDOW
from bastion.errors import ProtocolError
from bastion.wire import messages as m
from bastion.wire.requests import Exec
from tests.support.outer import HalfOwner, Link, Outer, Owner, fill, opens_session

# -- in -------------------------------------------------------------------------------------------------------------


def test_credit_is_given_back_as_the_owner_reads() -> None:
    outer = Outer()
    channel, owner = outer.channel()
    said = []
    for _ in range(WIDE_WINDOW * 3 // MAX_PACKET):
        said += outer.hear(m.Data(channel.number, bytes(MAX_PACKET)))
    assert len(owner.data) == WIDE_WINDOW * 3
    assert {type(one) for one in said} == {m.WindowAdjust}
    assert (
        WIDE_WINDOW * 2 < sum(one.size for one in said if isinstance(one, m.WindowAdjust)) <= WIDE_WINDOW * 3
    )


def test_what_was_kept_is_handed_up_in_turns_and_then_credit_follows() -> None:
    outer = Outer()
    channel, owner = outer.channel(owner=Owner(pause_at=1))
    fill(outer, channel.number, WIDE_WINDOW)
    owner.pause_at = None
    channel.resumeProducing()
    assert len(owner.data) == MAX_PACKET  # not within the call: a socket would not do that either
    credit = sum(one.size for one in outer.turn() if isinstance(one, m.WindowAdjust))
    assert len(owner.data) == WIDE_WINDOW
    assert (
        max(map(len, owner.pieces)) == HAND_UP
    )  # as a read of a socket would bring it, with others in between
    assert credit
    assert not outer.clock.getDelayedCalls()


def test_an_owner_that_stops_again_gets_nothing_more() -> None:
    outer = Outer()
    channel, owner = outer.channel(owner=Owner(pause_at=1))
    fill(outer, channel.number, HAND_UP * 2)
    channel.resumeProducing()
    for _ in range(5):
        outer.turn()
    assert len(owner.data) == MAX_PACKET + HAND_UP
    assert not outer.clock.getDelayedCalls()


def test_a_window_can_be_used_up_and_not_overrun() -> None:
    outer = Outer()
    channel, _ = outer.channel(owner=Owner(pause_at=1))
    fill(outer, channel.number, WIDE_WINDOW)
    with pytest.raises(ProtocolError, match="overruns the window"):
        outer.hear(m.Data(channel.number, b"x"))


@pytest.mark.parametrize("late", [m.Data(0, b"x"), m.ExtendedData(0, 1, b"x"), m.Eof(0)])
def test_after_eof_there_is_no_data(late: m.Message) -> None:
    outer = Outer()
    outer.channel(owner=HalfOwner())
    outer.hear(m.Eof(0))
    with pytest.raises(ProtocolError, match="EOF"):
        outer.hear(late)


def test_extended_data_is_swallowed_and_its_credit_given_back() -> None:
    outer = Outer()
    channel, owner = outer.channel()
    said: list[m.Message] = []
    for _ in range(WIDE_WINDOW * 2 // MAX_PACKET):
        said += outer.hear(m.ExtendedData(channel.number, 1, bytes(MAX_PACKET)))
    assert owner.pieces == []
    assert {type(one) for one in said} == {m.WindowAdjust}


# -- out ------------------------------------------------------------------------------------------------------------


def test_a_write_is_cut_into_packets_and_leaves_in_one_burst() -> None:
    outer = Outer()
    channel, _ = outer.channel(packet=1000)
    channel.write(b"x" * 2500)
    assert len(outer.leg.bursts) == 1
    assert [len(one.data) for one in outer.leg.said() if isinstance(one, m.Data)] == [1000, 1000, 500]
    assert channel.bytes_taken == 2500


def test_what_the_window_does_not_take_waits_and_the_producer_with_it() -> None:
    outer = Outer()
    channel, owner = outer.channel(window=10)
    channel.write(b"0123456789abcdef")
    assert outer.leg.said() == [m.Data(0, b"0123456789")]
    assert (owner.paused, channel.queued) == (1, 6)
    assert outer.hear(m.WindowAdjust(0, 4)) == [m.Data(0, b"abcd")]
    assert owner.resumed == 0
    assert outer.hear(m.WindowAdjust(0, 100)) == [m.Data(0, b"ef")]
    assert (owner.resumed, channel.queued) == (1, 0)


def test_a_view_is_not_kept_when_its_buffer_is_used_again() -> None:
    outer = Outer()
    channel, _ = outer.channel(window=1000)
    shared = bytearray(b"a" * 3000)
    channel.write(memoryview(shared))
    shared[:] = b"\xee" * 3000
    assert outer.leg.said() == [m.Data(0, b"a" * 1000)]
    assert outer.hear(m.WindowAdjust(0, 5000)) == [m.Data(0, b"a" * 2000)]


def test_a_zero_window_holds_everything_back() -> None:
    outer = Outer()
    channel, owner = outer.channel(window=0)
    channel.write(b"x")
    channel.loseConnection()
    assert outer.leg.said() == []
    assert owner.ended == []
    assert outer.hear(m.WindowAdjust(0, 1)) == [m.Data(0, b"x"), m.Eof(0), m.Close(0)]
    assert len(owner.ended) == 1


def test_a_large_write_stops_where_the_connection_blocks() -> None:
    outer = Outer()
    channel, owner = outer.channel(window=1 << 30)
    outer.leg.block_after = 300_000
    channel.write(bytes(2_000_000))
    sent = sum(len(one.data) for one in outer.leg.said() if isinstance(one, m.Data))
    assert 300_000 <= sent <= 300_000 + HAND_UP
    assert (channel.queued, owner.paused) == (2_000_000 - sent, 1)


def test_what_waited_leaves_in_its_order() -> None:
    outer = Outer()
    channel, _ = outer.channel(window=0)
    for piece in (b"a", b"b", b"cd"):
        channel.write(piece)
    assert outer.hear(m.WindowAdjust(0, 9)) == [m.Data(0, b"a"), m.Data(0, b"bcd")]


def test_a_queue_past_its_limit_aborts_the_channel_only() -> None:
    outer = Outer()
    channel, owner = outer.channel(0, window=0)
    other, alive = outer.channel(1)
    channel.write(bytes(QUEUE_LIMIT + 1))
    assert len(owner.ended) == 1
    assert channel.queued == 0
    assert outer.leg.said() == [m.Eof(0), m.Close(0)]
    outer.hear(m.Data(other.number, b"x"))
    assert alive.data == b"x"


def test_small_pieces_that_wait_take_little_more_memory_than_is_counted() -> None:
    outer = Outer()
    channel, _ = outer.channel(0, window=0)
    tracemalloc.start()
    try:
        for _ in range(5000):  # such as answers to PING inside, sealed
            channel.write(bytes(52))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert channel.queued == 5000 * 52
    assert held < 1.5 * channel.queued


@pytest.mark.parametrize("sizes", [(1, 60, 3, 5000, 7, 7, 4096, 1), (5,) * 3000], ids=["mixed", "small"])
def test_pieces_that_were_joined_leave_in_their_order(sizes: tuple[int, ...]) -> None:
    outer = Outer()
    channel, owner = outer.channel(0, window=0)
    written = b"".join(bytes([number % 251]) * size for number, size in enumerate(sizes))
    for number, size in enumerate(sizes):
        channel.write(bytes([number % 251]) * size)
    assert channel.queued == outer.connection.queued == sum(sizes)
    got = bytearray()
    for _ in range(sum(sizes)):
        for said in outer.hear(m.WindowAdjust(channel.number, 700)):
            assert isinstance(said, m.Data)
            got += said.data
        if not channel.queued:
            break
    assert got == written and outer.connection.queued == 0
    assert owner.paused == owner.resumed == 1


def test_a_registered_producer_is_paused_at_once_when_something_waits() -> None:
    outer = Outer()
    channel, _ = outer.channel(window=0)
    channel.unregisterProducer()
    channel.write(b"x")
    late = Owner()
    channel.registerProducer(late, True)
    assert late.paused == 1
    with pytest.raises(ValueError, match="push"):
        channel.registerProducer(late, False)


# -- endings --------------------------------------------------------------------------------------------------------


def test_eof_ends_an_owner_that_knows_no_half_closed_connection() -> None:
    outer = Outer()
    _, owner = outer.channel()
    assert outer.hear(m.Data(0, b"last"), m.Eof(0)) == [m.Eof(0), m.Close(0)]
    assert owner.data == b"last"
    assert owner.ended[0].check(ConnectionDone)
    outer.hear(m.Close(0))
    assert len(outer.connection) == 0


def test_eof_leaves_the_other_direction_open_for_one_that_does() -> None:
    outer = Outer()
    channel, owner = outer.channel(owner=HalfOwner())
    assert outer.hear(m.Eof(0)) == []
    assert (owner.eofs, owner.ended) == (1, [])
    channel.write(b"answer")
    channel.loseConnection()
    assert outer.leg.said() == [m.Data(0, b"answer"), m.Eof(0), m.Close(0)]


def test_our_eof_goes_out_once_and_behind_what_waits() -> None:
    outer = Outer()
    channel, _ = outer.channel(window=1, owner=HalfOwner())
    channel.write(b"ab")
    channel.loseWriteConnection()
    channel.loseWriteConnection()
    channel.write(b"too late")
    assert outer.leg.said() == [m.Data(0, b"a")]
    assert outer.hear(m.WindowAdjust(0, 100)) == [m.Data(0, b"b"), m.Eof(0)]
    channel.loseConnection()
    assert outer.leg.said() == [m.Close(0)]


def test_close_still_delivers_what_came_before_it() -> None:
    outer = Outer()
    channel, owner = outer.channel(owner=Owner(pause_at=1))
    fill(outer, 0, MAX_PACKET * 2)
    assert outer.hear(m.Eof(0), m.Close(0)) == []
    assert owner.ended == []
    channel.resumeProducing()
    assert outer.turn() == [m.Close(0)]
    assert len(owner.data) == MAX_PACKET * 2
    assert len(owner.ended) == 1
    assert len(outer.connection) == 0


def test_a_fault_in_one_channel_ends_that_channel() -> None:
    outer = Outer()
    channel, owner = outer.channel(0, owner=Owner(fails=True))
    other, alive = outer.channel(1)
    said = outer.hear(m.Data(channel.number, b"x"), m.Data(other.number, b"y"))
    assert said == [m.Eof(0), m.Close(0)]
    assert len(owner.ended) == 1
    assert alive.data == b"y"


# -- requests -------------------------------------------------------------------------------------------------------


def test_requests_are_answered_in_order_by_whoever_serves_the_channel() -> None:
    outer = Outer()
    outer.hear(opens_session(4))
    (channel,) = outer.door.opened
    channel.confirm()
    asked: list[tuple[str, bytes]] = []

    def answer(name: str, body: bytes) -> bool:
        asked.append((name, body))
        return name == "exec"

    channel.on_request = answer
    outer.leg.said()
    said = outer.hear(
        m.ChannelRequest(channel.number, "env", True, b""),
        m.ChannelRequest(channel.number, "exec", True, Exec(b"id").encode()),
        m.ChannelRequest(channel.number, "signal", False, b""),
    )
    assert said == [m.ChannelFailure(4), m.ChannelSuccess(4)]
    assert [name for name, _ in asked] == ["env", "exec", "signal"]
    channel.send_request("exit-status", b"\0\0\0\0")
    assert outer.leg.said() == [m.ChannelRequest(4, "exit-status", False, b"\0\0\0\0")]


def test_requests_on_a_forwarded_channel_are_refused() -> None:
    outer = Outer()
    channel, _ = outer.channel(4)
    assert outer.hear(m.ChannelRequest(channel.number, "shell", True)) == [m.ChannelFailure(4)]


# -- on a connection that the test plays ------------------------------------------------------------------------------


def alone(window: int = 1 << 20, granted: bool = True) -> tuple[OuterChannel, Link, HalfOwner]:
    link, owner = Link(), HalfOwner()
    channel = link.channel = OuterChannel(link, "session", 3, 7, window, 32768, 64 * 1024)
    owner.channel = channel
    channel.attach(owner)
    if granted:
        channel.confirm()
        link.said()
    return channel, link, owner


def test_a_channel_is_granted_once() -> None:
    channel, link, _ = alone(granted=False)
    assert not channel.open
    channel.confirm()
    channel.confirm()
    assert link.said() == [m.ChannelOpenConfirmation(7, 3, 64 * 1024, MAX_PACKET)]
    channel.refuse(1, "too late")
    assert link.said() == [] and channel.open


def test_a_refused_one_is_gone_and_its_owner_hears_nothing() -> None:
    channel, link, owner = alone(granted=False)
    channel.refuse(1, "no")
    channel.confirm()
    assert link.said() == [m.ChannelOpenFailure(7, 1, "no")]
    assert link.gone and owner.ended == []


def test_one_that_is_given_up_before_its_answer_is_refused() -> None:
    channel, link, owner = alone(granted=False)
    channel.abortConnection()
    (said,) = link.said()
    assert isinstance(said, m.ChannelOpenFailure) and said.code == 4
    assert link.gone and owner.ended == []


def test_nothing_goes_out_before_the_grant_or_after_close() -> None:
    channel, link, _ = alone(granted=False)
    channel.write(b"early")
    channel.send_request("exit-status", b"\0\0\0\0")
    assert link.said() == []
    channel.confirm()
    channel.loseConnection()
    assert [type(one) for one in link.said()] == [m.ChannelOpenConfirmation, m.Eof, m.Close]
    channel.write(b"late")
    channel.loseWriteConnection()
    channel.send_request("exit-status", b"\0\0\0\0")
    assert link.said() == []


def test_close_waits_for_what_is_queued() -> None:
    channel, link, _ = alone(window=2)
    channel.write(b"abcd")
    channel.loseConnection()
    assert link.said() == [m.Data(7, b"ab")]
    channel.take_adjust(2)
    assert link.waits == 1
    channel.pump(1 << 20)
    assert link.said() == [m.Data(7, b"cd"), m.Eof(7), m.Close(7)]
    assert not link.gone, "the number is free once both sides closed"
    channel.take_close()
    assert link.gone


def test_what_the_connection_cannot_take_waits_for_it() -> None:
    channel, link, owner = alone()
    channel.registerProducer(owner, True)
    link.blocked = True
    channel.write(b"abc")
    assert (link.said(), link.queued, link.waits, owner.paused) == ([], 3, 1, 1)
    link.blocked = False
    assert channel.pump(2) is True
    assert channel.pump(2) is False
    assert link.said() == [m.Data(7, b"ab"), m.Data(7, b"c")]
    assert (link.queued, owner.resumed) == (0, 1)


def test_more_than_its_engineer_may_hold_ends_the_channel() -> None:
    channel, link, owner = alone(window=0)
    link.overfull = True
    channel.write(b"x")
    assert link.said() == [m.Eof(7), m.Close(7)] and len(owner.ended) == 1 and link.queued == 0


def test_what_a_paused_owner_was_sent_is_counted_until_it_reads_on() -> None:
    channel, link, owner = alone()
    channel.pauseProducing()
    channel.take_data(m.Data(3, b"kept").encode())
    channel.deliver()
    assert (link.kept, owner.data) == (4, b"")
    channel.resumeProducing()
    assert (link.kept, owner.data, link.resumes) == (0, b"kept", 1)


def test_the_end_of_the_connection_is_told_once() -> None:
    channel, link, owner = alone()
    channel.lose(Failure(ConnectionLost()))
    channel.lose(Failure(ConnectionLost()))
    channel.abortConnection()
    assert [type(failure.value) for failure in owner.ended] == [ConnectionLost]
    assert link.said() == []


def test_the_client_s_close_comes_after_its_data() -> None:
    channel, link, owner = alone()
    channel.pauseProducing()
    channel.take_data(m.Data(3, b"last").encode())
    channel.deliver()
    channel.take_close()
    assert owner.ended == []
    channel.resumeProducing()
    assert owner.data == b"last" and owner.ended[0].check(ConnectionDone)
    assert link.gone


@pytest.mark.parametrize("late", ["eof", "close", "adjust", "request"])
def test_after_the_client_s_close_nothing_may_come(late: str) -> None:
    channel, _, _ = alone()
    channel.take_close()
    with pytest.raises(ProtocolError, match=r"CLOSE|twice"):
        if late == "eof":
            channel.take_eof()
        elif late == "close":
            channel.take_close()
        elif late == "adjust":
            channel.take_adjust(1)
        else:
            channel.take_request(m.ChannelRequest(3, "exec", True, b""))
