"""Penalties of several gateways as one: in any order, again, later, void; and what one that lies cannot do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth import penalty_claims
from bastion.auth.penalty_claims import (
    DAY,
    KNOWN_PAIRS_EACH,
    KNOWN_SOURCES_EACH,
    MOST_EACH,
    Claim,
    Claims,
    Of,
)
from bastion.auth.penalty_sources import is_block
from bastion.auth.throttle import Penalties, PenaltyLimits
from bastion.clock import FixedClock
from bastion.errors import AuthReason

NOW = 1_800_000_000.0
SECRET = b"s" * 32
HERE = "192.0.2.1"
NODES = ("gw2", "gw3", "gw2/console")
KEYS = ("a1" * 12, "b2" * 12)


def claim(key: str = KEYS[0], revision: int = 1, **more: object) -> Claim:
    made = Claim(key, Of.PAIR, HERE, 6, NOW + 60, NOW, 0.0, NOW, NOW + 2000, revision)
    return replace(made, **more)  # type: ignore[arg-type]


def nobody(key: bytes, of: Of) -> bool:
    return False


def claims(clock: FixedClock | None = None) -> Claims:
    made = Claims(clock or FixedClock(NOW))
    made.begin("gw1")
    return made


def view(of: Claims) -> dict[bytes, object]:
    return dict(of.standing())


@st.composite
def told(draw: st.DrawFn) -> list[tuple[str, Claim]]:
    """What several gateways have said, each of its keys in the order of its revisions."""
    said = []
    for node in NODES:
        for revision in range(1, draw(st.integers(0, 5)) + 1):
            clears = draw(st.booleans())
            made = NOW + draw(st.integers(-50, 50))
            said.append(
                (
                    node,
                    claim(
                        draw(st.sampled_from(KEYS)),
                        revision,
                        failures=0 if clears else draw(st.integers(1, 40)),
                        until=NOW + draw(st.integers(-100, 4000)),
                        made_at=made,
                        cleared_at=made if clears else made - draw(st.integers(1, 50)),
                    ),
                )
            )
    return said


@given(told(), st.randoms(use_true_random=False), st.integers(0, 5))
def test_in_any_order_and_again_it_comes_to_the_same(said, random, again) -> None:  # type: ignore[no-untyped-def]
    one, two = claims(), claims()
    for node, each in said:
        one.take(node, [each], True, nobody)
    mixed = said + [random.choice(said) for _ in range(again if said else 0)]
    random.shuffle(mixed)
    for node, each in mixed:
        two.take(node, [each], True, nobody)
    assert view(one) == view(two)


@given(told(), st.lists(st.floats(0.0, 3000.0), max_size=6))
def test_nobody_waits_longer_because_time_passes(said, steps) -> None:  # type: ignore[no-untyped-def]
    clock = FixedClock(NOW)
    one = claims(clock)
    for node, each in said:
        one.take(node, [each], True, nobody)
    keys = [bytes.fromhex(key) for key in KEYS]
    before = [(one.until(key), one.failures(key)) for key in keys]
    assert all(until <= NOW + PenaltyLimits().longest_block for until, _ in before)
    for step in steps:
        clock.advance(step)
        after = [(one.until(key), one.failures(key)) for key in keys]
        assert all(new <= old for new, old in zip(after, before, strict=True))
        before = after
    clock.advance(2 * DAY)
    assert view(one) == {}
    one.sweep()
    assert len(one) == 0


@given(told())
def test_failures_add_up_and_the_longest_wait_counts(said) -> None:  # type: ignore[no-untyped-def]
    one = claims()
    last: dict[tuple[str, str], Claim] = {}
    for node, each in said:
        one.take(node, [each], True, nobody)
        last[node, each.key] = each
    for key in KEYS:
        of_key = [each for (_, known), each in last.items() if known == key]
        cleared = max((each.cleared_at for each in of_key), default=0.0)
        valid = [each for each in of_key if each.failures and each.made_at > cleared]
        assert one.failures(bytes.fromhex(key)) == sum(each.failures for each in valid)
        waits = [min(max(each.until - each.written_at, 0.0), 600.0) for each in valid]
        assert one.until(bytes.fromhex(key)) == pytest.approx(NOW + max(waits) if waits else 0.0)


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 7200.0])
def test_a_wait_is_as_long_as_it_was_meant_whatever_the_other_clock_says(skew: float) -> None:
    one = claims()
    then = NOW + skew
    one.take("gw2", [claim(until=then + 20, made_at=then, written_at=then)], True, nobody)
    assert one.until(bytes.fromhex(KEYS[0])) == NOW + 20


def test_what_was_said_before_we_looked_ends_when_it_was_to_end() -> None:
    one = claims()
    one.take("gw2", [claim(until=NOW + 5, made_at=NOW - 55, written_at=NOW - 55)], False, nobody)
    assert one.until(bytes.fromhex(KEYS[0])) == NOW + 5


def test_what_is_forgotten_here_is_forgotten_whatever_their_clocks_say() -> None:
    clock = FixedClock(NOW)
    one, two, key = claims(clock), claims(clock), bytes.fromhex(KEYS[0])
    ahead = claim(made_at=NOW + 3600, written_at=NOW + 3600, until=NOW + 3660)
    for each in (one, two):
        each.take("gw2", [ahead], True, nobody)
        assert each.failures(key) == 6
    one.clear(key, Of.PAIR, HERE)
    assert one.failures(key) == 0 and one.until(key) == 0.0
    (cleared,) = one.batch()
    two.take("gw1", [cleared], True, nobody)
    assert two.failures(key) == 0
    two.take("gw2", [replace(ahead, revision=2, made_at=cleared.cleared_at + 0.001)], True, nobody)
    assert two.failures(key) == 6, "what failed after that counts again"


@pytest.mark.parametrize(
    "more",
    [
        {"key": "xy" * 12}, {"key": "a1" * 13}, {"source": "x" * 65}, {"source": "office"}, {"failures": -1},
        {"source": "2001:db8::/32"}, {"made_at": NOW + DAY + 1}, {"cleared_at": NOW + 1},
    ],
)  # fmt: skip
def test_what_is_no_claim_is_left_out(more: dict[str, object]) -> None:
    one = claims()
    one.take("gw2", [claim(**more)], True, nobody)
    assert len(one) == 0 and one.left_out["malformed"] == 1


@pytest.mark.parametrize(
    ("text", "known"),
    [("192.0.2.1", True), ("2001:db8::/64", True), ("?", True), ("192.0.2.0/24", False), ("::1", False)],
)
def test_what_a_source_is(text: str, known: bool) -> None:
    assert is_block(text) is known


def test_what_is_told_is_bounded_and_as_it_is_then() -> None:
    one = claims()
    for number in range(3 * MOST_EACH):
        one.say(number.to_bytes(12, "big"), Of.PAIR, HERE, 6, NOW + 5)
    one.say((3 * MOST_EACH - 1).to_bytes(12, "big"), Of.PAIR, HERE, 9, NOW + 40)
    found: list[Claim] = []
    while batch := one.batch():
        assert len(batch) <= penalty_claims.BATCH
        found += batch
    assert len(found) == MOST_EACH and len({each.key for each in found}) == MOST_EACH
    assert [each.revision for each in found] == sorted({each.revision for each in found})
    assert found[-1].failures == 9
    one.not_told(found[:2])
    assert [each.key for each in one.batch()] == [each.key for each in found[:2]]


# -- one that lies -----------------------------------------------------------------------------------------------------


def test_one_that_lies_holds_up_some_that_are_known_and_not_everybody() -> None:
    clock = FixedClock(NOW)
    here = Penalties(clock, PenaltyLimits(exempt=("198.51.100.0/24",)), secret=SECRET)
    here.claims.begin("gw1")
    people = [(f"192.0.2.{number % 200}", f"user{number}") for number in range(1000)]
    for source, account in people:
        here.succeeded(source, account)
    lies = []
    for number, (source, account) in enumerate(people):
        key = here._digest(source, account).hex()
        lies.append(claim(key, number + 1, source=source, failures=10**9, until=NOW + 10**9))
        key = here._digest(source).hex()
        lies.append(claim(key, 5000 + number, of=Of.SOURCE, source=source, failures=9, until=NOW + 10**9))
    lies.append(claim("c3" * 12, 10**6, of=Of.SOURCE, source="198.51.100.7"))
    here.learn("gw2", lies, True)
    sources = {source for source, _ in people if not here.allows_source(source)}
    assert len(sources) == KNOWN_SOURCES_EACH
    pairs = {(source, account) for source, account in people if not here.allows(source, account)}
    elsewhere = {pair for pair in pairs if pair[0] not in sources}
    assert len(elsewhere) <= KNOWN_PAIRS_EACH
    assert here.claims.left_out["known"] > 1000 and here.claims.left_out["exempt"] == 1
    assert max(here.wait(*pair) for pair in pairs) <= 3600.0
    for number in range(5 * MOST_EACH):
        strange = claim(f"{number:024x}", 10**7 + number, source=HERE)
        here.learn("gw2", [strange], True)
    assert len(here.claims) == MOST_EACH
    clock.advance(3 * DAY)
    here.claims.sweep()
    assert len(here.claims) == 0 and not here.waiting()


def test_one_that_says_who_is_forgotten_opens_no_more_than_it_could_by_itself() -> None:
    """It can take penalties away, and that is all: its own word of a later moment is later than ours for two days."""
    clock = FixedClock(NOW)
    here = Penalties(clock, secret=SECRET)
    here.claims.begin("gw1")
    key = here._digest(HERE, "alice").hex()
    lie = claim(key, 1, failures=0, made_at=NOW + 2 * DAY, cleared_at=NOW + 2 * DAY)
    here.learn("gw2", [lie], True)
    for _ in range(6):
        here.failed(HERE, "alice", AuthReason.BAD_PASSWORD)
    assert not here.allows(HERE, "alice"), "who guesses here waits here all the same"


# -- two gateways that judge -------------------------------------------------------------------------------------------


class Two:
    """Gateways of one store, each with its own word."""

    def __init__(self, limits: PenaltyLimits | None = None) -> None:
        self.clock = FixedClock(NOW)
        self.nodes = {name: Penalties(self.clock, limits, secret=SECRET) for name in ("gw1", "gw2")}
        for name, node in self.nodes.items():
            node.claims.begin(name)
        self.one, self.two = self.nodes.values()

    def tell(self) -> None:
        batches = {name: node.claims.batch() for name, node in self.nodes.items()}
        for name, batch in batches.items():
            for other, node in self.nodes.items():
                if other != name:
                    node.learn(name, batch, True)


def fail(penalties: Penalties, times: int, account: str = "alice", source: str = HERE) -> None:
    for _ in range(times):
        penalties.failed(source, account, AuthReason.BAD_PASSWORD)


def test_who_guessed_at_one_waits_at_the_other_and_longer_the_next_time() -> None:
    two = Two()
    fail(two.one, 6)
    assert two.two.allows(HERE, "alice"), "it has not heard"
    two.tell()
    assert two.two.wait(HERE, "alice") == 5.0 and two.two.allows(HERE, "bob")
    two.clock.advance(5.0)
    assert two.two.allows(HERE, "alice")
    fail(two.two, 1)
    assert two.two.wait(HERE, "alice") == 10.0
    two.tell()
    assert two.one.wait(HERE, "alice") == 10.0
    two.clock.advance(10.0)
    fail(two.one, 1)
    assert two.one.wait(HERE, "alice") == 20.0


def test_who_guesses_at_both_at_once_has_failed_as_often_as_at_both() -> None:
    two = Two()
    fail(two.one, 6)
    fail(two.two, 6)
    two.tell()
    two.clock.advance(5.0)
    fail(two.one, 1)
    assert two.one.wait(HERE, "alice") == 600.0, "13 failures"


def test_a_source_that_sprays_at_one_is_blocked_at_the_other() -> None:
    two = Two()
    for number in range(40):
        fail(two.one, 1, f"user{number}")
    assert not two.one.allows_source(HERE) and two.two.allows_source(HERE)
    two.tell()
    assert not two.two.allows_source(HERE) and not two.two.allows(HERE, "innocent")
    (row,) = two.two.waiting()
    assert (row.source, row.account, row.nodes) == (HERE, "", ("gw1",))


def test_strange_sources_share_the_guesses_of_an_account_at_all_gateways() -> None:
    two = Two()

    def guesses(penalties: Penalties, sources: range) -> int:
        went: list[bool] = []
        for number in sources:
            guess = penalties.open(f"198.51.100.{number}", "alice")
            guess.begin(went.append)
            guess.settle(AuthReason.BAD_PASSWORD)
        return sum(went)

    assert guesses(two.one, range(30)) == 20
    two.tell()
    assert guesses(two.two, range(100, 130)) == 0
    two.clock.advance(60.0)
    assert guesses(two.two, range(130, 160)) == 1
    two.tell()
    assert guesses(two.one, range(30, 60)) == 0
    (row,) = [row for row in two.one.waiting() if not row.source]
    assert row.nodes == ("gw1", "gw2")


def test_what_is_cleared_at_one_is_cleared_at_all() -> None:
    two = Two(PenaltyLimits(first_block=300.0))
    fail(two.one, 9)
    fail(two.two, 7, "bob")
    two.tell()
    assert not two.two.allows(HERE, "alice") and not two.one.allows(HERE, "bob")
    assert [row.nodes for row in two.one.waiting()] == [("gw1",), ("gw2",)]
    assert len(two.one.forget(HERE)) == 2
    two.tell()
    for node in (two.one, two.two):
        assert node.allows(HERE, "alice") and node.allows(HERE, "bob") and not node.waiting()
    fail(two.two, 5, "bob")
    assert two.two.allows(HERE, "bob"), "its failures are forgotten too"


def test_an_account_is_cleared_by_name_though_the_other_gateway_never_told_it() -> None:
    two = Two(PenaltyLimits(first_block=300.0, account_failures=3))
    fail(two.one, 9)
    two.tell()
    (row,) = two.two.waiting()
    assert row.account == "?"
    assert two.two.forget(account="bob") == []
    assert len(two.two.forget(account="alice")) == 1
    two.tell()
    assert two.one.allows(HERE, "alice")


def test_a_right_password_at_one_forgives_at_all() -> None:
    two = Two()
    fail(two.one, 6)
    two.tell()
    two.clock.advance(5.0)
    two.two.succeeded(HERE, "alice")
    two.tell()
    fail(two.one, 5)
    assert two.one.allows(HERE, "alice")


def test_another_key_forgets_what_was_known_by_the_one_before() -> None:
    two = Two()
    lifted: list[tuple[bytes, float]] = []
    fail(two.one, 6)
    two.one.on_block = lambda key, until: lifted.append((key, until))
    two.one.rekey(b"t" * 32)
    assert two.one.allows(HERE, "alice") and lifted[0][1] == 0.0 and len(two.one) == 0
    two.one.rekey(b"t" * 32)
    fail(two.one, 6)
    two.tell()
    assert two.two.allows(HERE, "alice"), "nobody knows whom it means"


def test_one_that_is_alone_says_nothing() -> None:
    alone = Penalties(FixedClock(NOW))
    fail(alone, 9)
    alone.forget(account="alice")
    assert alone.claims.batch() == [] and len(alone.claims) == 0


def test_what_failed_after_it_was_cleared_elsewhere_counts_however_late_that_is_heard() -> None:
    two = Two()
    fail(two.one, 6)
    two.tell()
    two.clock.advance(5.0)
    two.one.succeeded(HERE, "alice")
    two.clock.advance(1.0)
    late = Penalties(two.clock, secret=SECRET)
    late.claims.begin("gw3")
    fail(late, 5)
    late.learn("gw1", two.one.claims.batch(), False)
    fail(late, 1)
    assert not late.allows(HERE, "alice")
