"""The jump door of the gateway process, attacked over TCP: what floods, drops and goodbyes cost, and what is left.

The same without sockets, every byte decided: `test_jump_attacks.py`. After each of these the gateway serves, holds
nothing, and its log has no traceback.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bastion.doors.jump import UNPROVED_BURST
from bastion.relay.limits import MIN_PACKET
from bastion.wire.data import string, uint32
from bastion.wire.kexinit import FRONT
from tests.hostile import memory_gateway as gate
from tests.hostile.breaks import GOODBYE
from tests.hostile.jump_peers import OPENSSH, Inner, Outer, Pipe, Refused, open_tcpip
from tests.hostile.rawssh import SocketWire
from tests.support.sshd import sshd_missing
from tests.support.unbroken import nothing_was_raised
from tests.support.world import World, poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

MIB = 1 << 20
LIVE = 'bastion_sessions_live{door="jump"}'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    users = f'[users.alice]\nid = "u-1"\nkeys = ["{gate.ALICE.public.line()}"]\ngroups = ["ops"]\n'
    made = World(users=users)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def outer(world: World) -> Iterator[Outer]:
    made = connect(world)
    yield made
    made.wire.close()  # type: ignore[attr-defined]

    def quiet() -> bool:
        return not [name for name, value in world.metrics().items() if "_live" in name and value]

    poll(quiet, 20, "something is still live")
    nothing_was_raised(world)
    assert {one["state"] for one in world.sessions()} <= {"ended"}


def connect(world: World) -> Outer:
    return Outer(SocketWire.connect(world.port), algorithms=FRONT, version=OPENSSH).log_in()


def session(world: World, outer: Outer, command: bytes, window: int = MIB) -> tuple[Inner, int]:
    """A session on web1 that runs `command`, and the target's number of its channel."""
    inner = Inner(outer.dial(port=world.sshd.port, window=window), algorithms=FRONT).handshake()
    inner.request_service()
    inner.read_until(6)
    inner.send(gate.prove(inner, b"root"))
    inner.read_until(52)
    inner.send(gate.open_session(0, 1 << 30))
    number = int.from_bytes(inner.read_until(91)[5:9], "big")
    inner.send(gate.ask_channel(number, b"exec", string(command)))
    inner.read_until(99)
    assert isinstance(inner, Inner)
    return inner, number


def echoes(inner: Inner, number: int, text: bytes) -> bool:
    inner.send(gate.data(number, text))
    return inner.read_until(94).endswith(text)


def received(world: World) -> float:
    """Bytes that came from targets."""
    return sum(
        value for name, value in world.metrics().items() if name.startswith("bastion_channel_bytes_total")
    )


def test_windows_that_stay_shut_while_targets_flood(world: World, outer: Outer) -> None:
    """Eight sessions with `cat /dev/zero` and 64 KiB of window each, which is never given again; a ninth goes on."""
    other, number = session(world, outer, b"cat")
    before = world.memory()
    for _ in range(8):
        inner, _ = session(world, outer, b"cat /dev/zero", window=64 * 1024)
        inner.wire.adjusting = False
    for turn in range(20):
        assert echoes(other, number, b"%d\n" % turn)
    passed: list[float] = []

    def stands_still() -> bool:
        passed.append(received(world))
        return len(passed) > 5 and passed[-1] == passed[-5]

    poll(stands_still, 20, "the targets are still read")
    assert world.memory() - before < 16 * MIB
    assert echoes(other, number, b"still here\n")


def test_connections_that_prove_nothing(world: World, outer: Outer) -> None:
    """As many as are let in, opened together, half of them with a key exchange, and dropped; nothing is kept."""
    port = world.sshd.port
    other, number = session(world, outer, b"cat")

    def drop_all(count: int) -> None:
        first = max(outer.pipes) + 1
        outer.send(*[open_tcpip(first + at, port=port) for at in range(count)])
        pipes = [outer.granted(first + at) for at in range(count)]
        for pipe in pipes[::2]:
            Inner(pipe, algorithms=FRONT).handshake()
        for pipe in pipes:
            pipe.close()
        for pipe in pipes:
            closed(outer, pipe)

    drop_all(UNPROVED_BURST // 2)
    before = world.memory()
    drop_all(UNPROVED_BURST // 2 - 1)
    with (
        world.moves('bastion_channels_total{kind="direct-tcpip",verdict="channel_rate"}'),
        pytest.raises(Refused, match="too many unfinished logins"),
    ):
        for _ in range(20):  # one a second comes back meanwhile
            closed(outer, outer.dial(port=port))
    assert world.memory() - before < 4 * MIB
    assert world.audit("refused")[-1]["reason"] == "channel_rate"
    assert echoes(other, number, b"still here\n")


def closed(outer: Outer, pipe: Pipe) -> None:
    pipe.close()
    while not pipe.closed:
        outer.put_aside()


def test_messages_of_a_byte(world: World, outer: Outer) -> None:
    with pytest.raises(Refused, match=f"below {MIN_PACKET} bytes"):
        outer.dial(0, port=world.sshd.port, packet=1)


def test_a_goodbye_while_twenty_sessions_run(world: World, outer: Outer) -> None:
    """Their commands on the target end, and every recording has its end and what was shown before."""
    before = {one["session_id"] for one in world.sessions()}
    started = len(world.audit("session_started"))
    for number in range(20):
        inner, _ = session(world, outer, b"echo number %d; exec sleep 600" % number)
        assert inner.read_until(94).endswith(b"number %d\n" % number)
    assert world.metric(LIVE) == 20
    outer.send(GOODBYE)
    poll(lambda: world.metric(LIVE) == 0, 20, "sessions are left")

    def ended() -> set[str]:
        return {one["session_id"] for one in world.sessions() if one["state"] == "ended"} - before

    poll(lambda: len(ended()) == 20, text="a recording has no end")
    assert {world.recorded(one) for one in ended()} == {b"number %d\n" % number for number in range(20)}
    sessions = {line["session"] for line in world.audit("session_started")[started:]}
    reasons = {line["session"]: line["reason"] for line in world.audit("session_ended")}
    assert {reasons[one] for one in sessions} == {"client_closed"}


def test_an_overflow_outside_ends_all_that_is_inside(world: World, outer: Outer) -> None:
    held = [session(world, outer, b"cat") for _ in range(3)]
    outer.send(b"\x5d" + uint32(held[0][0].wire.theirs) + uint32(0xFFFFFFFF))
    assert outer.read_disconnect() == (2, "CHANNEL_WINDOW_ADJUST overflows the window")
    poll(lambda: world.metric(LIVE) == 0, 20, "sessions are left")
