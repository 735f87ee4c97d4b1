"""How a family of counters, gauges or histograms is declared (L0): name, kind, help, closed sets of label values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

MICROSECONDS: Final = 1_000_000

PHASE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Seconds. Handshakes and steps of a dial run from a loopback millisecond to the 20 s that a dial may take."""

LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Kind(StrEnum):
    """What a family is; the exporter renders each in its own way."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """How the cells of several processes become one."""

    SUM = "sum"
    MAX = "max"
    EARLIEST = "earliest"  # the smallest that is not 0


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

    def picked(self, values: Iterable[int]) -> int:
        """Of one place in the cells of several processes, what stands in the cell of all."""
        match self.merge:
            case Merge.SUM:
                return sum(values)
            case Merge.MAX:
                return max(values, default=0)
            case Merge.EARLIEST:
                return min((value for value in values if value), default=0)


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
