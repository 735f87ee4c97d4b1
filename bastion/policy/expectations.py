"""A table of what a policy should answer, judged by the decision itself (L1, pure): `bastion policy test`.

Written beside the policy and run whenever that changes: an access that was opened by accident is found before anybody
uses it. Nothing outside is asked: the groups of a user stand in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bastion.auth.factors import FACTORS
from bastion.auth.identity import Identity
from bastion.auth.restrictions import Restrictions
from bastion.errors import PolicyReason
from bastion.options import At, Kind, Problems, Source, Unreadable, did_you_mean, option, read, shown
from bastion.options.kinds import BOOLEAN, choice, list_of, optional, text
from bastion.policy.explain import Explanation, explain, explain_tunnel
from bastion.policy.rules import GROUP, USER, VERB, Policy
from bastion.policy.targets import Inventory

ALLOWED, ASKED, REFUSED = VERDICTS = ("allowed", "asked", "refused")
"""`asked`: allowed once a code or password was given that the login has not."""

EXPECTED_MAX: Final = 10_000
"""Expectations of one file."""


def _read_moment(value: object, at: At) -> float:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise at.wrong(f"{shown(value)} is no moment", MOMENT.allowed)
    return value.timestamp()


MOMENT: Final[Kind[float]] = Kind(
    "moment", "a date and time with its offset: 2026-11-30T17:59:00+01:00", _read_moment, str
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One `[[expect]]`. `origin` is "file:line"."""

    origin: str
    user: str = option(USER, "Who asks.", example='"alice"')
    groups: tuple[str, ...] = option(list_of(GROUP), "The groups that they are in.", default=())
    target: str = option(text(), "A target, or HOST:PORT for a tunnel.", example='"web1"')
    login: str | None = option(
        optional(text()), "The account; not set: the first of the policy.", default=None
    )
    source: str = option(text(), "The address that they come from.", default="")
    at: float | None = option(optional(MOMENT), "When. Not set: now.", default=None)
    factors: tuple[str, ...] = option(list_of(choice(*FACTORS)), "What the login has proved.", default=())
    verified: bool = option(BOOLEAN, "A security key has verified its owner.", default=False)
    verdict: str = option(choice(*VERDICTS), "What the answer should be.", example='"allowed"')
    reason: str | None = option(
        optional(choice(*PolicyReason)), "Why, as the audit log calls it.", default=None
    )
    verbs: tuple[str, ...] = option(list_of(VERB), "Verbs that must be given.", default=())
    without: tuple[str, ...] = option(list_of(VERB), "Verbs that may not be given.", default=())

    def validate(self, at: At) -> None:
        if self.verdict == REFUSED and (self.verbs or self.without):
            at.child("verbs" if self.verbs else "without").wrong("has no effect where it is refused")
        if _place_of(self.target) is not None:
            if self.login is not None:
                at.child("login").wrong("a tunnel has no login", "without login")
            if self.verbs or self.without:
                at.child("verbs" if self.verbs else "without").wrong("a tunnel has no verbs")

    def __str__(self) -> str:
        return f"{self.user} {self.target}" + (f" {self.login}" if self.login else "")


@dataclass(frozen=True, slots=True)
class Judged:
    """An expectation and what is not as it says; nothing when all is."""

    expectation: Expectation
    answer: Explanation
    differences: tuple[str, ...] = field(default=())


def judge(policy: Policy, inventory: Inventory, expected: Expectation, now: float) -> Judged:
    """Make the decision and compare it. `now` in seconds since the epoch, where the expectation says nothing."""
    moment = now if expected.at is None else expected.at
    identity = Identity(
        expected.user,
        "",
        frozenset(expected.groups),
        "expected",
        expected.factors,
        None,
        expected.source,
        Restrictions(),
        moment,
        user_verified=expected.verified,
    )
    place = _place_of(expected.target)
    if place is None:
        answer = explain(
            policy, inventory, identity, expected.target, expected.login, expected.source, moment
        )
    else:
        answer = explain_tunnel(policy, inventory, identity, *place, expected.source, moment)
    return Judged(expected, answer, tuple(_differences(expected, answer)))


def verdict_of(answer: Explanation) -> str:
    """In the words of a table. What cannot be asked for is a refusal: `certificate` and the like."""
    if not answer.allowed:
        return REFUSED
    if not answer.factors:
        return ALLOWED
    return ASKED if answer.askable else REFUSED


def _differences(expected: Expectation, answer: Explanation) -> list[str]:
    verdict = verdict_of(answer)
    reason = answer.reason if not answer.factors else PolicyReason.FACTOR_NEEDED
    if verdict != expected.verdict:
        return [f"expected {expected.verdict}, is {verdict} ({reason}): {answer.text}"]
    found = []
    if expected.reason is not None and reason != expected.reason:
        found.append(f"expected reason {expected.reason}, is {reason}")
    given = frozenset() if answer.grant is None else answer.grant.granted_by.keys()
    if missing := [verb for verb in expected.verbs if verb not in given]:
        found.append(f"does not give {', '.join(missing)}")
    if more := [verb for verb in expected.without if verb in given]:
        found.append(f"gives {', '.join(more)}")
    return found


def _place_of(target: str) -> tuple[str, int] | None:
    """`HOST:PORT`, which no target is called."""
    host, colon, port = target.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or len(port) > 5:
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_expectations(document: Mapping[str, object], source: Source) -> tuple[Expectation, ...]:
    """Read `[[expect]]` tables. Raises ConfigErrors with every fault."""
    problems = Problems()
    root = At(source, problems)
    for key in document:
        if key != "expect":
            root.child(key).wrong(f'unknown table "{key}"{did_you_mean(key, ["expect"])}', "expect")
    tables = document.get("expect", [])
    if not isinstance(tables, list) or not tables:
        root.child("expect").wrong("must be one table or more such as [[expect]]", "[[expect]]")
        tables = []
    if len(tables) > EXPECTED_MAX:
        root.child("expect").wrong(f"has more than {EXPECTED_MAX} entries", "several files")
        tables = []
    found = []
    for index, table in enumerate(tables):
        at = root.child("expect").child(index)
        try:
            found.append(read(Expectation, table, at, origin=f"{source.file}:{at.line}"))
        except Unreadable:
            continue
    problems.raise_any()
    return tuple(found)
