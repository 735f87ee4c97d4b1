"""The fair queue: against a model, and what it is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.turns import FairQueue


def drained(queue: FairQueue[str]) -> str:
    return " ".join(queue.pop() for _ in range(len(queue)))


def test_one_payer_is_served_in_order() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in "abc":
        queue.add(item, "p")
    assert drained(queue) == "a b c"


def test_payers_take_turns_however_much_they_bring() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.add(item, item[0])
    assert drained(queue) == "a1 b1 c1 a2 c2 a3"


def test_what_is_not_urgent_waits_for_all_that_is() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("later", "a", later=True)
    queue.add("now1", "b")
    queue.add("now2", "b")
    assert drained(queue) == "now1 now2 later"


def test_an_item_of_several_payers_comes_once_at_the_first_of_their_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "both"):
        queue.add(item, "a")
    queue.add("both", "b")
    queue.add("both", "b", later=True)
    assert queue.has("both", "a") and queue.has("both", "b", later=True) and not queue.has("a1", "b")
    assert len(queue) == 3
    assert drained(queue) == "a1 both a2"


def test_nothing_waits() -> None:
    queue: FairQueue[str] = FairQueue()
    with pytest.raises(IndexError):
        queue.pop()
    with pytest.raises(KeyError):
        queue.remove("a")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 9), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("pop")),
    )
)


@given(STEPS)
def test_every_item_comes_once_and_no_payer_waits_for_two_of_another(steps: list[tuple[object, ...]]) -> None:
    queue: FairQueue[object] = FairQueue()
    model: dict[object, set[tuple[bool, object]]] = {}
    served: dict[object, int] = {}  # urgent turns others had since this payer began to wait
    for step in steps:
        if step[0] == "add":
            _, item, payer, later = step
            queue.add(item, payer, bool(later))
            model.setdefault(item, set()).add((bool(later), payer))
        elif step[0] == "remove" and step[1] in model:
            queue.remove(step[1])
            del model[step[1]]
        elif step[0] == "pop" and model:
            urgent = {payer for places in model.values() for later, payer in places if not later}
            item = queue.pop()
            places = model.pop(item)
            assert not urgent or any(not later for later, _ in places)
            served = {payer: served.get(payer, 0) + 1 for payer in urgent}
            for later, payer in places:
                if not later:
                    served[payer] = 0
            assert all(count <= 4 for count in served.values())  # as many as there are payers
        assert len(queue) == len(model) and set(queue) == set(model)
    while queue:
        assert model.pop(queue.pop())
    assert not model
