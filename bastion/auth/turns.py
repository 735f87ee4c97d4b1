"""Whose turn it is (L1, pure): one queue for few threads and many payers.

Invariants: what is urgent goes before what is not; within each, payers take turns, and a payer's own items come
in order, so that one who waits with a hundred items delays another by one item a round. An item may wait for
several payers at once: it comes at the first of their turns and is then gone from the others'. All items cost
the same turn, which is why this is round robin and counts no deficits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

# The payers in the order of their turns, each with its items in order. Never an empty one.
_Lane = OrderedDict[Hashable, dict[Item, None]]


class FairQueue(Generic[Item]):
    """Items that wait. Every operation takes the same time, however many wait."""

    def __init__(self) -> None:
        self._lanes: tuple[_Lane[Item], _Lane[Item]] = (OrderedDict(), OrderedDict())  # urgent, not urgent
        self._places: dict[Item, set[tuple[bool, Hashable]]] = {}

    def __len__(self) -> int:
        """Items, each counted once."""
        return len(self._places)

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def __iter__(self) -> Iterator[Item]:
        return iter(self._places)

    def has(self, item: Item, payer: Hashable, later: bool = False) -> bool:
        """Does it wait for exactly this turn?"""
        return (later, payer) in self._places.get(item, ())

    def add(self, item: Item, payer: Hashable, later: bool = False) -> None:
        """Let `item` wait for a turn of `payer`, behind everything urgent when `later`. Twice is once."""
        self._places.setdefault(item, set()).add((later, payer))
        self._lanes[later].setdefault(payer, {})[item] = None

    def pop(self) -> Item:
        """Take the next. Raises IndexError when nothing waits."""
        for lane in self._lanes:
            if lane:
                payer, items = next(iter(lane.items()))
                lane.move_to_end(payer)
                item = next(iter(items))
                self.remove(item)
                return item
        raise IndexError("nothing waits")

    def remove(self, item: Item) -> None:
        """Take one out of its turn, wherever it waits. Raises KeyError when it does not."""
        for later, payer in self._places.pop(item):
            lane = self._lanes[later]
            del lane[payer][item]
            if not lane[payer]:
                del lane[payer]
