"""Random traffic on both sides, legal and illegal, against a simple model of what each side was told.

The model knows nothing of the relay's inside: it keeps, for each side, what that side believes (its window,
the requests it waits for, the bytes it got) from the payloads that the relay let it see. Invariants: data
and requests cross unchanged and in order; no side is ever sent more than it said it would take; a side that
keeps to what it was told is never accused; replies come in the order of the requests; nothing bound to a
leg crosses; an illegal message is an error of the side that sent it and nothing follows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bastion.errors import ProtocolError
from bastion.relay.relay import Relay, RelayLimits, Unimplemented
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.declared import MESSAGES, parse_message
from tests.support.examples import examples
from tests.support.playbook import Playbook, asks_all, no

SIDES = st.sampled_from(list(Side))
PICK = st.integers(0, 1 << 16)
TUNNEL = r.TcpipOpen("db", 1, "::1", 1).encode()
LEG_BOUND = {"hostkeys-00@openssh.com", "hostkeys-prove-00@openssh.com"}


@dataclass
class End:
    """One channel as one side sees it. `number` is its own, `peer` the other side's."""

    number: int
    peer: int = -1
    may_send: int = 0
    max_packet: int = 0
    granted: int = 0
    sent: bytes = b""
    got: bytes = b""
    eof: bool = False
    closed: bool = False
    got_close: bool = False
    waiting: deque[str] = field(default_factory=deque)
    to_answer: deque[str] = field(default_factory=deque)


@dataclass
class Talk:
    """One channel: both ends, and what the gateway said on it itself."""

    ends: dict[Side, End]
    kind: str
    reserve: int = 0
    injected: int = 0


