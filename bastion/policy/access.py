"""Who can reach what, and by which rule (L1, pure): the list that an auditor reviews.

A row is one account on one target that one rule gives to somebody. It says under which conditions; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bastion.auth.identity import Account, Identity
from bastion.policy.rules import EVERYBODY, Policy, Rule
from bastion.policy.targets import Inventory, Target


@dataclass(frozen=True, slots=True)
class Access:
    """One line of the list. `who` is a user's name, or what the rule says; `origin` is "file:line"."""

    who: str
    target: str
    login: str
    verbs: tuple[str, ...]
    rule: str
    origin: str
    conditions: tuple[str, ...]


def of_user(policy: Policy, inventory: Inventory, account: Account) -> Iterator[Access]:
    """All that one account can reach, in the inventory's order: from somewhere, at some time, with some proof."""
    identity = _somebody(account)
    mine = [
        (rule, bits)
        for rule, bits in zip(policy.rules, policy.selections(inventory), strict=True)
        if bits and rule.matches_person(identity)
    ]
    for index, target in enumerate(inventory):
        for rule, bits in mine:
            if bits >> index & 1:
                for login in rule.logins_for(identity, target):
                    yield _row(account.name, target, login, rule)
    for rule in policy.rules:
        if rule.tunnel and rule.matches_person(identity):
            yield from _tunnels(account.name, rule)


def of_target(policy: Policy, target: Target, known: Iterable[Account] = ()) -> Iterator[Access]:
    """Everybody who can reach one target: the users among `known`, and whatever the rules call people by."""
    identities = [_somebody(account) for account in known]
    for rule in policy.rules:
        if not rule.matches_target(target) or not rule.logins:
            continue
        for identity in identities:
            if rule.matches_person(identity):
                for login in rule.logins_for(identity, target):
                    yield _row(identity.name, target, login, rule)
        names = {identity.name for identity in identities}
        for who in _people(rule, names):
            for login in rule.logins:
                if not target.logins or "{" in login or login in target.logins:
                    yield _row(who, target, login, rule)


def conditions_of(rule: Rule) -> tuple[str, ...]:
    """What else must hold, in words."""
    found = []
    if rule.factors:
        found.append(f"factors {' '.join(rule.factors)}")
    if rule.require_verify:
        found.append("security key that verifies its owner")
    if rule.sources:
        found.append(f"from {' '.join(str(network) for network in rule.sources)}")
    if rule.days or rule.hours:
        spans = " ".join(str(span) for span in (*rule.days, *rule.hours))
        found.append(f"at {spans} {rule.timezone}")
    return tuple(found)


def _people(rule: Rule, known: set[str]) -> Iterator[str]:
    if EVERYBODY in rule.groups or EVERYBODY in rule.users:
        yield "everybody"
        return
    yield from (f"group {group}" for group in rule.groups)
    yield from (user for user in rule.users if user not in known)


def _tunnels(who: str, rule: Rule) -> Iterator[Access]:
    for place in rule.tunnel:
        yield Access(who, place.text, "", ("tunnel",), rule.name, rule.origin, conditions_of(rule))


def _row(who: str, target: Target, login: str, rule: Rule) -> Access:
    road = (f"reached through {' '.join(target.via)}",) if target.via else ()
    conditions = (*conditions_of(rule), *road)
    return Access(who, target.name, login, rule.verbs, rule.name, rule.origin, conditions)


def _somebody(account: Account) -> Identity:
    service = account.service is not None
    return Identity(account.name, account.uid, account.groups, account.source, (), None, "", service=service)
