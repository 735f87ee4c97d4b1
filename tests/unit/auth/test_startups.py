"""Floods of unfinished logins: whose place is taken, who is refused by chance, and that nothing is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.startups import SETTLED, Startup, StartupLimiter, source_network
from bastion.errors import LimitReason, Refused
from bastion.sharing.rows import ROW_SIZE, Row

HERE = "192.0.2.1"


def limiter(chance: float = 0.0, **limits: int) -> StartupLimiter:
    return StartupLimiter(
        lambda: chance, **{"begin": 10, "rate": 30, "full": 100, "per_source": 50, **limits}
    )


def fill(limits: StartupLimiter, count: int) -> None:
    for number in range(count):
        limits.admit(f"10.0.{number // 200}.{number % 200}")


@pytest.mark.parametrize(
    ("waiting", "chance", "admitted"),
    [
        (9, 0.0, True), (10, 0.29, False), (10, 0.30, True), (55, 0.64, False), (55, 0.66, True),
        (99, 0.99, False), (99, 0.995, True), (100, 0.999999, False),
    ],
)  # fmt: skip
def test_early_drop_rises_from_rate_to_all(waiting: int, chance: float, admitted: bool) -> None:
    dice = [0.9999999]
    limits = StartupLimiter(lambda: dice[0], begin=10, rate=30, full=100)
    fill(limits, waiting)
    dice[0] = chance
    assert limits.waiting == waiting
    one_who_waits = "10.0.0.1"  # holds one, as everybody else
    if admitted:
        limits.admit(one_who_waits)
    else:
        with pytest.raises(Refused) as refusal:
            limits.admit(one_who_waits)
        assert refusal.value.reason is LimitReason.STARTUPS
    assert limits.waiting == waiting + admitted


def test_begin_equal_to_full_is_a_plain_limit() -> None:
    limits = limiter(begin=2, full=2, chance=0.99)
    first = limits.admit(HERE)
    limits.admit(HERE)
    with pytest.raises(Refused):
        limits.admit(HERE)
    first.release()
    first.release()
    assert limits.waiting == 1
    limits.admit(HERE)


def test_one_source_cannot_take_all() -> None:
    limits = limiter(per_source=3, chance=0.99)
    held = [limits.admit("2001:db8::1"), limits.admit("2001:db8::2"), limits.admit("2001:db8::ffff")]
    with pytest.raises(Refused) as refusal:
        limits.admit("2001:db8:0:0:1::")
    assert refusal.value.reason is LimitReason.SOURCE_STARTUPS
    limits.admit("2001:db8:0:1::")
    held[0].release()
    limits.admit("2001:db8::9")


def test_released_sources_leave_nothing() -> None:
    limits = limiter()
    for started in [limits.admit(HERE) for _ in range(5)]:
        started.release()
    assert limits.waiting == 0 and not limits._networks


@pytest.mark.parametrize("bad", [{"begin": 0}, {"rate": 101}, {"begin": 200}, {"per_source": 0}])
def test_limits_that_make_no_sense(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="startup limits"):
        limiter(**bad)


# -- whose place is taken ------------------------------------------------------------------------------------------


def hold(
    limits: StartupLimiter, address: str, count: int, gone: list[Startup], now: float = 0.0
) -> list[Startup]:
    """`count` places of one source; those that lose theirs are in `gone`."""
    made = []
    for _ in range(count):
        one = limits.admit(address, now)
        one.on_displaced = lambda one=one: gone.append(one)  # type: ignore[misc]
        made.append(one)
    return made


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_source_with_none_always_gets_a_place(chance: float) -> None:
    dice = [0.9999999]
    limits, gone = StartupLimiter(lambda: dice[0], 10, 30, 100, 100), list[Startup]()
    flood = {one for number in range(12) for one in hold(limits, f"198.51.{number}.7", 8, gone)}
    assert limits.waiting == 96
    dice[0] = chance
    for number in range(20):
        (honest,) = hold(limits, f"203.0.113.{number}", 1, gone)
        honest.release()
    assert not gone  # there was room
    for number in range(20):
        hold(limits, f"203.0.{number}.1", 1, gone)
    assert limits.waiting == 100 and len(gone) == 16 and set(gone) <= flood


def test_the_oldest_of_the_heaviest_source_goes() -> None:
    limits, gone = limiter(0.9999999, begin=5, full=10), list[Startup]()
    heavy = hold(limits, "198.51.100.7", 6, gone)
    hold(limits, "198.51.101.7", 4, gone)
    hold(limits, HERE, 1, gone)
    assert gone == [heavy[0]]
    heavy[0].release()  # it holds nothing any more
    assert limits.waiting == 10


def test_within_a_network_its_addresses_are_weighed() -> None:
    """A flood from the engineer's own network takes nothing from its other addresses."""
    limits, gone = limiter(0.9999999, begin=5, full=10), list[Startup]()
    heavy = hold(limits, "192.0.2.66", 10, gone)
    hold(limits, HERE, 1, gone)
    assert gone == [heavy[0]]


