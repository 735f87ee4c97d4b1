"""The list of locks of several gateways: the same news in any order make the same list."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.policy.lock_list import DAY, MOST_EACH, MOST_KNOWN, STEP, Again, Gone, Learned, LockList
from bastion.policy.locks import MAX_LOCKS, MAX_REASON, Lock, LockKind

USER = LockKind.USER
NOW = 1000.0


def lock(made_at=1.0, value="alice", **more):
    return Lock(USER, value, more.pop("reason", "why"), "bob (uid 1)", made_at, **more)


def gone(made_at=1.0, value="alice"):
    return Gone(USER, value, made_at)


def listed(*locks):
    made = LockList()
    for one in locks:
        assert made.put(one)
    return made


def test_of_two_the_later_counts_and_the_same_twice_is_no_news():
    known = listed(lock(1.0), lock(2.0))
    assert not known.put(lock(1.5)) and not known.put(lock(2.0))
    assert list(known) == [lock(2.0)] and known.get((USER, "alice")) == lock(2.0)
    assert known.learn(NOW, [lock(2.0)]) == Learned() and not Learned()


def test_whose_the_name_is_may_be_known_later_and_is_not_forgotten_again():
    known = listed(lock(1.0), lock(1.0, uid="u-1"))
    assert not known.put(lock(1.0))
    assert list(known) == [lock(1.0, uid="u-1")]


def test_what_was_taken_away_stays_away_whoever_still_tells_of_it():
    known = listed(lock(1.0))
    assert known.take((USER, "alice")) == lock(1.0)
    assert known.learn(NOW, [lock(1.0)], []) == Learned() and len(known) == 0
    assert known.taken == (gone(1.0),)
    assert known.learn(NOW, [lock(1.5)]).put == (lock(1.5),)


def test_what_is_made_here_is_later_than_what_was_known_of_its_place_wherever_clocks_stand():
    known = listed(lock(100.0))
    assert known.moment((USER, "alice"), 7.0) == 100.0 + STEP
    known.take((USER, "alice"))
    made_at = known.moment((USER, "alice"), 7.0)
    assert made_at == 100.0 + STEP and known.put(lock(made_at))
    assert known.moment((USER, "bob"), 7.0) == 7.0


def test_in_any_order_it_comes_to_the_same():
    news = [
        ([lock(1.0)], []),
        ([lock(1.0, uid="u-1")], []),
        ([], [gone(1.0)]),
        ([lock(2.0)], []),
        ([lock(1.0, "bob")], [gone(0.5, "bob")]),
    ]
    ends = set()
    for order in itertools.permutations(news):
        known = LockList()
        for locks, removed in order:
            known.learn(NOW, locks, removed)
        ends.add((frozenset(known), frozenset(known.taken)))
    assert ends == {
        (frozenset([lock(2.0), lock(1.0, "bob")]), frozenset([gone(1.0), gone(0.5, "bob")])),
    }


def test_the_mark_changes_with_every_change_and_with_nothing_else():
    known = LockList()
    marks = [known.mark]
    for step in (lambda: known.learn(NOW, [lock(1.0)]), lambda: known.learn(NOW, [], [gone(1.0)])):
        step()
        assert known.mark not in marks
        marks.append(known.mark)
    known.learn(NOW, [lock(1.0)], [gone(1.0), gone(0.5)])
    assert known.mark == marks[-1] and LockList().mark != LockList().mark


@pytest.mark.parametrize(
    "one",
    [
        lock(-1.0),
        lock(NOW + 3 * DAY),
        lock(float("nan")),
        lock(float("inf")),
        lock(value="Alice"),
        lock(value="a b"),
        lock(reason=""),
        lock(reason="x" * (MAX_REASON + 1)),
        replace(lock(), made_by="x" * 300),
        lock(uid="x" * 600),
    ],
)
def test_what_cannot_be_is_not_learned(one):
    known = LockList()
    assert not known.learn(NOW, [one], [Gone(one.kind, one.value, NOW + 2 * DAY)])
    assert len(known) == 0 and not known.taken


def test_nobody_is_kept_from_locking_again_by_a_clock_that_is_wrong_or_a_gateway_that_lies():
    known, other = LockList(), LockList()
    for one in (known, other):
        one.learn(NOW, [], [gone(NOW + DAY)])
    again = lock(known.moment((USER, "alice"), NOW))
    assert known.put(again) and other.learn(NOW, [again]).put == (again,)
    assert not other.learn(NOW, [], [gone(again.made_at)]), "and nobody takes it away for ever"


def test_a_list_has_an_end():
    known = LockList()
    for node in ("gw2", "gw3", "gw4"):
        known.learn(NOW, (lock(value=f"{node}-{n}") for n in range(MOST_EACH + 5)), [], node)
    assert len(known) == MOST_KNOWN
    assert known.learn(NOW, [lock(2.0, "gw2-1")]).put  # what is known is made new all the same
    for n in range(MAX_LOCKS + 5):
        known.learn(NOW, [], [gone(1.0, f"v{n}")])
    assert len(known.taken) == MAX_LOCKS


# -- the store ---------------------------------------------------------------------------------------------------------


def test_rows_of_the_store_are_in_force_and_what_it_has_no_more_is_not():
    known = LockList()
    assert known.stored(NOW, [lock(1.0)]) == (Learned((lock(1.0),)), Again())
    assert known.stored(NOW, [lock(1.0)]) == (Learned(), Again())
    assert known.stored(NOW, []) == (Learned((), (lock(1.0),)), Again()) and len(known) == 0


def test_what_the_store_has_not_yet_stays():
    known = listed(lock(1.0))
    assert known.stored(NOW, []) == (Learned(), Again()) and len(known) == 1
    assert known.stored(NOW, [lock(1.0)])[0] == Learned()
    known.put(lock(2.0))  # made again; the store has neither for a moment
    assert known.stored(NOW, []) == (Learned(), Again()) and list(known) == [lock(2.0)]


def test_a_row_that_was_taken_away_here_and_is_still_there_is_no_lock():
    known = listed(lock(1.0))
    known.stored(NOW, [lock(1.0)])
    known.take((USER, "alice"))
    assert known.stored(NOW, [lock(1.0)]) == (Learned(), Again((), (gone(1.0),))) and len(known) == 0


def test_a_store_that_has_an_earlier_one_is_told_again():
    known = listed(lock(2.0, uid="u-1"))
    assert known.stored(NOW, [lock(1.0)]) == (Learned(), Again((lock(2.0, uid="u-1"),)))
    assert known.stored(NOW, [lock(2.0)]) == (Learned(), Again((lock(2.0, uid="u-1"),)))
    assert known.stored(NOW, [lock(2.0, uid="u-1")]) == (Learned(), Again())
    assert known.stored(NOW, [lock(3.0)])[0].put == (lock(3.0),)


def test_two_of_the_same_moment_come_to_the_same_at_each_gateway_and_in_the_store():
    """A gateway that lies tells one this and another that; each then has one of them, and the store has either."""
    for one, other in itertools.permutations(
        [lock(reason="a"), lock(reason="b"), lock(reason="a", until=5.0), lock(uid="u-1"), lock(uid="u-2")], 2
    ):
        here, there = listed(one), listed(other)
        here.learn(NOW, there)
        there.learn(NOW, here)
        (left,) = set(here) | set(there)
        assert here.stored(NOW, [left])[1] == there.stored(NOW, [left])[1] == Again()
        again = listed(one).stored(NOW, [other])[1], listed(other).stored(NOW, [one])[1]
        assert [bool(told) for told in again].count(True) == 1, "one of the two writes it again, not both"
    assert listed(lock(until=5.0)).learn(NOW, [lock()]).put == (lock(),)


def full_of(node, count, known=None, first=0):
    made = known or LockList()
    learned = made.learn(NOW, [lock(5.0, value=f"{node}-{first + n}") for n in range(count)], [], node)
    return made, len(learned.put)


def test_one_that_fills_the_list_leaves_room_for_others_and_for_our_own():
    known, put = full_of("gw2", MOST_EACH + 500)
    assert put == MOST_EACH and known.own == 0
    assert full_of("gw2", 5, known, 90_000)[1] == 0, "of one no more than these"
    assert full_of("gw3", 500, known)[1] == 500
    for number in range(50):
        assert known.put(lock(NOW, value=f"own-{number}"))
    assert known.own == 50
    assert known.learn(NOW, [], [gone(5.0, "gw2-0")], "gw2").gone and full_of("gw2", 1, known, 90_000)[1] == 1
    assert full_of("gw4", MOST_KNOWN, known)[1] == MOST_KNOWN - MOST_EACH - 500
    assert known.put(lock(NOW, value="one-more")) and known.own == 51


def test_whose_a_lock_is_stays_when_it_is_told_again():
    known, _ = full_of("gw2", 1)
    known.stored(NOW, [lock(5.0, value="gw2-0", uid="u-1")])
    assert known.own == 0
    known.put(lock(6.0, value="gw2-0"))
    assert known.own == 1, "somebody has locked it here"
    known.learn(NOW, [lock(7.0, value="gw2-0")], [], "gw2")
    assert known.own == 1


def test_a_store_that_became_another_server_has_lost_rows_and_unlocked_nothing():
    known = listed(lock(1.0, value="carol"))
    rows = [lock(1.0), lock(2.0, value="bob"), lock(1.0, value="carol")]
    known.stored(NOW, rows)
    assert (
        known.stored(NOW, rows[:1], lost=True) == (Learned(), Again((rows[1], rows[2]))) and len(known) == 3
    )
    assert known.stored(NOW, rows) == (Learned(), Again())
    assert known.stored(NOW, rows[:2]) == (Learned((), (rows[2],)), Again())


# -- ends of locks in the store ----------------------------------------------------------------------------------------


def test_a_lock_whose_end_the_store_has_is_over_though_its_row_was_never_seen():
    """Written and taken away by another gateway between two looks of the one that made it."""
    known = listed(lock(1.0))
    assert known.stored(NOW, [], [gone(1.0)]) == (Learned((), (lock(1.0),)), Again())
    assert known.taken == (gone(1.0),) and known.learn(NOW, [lock(1.0)]) == Learned()
    assert known.stored(NOW, [], [gone(1.0)]) == (Learned(), Again())


def test_a_row_that_was_written_after_its_end_is_no_lock_and_the_store_is_told_so():
    known = LockList()
    assert known.stored(NOW, [lock(1.0)], [gone(1.0)]) == (Learned(), Again((), (gone(1.0),)))
    assert len(known) == 0
    later = lock(2.0)
    assert known.stored(NOW, [later], [gone(1.0)]) == (Learned((later,)), Again()), "this was made after it"


def test_an_end_of_an_earlier_lock_ends_no_later_one():
    known = listed(lock(2.0))
    assert known.stored(NOW, [], [gone(1.0)]) == (Learned(), Again()) and list(known) == [lock(2.0)]
    assert known.stored(NOW, [lock(1.0)], [gone(1.0)])[1] == Again((lock(2.0),)), (
        "which the store has to hear of"
    )


@pytest.mark.parametrize("made_at", [NOW + 2 * DAY, float("inf"), float("nan"), -1.0])
def test_an_end_from_the_future_ends_nothing(made_at):
    known = listed(lock(1.0))
    assert known.stored(NOW, [lock(1.0)], [gone(made_at)]) == (Learned(), Again())
    assert list(known) == [lock(1.0)] and known.taken == ()


def test_a_store_that_became_another_server_is_told_of_the_ends_that_it_has_not():
    known = listed(lock(1.0), lock(1.0, "bob"), lock(1.0, "carol"), lock(3.0, "dave"))
    for name in ("alice", "bob", "dave"):
        known.take((USER, name))
    again = lock(known.moment((USER, "dave"), 4.0), "dave")
    assert known.put(again)
    rows, ends = [lock(1.0, "carol"), again], [gone(1.0), gone(1.0, "bob"), gone(3.0, "dave")]
    assert known.stored(NOW, rows, ends) == (Learned(), Again())
    assert known.stored(NOW, rows, ends[:1]) == (Learned(), Again()), "they may have become too many"
    told = known.stored(NOW, rows, ends[:1], lost=True)[1]
    assert told == Again((), (gone(1.0, "bob"),)), "that of dave says nothing: there is a later lock"


class Rows:
    """A store: rows and ends, of which the later stays."""

    def __init__(self):
        self.rows, self.ends = {}, {}

    def write(self, one, is_gone):
        place = one.kind, one.value
        if is_gone:
            self.ends[place] = max(self.ends.get(place, -1.0), one.made_at)
            if place in self.rows and self.rows[place].made_at <= one.made_at:
                del self.rows[place]
        elif place not in self.rows or self.rows[place].made_at <= one.made_at:
            self.rows[place] = one

    def taken(self):
        return [Gone(*place, made_at) for place, made_at in self.ends.items()]


class Writer:
    """A gateway that reaches the store alone: its list, its clock, and what it owes, in order."""

    def __init__(self, ahead):
        self.list, self.ahead, self.owed = LockList(), ahead, []

    def add(self, value, now):
        made_at = self.list.moment((USER, value), now + self.ahead)
        one = lock(made_at, value, reason=f"of {self.ahead}")
        assert self.list.put(one)
        self.owed.append((one, False))

    def remove(self, value):
        if (USER, value) in self.list:
            self.owed.append((self.list.take((USER, value)), True))

    def write(self, store, count=1):
        for one in self.owed[:count]:
            store.write(*one)
        del self.owed[:count]

    def read(self, store, now, lost=False):
        _, again = self.list.stored(now, list(store.rows.values()), store.taken(), lost)
        self.owed += [(one, False) for one in again.locks] + [(one, True) for one in again.gone]


VALUES = ("alice", "bob")
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(("add", "remove", "write", "read")), st.sampled_from(VALUES)
    ),
    max_size=40,
)


@given(STEPS, st.tuples(*[st.sampled_from((-40.0, 0.0, 40.0))] * 3), st.integers(1, 3))
def test_whatever_is_locked_unlocked_written_and_read_in_any_order_all_have_the_same(steps, ahead, count):
    """What each holds in the end is the same, is what the store has, and nobody writes any more. What was made last of
    a place, by its own time, decides."""
    store, gateways = Rows(), [Writer(one) for one in ahead[:count]]
    made, ended = {}, {}
    for number, (which, what, value) in enumerate(steps):
        one, now = gateways[which % count], NOW + number
        before = one.list.get((USER, value))
        if what == "add":
            one.add(value, now)
            made.setdefault(value, []).append(one.list.get((USER, value)))
        elif what == "remove":
            one.remove(value)
            if before is not None:
                ended[value] = max(ended.get(value, -1.0), before.made_at)
        elif what == "write":
            one.write(store)
        else:
            one.read(store, now)
    for _ in range(4):
        for one in gateways:
            one.write(store, len(one.owed))
        for one in gateways:
            one.read(store, NOW + len(steps))
    assert not any(one.owed for one in gateways)
    expected = set()
    for value, locks in made.items():
        last = max(one.made_at for one in locks)
        if last > ended.get(value, -1.0):
            expected |= {one for one in store.rows.values() if one.value == value and one.made_at == last}
            assert any(one.value == value for one in expected)
    assert [set(one.list) for one in gateways] == [expected] * count == [set(store.rows.values())] * count


@given(STEPS, st.integers(0, 39))
def test_a_replica_that_lags_becomes_the_store_and_all_have_the_same_all_the_same(steps, behind):
    """Its rows and ends are those of an earlier moment."""
    store, gateways, copy = Rows(), [Writer(0.0), Writer(0.0)], Rows()
    for number, (which, what, value) in enumerate(steps):
        one, now = gateways[which % 2], NOW + number
        {
            "add": lambda one=one, value=value, now=now: one.add(value, now),
            "remove": lambda one=one, value=value: one.remove(value),
            "write": lambda one=one: one.write(store),
            "read": lambda one=one, now=now: one.read(store, now),
        }[what]()
        if number == behind:
            copy.rows, copy.ends = dict(store.rows), dict(store.ends)
    for one in gateways:
        one.write(store, len(one.owed))
    for one in gateways:
        one.read(store, NOW + 50)
    before = [set(one.list) for one in gateways]
    for one in gateways:
        one.read(copy, NOW + 60, lost=True)
    for _ in range(3):
        for one in gateways:
            one.write(copy, len(one.owed))
        for one in gateways:
            one.read(copy, NOW + 70)
    assert [set(one.list) for one in gateways] == before and before[0] == before[1] == set(copy.rows.values())
    assert not any(one.owed for one in gateways)
