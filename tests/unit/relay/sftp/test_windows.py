"""Windows and answers of a controlled sftp channel against a model of both ends.

Two ends that keep the books of RFC 4254 section 5.2 to the byte and stop when they have no window, one between
them that refuses some of what is asked: nobody overruns anybody, nothing is lost, nothing waits for ever.
"""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bastion.policy.sftp import SftpRights, parse_pattern
from bastion.relay.limits import RelayLimits
from bastion.relay.relay import Actions, Relay
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import sftp
from bastion.wire.requests import Subsystem
from tests.support import sftp_words as w
from tests.support.declared import parse_message
from tests.support.examples import examples
from tests.support.playbook import ListTap, TableDecider, asks, opens

CONTENT = bytes(range(251)) * 6
RIGHTS = SftpRights("files", {"download": (parse_pattern("/pub/**"),), "upload": (parse_pattern("/pub/**"),)})


class End:
    """One end of the channel: what it may still send and what it still takes, and its own words to say.

    `patience`: it gives window back only when less than this part of it is left, as its client or server does.
    """

    def __init__(self, name: str, rng: random.Random, window: int, patience: float, packet: int) -> None:
        self.name, self._rng, self._patience = name, rng, patience
        self.window = self.takes = window
        self.may_send = 0
        self.max_packet = 0
        self.packet = packet
        self.to_say = bytearray()
        self.inbox: deque[bytes] = deque()
        self.stream = bytearray()

    def speak(self) -> bytes | None:
        """One data message of a random size within the window, None without words or window."""
        most = min(len(self.to_say), self.may_send, self.max_packet)
        if not most:
            return None
        size = self._rng.choice((1, min(9, most), self._rng.randint(1, most), most))
        piece = bytes(self.to_say[:size])
        del self.to_say[:size]
        self.may_send -= size
        return m.Data(0, piece).encode()

    def take(self) -> bytes | None:
        """The next message; an adjust when the window wants one."""
        payload = self.inbox.popleft()
        message = parse_message(payload)
        if isinstance(message, m.WindowAdjust):
            self.may_send += message.size
            return None
        assert isinstance(message, m.Data)
        assert len(message.data) <= self.takes, f"the {self.name}'s window is overrun"
        assert len(message.data) <= self.packet, f"longer than the {self.name} takes"
        self.takes -= len(message.data)
        self.stream += message.data
        if self.takes >= self.window * self._patience:
            return None
        back, self.takes = self.window - self.takes, self.window
        return m.WindowAdjust(0, back).encode()

    def heard(self) -> list[bytes]:
        """Whole packets that have arrived, taken out."""
        found = []
        while len(self.stream) >= 4:
            size = 4 + int.from_bytes(self.stream[:4], "big")
            if len(self.stream) < size:
                break
            found.append(bytes(self.stream[:size]))
            del self.stream[:size]
        return found


class World:
    def __init__(self, seed: int, client_window: int, target_window: int, patience: float) -> None:
        self.rng = random.Random(seed)
        policy = TableDecider()
        policy.sftp = RIGHTS
        self.relay = Relay(policy, ListTap(), RelayLimits(sftp_hash=False, refusals=1 << 20))
        self.out = Actions()
        self.client = End("client", self.rng, client_window, patience, self.rng.choice((512, 1000, 32768)))
        self.target = End("target", self.rng, target_window, patience, self.rng.choice((512, 1000, 32768)))
        self.answers: dict[int, bytes] = {}
        self.seen: list[bytes] = []
        self.relay.receive(
            Side.CLIENT, opens("session", 0, client_window, self.client.packet).encode(), self.out
        )
        opened = m.ChannelOpen.parse(self.out.to_target.pop())
        self.target.may_send, self.target.max_packet = opened.window, opened.max_packet
        confirmed = m.ChannelOpenConfirmation(0, 0, target_window, self.target.packet)
        self.relay.receive(Side.TARGET, confirmed.encode(), self.out)
        granted = m.ChannelOpenConfirmation.parse(self.out.to_client.pop())
        self.client.may_send, self.client.max_packet = granted.window, granted.max_packet
        self.relay.receive(
            Side.CLIENT, asks(0, "subsystem", Subsystem("sftp"), reply=False).encode(), self.out
        )
        self.out.clear()
        self.client.to_say += w.INIT

    def pass_on(self, side: Side, payload: bytes | None) -> bool:
        if payload is None:
            return False
        self.relay.receive(side, payload, self.out)
        self.client.inbox.extend(self.out.to_client)
        self.target.inbox.extend(self.out.to_target)
        self.out.clear()
        return True

    def step(self) -> bool:
        """Something that can happen now happens; False when nothing can."""
        moves = [self._client_speaks, self._target_speaks, self._client_takes, self._target_takes]
        self.rng.shuffle(moves)
        return any(move() for move in moves)

    def _client_speaks(self) -> bool:
        return self.pass_on(Side.CLIENT, self.client.speak())

    def _target_speaks(self) -> bool:
        return self.pass_on(Side.TARGET, self.target.speak())

    def _client_takes(self) -> bool:
        if not self.client.inbox:
            return False
        self.pass_on(Side.CLIENT, self.client.take())
        for packet in self.client.heard():
            number = int.from_bytes(packet[5:9], "big")
            assert packet == w.VERSION or number not in self.answers, "answered twice"
            self.answers[-1 if packet == w.VERSION else number] = packet
        return True

    def _target_takes(self) -> bool:
        if not self.target.inbox:
            return False
        self.pass_on(Side.TARGET, self.target.take())
        for packet in self.target.heard():
            self.seen.append(packet)
            self.target.to_say += self._serve(packet)
        return True

    def _serve(self, packet: bytes) -> bytes:
        kind, number = packet[4], int.from_bytes(packet[5:9], "big")
        if kind == sftp.INIT:
            return w.VERSION
        if kind == sftp.OPEN:
            return w.handle(number)
        if kind == sftp.READ:
            return w.data(number, CONTENT)
        assert kind == sftp.WRITE, "the target saw what was to be refused"
        return w.status(number)

    def run(self) -> None:
        while self.step():
            half = self.relay.channels[1].half(Side.TARGET)
            # What the client takes, less what is under way to it, is what the gateway thinks it takes.
            under_way = sum(len(payload) - 9 for payload in self.client.inbox if payload[0] == 94)
            assert half.window.room + half.window.reserve <= self.client.takes - under_way
            assert half.window.reserve >= 0


