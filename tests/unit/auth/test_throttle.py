"""Guessing: who is turned away, who is not, and that memory stays bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth import penalty_limits, penalty_records, throttle
from bastion.auth.throttle import Penalties, PenaltyLimits, source_block
from bastion.clock import FixedClock
from bastion.errors import AuthReason

HERE = "192.0.2.1"


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


def test_an_office_that_types_wrong_and_then_right_is_no_sprayer(clock: FixedClock) -> None:
    """500 logins of 120 people behind one address within ten minutes, one in 20 of them mistyped at first."""
    penalties = Penalties(clock)
    for number in range(500):
        name = f"user{number % 120}"
        assert penalties.allows(HERE, name)
        if number % 20 == 0:
            fail(penalties, 1, name)
            assert penalties.allows(HERE, name) and penalties.allows_source(HERE)
        penalties.succeeded(HERE, name)
        clock.advance(1.0)
    spray(penalties, range(1000, 1060))
    assert not penalties.allows_source(HERE), "right passwords of others excuse no sprayer"


def test_one_s_own_logins_excuse_no_other_account(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    for number in range(60):
        spray(penalties, range(number, number + 1))
        penalties.succeeded(HERE, "mine")
    assert not penalties.allows_source(HERE)


def test_an_exempt_source_is_not_blocked_as_a_whole(clock: FixedClock) -> None:
    penalties = Penalties(clock, PenaltyLimits(exempt=("192.0.2.0/28", "2001:db8::/32")))
    for source, exempt in ((HERE, True), ("198.51.100.1", False), ("2001:db8::1", True), ("?", False)):
        for number in range(60):
            penalties.failed(source, f"user{number}", AuthReason.BAD_PASSWORD)
        assert penalties.allows_source(source) is exempt, source
    fail(penalties, 6, "alice")
    assert not penalties.allows(HERE, "alice"), "an account waits wherever it fails from"


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


@pytest.mark.slow
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
    original = penalty_records.harm

    def counted(*arguments: Any) -> Any:
        compared.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(penalty_records, "harm", counted)
    penalties = Penalties(clock, PenaltyLimits(accounts=10_000), entries=1024)
    for number in range(1024):
        fail(penalties, 1, f"user{number}")
    assert not compared
    fail(penalties, 1, "one more")
    assert len(compared) == penalty_records.SAMPLE and len(penalties) == 1024 + 1


@pytest.mark.slow
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


# -- charged before it is judged -----------------------------------------------------------------------------------


class Judge:
    """Guesses in the order in which they may be judged, and those that may not."""

    def __init__(self, penalties: Penalties) -> None:
        self.penalties = penalties
        self.throttled = 0
        self.opened: list[throttle.Guess] = []

    def open(self, account: str = "alice", source: str = HERE) -> throttle.Guess:
        def turn(allowed: bool) -> None:
            self.throttled += not allowed

        guess = self.penalties.open(source, account)
        self.opened.append(guess)
        guess.begin(turn)
        return guess

    @property
    def under_way(self) -> list[throttle.Guess]:
        return [guess for guess in self.opened if guess.judged and not guess.settled]


def judge_all(judge: Judge, reason: AuthReason) -> int:
    """Settle whatever is judged until nothing is; how many that were."""
    count = 0
    while judge.under_way:
        judge.under_way[0].settle(reason)
        count += 1
    return count


@pytest.mark.parametrize("source", [HERE, "2001:db8::7"])
@pytest.mark.parametrize("reason", [AuthReason.BAD_PASSWORD, AuthReason.ABANDONED])
def test_guesses_at_once_are_judged_no_more_often_than_one_by_one(
    clock: FixedClock, source: str, reason: AuthReason
) -> None:
    one_by_one = Judge(Penalties(clock))
    for _ in range(80):
        one_by_one.open(source=source)
        judge_all(one_by_one, reason)
    at_once = Judge(Penalties(clock))
    for _ in range(80):
        at_once.open(source=source)
    assert len(at_once.under_way) == 6 and at_once.throttled == 0
    judge_all(at_once, reason)
    counts = [sum(guess.judged for guess in judge.opened) for judge in (one_by_one, at_once)]
    assert counts == [6, 6] and one_by_one.throttled == at_once.throttled == 74
    assert at_once.penalties.wait(source, "alice") == one_by_one.penalties.wait(source, "alice") == 5.0
    assert not at_once.penalties._queues


def test_right_passwords_at_once_all_get_their_turn(clock: FixedClock) -> None:
    judge = Judge(Penalties(clock))
    for _ in range(200):
        judge.open()
    assert len(judge.under_way) == 6
    assert judge_all(judge, AuthReason.OK) == 200 and judge.throttled == 0
    assert not judge.penalties._queues and judge.penalties.allows(HERE, "alice")


def test_a_directory_that_is_ill_costs_nobody_a_guess(clock: FixedClock) -> None:
    judge = Judge(Penalties(clock))
    for _ in range(50):
        judge.open()
    assert judge_all(judge, AuthReason.DIRECTORY_TIMEOUT) == 50
    assert judge.penalties.allows(HERE, "alice") and not judge.penalties._queues


def test_after_a_block_one_guess_at_a_time(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    fail(penalties, 6)
    clock.advance(5)
    judge = Judge(penalties)
    for _ in range(10):
        judge.open()
    assert len(judge.under_way) == 1
    assert judge_all(judge, AuthReason.BAD_PASSWORD) == 1 and judge.throttled == 9
    assert penalties.wait(HERE, "alice") == 10.0


def test_spraying_at_once_is_spraying(clock: FixedClock) -> None:
    counts = []
    for at_once in (False, True):
        judge = Judge(Penalties(clock, secret=b"fixed"))
        for number in range(100):
            judge.open(f"user{number}")
            if not at_once:
                judge_all(judge, AuthReason.UNKNOWN_USER)
        judge_all(judge, AuthReason.UNKNOWN_USER)
        counts.append(sum(guess.judged for guess in judge.opened))
    assert counts[0] == counts[1] < 25  # 20 accounts, some of which share a bit
    assert not judge.penalties.allows_source(HERE) and not judge.penalties._queues


def test_who_leaves_before_the_turn_has_not_guessed(clock: FixedClock) -> None:
    judge = Judge(Penalties(clock))
    for _ in range(10):
        judge.open()
    for guess in judge.opened[6:]:
        guess.settle(AuthReason.ABANDONED)
        guess.settle(AuthReason.BAD_PASSWORD)
    assert judge_all(judge, AuthReason.OK) == 6
    assert judge.penalties.allows(HERE, "alice") and not judge.penalties._queues


def test_a_long_queue_that_settles_at_once_is_no_deep_stack(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    first = [judged(penalties, HERE) for _ in range(6)]
    for _ in range(throttle.MAX_WAITING):
        guess = penalties.open(HERE, "alice")
        guess.begin(lambda _, guess=guess: guess.settle(AuthReason.OK))  # type: ignore[misc]
    refused: list[bool] = []
    penalties.open(HERE, "alice").begin(refused.append)
    assert refused == [False]
    assert len(penalties._queues[HERE].waiting) == throttle.MAX_WAITING
    first[0].settle(AuthReason.OK)
    assert not penalties._queues[HERE].waiting
    for guess in first:
        guess.settle(AuthReason.OK)
    assert not penalties._queues


# -- one account, many sources -------------------------------------------------------------------------------------


def judged(penalties: Penalties, source: str, account: str = "alice") -> throttle.Guess:
    """A guess, judged if it may be at once."""
    guess = penalties.open(source, account)
    guess.begin(lambda _: None)
    return guess


def guesses(penalties: Penalties, sources: range, each: int = 2, account: str = "alice") -> int:
    """How many of the wrong passwords of these sources are judged."""
    count = 0
    for number in sources:
        for _ in range(each):
            guess = judged(penalties, f"198.51.100.{number}", account)
            count += guess.judged
            guess.settle(AuthReason.BAD_PASSWORD)
    return count


def test_many_sources_share_the_guesses_of_one_account(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    assert guesses(penalties, range(60)) == penalty_limits.ACCOUNT_GUESSES
    assert guesses(penalties, range(60), account="bob") == penalty_limits.ACCOUNT_GUESSES
    clock.advance(10 * penalty_limits.ACCOUNT_REFILL)
    assert guesses(penalties, range(60, 120)) == 10


def test_the_owner_is_not_locked_out_where_he_logged_in_before(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    penalties.succeeded(HERE, "alice")
    guesses(penalties, range(60))
    for _ in range(3):
        mine = judged(penalties, HERE)
        assert mine.judged
        mine.settle(AuthReason.BAD_PASSWORD)
    mine = judged(penalties, HERE)
    assert mine.judged
    mine.settle(AuthReason.OK)
    elsewhere = judged(penalties, "192.0.2.99")
    assert not elsewhere.judged and elsewhere.settled
    assert penalties.allows("192.0.2.99", "alice"), "keys and certificates are not asked about guesses"


def test_right_passwords_and_ill_directories_use_up_nothing(clock: FixedClock) -> None:
    penalties = Penalties(clock)
    for reason in (AuthReason.OK, AuthReason.DIRECTORY_UNAVAILABLE):
        for number in range(60):
            guess = judged(penalties, f"198.51.100.{number}")
            assert guess.judged
            guess.settle(reason)
    assert guesses(penalties, range(100, 160)) == penalty_limits.ACCOUNT_GUESSES


def test_logins_remembered_are_bounded(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "REMEMBERED_LOGINS", 8)
    penalties = Penalties(clock)
    for number in range(20):
        penalties.succeeded(f"198.51.100.{number}", "alice")
    assert len(penalties._known) == 8


# -- for whoever looks -----------------------------------------------------------------------------------------


def test_who_must_wait_is_known_by_name_and_can_be_forgotten(clock: FixedClock) -> None:
    heard: list[float] = []
    penalties = Penalties(clock, PenaltyLimits(free=1, accounts=2))
    penalties.on_block = lambda key, until: heard.append(until)
    fail(penalties, 1, "alice")
    assert penalties.waiting() == []
    fail(penalties, 1, "alice")
    (alice,) = penalties.waiting()
    assert (alice.source, alice.account, alice.failures) == (HERE, "alice", 2) and alice.left > 0
    fail(penalties, 1, "bob")
    assert {(one.source, one.account) for one in penalties.waiting()} == {(HERE, "alice"), (HERE, "")}
    assert penalties.forget("192.0.2.200") == penalties.forget(account="bob") == []
    assert len(penalties.forget(HERE, "alice")) == 1 and heard[-1] == 0.0
    assert len(penalties.forget(HERE)) == 1 and penalties.waiting() == []
    assert penalties.allows(HERE, "alice") and penalties.allows_source(HERE)


def test_everybody_is_forgotten_when_nobody_is_named(clock: FixedClock) -> None:
    penalties = Penalties(clock, PenaltyLimits(free=1))
    for name in ("alice", "bob"):
        fail(penalties, 2, name)
    clock.advance(0.001)
    assert len(penalties.forget()) == 2 and penalties.waiting() == []


def test_a_name_is_cut_it_may_be_a_password(clock: FixedClock) -> None:
    penalties = Penalties(clock, PenaltyLimits(free=1))
    fail(penalties, 2, "x" * 300)
    (one,) = penalties.waiting()
    assert one.account == "x" * 64
    assert len(penalties.forget(account="x" * 300)) == 1