class Traffic(RuleBasedStateMachine):
    """Two sides that keep to the protocol as far as they can see it."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Playbook(
            refused={"direct-tcpip": no()},
            limits=RelayLimits(channels=4, reserve=64, max_packet=500, min_packet=1),
        )
        self.relay: Relay = self.book.relay
        self.talks: list[Talk] = []
        self.pending: list[Talk] = []
        self.free = {Side.CLIENT: list(range(50)), Side.TARGET: list(range(50))}
        self.global_waiting: dict[Side, deque[str]] = {Side.CLIENT: deque(), Side.TARGET: deque()}
        self.global_to_answer: dict[Side, deque[str]] = {Side.CLIENT: deque(), Side.TARGET: deque()}
        self.asked = {Side.CLIENT: 0, Side.TARGET: 0}
        self.answered = {Side.CLIENT: 0, Side.TARGET: 0}
        self.relay.answered = self._count_answer

    def _count_answer(self, side: Side) -> None:
        self.answered[side] += 1

    @initialize()
    def begin(self) -> None:
        forward = asks_all("tcpip-forward", r.TcpipForward("", 1), reply=False)
        assert self.say(Side.CLIENT, forward) == ([], [forward.encode()])
        for side in Side:  # two channels from the start, or most runs would have none
            self.open(side, 1000, 400)
            self.answer_open(0, True, 1000, 400)

    # -- plumbing

    def say(self, side: Side, line: m.Message) -> tuple[list[bytes], list[bytes]]:
        """What goes to the client and to the target after `side` said `line`."""
        self.relay.receive(side, line.encode(), self.book.out)
        return self.take()

    def take(self) -> tuple[list[bytes], list[bytes]]:
        said = list(self.book.out.to_client), list(self.book.out.to_target)
        self.book.out.clear()
        for payload in said[0] + said[1]:
            assert payload[0] in MESSAGES
            parsed = parse_message(payload)
            assert not (isinstance(parsed, m.GlobalRequest) and parsed.name in LEG_BOUND)
        return said

    def crosses(self, side: Side, line: m.Message) -> None:
        """`side` says `line`, and exactly that reaches the other side."""
        back, onward = self.split(side, self.say(side, line))
        assert (back, onward) == ([], [line.encode()])

    @staticmethod
    def split(side: Side, said: tuple[list[bytes], list[bytes]]) -> tuple[list[bytes], list[bytes]]:
        """(back to `side`, onward to the other)."""
        return (said[0], said[1]) if side is Side.CLIENT else (said[1], said[0])

    def pick(self, choice: int, side: Side) -> tuple[Talk, End, End] | None:
        """A channel that `side` has not closed: with the end of `side` and the other."""
        open_talks = [talk for talk in self.talks if not talk.ends[side].closed]
        if not open_talks:
            return None
        talk = open_talks[choice % len(open_talks)]
        return talk, talk.ends[side], talk.ends[side.other]

    # -- channels

    @rule(side=SIDES, window=st.integers(0, 2000), max_packet=st.integers(1, 1000))
    def open(self, side: Side, window: int, max_packet: int) -> None:
        kind = "session" if side is Side.CLIENT else "forwarded-tcpip"
        number = self.free[side].pop(0)
        body = b"" if kind == "session" else TUNNEL
        back, onward = self.split(side, self.say(side, m.ChannelOpen(kind, number, window, max_packet, body)))
        if len(self.talks) + len(self.pending) >= 4:
            assert onward == [] and m.ChannelOpenFailure.parse(back[0]).code == 4
            self.free[side].insert(0, number)
            return
        seen = m.ChannelOpen.parse(onward[0])
        reserve = min(64, window // 8) if kind == "session" else 0
        assert seen == m.ChannelOpen(kind, number, window - reserve, min(max_packet, 500), body)
        mine, other = End(number, granted=window), End(-1, number, seen.window, seen.max_packet)
        self.pending.append(Talk({side: mine, side.other: other}, kind, reserve))

    @rule()
    def open_something_refused(self) -> None:
        line = m.ChannelOpen("direct-tcpip", 999, 1, 1, TUNNEL)
        expected = 1 if len(self.talks) + len(self.pending) < 4 else 4
        (back,), onward = self.say(Side.CLIENT, line)
        assert m.ChannelOpenFailure.parse(back).code == expected and onward == []

    @precondition(lambda self: self.pending)
    @rule(choice=PICK, yes=st.booleans(), window=st.integers(0, 2000), max_packet=st.integers(1, 1000))
    def answer_open(self, choice: int, yes: bool, window: int, max_packet: int) -> None:
        talk = self.pending.pop(choice % len(self.pending))
        side = next(side for side, end in talk.ends.items() if end.number == -1)
        mine, opener = talk.ends[side], talk.ends[side.other]
        if not yes:
            back, onward = self.split(side, self.say(side, m.ChannelOpenFailure(mine.peer, 2, "no")))
            words = "target | no" if side is Side.TARGET else "no"
            assert (back, onward) == ([], [m.ChannelOpenFailure(mine.peer, 2, words).encode()])
            self.free[side.other].insert(0, opener.number)
            return
        mine.number = self.free[side].pop(0)
        line = m.ChannelOpenConfirmation(mine.peer, mine.number, window, max_packet)
        back, onward = self.split(side, self.say(side, line))
        seen = m.ChannelOpenConfirmation.parse(onward[0])
        assert back == [] and (seen.sender, seen.window) == (mine.number, window)
        mine.granted = window
        opener.peer, opener.may_send, opener.max_packet = mine.number, seen.window, seen.max_packet
        self.talks.append(talk)

    # -- data

    @rule(side=SIDES, choice=PICK, data=st.binary(max_size=600), stderr=st.booleans())
    def send(self, side: Side, choice: int, data: bytes, stderr: bool) -> None:
        found = self.pick(choice, side)
        if found is None or found[1].eof:
            return
        _, mine, other = found
        data = data[: min(mine.may_send, mine.max_packet)]
        if data[:1] == b"S":  # a stream that could become SSH is held back: test_stream.py
            data = b"s" + data[1:]
        mine.may_send -= len(data)
        mine.sent += data
        self.crosses(side, m.ExtendedData(mine.peer, 1, data) if stderr else m.Data(mine.peer, data))
        self.receive_bytes(other, data)

    @staticmethod
    def receive_bytes(end: End, data: bytes) -> None:
        end.granted -= len(data)
        end.got += data
        assert end.granted >= 0, "a side was sent more than it said it takes"

    @rule(side=SIDES, choice=PICK, data=st.binary(min_size=1, max_size=600), kind=st.integers(2, 9))
    def send_unassigned_type(self, side: Side, choice: int, data: bytes, kind: int) -> None:
        found = self.pick(choice, side)
        if found is None or found[1].eof:
            return
        _, mine, _ = found
        data = data[: min(mine.may_send, mine.max_packet)]
        mine.may_send -= len(data)
        back, onward = self.split(side, self.say(side, m.ExtendedData(mine.peer, kind, data)))
        assert onward == []
        for payload in back:
            given = m.WindowAdjust.parse(payload)
            assert given == m.WindowAdjust(mine.number, len(data))
            mine.may_send += given.size
        assert bool(back) == (bool(data) and not mine.got_close)

    @rule(side=SIDES, choice=PICK, size=st.integers(0, 1500))
    def adjust(self, side: Side, choice: int, size: int) -> None:
        found = self.pick(choice, side)
        if found is None:
            return
        talk, mine, other = found
        mine.granted += size
        back, onward = self.split(side, self.say(side, m.WindowAdjust(mine.peer, size)))
        assert back == [] and len(onward) <= 1
        passed = 0
        for payload in onward:
            seen = m.WindowAdjust.parse(payload)
            assert seen.recipient == mine.peer
            passed = seen.size
        withheld = size - passed
        assert 0 <= withheld <= talk.injected
        talk.injected -= withheld
        other.may_send += passed

    @rule(choice=PICK, text=st.binary(min_size=1, max_size=70))
    def inject(self, choice: int, text: bytes) -> None:
        if not self.talks:
            return
        talk = self.talks[choice % len(self.talks)]
        client = talk.ends[Side.CLIENT]
        channel_id = next(
            channel.id
            for channel in self.relay.channels.values()
            if channel.half(Side.CLIENT).number == client.number
        )
        done = self.relay.inject(channel_id, text, 0, self.book.out)
        to_client, to_target = self.take()
        assert to_target == [] and bool(to_client) == done
        if done:
            talk.injected += len(text)
            assert b"".join(m.Data.parse(payload).data for payload in to_client) == text
            assert not talk.ends[Side.TARGET].eof and not talk.ends[Side.TARGET].closed and not client.closed
            client.granted -= len(text)
            assert client.granted >= 0

    @rule(side=SIDES, choice=PICK)
    def eof(self, side: Side, choice: int) -> None:
        found = self.pick(choice, side)
        if found is not None and not found[1].eof:
            found[1].eof = True
            self.crosses(side, m.Eof(found[1].peer))

    @rule(side=SIDES, choice=PICK)
    def close(self, side: Side, choice: int) -> None:
        found = self.pick(choice, side)
        if found is None:
            return
        talk, mine, other = found
        mine.closed = other.got_close = True
        self.crosses(side, m.Close(mine.peer))
        if other.closed:
            self.talks.remove(talk)
            self.free[side].insert(0, mine.number)
            self.free[side.other].insert(0, other.number)

    # -- requests

    @rule(side=SIDES, choice=PICK, known=st.booleans())
    def ask_on_channel(self, side: Side, choice: int, known: bool) -> None:
        found = self.pick(choice, side)
        if found is None or len(found[1].waiting) > 100:
            return
        _, mine, other = found
        name = "keepalive@openssh.com" if known else "made-up"
        line = m.ChannelRequest(mine.peer, name, True)
        back, onward = self.split(side, self.say(side, line))
        mine.waiting.append(name)
        if known:
            assert (back, onward) == ([], [line.encode()])
            other.to_answer.append(name)
        else:
            assert onward == []
            if mine.got_close:
                mine.waiting.pop()
            self.hear_replies(mine, back)

    @rule(side=SIDES, choice=PICK, ok=st.booleans())
    def answer_on_channel(self, side: Side, choice: int, ok: bool) -> None:
        found = self.pick(choice, side)
        if found is None or not found[1].to_answer:
            return
        _, mine, other = found
        mine.to_answer.popleft()
        line: m.Message = m.ChannelSuccess(mine.peer) if ok else m.ChannelFailure(mine.peer)
        back, onward = self.split(side, self.say(side, line))
        assert back == [] and onward[0] == line.encode()
        assert other.waiting[0] == "keepalive@openssh.com"
        self.hear_replies(other, onward[:1], forwarded=True)
        self.hear_replies(other, onward[1:])

    @staticmethod
    def hear_replies(end: End, payloads: list[bytes], forwarded: bool = False) -> None:
        """Each reply answers the oldest request that waits; refusals of ours answer the unknown ones only."""
        for payload in payloads:
            name = end.waiting.popleft()
            assert forwarded or (name == "made-up" and payload == m.ChannelFailure(end.number).encode())

    @rule(side=SIDES, name=st.sampled_from(["keepalive@openssh.com", "made-up", *sorted(LEG_BOUND)]))
    def ask_globally(self, side: Side, name: str) -> None:
        back, onward = self.split(side, self.say(side, asks_all(name)))
        self.global_waiting[side].append(name)
        if name == "keepalive@openssh.com":
            assert back == [] and onward == [asks_all(name).encode()]
            self.global_to_answer[side.other].append("theirs")
        else:
            assert onward == []
            self.hear_global(side, back)

    @rule(side=SIDES)
    def gateway_asks(self, side: Side) -> None:
        assert self.relay.ask(side, "keepalive@openssh.com", self.book.out)
        back, onward = self.split(side, self.take())
        assert back == [asks_all("keepalive@openssh.com").encode()] and onward == []
        self.global_to_answer[side].append("ours")
        self.asked[side] += 1

    @rule(side=SIDES)
    def answer_globally(self, side: Side) -> None:
        if not self.global_to_answer[side]:
            return
        ours = self.global_to_answer[side].popleft() == "ours"
        answered = self.answered[side]
        line = m.RequestSuccess()
        back, onward = self.split(side, self.say(side, line))
        assert back == [] and self.answered[side] == answered + ours
        if ours:
            assert onward == []
            return
        assert onward[0] == line.encode()
        assert self.global_waiting[side.other].popleft() == "keepalive@openssh.com"
        self.hear_global(side.other, onward[1:])

    def hear_global(self, side: Side, payloads: list[bytes]) -> None:
        for payload in payloads:
            assert payload == m.RequestFailure().encode()
            assert self.global_waiting[side].popleft() != "keepalive@openssh.com"

    @invariant()
    def every_byte_arrived_in_order(self) -> None:
        for talk in self.talks:
            client, target = talk.ends[Side.CLIENT], talk.ends[Side.TARGET]
            assert target.got == client.sent and client.got == target.sent
            # What the client still takes == what the target may still send + what is left of the reserve.
            room = target.may_send + talk.reserve - talk.injected
            assert room <= client.granted
            assert room == client.granted or client.closed
            assert client.may_send <= target.granted

    @invariant()
    def nobody_waits_for_a_refusal_behind_nothing(self) -> None:
        for side in Side:
            waiting = self.global_waiting[side]
            assert not waiting or waiting[0] == "keepalive@openssh.com"


class RudeTraffic(Traffic):
    """The same, ended by one illegal message: an error of its side, and nothing crosses afterwards."""

    rudeness: tuple[Side, int, int] = (Side.CLIENT, 0, 0)

    @initialize(side=SIDES, choice=PICK, how=st.integers(0, 7))
    def decide(self, side: Side, choice: int, how: int) -> None:
        self.rudeness = side, choice, how

    def teardown(self) -> None:
        side, choice, how = self.rudeness
        found = self.pick(choice, side)
        if found is None or (how == 3 and found[1].granted == 0):
            return  # 2^32 - 1 on top of nothing is legal
        peer = found[1].peer
        lines: list[m.Message] = [
            m.Data(peer, bytes(found[1].may_send + 1)),
            m.Data(peer, bytes(501)),
            m.Data(123_456, b"x"),
            m.WindowAdjust(peer, 0xFFFFFFFF),
            m.ChannelOpenConfirmation(peer, 77, 1, 1),
            m.ChannelOpenFailure(peer, 1, "no"),
            m.ChannelOpen("session", found[1].number, 1, 1),
            m.Close(123_456),
        ]
        rude = self.book.client_breaks if side is Side.CLIENT else self.book.target_breaks
        rude(lines[how], ".")


TestTraffic = Traffic.TestCase
TestTraffic.settings = examples(80, steps=60)
TestRudeTraffic = RudeTraffic.TestCase
TestRudeTraffic.settings = examples(60, steps=25)


def long_walk(machine: Traffic, chance: Random, steps: int) -> None:
    """Random traffic for so long that channels live, fill, close and come back; hypothesis prefers short runs."""
    machine.begin()

    def number(top: int) -> int:
        return chance.randint(0, top)

    def side() -> Side:
        return chance.choice(list(Side))

    walks: list[tuple[int, Callable[[], object]]] = [
        (4, lambda: machine.open(side(), number(2000), 1 + number(999))),
        (1, machine.open_something_refused),
        (
            5,
            lambda: (
                machine.pending
                and machine.answer_open(number(9), number(4) > 0, number(2000), 1 + number(999))
            ),
        ),
        (20, lambda: machine.send(side(), number(9), chance.randbytes(number(600)), number(1) == 0)),
        (3, lambda: machine.send_unassigned_type(side(), number(9), chance.randbytes(1 + number(99)), 2)),
        (20, lambda: machine.adjust(side(), number(9), number(chance.choice([20, 1500])))),
        (10, lambda: machine.inject(number(9), chance.randbytes(1 + number(20)))),
        (1, lambda: machine.eof(side(), number(9))),
        (2, lambda: machine.close(side(), number(9))),
        (8, lambda: machine.ask_on_channel(side(), number(9), number(1) == 0)),
        (8, lambda: machine.answer_on_channel(side(), number(9), number(1) == 0)),
        (
            3,
            lambda: machine.ask_globally(
                side(), chance.choice(["keepalive@openssh.com", "made-up", *LEG_BOUND])
            ),
        ),
        (1, lambda: len(machine.global_to_answer[Side.TARGET]) > 20 or machine.gateway_asks(Side.TARGET)),
        (4, lambda: machine.answer_globally(side())),
    ]
    weights = [weight for weight, _ in walks]
    for _ in range(steps):
        chance.choices(walks, weights)[0][1]()
        machine.every_byte_arrived_in_order()
        machine.nobody_waits_for_a_refusal_behind_nothing()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_long_walk(seed: int) -> None:
    machine = Traffic()
    long_walk(machine, Random(seed), 4000)
    assert machine.book.relay.unsolicited == (0, 0)


@pytest.mark.parametrize("how", range(8))
@pytest.mark.parametrize("side", list(Side))
def test_a_long_walk_with_a_rude_end(how: int, side: Side) -> None:
    machine = RudeTraffic()
    long_walk(machine, Random(how), 100)
    machine.decide(side, how, how)
    machine.teardown()


def test_unassigned_messages_between_others_change_nothing() -> None:
    book = Playbook()
    book.session()
    for number in (83, 101, 192, 193, 255):
        with pytest.raises(Unimplemented):
            book.relay.receive(Side.TARGET, bytes([number, 0, 0, 0, 0]), book.out)
        book.client(m.Data(0, b"x")).to_target(m.Data(0, b"x"))
    book.done()


def test_errors_are_protocol_errors() -> None:
    assert issubclass(Unimplemented, ProtocolError)