def script(rng: random.Random, count: int) -> tuple[list[bytes], dict[int, bytes]]:
    """Requests after the open, and the answer to each."""
    asked, wanted = [], {}
    for number in range(10, 10 + count):
        case = rng.randrange(6)
        if case == 0:
            asked.append(w.reads(number, 0, len(CONTENT)))
            wanted[number] = w.data(number, CONTENT)
        elif case == 1:
            asked.append(w.writes(number, 0, CONTENT[: rng.randrange(len(CONTENT))]))
            wanted[number] = w.status(number)
        elif case == 2:
            asked.append(w.writes(number, 0, CONTENT[: rng.randrange(len(CONTENT))], b"other"))
            wanted[number] = w.denied(number, "the file is not open for this")
        elif case == 3:
            asked.append(w.asks_path(sftp.REMOVE, number, b"/pub/x"))
            wanted[number] = w.denied(number, "modify is not allowed here")
        else:
            asked.append(w.opens(number, b"/etc/" + b"x" * rng.randrange(30)))
            wanted[number] = w.denied(number, "download is not allowed at this path")
    return asked, wanted


def converse(seed: int, client_window: int, target_window: int, patience: float, count: int) -> World:
    world = World(seed, client_window, target_window, patience)
    world.client.to_say += w.opens(1, b"/pub/x", sftp.FXF_READ | sftp.FXF_WRITE)
    world.run()
    assert world.answers.keys() == {-1, 1}
    asked, wanted = script(world.rng, count)
    world.client.to_say += b"".join(asked)
    world.run()
    assert not world.client.to_say and not world.target.to_say, "somebody waits for ever"
    del world.answers[-1], world.answers[1]
    assert world.answers == wanted
    expected = [raw for raw, (_, answer) in zip(asked, wanted.items(), strict=True) if answer[4] != sftp.STATUS
                or int.from_bytes(answer[9:13], "big") != sftp.FX_PERMISSION_DENIED]  # fmt: skip
    assert world.seen[2:] == expected
    # The reserve and the windows are whole again, but for what an end has not given back yet.
    client, target = (world.relay.channels[1].half(side).window for side in Side)
    assert target.room + target.reserve == world.client.takes
    assert target.room == world.target.may_send
    assert client.room == world.client.may_send == world.target.takes
    return world


@examples(60)
@given(
    st.integers(0, 2**32), st.integers(1024, 50_000), st.integers(256, 50_000), st.sampled_from([0.5, 0.75, 0.99]),
    st.integers(1, 25),
)  # fmt: skip
@example(1, 1024, 256, 0.5, 25)
@example(2, 50_000, 256, 0.5, 25)
@example(3, 1024, 50_000, 0.5, 25)
def test_nobody_is_overrun_and_nothing_is_lost(seed, client_window, target_window, patience, count):
    converse(seed, client_window, target_window, patience, count)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "count"), [pytest.param(2 << 20, 15_500, marks=pytest.mark.slow), (32 * 1024, 3_000)]
)
def test_ten_thousand_refusals_among_reads_and_writes(window, count):
    world = converse(7, window, window, 0.5, count)
    refused = sum(type(one).__name__ == "SftpRefused" for one in world.relay._tap.heard)
    assert refused > count * 0.65


@pytest.mark.slow
def test_refusals_alone_fill_the_reserve_again():
    # A client that adjusts at half of its window and is told nothing but refusals.
    world = World(3, 128 * 1024, 1 << 20, 0.5)
    world.run()
    world.client.to_say += b"".join(w.asks_path(sftp.REMOVE, number, b"/x") for number in range(10_000))
    world.run()
    assert len(world.answers) == 10_001
