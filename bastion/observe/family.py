"""How a family of counters, gauges or histograms is declared (L0): name, kind, help, closed sets of label values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

MICROSECONDS: Final = 1_000_000


class Kind(StrEnum):
    """What a family is; the exporter renders each in its own way."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """How the cells of several processes become one."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the closed set of its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One declared family. `name` is without the prefix; `scale` divides a stored integer when rendered."""

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds in seconds
    merge: Merge = Merge.SUM
    scale: int = 1

    def combinations(self) -> Iterable[tuple[str, ...]]:
        """Every combination of label values, in declared order."""
        return product(*(label.values for label in self.labels))

    @property
    def width(self) -> int:
        """How many integers a cell has."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


FAMILIES: Final[list[Family]] = []


def _declare(family: Family) -> Family:
    FAMILIES.append(family)
    return family


def counter(name: str, text: str, *labels: Label, scale: int = 1) -> Family:
    return _declare(Family(name, Kind.COUNTER, text, labels, scale=scale))


def gauge(name: str, text: str, *labels: Label, merge: Merge = Merge.SUM, scale: int = 1) -> Family:
    return _declare(Family(name, Kind.GAUGE, text, labels, merge=merge, scale=scale))


def histogram(name: str, text: str, *labels: Label, buckets: tuple[float, ...]) -> Family:
    return _declare(Family(name, Kind.HISTOGRAM, text, labels, buckets, scale=MICROSECONDS))


def reasons(name: str, reasons: Iterable[StrEnum], *more: str) -> Label:
    return Label(name, tuple(str(reason) for reason in reasons) + more)
