"""Can somebody with a clock tell two things apart? A few classifiers, trained on half of what was measured.

Each knows one number of a sample. On the training half the best of them is picked by cross-validation; only what the
other half then says counts, and then the halves change places. Balanced: as many samples of each class, so that
guessing is right in half of the cases.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence

Sample = tuple[float, bool]
Classifier = Callable[[float], bool]
Trainer = Callable[[Sequence[Sample]], Classifier]

NEIGHBOURS = 15
BINS = 8
FOLDS = 5


def threshold(train: Sequence[Sample]) -> Classifier:
    """The one cut, in either direction, that is right most often."""
    ordered = sorted(train)
    positives = sum(kind for _, kind in ordered)
    right = best = positives  # above everything's lower end: all are said to be of the second class
    cut, above = -math.inf, True
    for value, kind in ordered:
        right += -1 if kind else 1
        for score, direction in ((right, True), (len(ordered) - right, False)):
            if score > best:
                best, cut, above = score, value, direction
    return lambda value: (value > cut) is above


def neighbours(train: Sequence[Sample]) -> Classifier:
    """What most of the nearest are."""
    ordered = sorted(train)
    values = [value for value, _ in ordered]

    def judge(value: float) -> bool:
        at = bisect_right(values, value)
        near = ordered[max(0, at - NEIGHBOURS) : at + NEIGHBOURS]
        nearest = sorted(near, key=lambda sample: abs(sample[0] - value))[:NEIGHBOURS]
        return 2 * sum(kind for _, kind in nearest) > len(nearest)

    return judge


def histogram(train: Sequence[Sample]) -> Classifier:
    """What most in the same eighth of all are."""
    values = sorted(value for value, _ in train)
    edges = [values[len(values) * number // BINS] for number in range(1, BINS)]
    votes = [0] * BINS
    for value, kind in train:
        votes[bisect_right(edges, value)] += 1 if kind else -1
    return lambda value: votes[bisect_right(edges, value)] > 0


TRAINERS: tuple[Trainer, ...] = (threshold, neighbours, histogram)


def score(judge: Classifier, samples: Sequence[Sample]) -> float:
    """The share of samples that it is right about."""
    return sum(judge(value) is kind for value, kind in samples) / len(samples)


def told_apart(one: Sequence[float], other: Sequence[float], chance: random.Random) -> float:
    """How often the best classifier of one half is right on the other half, each half in turn; 0.5 is guessing.

    So every sample is judged once, by what has not seen it: `judged` says how many judgements that are.
    """
    count = judged(one, other) // 2
    halves: tuple[list[Sample], list[Sample]] = [], []
    for values, kind in ((one, False), (other, True)):
        mixed = chance.sample(list(values), count)
        halves[0].extend((value, kind) for value in mixed[: count // 2])
        halves[1].extend((value, kind) for value in mixed[count // 2 :])
    for half in halves:
        chance.shuffle(half)
    found = [score(_best(train), test) for train, test in (halves, halves[::-1])]
    return sum(found) / len(found)


def judged(one: Sequence[float], other: Sequence[float]) -> int:
    """How many samples `told_apart` judges: as many of each class, in two halves."""
    return min(len(one), len(other)) // 2 * 4


def _best(train: Sequence[Sample]) -> Classifier:
    """The classifier that cross-validation finds best."""

    def by_folds(trainer: Trainer) -> float:
        found = 0.0
        for fold in range(FOLDS):
            rest = [sample for number, sample in enumerate(train) if number % FOLDS != fold]
            found += score(trainer(rest), train[fold::FOLDS])
        return found

    return max(TRAINERS, key=by_folds)(train)


def at_most(share: float, tests: int) -> float:
    """What the share of right answers is at most, when `share` of `tests` were right: the upper end of the one-sided
    interval of 95 % (normal approximation of the binomial, at its widest)."""
    return share + 1.645 * 0.5 / math.sqrt(tests)


def beyond_chance(tests: int, pairs: int) -> float:
    """The share that not one of `pairs` classifiers that only guess reaches on `tests` samples, but in one run of a
    thousand (normal approximation of the binomial)."""
    tail, deviations = 0.001 / pairs, 0.0
    while math.erfc(deviations / math.sqrt(2)) / 2 > tail:
        deviations += 0.01
    return 0.5 + deviations * 0.5 / math.sqrt(tests)
