"""What in a policy is valid but cannot mean what somebody wanted (L1, pure).

The findings go to `bastion check`: faults (an unknown target) and warnings (a rule that gives nothing).
Groups are judged only where every account is known: LDAP's are not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from bastion.options import did_you_mean, shown
from bastion.policy.patterns import is_glob, matches_any
from bastion.policy.rules import EVERYBODY, OWN_NAME, STREAM_VERBS, TUNNEL, WATCH, Policy, Rule
from bastion.policy.targets import Inventory, Target

# Verbs beside which a restriction of sftp means nothing.
_ROUND_SFTP = ("shell", "exec")
# Patterns of `env` that let everything through.
_WIDE_ENV = ("*", "?*")
# Every rule is compared with every other: a second of work at this number.
COMPARED_MAX = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark about a rule. `key` is the option in it; `error` is a fault, otherwise a warning."""

    rule: Rule
    key: str
    error: bool
    text: str
    allowed: str = ""


def review(
    policy: Policy,
    inventory: Inventory,
    groups: Collection[str] | None = None,
    services: Collection[str] = (),
    may_come: Callable[[str], bool] = lambda name: False,
) -> tuple[Finding, ...]:
    """Look at every rule beside the inventory and beside the others.

    `groups`: all that anybody is in, in their one form; None where nobody can know. `services`: names of accounts of
    programs. `may_come`: a target of this name, which is not there, may be there later without anybody writing it down;
    a rule that names it must not be what keeps the others of its inventory from going.
    """
    found: list[Finding] = []
    names = tuple(target.name for target in inventory)
    selected = policy.selections(inventory)
    for index, rule in enumerate(policy.rules):
        found.extend(_targets(rule, inventory, names, selected[index], may_come))
        if groups is not None:
            found.extend(_groups(rule, groups))
        found.extend(_services(rule, services))
        found.extend(_verbs(rule))
        found.extend(_void_sftp(index, policy, inventory))
        if len(policy.rules) <= COMPARED_MAX:
            found.extend(_redundancy(index, policy, inventory))
    return tuple(found)


def _redundancy(index: int, policy: Policy, inventory: Inventory) -> Iterator[Finding]:
    rule, bits = policy.rules[index], policy.selections(inventory)
    for place, other in enumerate(policy.rules):
        if place == index or not _covers(other, rule, bits[place], bits[index]):
            continue
        # Of two rules that give the same, only the later one is said to add nothing.
        if place < index or not _covers(rule, other, bits[index], bits[place]):
            text = f'adds nothing: rule "{other.name}" ({other.origin}) gives all of it'
            yield Finding(rule, "name", False, text)
            return


def _groups(rule: Rule, groups: Collection[str]) -> Iterator[Finding]:
    for group in rule.groups:
        if group != EVERYBODY and group not in groups:
            text = f"nobody in the directory is in group {shown(group)}{did_you_mean(group, groups)}"
            yield Finding(rule, "groups", False, text)


def _services(rule: Rule, services: Collection[str]) -> Iterator[Finding]:
    """What a program may reach stands there by name, so that it does not grow with the inventory."""
    named = [user for user in rule.users if user in services]
    if named and set(rule.verbs) != {TUNNEL} and (not rule.targets or any(map(is_glob, rule.targets))):
        text = f"is for the service {named[0]}, and must name each target"
        yield Finding(rule, "targets", True, text, 'targets = ["web1", "web2"]')


def _targets(
    rule: Rule, inventory: Inventory, names: Collection[str], bits: int, may_come: Callable[[str], bool]
) -> Iterator[Finding]:
    """`names` are those of the inventory, `bits` the targets of it that the rule selects."""
    for pattern in rule.targets:
        if is_glob(pattern):
            if not any(matches_any((pattern,), name) for name in names):
                yield Finding(rule, "targets", False, f'"{pattern}" matches no target')
        elif pattern not in names:
            owner = inventory.find(pattern)
            if owner is not None:
                text = f'"{pattern}" is an alias; rules name targets: "{owner.name}"'
            else:
                text = f'no target "{pattern}"{did_you_mean(pattern, names)}'
            error = owner is not None or not may_come(pattern)
            yield Finding(rule, "targets", error, text, "a name in the inventory or a pattern")
    matched = _selected(inventory, bits)
    if not matched and set(rule.verbs) != {TUNNEL}:
        yield Finding(rule, "labels" if rule.labels else "targets", False, "no target matches this rule")
    fixed = [login for login in rule.logins if OWN_NAME not in login]
    for login in fixed:
        if matched and all(target.logins and login not in target.logins for target in matched):
            yield Finding(
                rule, "logins", False, f'"{login}" is not among the logins of any target it matches'
            )


