"""The list of locks of several gateways: the same news in any order make the same list."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from bastion.policy.lock_list import DAY, MOST_EACH, MOST_KNOWN, STEP, Gone, Learned, LockList
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
    assert known.stored([lock(1.0)]) == (Learned((lock(1.0),)), ())
    assert known.stored([lock(1.0)]) == (Learned(), ())
    assert known.stored([]) == (Learned((), (lock(1.0),)), ()) and len(known) == 0


def test_what_the_store_has_not_yet_stays():
    known = listed(lock(1.0))
    assert known.stored([]) == (Learned(), ()) and len(known) == 1
    assert known.stored([lock(1.0)])[0] == Learned()
    known.put(lock(2.0))  # made again; the store has neither for a moment
    assert known.stored([]) == (Learned(), ()) and list(known) == [lock(2.0)]


def test_a_row_that_was_taken_away_here_and_is_still_there_is_no_lock():
    known = listed(lock(1.0))
    known.stored([lock(1.0)])
    known.take((USER, "alice"))
    assert known.stored([lock(1.0)]) == (Learned(), ()) and len(known) == 0


def test_a_store_that_has_an_earlier_one_is_told_again():
    known = listed(lock(2.0, uid="u-1"))
    assert known.stored([lock(1.0)]) == (Learned(), (lock(2.0, uid="u-1"),))
    assert known.stored([lock(2.0)]) == (Learned(), (lock(2.0, uid="u-1"),))
    assert known.stored([lock(2.0, uid="u-1")]) == (Learned(), ())
    assert known.stored([lock(3.0)])[0].put == (lock(3.0),)


def test_two_of_the_same_moment_come_to_the_same_at_each_gateway_and_in_the_store():
    """A gateway that lies tells one this and another that; each then has one of them, and the store has either."""
    for one, other in itertools.permutations(
        [lock(reason="a"), lock(reason="b"), lock(reason="a", until=5.0), lock(uid="u-1"), lock(uid="u-2")], 2
    ):
        here, there = listed(one), listed(other)
        here.learn(NOW, there)
        there.learn(NOW, here)
        (left,) = set(here) | set(there)
        assert here.stored([left])[1] == there.stored([left])[1] == ()
        again = listed(one).stored([other])[1], listed(other).stored([one])[1]
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
    known.stored([lock(5.0, value="gw2-0", uid="u-1")])
    assert known.own == 0
    known.put(lock(6.0, value="gw2-0"))
    assert known.own == 1, "somebody has locked it here"
    known.learn(NOW, [lock(7.0, value="gw2-0")], [], "gw2")
    assert known.own == 1


def test_a_store_that_became_another_server_has_lost_rows_and_unlocked_nothing():
    known = listed(lock(1.0, value="carol"))
    rows = [lock(1.0), lock(2.0, value="bob"), lock(1.0, value="carol")]
    known.stored(rows)
    assert known.stored(rows[:1], lost=True) == (Learned(), (rows[1], rows[2])) and len(known) == 3
    assert known.stored(rows) == (Learned(), ())
    assert known.stored(rows[:2]) == (Learned((), (rows[2],)), ())
