"""What waits in the channels of outer connections: held on account of their engineer, and given back."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from bastion.auth.budget import LIMITS, MIB, Budget, Limit, Payer, Work
from bastion.clock import FixedClock
from bastion.endpoint.limits import HAND_UP, HOLD_SIZE, NARROW_WINDOW, WIDE_CHANNELS, WIDE_WINDOW
from bastion.wire import messages as m
from tests.support.outer import Outer, Owner, fill

KEY = Payer.IDENTITY, Work.BUFFERED


def with_budget(*outers: Outer, each: int, everybody: int = 1 << 30) -> Budget:
    budget = Budget(FixedClock(), {**LIMITS, KEY: Limit(each, everybody)})
    for outer in outers:
        outer.door.budget = budget
    return budget


def stall(outer: Outer, channels: int, first: int = 0) -> list[tuple[int, Owner]]:
    """Channels whose windows are filled and whose owners read nothing of it."""
    made = []
    for peer in range(first, first + channels):
        channel, owner = outer.channel(peer, owner=Owner(pause_at=1))
        fill(outer, channel.number, channel.window_size)
        made.append((channel.number, owner))
    return made


def closed(outer: Outer, stalled: list[tuple[int, Owner]]) -> list[bool]:
    return [bool(owner.ended) for _, owner in stalled]


def test_two_connections_share_what_their_engineer_may_hold() -> None:
    """128 stalled tunnels held 50 MiB for each connection, and nobody counted connections."""
    one, two = Outer(), Outer()
    budget = with_budget(one, two, each=16 * MIB)
    first = stall(one, 8)  # 16 MiB, of which one is free
    assert not any(closed(one, first))
    second = stall(two, 4)
    assert closed(two, second) == [False, True, True, True]
    assert budget.held(*KEY) <= 16 * MIB


def test_all_of_one_connection_fit_into_the_default() -> None:
    """128 tunnels to places that read nothing: nobody who is no enemy has more."""
    outer = Outer()
    stalled = stall(outer, 128)
    assert not any(closed(outer, stalled))
    held = outer.door.budget.held(*KEY)
    whole = WIDE_CHANNELS * WIDE_WINDOW + (128 - WIDE_CHANNELS) * NARROW_WINDOW
    assert whole - HOLD_SIZE <= held <= whole + HOLD_SIZE
    assert 3 * held < LIMITS[KEY].each + HOLD_SIZE


def test_what_goes_is_given_back() -> None:
    outer = Outer()
    budget = outer.door.budget
    stalled = stall(outer, 4)
    assert outer.connection.kept == 4 * WIDE_WINDOW and budget.held(*KEY) == 7 * MIB
    for number, owner in stalled[:2]:
        channel = outer.connection._channels[number]
        owner.pause_at = None
        channel.resumeProducing()
        for _ in range(WIDE_WINDOW // HAND_UP + 1):
            outer.turn()
        assert len(owner.data) == WIDE_WINDOW
    assert outer.connection.kept == 2 * WIDE_WINDOW and budget.held(*KEY) <= 5 * MIB
    outer.hear(m.Eof(stalled[2][0]), m.Close(stalled[2][0]))
    outer.connection._channels[stalled[2][0]].abortConnection()
    outer.connection._channels[stalled[3][0]].abortConnection()
    assert outer.connection.kept == 0 and budget.held(*KEY) <= 2 * MIB


def test_a_connection_that_ends_gives_all_back() -> None:
    outer = Outer()
    stall(outer, 3)
    channel, _ = outer.channel(9, window=0)
    channel.write(bytes(4 * MIB))
    assert outer.door.budget.held(*KEY) == 9 * MIB
    outer.connection.lost(Failure(ConnectionLost()))
    assert outer.door.budget.held(*KEY) == 0


def test_output_that_waits_for_the_client_counts_too() -> None:
    outer = Outer()
    with_budget(outer, each=2 * MIB)
    channels = [outer.channel(peer, window=0) for peer in range(4)]
    for channel, _ in channels:
        channel.write(bytes(MIB))
    assert [bool(owner.ended) for _, owner in channels] == [False, False, False, True]


def test_everybody_together_has_a_bound_and_who_holds_little_still_gets_some() -> None:
    outer = Outer()
    budget = with_budget(outer, each=16 * MIB, everybody=20 * MIB)
    for name in ("mallory", "trudy"):
        purse = budget.identity(name)
        for _ in range(10):
            purse.take(Work.BUFFERED, MIB)
    stalled = stall(outer, 4)
    assert closed(outer, stalled) == [False, False, True, True]
