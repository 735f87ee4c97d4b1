"""Which recordings are to go, by the rules of `[retention]` (L2, pure: values in, values out).

Invariants: what is held or runs never goes; of several ages that fit a recording the longest counts, so that a rule for
one user never shortens what another rule keeps; a target that the inventory no longer has may have had any label, and
is kept as long as any. By size the oldest go first, and nothing younger than `at_least`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Rules:
    """Seconds, counted from the end of a session; None is for ever. `labels` are "env=prod", `users` identities."""

    max_age: float | None = None
    labels: Mapping[str, float | None] = field(default_factory=dict)
    users: Mapping[str, float | None] = field(default_factory=dict)
    max_bytes: int | None = None
    at_least: float = 0.0

    @property
    def any(self) -> bool:
        """Something may go one day."""
        ages = (self.max_age, *self.labels.values(), *self.users.values())
        return self.max_bytes is not None or any(age is not None for age in ages)


@dataclass(frozen=True, slots=True)
class Kept:
    """One recording that is there and has ended: in the folder, where it has a `path`, or in the bucket, or in both.

    `labels` are those of its target, None when nobody knows them.
    """

    session: str
    ended_at: float
    identity: str
    target: str
    labels: Collection[str] | None
    size: int
    path: str
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Going:
    """One that is to go, and by which rule."""

    recording: Kept
    why: str


def plan(rules: Rules, recordings: Iterable[Kept], held: Collection[str], now: float) -> list[Going]:
    """What is to go now, oldest first."""
    found = sorted(recordings, key=lambda one: (one.ended_at, one.session))
    free = [one for one in found if one.session not in held]
    going = {one.session: Going(one, why) for one, why in _too_old(rules, free, now)}
    if rules.max_bytes is not None:
        total = sum(one.size for one in found if one.session not in going)
        for one in free:
            if total <= rules.max_bytes or now - one.ended_at < rules.at_least:
                break
            if one.session not in going:
                going[one.session] = Going(one, "size")
                total -= one.size
    return [going[one.session] for one in free if one.session in going]


def _too_old(rules: Rules, recordings: Iterable[Kept], now: float) -> Iterator[tuple[Kept, str]]:
    for one in recordings:
        age, why = age_for(rules, one)
        if now - one.ended_at > age:
            yield one, why


def age_for(rules: Rules, one: Kept) -> tuple[float, str]:
    """How long a recording is kept, and by which rule: `age`, `label env=prod` or `user alice`."""
    fits: list[tuple[float, str]] = []
    if one.identity in rules.users:
        fits.append((_seconds(rules.users[one.identity]), f"user {one.identity}"))
    for label, age in rules.labels.items():
        if one.labels is None or label in one.labels:
            fits.append((_seconds(age), f"label {label}"))
    if not fits or (one.labels is None and rules.labels):
        fits.append((_seconds(rules.max_age), "age"))
    return max(fits)


def _seconds(age: float | None) -> float:
    return FOR_EVER if age is None else age
