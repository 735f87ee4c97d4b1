"""Floods and guessing: who is turned away, who is not, and that memory stays bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth import throttle
from bastion.auth.throttle import Penalties, PenaltyLimits, StartupLimiter, source_block
from bastion.clock import FixedClock
from bastion.errors import AuthReason, LimitReason, Refused

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
    if admitted:
        limits.admit(HERE)
    else:
        with pytest.raises(Refused) as refusal:
            limits.admit(HERE)
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
    assert limits.waiting == 0 and not limits._sources


@pytest.mark.parametrize("bad", [{"begin": 0}, {"rate": 101}, {"begin": 200}, {"per_source": 0}])
def test_limits_that_make_no_sense(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="startup limits"):
        limiter(**bad)


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), ("nonsense", "?"),
    ],
)  # fmt: skip
def test_sources_are_addresses_and_slash_64s(address: str, block: str) -> None:
    assert source_block(address) == block


# -- penalties -----------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


def fail(penalties: Penalties, times: int, account: str = "alice", source: str = HERE, **more: str) -> None:
    for _ in range(times):
        penalties.failed(source, account, AuthReason.BAD_PASSWORD, **more)


def test_five_wrong_passwords_are_free_then_each_costs_double(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    fail(penalties, 5)
    assert penalties.allows(HERE, "alice")
    waits = []
    for _ in range(9):
        fail(penalties, 1)
        waits.append(penalties.wait(HERE, "alice"))
        clock.advance(waits[-1])
        assert penalties.allows(HERE, "alice")
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]


def test_only_the_pair_waits(clock: FixedClock) -> None:
    """The office behind one address is not locked out by one engineer's caps lock."""
    penalties = Penalties(clock)
    fail(penalties, 50)
    assert not penalties.allows(HERE, "alice")
    assert penalties.allows(HERE, "bob") and penalties.allows("192.0.2.2", "alice")
    assert penalties.allows_source(HERE)


def test_success_forgives_the_pair_only(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    fail(penalties, 5)
    fail(penalties, 9, "bob")
    penalties.succeeded(HERE, "alice")
    fail(penalties, 5)
    assert penalties.allows(HERE, "alice") and not penalties.allows(HERE, "bob")


def spray(penalties: Penalties, names: range) -> None:
    for number in names:
        fail(penalties, 1, f"user{number}")


def test_many_distinct_accounts_block_the_source(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    spray(penalties, range(19))
    assert penalties.allows_source(HERE)
    spray(penalties, range(19, 60))
    assert not penalties.allows_source(HERE) and not penalties.allows(HERE, "innocent")
    assert penalties.allows_source("192.0.2.2")
    penalties.succeeded(HERE, "user1")
    assert not penalties.allows_source(HERE), "one's own login does not clear a source that sprays"


def test_a_source_that_goes_on_waits_longer(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    waits = []
    for turn in range(9):
        spray(penalties, range(turn * 100, turn * 100 + 21))
        spray_more = range(turn * 100 + 21, turn * 100 + 40)
        for number in spray_more:
            if not penalties.allows_source(HERE):
                break
            fail(penalties, 1, f"user{number}")
        waits.append(penalties.wait(HERE, "x"))
        clock.advance(waits[-1])
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_slow_failures_of_an_office_do_not_block_it(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    for number in range(200):
        fail(penalties, 1, f"user{number}")
        clock.advance(60)
        assert penalties.allows_source(HERE)


@pytest.mark.parametrize(
    "reason", ["key_not_authorised", "directory_timeout", "partial", "throttled", "internal_error", "ok"]
)
def test_what_is_no_guess_costs_nothing(clock: FixedClock, reason: str) -> None:
    penalties = Penalties(clock)
    for _ in range(100):
        penalties.failed(HERE, "alice", AuthReason(reason))
    assert penalties.allows(HERE, "alice") and len(penalties) == 0


def test_key_offers_cost_the_same_for_known_and_unknown_names(clock: FixedClock) -> None:
    """Penalties must not tell who exists: an unknown name and an unknown key are both free with keys."""
    penalties = Penalties(clock)
    for _ in range(100):
        penalties.failed(HERE, "alice", AuthReason.KEY_NOT_AUTHORISED, "publickey")
        penalties.failed(HERE, "nobody", AuthReason.UNKNOWN_USER, "publickey")
    assert penalties.allows(HERE, "alice") and penalties.allows(HERE, "nobody")
    for _ in range(6):
        penalties.failed(HERE, "alice", AuthReason.BAD_SIGNATURE, "publickey")
    assert not penalties.allows(HERE, "alice")


@pytest.mark.parametrize("reason", ["bad_password", "unknown_user", "account_locked", "account_expired"])
def test_password_failures_cost_the_same_whoever_exists(clock: FixedClock, reason: str) -> None:
    penalties = Penalties(clock)
    for _ in range(6):
        penalties.failed(HERE, "alice", AuthReason(reason))
    assert penalties.wait(HERE, "alice") == 5.0


def test_records_are_forgotten(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    fail(penalties, 5)
    clock.advance(PenaltyLimits().forget)
    assert penalties.allows(HERE, "alice")
    fail(penalties, 5)
    assert penalties.allows(HERE, "alice"), "the old five are gone"


def test_memory_is_bounded_and_the_worst_is_remembered(clock: FixedClock) -> None:
    penalties = Penalties(clock, entries=256)
    fail(penalties, 12)
    clock.advance(1)
    for number in range(5000):
        fail(penalties, 1, f"user{number}", f"2001:db8:{number:x}::1")
        assert len(penalties) <= 512
    assert not penalties.allows(HERE, "alice")


def test_a_full_table_costs_little_per_insertion(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    original = throttle._harm

    def counted(*arguments: Any) -> Any:
        compared.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(throttle, "_harm", counted)
    penalties = Penalties(clock, PenaltyLimits(accounts=10_000), entries=1024)
    for number in range(1024):
        fail(penalties, 1, f"user{number}")
    assert not compared
    fail(penalties, 1, "one more")
    assert len(compared) == throttle.SAMPLE and len(penalties) == 1024 + 1


def test_a_flood_of_one_failure_each_forgets_no_guesser(clock: FixedClock) -> None:
    penalties = Penalties(clock, entries=256)
    for guesser in range(20):
        fail(penalties, 12, "alice", f"192.0.2.{guesser}")
    for number in range(3000):
        fail(penalties, 1, "alice", f"2001:db8:{number:x}::1")
    assert not any(penalties.allows(f"192.0.2.{guesser}", "alice") for guesser in range(20))


@given(st.text(max_size=40), st.text(max_size=400))
def test_any_text_is_a_source_and_an_account(source: str, account: str) -> None:
    penalties = Penalties(FixedClock())
    fail(penalties, 6, account, source)
    assert not penalties.allows(source, account)


def test_lone_surrogates_are_accounts_too(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    fail(penalties, 6, "\ud800")
    assert not penalties.allows(HERE, "\ud800")