def test_many_addresses_of_one_network_are_one_flood() -> None:
    limits, gone = limiter(0.9999999, begin=5, full=100), list[Startup]()
    office = hold(limits, "203.0.113.9", 5, gone)  # engineers behind one address
    flood = [hold(limits, f"198.51.100.{number}", 1, gone)[0] for number in range(95)]
    hold(limits, HERE, 1, gone)
    assert gone == [flood[0]] and not set(office) & set(gone)


def test_in_a_flood_from_everywhere_only_what_has_waited_long_gives_way() -> None:
    limits, gone = limiter(0.9999999, begin=5, full=10), list[Startup]()
    flood = [hold(limits, f"10.0.{number}.1", 1, gone)[0] for number in range(10)]
    with pytest.raises(Refused):
        limits.admit(HERE, SETTLED - 0.1)
    hold(limits, HERE, 1, gone, SETTLED)
    assert gone == [flood[0]]
    with pytest.raises(Refused):
        limits.admit(HERE, SETTLED)  # it holds one already, as many as any


def test_who_holds_most_takes_nothing_from_others() -> None:
    limits, gone = limiter(0.9999999, begin=5, full=10), list[Startup]()
    hold(limits, "198.51.100.7", 6, gone)
    hold(limits, "198.51.101.7", 4, gone)
    with pytest.raises(Refused):
        limits.admit("198.51.100.7", 100.0)
    with pytest.raises(Refused):
        hold(limits, "198.51.101.7", 3, gone)  # one of them would make it no lighter than the other
    assert limits.waiting == 10 and len(gone) <= 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2:3::", "2001:db8:1::/48"),
        ("nonsense", "?"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert source_network(address) == network


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=200))
def test_the_counts_are_right_whatever_happens(steps: list[tuple[int, int, bool]]) -> None:
    limits, held = StartupLimiter(lambda: 0.9, 4, 30, 12, 6), list[Startup]()
    for now, (network, host, leaves) in enumerate(steps):
        if leaves and held:
            held.pop(0).release()
            continue
        try:
            one = limits.admit(f"10.0.{network}.{host}", float(now))
        except Refused:
            continue
        one.on_displaced = lambda one=one: held.remove(one)  # type: ignore[misc]
        held.append(one)
        assert limits.waiting == len(held) <= 12
        most = max(sum(other.network == some.network for other in held) for some in held)
        assert limits._weights.most == most
    for one in held:
        one.release()
    assert limits.waiting == 0 and not limits._networks and limits._weights.most == 0


def workers(count: int, **limits: int) -> list[StartupLimiter]:
    """The limiters of several workers over one memory."""
    memory = memoryview(bytearray(count * ROW_SIZE))
    chosen = {"begin": 10, "rate": 30, "full": 100, "per_source": 50, **limits}
    return [
        StartupLimiter(lambda: 0.0, others=Row(memory, count, own, b"k" * 16), **chosen)
        for own in range(count)
    ]


def test_what_one_source_may_hold_is_counted_over_all_workers() -> None:
    first, second = workers(2, per_source=3)
    places = [first.admit(HERE), second.admit(HERE), second.admit(HERE)]
    for worker in (first, second):
        with pytest.raises(Refused) as refusal:
            worker.admit(HERE)
        assert refusal.value.reason is LimitReason.SOURCE_STARTUPS
    places[0].release()
    second.admit(HERE)
    with pytest.raises(Refused):
        first.admit(HERE)
    assert (first.waiting, second.waiting, first.in_all) == (0, 3, 3)


def test_early_drop_and_the_last_place_are_those_of_all_workers() -> None:
    first, second = workers(2, begin=4, full=4)
    for number, worker in enumerate((first, first, first, second)):
        worker.admit(f"10.{number}.0.1")
    for worker in (first, second):
        with pytest.raises(Refused) as refusal:
            worker.admit("10.0.0.1")  # holds one already
        assert refusal.value.reason is LimitReason.STARTUPS
    assert first.in_all == 4


def test_who_has_no_place_gets_one_though_a_flood_stands_in_the_other_worker() -> None:
    first, second = workers(2, begin=10, full=10, per_source=10)
    lost = []
    for _ in range(10):
        first.admit(HERE).on_displaced = lambda: lost.append(True)
    newcomers = [second.admit(f"10.{number}.0.1") for number in range(5)]
    assert (first.in_all, lost) == (15, [])
    with pytest.raises(Refused):
        second.admit("10.99.0.1")  # the share of this worker is used up, and all of it is a moment old
    second.repay()
    assert second.waiting == 5, "who holds no more than its share gives nothing back"
    first.repay()
    assert (first.waiting, first.in_all, len(lost)) == (5, 10, 5)
    newcomers[0].release()
    first.repay()
    assert first.waiting == 5


def test_no_place_is_taken_for_a_source_that_holds_more_in_the_other_worker() -> None:
    first, second = workers(2, begin=4, full=4, per_source=4)
    second.admit("192.0.2.1")
    second.admit("192.0.2.1")
    first.admit("198.51.100.1")
    first.admit("198.51.100.1")
    with pytest.raises(Refused):
        first.admit("192.0.2.1")
    assert first.waiting == 2
