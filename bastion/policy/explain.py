"""Why somebody may or may not reach a target: every rule, with the condition that failed (L1, pure).

Invariant: the answer comes from `authorise` itself; the traces only tell why. For operators: the text names
targets that the engineer in question would never hear of.
"""

from __future__ import annotations

from dataclasses import dataclass

from bastion.auth.identity import Identity
from bastion.errors import PolicyReason, Refused
from bastion.options import nearest
from bastion.policy.grant import Grant, authorise
from bastion.policy.rules import Policy, Rule
from bastion.policy.targets import Inventory, Target


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule: what it looks at, whether it holds, and the values compared."""

    what: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One rule and what became of it. `origin` is "file:line"."""

    rule: str
    origin: str
    matched: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to one question. `grant` is None when it is no; `text` is what the engineer would read."""

    allowed: bool
    reason: PolicyReason
    text: str
    note: str
    traces: tuple[Trace, ...]
    grant: Grant | None


def explain(
    policy: Policy,
    inventory: Inventory,
    identity: Identity,
    target_name: str,
    login: str | None,
    source: str,
    now: float,
) -> Explanation:
    """Decide as `authorise` does and say of every rule why it matched or not. Never raises `Refused`."""
    target = inventory.find(target_name)
    traces = (
        ()
        if target is None
        else tuple(_trace(rule, identity, target, login, source) for rule in policy.rules)
    )
    note = _note(policy, inventory, target, target_name)
    try:
        grant = authorise(policy, inventory, identity, target_name, login, source, now)
    except Refused as refused:
        assert isinstance(refused.reason, PolicyReason)
        return Explanation(False, refused.reason, refused.text, note, traces, None)
    text = f"{identity.name} may log in to {grant.target.name} as {grant.login}"
    return Explanation(True, PolicyReason.ALLOWED, text, note, traces, grant)


def _note(policy: Policy, inventory: Inventory, target: Target | None, target_name: str) -> str:
    if target is None:
        close = nearest(target_name, inventory.names)
        hint = f'; the nearest name is "{close}"' if close else ""
        return f"the inventory has {len(inventory)} targets and none of that name{hint}"
    return "" if policy.rules else "the policy has no rules"


def _trace(rule: Rule, identity: Identity, target: Target, login: str | None, source: str) -> Trace:
    logins = rule.logins_for(identity, target)
    conditions = [
        Condition("identity", rule.matches_identity(identity), _identity_detail(rule, identity)),
        Condition("target", rule.matches_name(target), _target_detail(rule, target)),
        Condition(
            "login", login in logins if login is not None else bool(logins), _login_detail(rule, logins)
        ),
    ]
    if rule.labels:
        wanted = ", ".join(f"{key} = {' or '.join(values)}" for key, values in rule.labels.items())
        has = ", ".join(f"{key} = {value}" for key, value in target.labels.items()) or "none"
        conditions.insert(
            2, Condition("labels", rule.matches_labels(target), f"wants {wanted}; it has {has}")
        )
    if rule.sources:
        networks = ", ".join(str(network) for network in rule.sources)
        conditions.append(
            Condition("source", rule.matches_source(source), f"{source or 'unknown'} in {networks}")
        )
    return Trace(rule.name, rule.origin, all(condition.holds for condition in conditions), tuple(conditions))


def _identity_detail(rule: Rule, identity: Identity) -> str:
    if rule.matches_identity(identity):
        shared = sorted(identity.groups & set(rule.groups))
        return (
            f"is in {', '.join(shared)}"
            if shared
            else "is named"
            if identity.name in rule.users
            else "everybody"
        )
    folded = {group.casefold(): group for group in identity.groups}
    for group in rule.groups:
        if group.casefold() in folded:
            return f'is in "{folded[group.casefold()]}", the rule says "{group}": groups are compared exactly'
    wanted = [f"group {group}" for group in rule.groups] + [f"user {user}" for user in rule.users]
    return f"is none of: {', '.join(wanted)}"


def _target_detail(rule: Rule, target: Target) -> str:
    if not rule.targets:
        return "any name"
    if rule.matches_name(target):
        return f"{target.name} matches"
    return f"{target.name} is none of: {', '.join(rule.targets)}"


def _login_detail(rule: Rule, logins: tuple[str, ...]) -> str:
    return f"gives {', '.join(logins)}" if logins else f"none of {', '.join(rule.logins)} may be used there"
