"""What a source may cost before login, and an identity after it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.budget import KIB, LIMITS, MIB, REASONS, TEXTS, Budget, Limit, Payer, Purse, Work, divided
from bastion.clock import FixedClock
from bastion.errors import LimitReason, Refused
from bastion.observe import meters
from bastion.sharing.rows import ROW_SIZE, Row

RATE = Limit(each=100, everybody=300, each_rate=10, everybody_rate=30)
PLACES = Limit(each=4, everybody=10)
SMALL = {
    **dict.fromkeys(((payer, work) for payer in Payer for work in Work), RATE),
    (Payer.SOURCE, Work.DIRECTORY): PLACES,
}


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def refused():
    return []


@pytest.fixture
def budget(clock, refused):
    return Budget(clock, SMALL, lambda *what: refused.append(what))


def test_every_kind_of_work_has_words_a_reason_and_a_label():
    assert set(REASONS) == set(TEXTS) == set(Work)
    assert {str(reason) for reason in REASONS.values()} <= {str(reason) for reason in LimitReason}
    assert {str(work) for work in Work} == set(meters.WORK)
    assert {str(payer) for payer in Payer} == set(meters.PAYERS)


@pytest.mark.parametrize("key", LIMITS)
def test_one_payer_cannot_use_up_what_is_there_for_everybody(key):
    limit = LIMITS[key]
    assert limit.each * 2 <= limit.everybody
    assert bool(limit.each_rate) == bool(limit.everybody_rate)
    assert limit.each_rate <= limit.everybody_rate


def test_a_rate_is_spent_refused_and_comes_back(budget, clock, refused):
    purse = budget.source("192.0.2.1")
    purse.spend(Work.LOG, 100)
    with pytest.raises(Refused) as no:
        purse.spend(Work.LOG, 1)
    assert no.value.reason is LimitReason.BUDGET_LOG
    assert refused == [(Work.LOG, Payer.SOURCE)]
    clock.advance(1)
    purse.spend(Work.LOG, 10)
    assert not purse.allows(Work.LOG, 1)


def test_a_refusal_takes_nothing(budget):
    purse = budget.source("192.0.2.1")
    purse.spend(Work.LOG, 60)
    for _ in range(5):
        with pytest.raises(Refused):
            purse.spend(Work.LOG, 50)
    purse.spend(Work.LOG, 40)


def test_what_was_nobodys_misuse_is_given_back(budget):
    purse = budget.source("192.0.2.1")
    purse.refund(Work.LOG, 10)
    purse.spend(Work.LOG, 60)
    purse.refund(Work.LOG, 50)
    assert budget.held(Payer.SOURCE, Work.LOG) == 10
    purse.spend(Work.LOG, 90)
    purse.refund(Work.LOG, 1000)
    assert budget.held(Payer.SOURCE, Work.LOG) == 0


def test_kinds_of_work_and_payers_are_apart(budget):
    budget.source("192.0.2.1").spend(Work.LOG, 100)
    budget.source("192.0.2.1").spend(Work.PUBLIC_KEY, 100)
    budget.source("192.0.2.2").spend(Work.LOG, 100)
    budget.identity("192.0.2.1").spend(Work.LOG, 100)


def test_addresses_of_one_block_share_a_purse(budget):
    assert budget.source("2001:db8::1") is budget.source("2001:db8::2")
    assert budget.source("2001:db8:0:1::1") is not budget.source("2001:db8::1")
    assert budget.source("::ffff:192.0.2.1") is budget.source("192.0.2.1")


def test_places_are_held_until_released(budget):
    purse = budget.source("192.0.2.1")
    holds = [purse.take(Work.DIRECTORY) for _ in range(4)]
    with pytest.raises(Refused):
        purse.take(Work.DIRECTORY)
    holds[0].release()
    holds[0].release()
    purse.take(Work.DIRECTORY)
    assert budget.held(Payer.SOURCE, Work.DIRECTORY) == 4


def test_time_frees_no_place(budget, clock):
    purse = budget.source("192.0.2.1")
    purse.take(Work.DIRECTORY, 4)
    clock.advance(3600)
    assert not purse.allows(Work.DIRECTORY, 1)


def test_when_everybodys_is_used_up_those_who_used_it_wait_and_a_newcomer_does_not(budget):
    for host in range(3):
        budget.source(f"192.0.2.{host}").spend(Work.LOG, 100)
    greedy = budget.source("192.0.2.100")
    greedy.spend(Work.LOG, 20)
    with pytest.raises(Refused):
        greedy.spend(Work.LOG, 20)
    budget.source("192.0.2.101").spend(Work.LOG, 10)


@pytest.mark.parametrize("sources", [2, *(pytest.param(many, marks=pytest.mark.slow) for many in (20, 100))])
@pytest.mark.parametrize(
    ("work", "costly", "honest"),
    [(Work.KEY_EXCHANGE, 800, 800), (Work.KEY_EXCHANGE, 30_000, 1_000), (Work.PUBLIC_KEY, 3_000, 500)],
)
def test_sources_whose_own_buckets_never_fill_starve_nobody(clock, work, costly, honest, sources):
    """Two sources that asked for 400 exchanges a second kept every newcomer out: neither was ever above its limit."""
    budget = Budget(clock)
    turned_away = 0
    for step in range(1_500):
        clock.advance(0.01)
        for number in range(sources):
            purse = budget.source(f"10.0.0.{number}")
            for _ in range(4):
                if purse.allows(work, costly):
                    purse.spend(work, costly)
        if step > 1_000 and not step % 50:
            newcomer = budget.source(f"192.0.2.{step // 50}")
            turned_away += not newcomer.allows(work, honest)
            if newcomer.allows(work, honest):
                newcomer.spend(work, honest)
    assert not turned_away


def test_even_newcomers_end_at_twice_the_limit(budget):
    for host in range(3):
        budget.source(f"192.0.2.{host}").spend(Work.LOG, 100)
    served = 0
    for host in range(300):
        purse = budget.source(f"198.51.{host // 100}.{host % 100}")
        if purse.allows(Work.LOG, 1):
            purse.spend(Work.LOG, 1)
            served += 1
    assert 270 < served < 300
    with pytest.raises(Refused):
        budget.source("203.0.113.1").spend(Work.LOG, 1)


def test_nobody_is_paid(budget):
    with pytest.raises(ValueError):
        budget.source("192.0.2.1").spend(Work.LOG, -1)


def test_memory_is_bounded_and_the_emptiest_purse_goes_first(clock):
    budget = Budget(clock, SMALL, payers=8)
    spender = budget.source("192.0.2.1")
    spender.spend(Work.LOG, 100)
    holder = budget.source("192.0.2.2")
    holder.take(Work.DIRECTORY)
    for host in range(100):
        budget.source(f"198.51.100.{host}")
    assert len(budget) == 8
    assert budget.source("192.0.2.1") is spender
    assert budget.source("192.0.2.2") is holder


def test_what_a_forgotten_purse_holds_is_given_back(clock):
    budget = Budget(clock, SMALL, payers=1)
    hold = budget.source("192.0.2.1").take(Work.DIRECTORY, 4)
    budget.source("192.0.2.2")
    assert budget.held(Payer.SOURCE, Work.DIRECTORY) == 4
    hold.release()
    assert budget.held(Payer.SOURCE, Work.DIRECTORY) == 0


steps = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["spend", "take", "release", "wait"]), st.integers(0, 120))
)


@given(steps)
def test_no_limit_is_ever_passed(moves):
    clock = FixedClock()
    budget = Budget(clock, SMALL)
    held: list[tuple[int, int, object]] = []
    for host, move, amount in moves:
        purse = budget.source(f"192.0.2.{host}")
        if move == "wait":
            clock.advance(amount / 10)
        elif move == "release" and held:
            held.pop(amount % len(held))[2].release()
        elif move == "spend" and purse.allows(Work.LOG, amount):
            purse.spend(Work.LOG, amount)
        elif move == "take" and purse.allows(Work.DIRECTORY, amount % 6):
            held.append((host, amount % 6, purse.take(Work.DIRECTORY, amount % 6)))
        for one in range(6):
            assert sum(many for who, many, _ in held if who == one) <= PLACES.each
        assert budget.held(Payer.SOURCE, Work.DIRECTORY) == sum(many for _, many, _ in held)
        assert budget.held(Payer.SOURCE, Work.DIRECTORY) <= 2 * PLACES.everybody
        assert budget.held(Payer.SOURCE, Work.LOG) <= 2 * RATE.everybody


def test_what_all_processes_use_together_is_shared_out() -> None:
    assert divided(LIMITS, 1) is LIMITS
    shared = divided(LIMITS, 2)
    assert shared[Payer.SOURCE, Work.DIRECTORY] == Limit(50, 500)
    assert shared[Payer.SOURCE, Work.LOG] == Limit(32 * KIB, MIB // 2, KIB // 2, 16 * KIB)
    assert shared[Payer.IDENTITY, Work.DIRECTORY] == Limit(8, 500)
    alike = [key for key in LIMITS if shared[key] == LIMITS[key]]
    processor = {Work.PUBLIC_KEY, Work.KEY_EXCHANGE}
    assert {work for _, work in alike} == set(Work) - {Work.DIRECTORY, Work.LOG} - processor
    assert shared[Payer.SOURCE, Work.KEY_EXCHANGE] == Limit(500_000, 1_000_000, 100_000, 250_000)
    assert divided(LIMITS, 64)[Payer.IDENTITY, Work.DIRECTORY].each == 1


# -- several workers -------------------------------------------------------------------------------------------------

CURVE = 4_000  # microseconds of five key exchanges by a curve
GROUP = 19_000  # and of one by the 8192-bit group


def workers_of(clock: FixedClock, count: int) -> list[Budget]:
    """The budgets of so many workers of one gateway."""
    if count == 1:
        return [Budget(clock)]
    memory = memoryview(bytearray(count * ROW_SIZE))
    rows = [Row(memory, count, own, b"s" * 16) for own in range(count)]
    return [Budget(clock, divided(LIMITS, count), others=row) for row in rows]


def pours(purse: Purse, work: Work, amount: int) -> bool:
    try:
        purse.spend(work, amount)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("work", [Work.KEY_EXCHANGE, Work.PUBLIC_KEY])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_strangers_get_no_more_of_the_machine_from_more_workers(work: Work, count: int) -> None:
    """40 sources, each in the worker whose turn it is, as much as they get for 20 seconds."""
    clock = FixedClock()
    budgets = workers_of(clock, count)
    limit, spent, turn = LIMITS[Payer.SOURCE, work], 0, 0
    for _ in range(200):
        clock.advance(0.1)
        for source in range(40):
            turn += 1
            if pours(budgets[turn % count].source(f"127.1.1.{source}"), work, GROUP):
                spent += GROUP
    assert spent <= 2 * limit.everybody + 20 * limit.everybody_rate
    assert spent >= 20 * limit.everybody_rate * 0.9, "what there is can be had"


@pytest.mark.parametrize("count", [1, 2, 8])
def test_one_source_has_a_burst_in_each_and_the_rate_of_one_process(count: int) -> None:
    clock = FixedClock()
    budgets = workers_of(clock, count)
    limit, spent, turn = LIMITS[Payer.SOURCE, Work.KEY_EXCHANGE], 0, 0
    for _ in range(200):
        clock.advance(0.1)
        for _ in range(40):
            turn += 1
            if pours(budgets[turn % count].source("192.0.2.1"), Work.KEY_EXCHANGE, CURVE):
                spent += CURVE
    own, everybody = count * limit.each + 20 * limit.each_rate, limit.everybody + 20 * limit.everybody_rate
    assert spent <= min(own, everybody)


@pytest.mark.parametrize("count", [2, 8])
def test_a_newcomer_gets_through_in_the_middle_of_a_flood_that_is_in_all_workers(count: int) -> None:
    clock = FixedClock()
    budgets = workers_of(clock, count)
    for _ in range(50):
        clock.advance(0.1)
        for source in range(40):
            for budget in budgets:
                pours(budget.source(f"127.1.1.{source}"), Work.KEY_EXCHANGE, GROUP)
    for budget in budgets:
        assert not pours(budget.source("127.1.1.1"), Work.KEY_EXCHANGE, GROUP)
        assert pours(budget.source("198.51.100.7"), Work.KEY_EXCHANGE, CURVE)


def test_what_a_login_has_cost_is_given_back_to_all() -> None:
    clock = FixedClock()
    first, second = workers_of(clock, 2)
    purse = first.source("192.0.2.1")
    purse.spend(Work.KEY_EXCHANGE, 400_000)
    assert second.held(Payer.SOURCE, Work.KEY_EXCHANGE) == pytest.approx(400_000, abs=1)
    purse.refund(Work.KEY_EXCHANGE, 400_000)
    assert second.held(Payer.SOURCE, Work.KEY_EXCHANGE) == 0


def test_what_is_not_the_processors_is_each_workers_own() -> None:
    first, second = workers_of(FixedClock(), 2)
    first.identity("alice").spend(Work.NOTES, 1000)
    assert second.held(Payer.IDENTITY, Work.NOTES) == 0
