"""The outer connection as an endpoint: conversations with well-behaved and hostile clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from bastion.endpoint.limits import (
    HAND_UP,
    MAX_CHANNELS,
    MAX_PACKET,
    NARROW_WINDOW,
    QUEUE_LIMIT,
    QUEUED_LIMIT,
    WIDE_CHANNELS,
    WIDE_WINDOW,
)
from bastion.errors import PolicyReason, ProtocolError
from bastion.net.read_size import READ_SIZE
from bastion.relay.limits import MIN_PACKET
from bastion.session.gateway import Limits
from bastion.wire import messages as m
from bastion.wire.forwards import DirectStreamlocal, TcpipForward, TcpipOpen
from bastion.wire.numbers import OpenFailure
from tests.support.examples import examples
from tests.support.outer import HalfOwner, Outer, Owner, fill, opens_session, opens_tcpip


def test_an_open_is_answered_when_the_door_knows() -> None:
    outer = Outer()
    assert outer.hear(opens_tcpip(7)) == []
    (channel,) = outer.door.opened
    assert outer.door.places == [TcpipOpen("web1", 22, "127.0.0.1", 65535)]
    channel.confirm()
    assert outer.leg.said() == [m.ChannelOpenConfirmation(7, channel.number, WIDE_WINDOW, MAX_PACKET)]
    channel.confirm()
    assert outer.leg.said() == []


def test_a_refusal_frees_the_number() -> None:
    outer = Outer()
    outer.hear(opens_tcpip(7))
    outer.door.opened[0].refuse(OpenFailure.ADMINISTRATIVELY_PROHIBITED, "no")
    assert outer.leg.said() == [m.ChannelOpenFailure(7, 1, "no")]
    assert len(outer.connection) == 0
    outer.hear(opens_tcpip(7))
    assert len(outer.connection) == 1


def test_data_of_one_read_comes_in_one_piece_for_each_channel() -> None:
    outer = Outer()
    one, first = outer.channel(0)
    two, second = outer.channel(1)
    outer.hear(
        m.Data(one.number, b"a"), m.Data(two.number, b"x"), m.Data(one.number, b"b"), m.Data(two.number, b"y")
    )
    assert (first.pieces, second.pieces) == ([b"ab"], [b"xy"])


def test_answers_within_one_read_leave_in_one_burst() -> None:
    outer = Outer()
    channel, owner = outer.channel()
    owner.dataReceived = lambda data: [channel.write(b"1"), channel.write(b"2")]  # type: ignore[method-assign,assignment,return-value]
    outer.connection.burst([m.Data(channel.number, b"?").encode()])
    assert len(outer.leg.bursts) == 1
    assert outer.leg.said() == [m.Data(0, b"1"), m.Data(0, b"2")]


def test_an_owner_that_does_not_read_gets_no_more_credit_and_others_go_on() -> None:
    outer = Outer()
    slow, stalled = outer.channel(0, owner=Owner(pause_at=1))
    quick, reading = outer.channel(1)
    assert fill(outer, slow.number, WIDE_WINDOW) == []
    assert len(stalled.data) == MAX_PACKET  # the read that made it stop, and nothing after
    with_credit = fill(outer, quick.number, WIDE_WINDOW) + fill(outer, quick.number, WIDE_WINDOW)
    assert len(reading.data) == WIDE_WINDOW * 2
    assert with_credit
    assert outer.leg.disconnected is None


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (m.Data(99, b"x"), "unknown channel"),
        (m.ExtendedData(99, 1, b"x"), "unknown channel"),
        (m.WindowAdjust(99, 1), "unknown channel"),
        (m.Eof(99), "unknown channel"),
        (m.Close(99), "unknown channel"),
        (m.ChannelRequest(99, "exec", True, b""), "unknown channel"),
        (m.Data(0, bytes(MAX_PACKET + 1)), "maximum packet"),
        (m.ExtendedData(0, 1, bytes(MAX_PACKET + 1)), "maximum packet"),
        (m.WindowAdjust(0, 0xFFFFFFFF), "overflows the window"),
        (m.ChannelOpenConfirmation(0, 0, 1, 1), "answers nothing"),
        (m.ChannelOpenFailure(0, 1, ""), "answers nothing"),
        (m.ChannelSuccess(0), "answers nothing"),
        (m.ChannelFailure(0), "answers nothing"),
        (m.RequestSuccess(), "not asked"),
        (m.RequestFailure(), "not asked"),
        (opens_tcpip(0), "taken"),
        (opens_tcpip(1, packet=0), "maximum packet size of 0"),
        (m.ChannelOpen("direct-tcpip", 1, 1, 1, b"\0\0\0\1"), "."),
        (b"\x5e\0\0\0\0\0\0\0\2x", "length"),
        (b"\x5e\0\0\0\0", "truncated"),
        (b"\x5f\0\0\0\0\0\0\0\1\0\0\0\2x", "length"),
        (b"\x5f\0\0\0\0", "truncated"),
        (b"\x5d\0\0\0\0", "wrong size"),
        (b"\x60\0\0\0\0x", "."),
        (m.GlobalRequest("no-more-sessions@openssh.com", False, b"x"), "."),
        (m.GlobalRequest("tcpip-forward", True, b"x"), "."),
    ],
)
def test_a_broken_message_ends_the_connection(line: m.Message | bytes, match: str) -> None:
    outer = Outer()
    channel, _ = outer.channel()
    assert channel.number == 0
    with pytest.raises(ProtocolError, match=match):
        outer.hear(line)


def test_nothing_may_come_for_a_channel_that_waits_for_its_answer() -> None:
    outer = Outer()
    outer.hear(opens_tcpip())
    with pytest.raises(ProtocolError, match="unknown channel"):
        outer.hear(m.Data(0, b"early"))


# -- out ------------------------------------------------------------------------------------------------------


def test_a_blocked_connection_holds_channels_back_and_they_take_turns() -> None:
    outer = Outer()
    one, first = outer.channel(0, window=1 << 30)
    two, second = outer.channel(1, window=1 << 30)
    outer.leg.blocked = True
    one.write(bytes(600_000))
    two.write(bytes(600_000))
    assert outer.leg.said() == []
    assert (first.paused, second.paused) == (1, 1)
    outer.leg.drain(room=400_000)
    sent = [one.recipient for one in outer.leg.said() if isinstance(one, m.Data)]
    assert set(sent) == {0, 1}  # the second channel did not wait for the end of the first
    outer.leg.drain()
    assert (one.queued, two.queued, first.resumed, second.resumed) == (0, 0, 1, 1)


def test_all_queues_together_past_their_limit_abort_the_channel_that_writes_more() -> None:
    outer = Outer()
    each = QUEUE_LIMIT // 2
    full = [outer.channel(number, window=0) for number in range(QUEUED_LIMIT // each)]
    for channel, _ in full:
        channel.write(bytes(each))
    assert outer.leg.said() == [] and outer.connection.queued == QUEUED_LIMIT
    one, owner = outer.channel(99, window=0)
    one.write(b"x")
    assert [type(said) for said in outer.leg.said()] == [m.Eof, m.Close]
    assert len(owner.ended) == 1 and all(not owner.ended for _, owner in full)
    assert outer.connection.queued == QUEUED_LIMIT
    assert len(outer.hear(m.WindowAdjust(full[0][0].number, each))) == each // MAX_PACKET
    assert outer.connection.queued == QUEUED_LIMIT - each
    outer.hear(m.Close(full[1][0].number))
    assert outer.connection.queued == QUEUED_LIMIT - 2 * each
    assert len(outer.leg.bursts) == 0 and outer.leg.disconnected is None


def test_a_client_that_stops_under_the_output_of_all_its_sessions_loses_none_of_them() -> None:
    """A laptop that is shut: each session's target is read once more, as much as one read brings."""
    outer = Outer()
    sessions = [outer.channel(number, window=0) for number in range(Limits().sessions_per_connection)]
    sealed = memoryview(bytes(READ_SIZE + READ_SIZE // 256))
    for channel, _ in sessions:
        channel.write(sealed)
    assert not any(owner.ended for _, owner in sessions)


# -- endings ----------------------------------------------------------------------------------------------------


def test_a_number_stays_taken_until_both_sides_closed() -> None:
    outer = Outer()
    channel, owner = outer.channel(5)
    channel.abortConnection()
    assert outer.leg.said() == [m.Eof(5), m.Close(5)]
    with pytest.raises(ProtocolError, match="taken"):
        outer.hear(opens_tcpip(5))
    # What was under way is no error, and nobody gets it.
    assert (
        outer.hear(
            m.Data(channel.number, b"late"), m.WindowAdjust(channel.number, 1), m.Close(channel.number)
        )
        == []
    )
    assert owner.pieces == []
    with pytest.raises(ProtocolError, match="unknown"):
        outer.hear(m.Close(channel.number))


def test_the_end_of_the_connection_ends_every_channel() -> None:
    outer = Outer()
    owners = [outer.channel(number)[1] for number in range(3)]
    outer.hear(opens_tcpip(9))
    waiting = Owner()
    outer.door.opened[-1].attach(waiting)
    outer.connection.lost(Failure(ConnectionLost()))
    assert all(owner.ended[0].check(ConnectionLost) for owner in (*owners, waiting))
    assert len(outer.connection) == 0
    for channel in outer.door.opened:
        channel.write(b"x")
        channel.resumeProducing()
        channel.loseConnection()
        channel.abortConnection()
        channel.confirm()
        channel.send_request("exit-status")
    assert outer.leg.said() == []
    assert all(len(owner.ended) == 1 for owner in (*owners, waiting))


def test_the_connection_may_end_in_the_middle_of_a_read() -> None:
    outer = Outer()
    channel, owner = outer.channel(0)
    other, later = outer.channel(1)
    owner.dataReceived = lambda data: outer.connection.lost(Failure(ConnectionDone()))  # type: ignore[method-assign]
    outer.hear(m.Data(channel.number, b"x"), m.Eof(channel.number), m.Data(other.number, b"y"))
    assert later.pieces == []
    assert len(later.ended) == 1


def test_a_fault_in_the_door_refuses_the_channel() -> None:
    outer = Outer()

    def fail(channel: object) -> None:
        raise RuntimeError("a fault in the door")

    outer.door.answer = fail
    (said,) = outer.hear(opens_session(3))
    assert isinstance(said, m.ChannelOpenFailure)
    assert len(outer.connection) == 0


# -- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_opens_are_bounded() -> None:
    outer = Outer()
    granted = refused = 0
    for number in range(10_000):
        said = outer.hear(opens_tcpip(number))
        refused += len(said)
        granted = len(outer.connection)
        assert all(isinstance(one, m.ChannelOpenFailure) and one.code == 4 for one in said)
    assert (granted, refused) == (MAX_CHANNELS, 10_000 - MAX_CHANNELS)
    assert outer.door.turned_away[0] == ("channel", "direct-tcpip", PolicyReason.CHANNEL_LIMIT)


def test_a_client_that_wants_messages_of_a_few_bytes_is_refused() -> None:
    """Each costs the same whatever is in it: a read of a target would become 256 Ki messages."""
    outer = Outer()
    (refusal,) = outer.hear(opens_tcpip(3, packet=MIN_PACKET - 1))
    assert isinstance(refusal, m.ChannelOpenFailure)
    assert (refusal.recipient, refusal.code) == (3, OpenFailure.RESOURCE_SHORTAGE)
    assert outer.door.turned_away == [("channel", "direct-tcpip", PolicyReason.CHANNEL_LIMIT)]
    assert len(outer.connection) == 0
    channel, _ = outer.channel(3, packet=MIN_PACKET)
    channel.write(bytes(HAND_UP))
    assert len(outer.leg.said()) == HAND_UP // MIN_PACKET


def test_windows_are_narrow_once_many_channels_are_open() -> None:
    outer = Outer()
    channels = [outer.channel(number)[0] for number in range(WIDE_CHANNELS + 2)]
    assert [one.window_size for one in channels] == [WIDE_WINDOW] * WIDE_CHANNELS + [NARROW_WINDOW] * 2
    channels[0].abortConnection()
    outer.hear(m.Close(channels[0].number))
    assert outer.channel(1000)[0].window_size == WIDE_WINDOW


@given(
    st.lists(st.tuples(st.sampled_from("wadpreck"), st.integers(0, 3), st.integers(0, 90_000)), max_size=60)
)
@examples(150)
def test_whatever_happens_no_window_is_exceeded_and_no_byte_is_lost(
    steps: list[tuple[str, int, int]],
) -> None:
    outer = Outer()
    made = [outer.channel(number, window=40_000, owner=HalfOwner()) for number in range(4)]
    told = [40_000] * 4  # what we may still send
    ours = [channel.window_size for channel, _ in made]
    sent_in, sent_out, got_out = [0] * 4, [0] * 4, [0] * 4
    closed = [False] * 4

    def heard(said: list[m.Message]) -> None:
        for one in said:
            if isinstance(one, m.Data):
                told[one.recipient] -= len(one.data)
                got_out[one.recipient] += len(one.data)
                assert told[one.recipient] >= 0
            elif isinstance(one, m.WindowAdjust):
                ours[one.recipient] += one.size
            elif isinstance(one, m.Close):
                closed[one.recipient] = True

    for step, number, size in steps:
        channel, owner = made[number]
        if closed[number]:
            continue
        if step == "w":
            channel.write(bytes(size))
            sent_out[number] += size
        elif step == "a":
            told[number] += size
            heard(outer.hear(m.WindowAdjust(channel.number, size)))
        elif step == "d":
            size = min(size, MAX_PACKET, ours[number])
            ours[number] -= size
            sent_in[number] += size
            heard(outer.hear(m.Data(channel.number, bytes(size))))
        elif step == "p":
            channel.pauseProducing()
        elif step == "r":
            channel.resumeProducing()
        elif step == "e":
            outer.leg.blocked = not outer.leg.blocked
            if not outer.leg.blocked:
                outer.leg.drain()
        elif step == "k":
            outer.clock.advance(0)
        heard(outer.leg.said())
        assert all(0 <= window <= WIDE_WINDOW for window in ours)
    outer.leg.drain()
    for number, (channel, _) in enumerate(made):
        if not closed[number]:
            told[number] += 1 << 26
            heard(outer.hear(m.WindowAdjust(channel.number, 1 << 26)))
            channel.resumeProducing()
    for _ in range(40):
        heard(outer.turn())
    for number, (_, owner) in enumerate(made):
        if not closed[number]:
            assert len(owner.data) == sent_in[number]
            assert got_out[number] == sent_out[number]


# -- global requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tcpip-forward", "cancel-tcpip-forward"])
def test_nothing_is_bound_for_anybody(name: str) -> None:
    outer = Outer()
    assert outer.hear(m.GlobalRequest(name, True, TcpipForward("", 0).encode())) == [m.RequestFailure()]
    assert outer.door.turned_away == [("request", name, PolicyReason.VERB_NOT_ALLOWED)]


def test_unknown_requests_are_refused_and_those_without_reply_get_none() -> None:
    outer = Outer()
    said = outer.hear(
        m.GlobalRequest("x@y", True), m.GlobalRequest("x@y", False), m.GlobalRequest("z@y", True)
    )
    assert said == [m.RequestFailure(), m.RequestFailure()]
    assert [reason for _, _, reason in outer.door.turned_away] == [PolicyReason.UNKNOWN_REQUEST] * 3


def test_keepalive_is_answered_without_a_word_in_the_audit_log() -> None:
    outer = Outer()
    assert outer.hear(m.GlobalRequest("keepalive@openssh.com", True)) == [m.RequestFailure()]
    assert outer.door.turned_away == []


def test_we_ask_too_and_take_any_answer() -> None:
    outer = Outer()
    answered: list[int] = []
    for number in range(20):
        outer.connection.ask_alive(lambda number=number: answered.append(number))  # type: ignore[misc]
    asked = outer.leg.said()
    assert 0 < len(asked) < 20
    outer.hear(m.RequestFailure(), m.RequestSuccess())
    assert answered == [0, 1]


def test_no_more_sessions_is_kept() -> None:
    outer = Outer()
    outer.hear(m.GlobalRequest("no-more-sessions@openssh.com", False))
    (said,) = outer.hear(opens_session(1))
    assert isinstance(said, m.ChannelOpenFailure)
    outer.channel(2)  # forwarding is not a session (OpenSSH PROTOCOL section 2.2)


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("direct-streamlocal@openssh.com", DirectStreamlocal("/run/x").encode(), 1),
        ("forwarded-tcpip", TcpipOpen("a", 1, "b", 2).encode(), 1),
        ("auth-agent@openssh.com", b"", 1),
        ("tun@openssh.com", b"\0\0\0\1\0\0\0\1", 3),
        ("nobody@knows", b"", 3),
    ],
)
def test_other_channels_are_refused_and_told(kind: str, body: bytes, code: int) -> None:
    outer = Outer()
    (said,) = outer.hear(m.ChannelOpen(kind, 0, 1000, 1000, body))
    assert isinstance(said, m.ChannelOpenFailure) and said.code == code
    assert outer.door.turned_away[0][:2] == ("channel", kind)
    assert outer.door.opened == []


def test_the_client_is_told_of_host_keys_and_asks_once() -> None:
    outer = Outer()
    told = m.GlobalRequest("hostkeys-00@openssh.com", False, b"keys")
    outer.connection.tell_host_keys(
        told.encode(), lambda body: m.RequestSuccess(b"proof of " + body).encode()
    )
    assert outer.leg.said() == [told]
    ask = m.GlobalRequest("hostkeys-prove-00@openssh.com", True, b"keys")
    assert outer.hear(ask) == [m.RequestSuccess(b"proof of keys")]
    assert outer.hear(ask) == [m.RequestFailure()]


def test_nobody_is_told_what_was_not_said() -> None:
    outer = Outer()
    assert outer.hear(m.GlobalRequest("hostkeys-prove-00@openssh.com", True, b"keys")) == [m.RequestFailure()]
    outer.connection.tell_host_keys(
        m.GlobalRequest("hostkeys-00@openssh.com", False).encode(), lambda body: b""
    )
    outer.leg.said()
    assert outer.hear(m.GlobalRequest("hostkeys-prove-00@openssh.com", True, b"keys")) == [m.RequestFailure()]