def _verbs(rule: Rule) -> Iterator[Finding]:
    if "pty" in rule.verbs and not {"shell", "exec"} & set(rule.verbs):
        yield Finding(rule, "verbs", False, 'a "pty" does nothing without "shell" or "exec"')
    if "env" in rule.verbs and any(pattern in _WIDE_ENV for pattern in rule.env):
        yield Finding(rule, "env", False, "lets every variable through but those that are never sent")
    if rule.allow_ssh:
        void = STREAM_VERBS.isdisjoint(rule.verbs)
        text = "has no effect without a tunnel or forward" if void else "lets SSH through that nobody records"
        yield Finding(rule, "allow_ssh", False, text)
    if rule.sftp and (wider := [verb for verb in _ROUND_SFTP if verb in rule.verbs]):
        text = f"is void: {' and '.join(wider)} can read and write every file that the account can"
        yield Finding(rule, "sftp", False, text)
    if EVERYBODY in rule.groups or EVERYBODY in rule.users:
        yield Finding(rule, "groups" if EVERYBODY in rule.groups else "users", False, "is for everybody")


def _void_sftp(index: int, policy: Policy, inventory: Inventory) -> Iterator[Finding]:
    """Another rule gives the same people on the same accounts what makes the paths of this one void."""
    rule = policy.rules[index]
    if not rule.sftp or set(_ROUND_SFTP) & set(rule.verbs):
        return
    bits = policy.selections(inventory)
    for place, other in enumerate(policy.rules):
        wider = [verb for verb in _ROUND_SFTP if verb in other.verbs]
        if "sftp" in other.verbs and not other.sftp:
            wider.append("sftp without paths")
        if other is not rule and wider and _meet(rule, other) and bits[index] & bits[place]:
            text = f'is void for whoever rule "{other.name}" ({other.origin}) gives {" and ".join(wider)}'
            yield Finding(rule, "sftp", False, text)
            return


def _meet(one: Rule, other: Rule) -> bool:
    """Both rules can match the same person on the same account of a target that both select."""
    people = EVERYBODY in (*one.groups, *one.users, *other.groups, *other.users) or (
        set(one.groups) & set(other.groups) or set(one.users) & set(other.users)
    )
    return bool(people and set(one.logins) & set(other.logins))


def _selected(inventory: Inventory, bits: int) -> list[Target]:
    """The targets of these bits."""
    found = []
    for octet, value in enumerate(bits.to_bytes((bits.bit_length() + 7) // 8, "little")):
        while value:
            found.append(inventory.targets[octet * 8 + (value & -value).bit_length() - 1])
            value &= value - 1
    return found


def _times(rule: Rule) -> tuple[object, ...]:
    return rule.hours, rule.days, rule.timezone


def _covers(wide: Rule, narrow: Rule, wide_bits: int, narrow_bits: int) -> bool:
    """True when whatever `narrow` gives, to anybody on any target of the inventory, `wide` gives too.

    The bits are the targets that each selects.

    Rules that limit (idle, max_duration, max_sessions, certificate_expiry, end_withdrawn, tunnel_bytes,
    tunnel_duration, opaque) or want factors are never covered, nor is one with a stricter `watch`: what they say
    still counts.
    """
    if not narrow_bits or narrow_bits & ~wide_bits:
        return False
    everybody = EVERYBODY in wide.groups or EVERYBODY in wide.users
    people = set(narrow.groups) <= set(wide.groups) and set(narrow.users) <= set(wide.users)
    limits = (
        narrow.idle,
        narrow.max_duration,
        narrow.max_sessions,
        narrow.tunnel_bytes,
        narrow.tunnel_duration,
    )
    ends = narrow.certificate_expiry or narrow.end_withdrawn
    limited = any(limit is not None for limit in limits) or ends or not narrow.opaque or bool(narrow.factors)
    flags = ("trust_forwards", "allow_ssh", "tunnel_by_address", "sftp_content")
    limited = limited or WATCH.index(narrow.watch) > WATCH.index(wide.watch)
    more = any(getattr(narrow, flag) and not getattr(wide, flag) for flag in flags)
    if not (everybody or people) or limited or more:
        return False
    if "sftp" in narrow.verbs and wide.sftp and wide.sftp != narrow.sftp:
        return False
    if wide.factors:
        return False
    if (wide.hours or wide.days) and _times(wide) != _times(narrow):
        return False
    if wide.require_verify and not narrow.require_verify:
        return False
    if wide.sources and not (narrow.sources and set(narrow.sources) <= set(wide.sources)):
        return False
    gives = (
        (narrow.logins, wide.logins),
        (narrow.verbs, wide.verbs),
        (narrow.env if "env" in narrow.verbs else (), wide.env),
        (narrow.subsystems, wide.subsystems),
        (narrow.forward, wide.forward),
        (narrow.tunnel, wide.tunnel),
    )
    return all(set(few) <= set(many) for few, many in gives)
