"""The same decision told to the engineer it is about: by rules that are for them, and no word of others' (L1, pure).

Invariant: a rule is named only to whom it is for, and only with targets that it selects; of everything else the text is
what the refusal itself says.
"""

from __future__ import annotations

from bastion.auth.identity import Identity
from bastion.options.kinds import show_seconds
from bastion.policy.explain import Explanation, Trace, explain, explain_tunnel
from bastion.policy.grant import FACTOR_WORDS
from bastion.policy.rules import Policy
from bastion.policy.targets import Inventory

# Conditions by which a rule is about somebody and a place at all; the others may change with the hour.
_ABOUT = frozenset(("identity", "target", "labels", "verb", "destination"))


def tell(
    policy: Policy,
    inventory: Inventory,
    identity: Identity,
    target: str,
    login: str | None,
    now: float,
) -> tuple[bool, str]:
    """Yes or no, and lines for the engineer who has logged in as `identity`. `target` may be HOST:PORT.

    Raises ValueError for a port that is none.
    """
    host, colon, port = target.rpartition(":")
    source = identity.source_address
    if colon:
        if not port.isascii() or not port.isdecimal() or len(port) > 5:
            raise ValueError("a port is a number")
        place = host.removeprefix("[").removesuffix("]")
        answer = explain_tunnel(policy, inventory, identity, place, int(port), source, now)
    else:
        answer = explain(policy, inventory, identity, target, login, source, now)
    return answer.allowed, "".join(f"{line}\n" for line in _lines(answer, now))


def _lines(answer: Explanation, now: float) -> list[str]:
    if not answer.allowed:
        lines = [f"no: {answer.text}"]
        nearly = [trace for trace in answer.traces if not trace.matched and _is_about(trace)]
        return lines + [f"  rule {trace.rule} is yours, but: {_missing(trace)}" for trace in nearly]
    lines = [f"yes: {answer.text}"]
    for factor in answer.factors:
        asked = "asked for when you open it" if answer.askable else "log in with it"
        lines.append(f"  needs {FACTOR_WORDS[factor]}: {asked}")
    grant = answer.grant
    if grant is not None:
        lines.append(f"  by rule {', '.join(grant.rules)}: {', '.join(grant.granted_by)}")
        if grant.withheld:
            lines.append(f"  your key or certificate takes away: {', '.join(sorted(grant.withheld))}")
        if grant.ends_at is not None:
            lines.append(f"  ends after {show_seconds(grant.ends_at - now)}")
        if grant.max_sessions is not None:
            lines.append(f"  at most {grant.max_sessions} at a time")
    elif answer.tunnel is not None:
        rules = answer.tunnel.by_text or answer.tunnel.by_address
        lines.append(f"  by rule {', '.join(rule.name for rule in rules)}")
    return lines


def _is_about(trace: Trace) -> bool:
    return all(condition.holds for condition in trace.conditions if condition.what in _ABOUT)


def _missing(trace: Trace) -> str:
    return "; ".join(
        f"{condition.what}: {condition.detail}" for condition in trace.conditions if not condition.holds
    )
