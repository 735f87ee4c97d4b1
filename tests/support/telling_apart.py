"""Can somebody with a clock tell two things apart? A few classifiers, trained on half of what was measured.

Each knows one number of a sample. On the training half the best of them is picked by cross-validation; only what the
other half then says counts. Balanced: as many samples of each class, so that guessing is right in half of the cases.
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
    """How often the best classifier of the training half is right on the other half; 0.5 is guessing."""
    count = min(len(one), len(other))
    train: list[Sample] = []
    test: list[Sample] = []
    for values, kind in ((one, False), (other, True)):
        mixed = chance.sample(list(values), count)
        train += [(value, kind) for value in mixed[: count // 2]]
        test += [(value, kind) for value in mixed[count // 2 :]]
    chance.shuffle(train)

    def by_folds(trainer: Trainer) -> float:
        found = 0.0
        for fold in range(FOLDS):
            rest = [sample for number, sample in enumerate(train) if number % FOLDS != fold]
            found += score(trainer(rest), train[fold::FOLDS])
        return found

    return score(max(TRAINERS, key=by_folds)(train), test)


def beyond_chance(tests: int, pairs: int) -> float:
    """The share that not one of `pairs` classifiers that only guess reaches on `tests` samples, but in one run of a
    thousand (normal approximation of the binomial)."""
    tail, deviations = 0.001 / pairs, 0.0
    while math.erfc(deviations / math.sqrt(2)) / 2 > tail:
        deviations += 0.01
    return 0.5 + deviations * 0.5 / math.sqrt(tests)
