"""Why somebody may or may not reach a target: every rule, with the condition that failed (L1, pure).

Invariant: the answer comes from `authorise` itself; the traces only tell why. For operators: the text names
targets that the engineer in question would never hear of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from bastion.auth.factors import Chain
from bastion.auth.identity import Identity
from bastion.errors import PolicyReason, Refused
from bastion.options import nearest
from bastion.policy.approval import in_words
from bastion.policy.grant import FACTOR_WORDS, FactorsNeeded, Grant, askable, authorise, matching_rules
from bastion.policy.route import ToGateway
from bastion.policy.rules import TUNNEL, Policy, Rule
from bastion.policy.schedule import local_time
from bastion.policy.targets import Inventory, Target
from bastion.policy.tunnel import TunnelGrant, authorise_tunnel

SOURCE = "source"
Made = TypeVar("Made")


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
    """The answer to one question. `text` is what the engineer would read.

    `grant` is the session's, `tunnel` the tunnel's, when the answer is yes. `sources`: no source was given, and from
    these networks further rules match. `factors`: the answer is for whoever has proved, or gives when asked, these.
    """

    allowed: bool
    reason: PolicyReason
    text: str
    note: str
    traces: tuple[Trace, ...]
    grant: Grant | None
    tunnel: TunnelGrant | None = None
    sources: tuple[str, ...] = ()
    factors: Chain = ()

    @property
    def askable(self) -> bool:
        """Whoever is logged in already can be asked for those."""
        return askable(self.factors)


def _decided(identity: Identity, decide: Callable[[Identity], Made]) -> tuple[Made, Chain]:
    """The decision for whoever has all factors that the rules want, and those."""
    try:
        return decide(identity), ()
    except FactorsNeeded as needed:
        given = replace(identity, factors=(*identity.factors, *needed.missing))
        return decide(given), needed.missing


def _with(factors: Chain) -> str:
    return f", with {' and '.join(FACTOR_WORDS[factor] for factor in factors)}" if factors else ""


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
        else tuple(_trace(rule, identity, target, login, source, now) for rule in policy.rules)
    )
    note = _note(policy, inventory, target, target_name)
    sources = _sources(policy, traces, source)
    try:
        grant, factors = _decided(
            identity, lambda who: authorise(policy, inventory, who, target_name, login, source, now)
        )
    except Refused as refused:
        assert isinstance(refused.reason, PolicyReason)
        return Explanation(False, refused.reason, refused.text, note, traces, None, sources=sources)
    text = f"{identity.name} may log in to {grant.target.name} as {grant.login}{_with(factors)}"
    if grant.approval:
        text += f", when {in_words(grant.approval)} has approved it"
    return Explanation(
        True, PolicyReason.ALLOWED, text, note, traces, grant, sources=sources, factors=factors
    )


def explain_tunnel(
    policy: Policy, inventory: Inventory, identity: Identity, host: str, port: int, source: str, now: float
) -> Explanation:
    """The same for a tunnel to `host:port`, as far as the text goes: addresses are judged when it is dialled."""
    gateways = [target for target in inventory.at(host, port) if target.kind == "gateway"]
    target = gateways[0] if gateways else None
    gateway = None
    if target is None:
        traces = tuple(_tunnel_trace(rule, identity, host, port, source, now) for rule in policy.rules)
    else:
        gateway = ToGateway(target, tuple(matching_rules(policy, identity, target, source, now)))
        traces = tuple(_trace(rule, identity, target, None, source, now) for rule in policy.rules)
    note = "" if policy.rules else "the policy has no rules"
    others = [found.name for found in inventory.at(host, port) if found is not target]
    if others:
        note = f"that is the SSH server of {', '.join(others)}: ask about the target by its name"
    sources = _sources(policy, traces, source)
    try:
        grant, factors = _decided(
            identity, lambda who: authorise_tunnel(policy, inventory, who, host, port, source, now, gateway)
        )
    except Refused as refused:
        assert isinstance(refused.reason, PolicyReason)
        return Explanation(False, refused.reason, refused.text, note, traces, None, sources=sources)
    text = f"{identity.name} may tunnel to {grant.host}:{port}{_with(factors)}"
    if not grant.by_text:
        text += ", if its name leads to an address in these networks"
    return Explanation(True, PolicyReason.ALLOWED, text, note, traces, None, grant, sources, factors)


def _tunnel_trace(rule: Rule, identity: Identity, host: str, port: int, source: str, now: float) -> Trace:
    listed = any(place.covers(host, port) for place in rule.tunnel)
    places = ", ".join(place.text for place in rule.tunnel) or "no place"
    by_address = "; names match by address too" if rule.tunnel_by_address else ""
    conditions = [
        Condition("identity", rule.matches_person(identity), _identity_detail(rule, identity)),
        *_proof_condition(rule, identity),
        Condition("verb", TUNNEL in rule.verbs, f"gives {', '.join(rule.verbs)}"),
        Condition("destination", listed or rule.tunnel_by_address, f"{host}:{port} in {places}{by_address}"),
    ]
    if rule.sources:
        conditions.append(_source_condition(rule, source))
    conditions.extend(_time_condition(rule, now))
    return Trace(rule.name, rule.origin, all(condition.holds for condition in conditions), tuple(conditions))


def _sources(policy: Policy, traces: tuple[Trace, ...], source: str) -> tuple[str, ...]:
    """The networks from which rules match that fail here for nothing but that no source was given."""
    if source:
        return ()
    found = [
        str(network)
        for rule, trace in zip(policy.rules, traces, strict=False)
        if [condition.what for condition in trace.conditions if not condition.holds] == [SOURCE]
        for network in rule.sources
    ]
    return tuple(dict.fromkeys(found))


def _source_condition(rule: Rule, source: str) -> Condition:
    networks = ", ".join(str(network) for network in rule.sources)
    return Condition(SOURCE, rule.matches_source(source), f"{source or 'not given'} in {networks}")


def _time_condition(rule: Rule, now: float) -> list[Condition]:
    if not rule.hours and not rule.days:
        return []
    wanted = " ".join(", ".join(map(str, spans)) for spans in (rule.days, rule.hours) if spans)
    detail = f"{local_time(rule.timezone, now)} in {rule.timezone}, wants {wanted}"
    return [Condition("time", rule.matches_time(now), detail)]


def _proof_condition(rule: Rule, identity: Identity) -> list[Condition]:
    """Of a rule that wants more than that somebody is who they are."""
    if not rule.require_verify:
        return []
    detail = "a security key that has verified its owner"
    return [Condition("proof", rule.matches_proof(identity), detail)]


def _note(policy: Policy, inventory: Inventory, target: Target | None, target_name: str) -> str:
    if target is None:
        close = nearest(target_name, inventory.names)
        hint = f'; the nearest name is "{close}"' if close else ""
        return f"the inventory has {len(inventory)} targets and none of that name{hint}"
    return "" if policy.rules else "the policy has no rules"


def _trace(
    rule: Rule, identity: Identity, target: Target, login: str | None, source: str, now: float
) -> Trace:
    logins = rule.logins_for(identity, target)
    conditions = [
        Condition("identity", rule.matches_person(identity), _identity_detail(rule, identity)),
        *_proof_condition(rule, identity),
        Condition("target", rule.matches_name(target), _target_detail(rule, target)),
        Condition(
            "login", login in logins if login is not None else bool(logins), _login_detail(rule, logins)
        ),
    ]
    if rule.labels:
        wanted = ", ".join(f"{key} = {' or '.join(values)}" for key, values in rule.labels.items())
        has = ", ".join(f"{key} = {value}" for key, value in target.labels.items()) or "none"
        conditions.insert(
            -1, Condition("labels", rule.matches_labels(target), f"wants {wanted}; it has {has}")
        )
    if rule.sources:
        conditions.append(_source_condition(rule, source))
    conditions.extend(_time_condition(rule, now))
    return Trace(rule.name, rule.origin, all(condition.holds for condition in conditions), tuple(conditions))


def _identity_detail(rule: Rule, identity: Identity) -> str:
    if rule.matches_person(identity):
        shared = sorted(identity.groups & set(rule.groups))
        return (
            f"is in {', '.join(shared)}"
            if shared
            else "is named"
            if identity.name in rule.users
            else "everybody"
        )
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
