"""Wrong passwords of one account: as many as may be, those under way included, and no more memory than is meant."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.account_failures import AccountFailures
from bastion.auth.throttle import Guess, Penalties, PenaltyLimits
from bastion.clock import FixedClock
from bastion.errors import AuthReason

ALICE, BOB = b"alice", b"bob"
MOST, WINDOW = 3, 600.0
LIMITS = PenaltyLimits(account_failures=MOST, account_window=WINDOW)


@given(st.lists(st.tuples(st.floats(0.0, 400.0), st.booleans()), max_size=40))
def test_in_no_window_more_than_so_many_are_wrong(tries: list[tuple[float, bool]]) -> None:
    failures, now, wrong_at = AccountFailures(), 0.0, []
    for pause, wrong in tries:
        now += pause
        allowed = failures.take(ALICE, now, MOST, WINDOW)
        assert allowed is (sum(now < at + WINDOW for at in wrong_at) < MOST)
        if allowed:
            failures.settle(ALICE, wrong)
            wrong_at += [now] if wrong else []


def test_those_that_are_under_way_are_waited_for() -> None:
    failures = AccountFailures()
    assert [failures.take(ALICE, 0.0, MOST, WINDOW) for _ in range(4)] == [True, True, True, None]
    failures.settle(ALICE, wrong=False)
    assert failures.take(ALICE, 0.0, MOST, WINDOW) is True
    for _ in range(3):
        failures.settle(ALICE, wrong=True)
    assert failures.take(ALICE, 0.0, MOST, WINDOW) is False
    assert failures.take(BOB, 0.0, MOST, WINDOW) is True


def test_without_a_limit_nothing_is_kept() -> None:
    failures = AccountFailures()
    assert all(failures.take(ALICE, 0.0, 0, WINDOW) for _ in range(100))
    failures.settle(ALICE, wrong=True)
    assert len(failures) == 0


def test_memory_is_bounded_and_the_longest_ago_goes_first() -> None:
    failures = AccountFailures(entries=4)
    for number in range(6):
        failures.take(b"%d" % number, float(number), 1, WINDOW)
        failures.settle(b"%d" % number, wrong=True)
    assert len(failures) == 4
    assert failures.take(b"5", 6.0, 1, WINDOW) is False
    assert failures.take(b"0", 6.0, 1, WINDOW) is True
    failures.forget(b"5")
    assert failures.take(b"5", 6.0, 1, WINDOW) is True


# -- as penalties use it ---------------------------------------------------------------------------------------


def guess(
    penalties: Penalties, source: str, account: str = "alice", go: Callable[[bool], None] = bool
) -> Guess:
    made = penalties.open(source, account)
    made.begin(go)  # type: ignore[arg-type]
    return made


def wrong(penalties: Penalties, sources: range, account: str = "alice") -> int:
    """How many wrong passwords are tried, one from each source."""
    count = 0
    for number in sources:
        made = guess(penalties, f"198.51.100.{number}", account)
        count += made.judged
        made.settle(AuthReason.BAD_PASSWORD)
    return count


def test_all_sources_share_them_those_of_the_owner_too() -> None:
    clock = FixedClock()
    penalties = Penalties(clock, LIMITS)
    penalties.succeeded("198.51.100.1", "alice")
    assert wrong(penalties, range(30)) == MOST
    assert wrong(penalties, range(30), "bob") == MOST
    clock.advance(WINDOW)
    assert wrong(penalties, range(30)) == MOST
    assert penalties.allows("198.51.100.1", "alice"), "keys and certificates are not asked about passwords"
    penalties.forget(account="alice")
    assert wrong(penalties, range(30, 60)) == MOST


def test_right_passwords_and_wrong_codes_use_up_nothing() -> None:
    penalties = Penalties(FixedClock(), LIMITS)
    for reason in (AuthReason.OK, AuthReason.PARTIAL, AuthReason.DIRECTORY_UNAVAILABLE, AuthReason.BAD_CODE):
        for number in range(4):
            made = guess(penalties, f"192.0.2.{number}")
            assert made.judged, reason
            made.settle(reason)
    assert wrong(penalties, range(30)) == MOST


def test_right_passwords_at_once_from_many_sources_all_get_their_turn() -> None:
    penalties = Penalties(FixedClock(), LIMITS)
    turns: list[bool] = []
    made = [guess(penalties, f"192.0.2.{number}", go=turns.append) for number in range(12)]
    assert turns == [True] * MOST
    for one in made:
        assert one.judged
        one.settle(AuthReason.OK)
    assert turns == [True] * 12
    assert penalties._queues == {}


def test_wrong_ones_at_once_are_tried_no_more_often_than_one_after_the_other() -> None:
    penalties = Penalties(FixedClock(), LIMITS)
    turns: list[bool] = []
    made = [guess(penalties, f"192.0.2.{number}", go=turns.append) for number in range(12)]
    for one in made:
        if one.judged:
            one.settle(AuthReason.BAD_PASSWORD)
    assert turns == [True] * MOST + [False] * 9
    assert penalties._queues == {}


def test_one_that_may_not_be_tried_for_another_reason_is_not_counted() -> None:
    penalties = Penalties(FixedClock(), PenaltyLimits(account_failures=3, strange_guesses=1))
    penalties.succeeded("192.0.2.9", "alice")
    assert wrong(penalties, range(5)) == 1
    home = [guess(penalties, "192.0.2.9") for _ in range(3)]
    assert [one.judged for one in home] == [True, True, False]
