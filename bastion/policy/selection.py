"""Which targets each rule selects, computed once for a policy and an inventory (L1, pure).

A refusal lists what may be reached, and an engineer who mistypes a name must not make the gateway compare every
rule with every target while all sessions wait. One integer per rule: bit n is set when the rule selects target n.
10,000 targets and 1,000 rules take 1.3 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bastion.policy.patterns import expression_of, is_glob, matches_any
from bastion.policy.targets import Inventory


class Selecting(NamedTuple):
    """What a rule selects targets by: patterns of names, one of which must match, and labels, all of which must."""

    targets: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]


def selections(rules: Iterable[Selecting], inventory: Inventory) -> tuple[int, ...]:
    """For each rule the bits of the targets for which its `matches_target` holds."""
    selector = _Selector(inventory)
    return tuple(selector.bits_of(rule) for rule in rules)


class _Selector:
    """Keeps the bits of every pattern and label met so far: policies repeat themselves."""

    def __init__(self, inventory: Inventory) -> None:
        self._targets = inventory.targets
        self._names = {target.name: index for index, target in enumerate(inventory.targets)}
        self._all = (1 << len(self._targets)) - 1
        self._patterns: dict[str, int] = {}
        self._labels: dict[tuple[str, tuple[str, ...]], int] = {}
        self._values: dict[str, dict[str, int]] = {}  # key -> value -> the targets that have it

    def bits_of(self, rule: Selecting) -> int:
        bits = 0 if rule.targets else self._all
        for pattern in rule.targets:
            if pattern not in self._patterns:
                self._patterns[pattern] = self._pattern(pattern)
            bits |= self._patterns[pattern]
        for label in rule.labels.items():
            if label not in self._labels:
                self._labels[label] = self._label(label)
            bits &= self._labels[label]
        return bits

    def _pattern(self, pattern: str) -> int:
        if is_glob(pattern):
            match = expression_of(pattern).match
            return _bits(match(name) is not None for name in self._names)
        index = self._names.get(pattern)
        return 0 if index is None else 1 << index

    def _label(self, label: tuple[str, tuple[str, ...]]) -> int:
        key, patterns = label
        bits = 0
        for value, those in self._values_of(key).items():
            if matches_any(patterns, value):
                bits |= those
        return bits

    def _values_of(self, key: str) -> dict[str, int]:
        """Targets have few different values: each is matched once, and not once for each target that has it."""
        found = self._values.get(key)
        if found is None:
            indices: dict[str, list[int]] = {}
            for index, target in enumerate(self._targets):
                value = target.labels.get(key)
                if value is not None:
                    indices.setdefault(value, []).append(index)
            found = self._values[key] = {value: _set_bits(those) for value, those in indices.items()}
        return found


def _set_bits(indices: Sequence[int]) -> int:
    """The integer with these bits."""
    octets = bytearray(indices[-1] // 8 + 1)
    for index in indices:
        octets[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(octets, "little")


def _bits(flags: Iterable[bool]) -> int:
    """The integer whose bit n is the n-th flag."""
    text = "".join("1" if flag else "0" for flag in flags)
    return int(text[::-1], 2) if text else 0
