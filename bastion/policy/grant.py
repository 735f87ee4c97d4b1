"""The permission to open one session, as a value that only this module can make (L1, pure).

`authorise` decides (identity, source, target, login) together, once, before anything is dialled. Everything
later is a function of the `Grant`. Invariants: a `Grant` gives no verb that no matching rule gives; a
restriction of a credential only takes away; what may not be reached is refused in the same words as what does
not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple, NoReturn, TypeVar, final

from bastion.auth.factors import CODE, OIDC, OUTSIDE, PASSWORD, RADIUS, Chain, missing
from bastion.auth.identity import TARGET_LOGIN, TARGET_NAME, Identity
from bastion.auth.restrictions import Restrictions
from bastion.errors import PolicyReason, Refused
from bastion.policy.approval import Needed, needed_by
from bastion.policy.rules import NO, OPAQUE_VERBS, TUNNEL, VERBS, WATCH, Policy, Rule
from bastion.policy.sftp import SftpRights
from bastion.policy.targets import Inventory, Target
from bastion.wire.key_options import (
    PERMIT_AGENT_FORWARDING,
    PERMIT_PORT_FORWARDING,
    PERMIT_PTY,
    PERMIT_X11_FORWARDING,
)

# Names listed in one refusal: the line stands in a banner and in a DISCONNECT, and stays one line.
LISTED_MAX = 20

# Which verbs a credential takes away when it lacks the permit (PROTOCOL.certkeys, sshd(8) authorized_keys).
PERMIT_VERBS: Final = MappingProxyType(
    {
        PERMIT_PTY: ("pty",),
        PERMIT_PORT_FORWARDING: ("forward-local", "forward", "forward-remote", "streamlocal"),
        PERMIT_AGENT_FORWARDING: ("agent",),
        PERMIT_X11_FORWARDING: ("x11",),
    }
)

_MAKER: Final = object()
_Limit = TypeVar("_Limit", int, float)
_NOTHING: Final[frozenset[str]] = frozenset()

# Sets of verbs that are kept for all grants that give them: a policy has few, and each is some 400 bytes.
SHARED_MAX = 256


@lru_cache(maxsize=SHARED_MAX)
def _granted_by(given: tuple[tuple[str, str], ...]) -> MappingProxyType[str, str]:
    """`Grant.granted_by` of these pairs; equal for equal, so that sessions under the same rules have one."""
    return MappingProxyType(dict(given))


@final
@dataclass(frozen=True, slots=True)
class Grant:
    """What one session may do. Possession proves permission: only `authorise` can make one.

    `matched` are the rules that gave it, for this target and login, in the order of the file. `granted_by` is
    verb -> name of the first rule that gives it; `withheld` are verbs that a rule gives and the credential
    takes away. Times are seconds since the epoch: `ends_at` ends the session, from `opens_until` on nothing
    new is opened on it. `idle` is in seconds. `inventory` is what nested SSH is recognised by.
    """

    maker: InitVar[object]
    id: str
    identity_name: str
    target: Target
    login: str
    matched: tuple[Rule, ...]
    ends_at: float | None
    opens_until: float | None
    idle: float | None
    restrictions: Restrictions
    inventory: Inventory
    granted_by: MappingProxyType[str, str] = field(init=False)
    withheld: frozenset[str] = field(init=False)

    def __post_init__(self, maker: object) -> None:
        if maker is not _MAKER:
            raise TypeError("only bastion.policy.authorise makes a Grant")
        given: dict[str, str] = {}
        for rule in self.matched:
            for verb in rule.verbs:
                given.setdefault(verb, rule.name)
        withheld = frozenset(
            verb
            for permit, verbs in PERMIT_VERBS.items()
            if not self.restrictions.permits(permit)
            for verb in verbs
            if verb in given
        )
        opaque = all(rule.opaque for rule in self.matched)
        kept = {
            verb: given[verb]
            for verb in VERBS
            if verb in given
            and verb not in withheld
            and verb != TUNNEL
            and (opaque or verb not in OPAQUE_VERBS)
        }
        object.__setattr__(self, "granted_by", _granted_by(tuple(kept.items())))
        object.__setattr__(self, "withheld", withheld or _NOTHING)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Grant is neither copied nor stored")

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(rule.name for rule in self.matched)

    @property
    def env(self) -> tuple[str, ...]:
        """Patterns of the variables that may be sent; empty without the verb."""
        return _once(pattern for rule in self.matched if "env" in rule.verbs for pattern in rule.env)

    @property
    def sftp(self) -> SftpRights | None:
        """What the verb sftp gives; None is everything, as soon as one rule says so."""
        return SftpRights.of((rule.name, rule.sftp) for rule in self.matched if "sftp" in rule.verbs)

    @property
    def sftp_content(self) -> bool:
        """Whether the content of files is recorded: one rule that wants it is enough."""
        return self.target.sftp_content or any(rule.sftp_content for rule in self.matched)

    @property
    def by_certificate(self) -> bool:
        """The gateway logs in to the target by a certificate, which carries what restricts the engineer."""
        return self.target.key_file is None and self.target.password is None

    @property
    def force_command(self) -> str | None:
        return self.restrictions.force_command

    @property
    def trust_forwards(self) -> bool:
        return any(rule.trust_forwards for rule in self.matched)

    @property
    def approval(self) -> Needed:
        """Who has to approve before the session opens; () is nobody. One rule that asks is enough."""
        return needed_by(rule.approval for rule in self.matched)

    @property
    def wait(self) -> float | None:
        """Seconds to wait for that approval; None: not at all, as soon as one rule that asks does not say."""
        waits = [rule.wait for rule in self.matched if rule.approval]
        return None if None in waits else _smallest(waits, None)

    @property
    def end_withdrawn(self) -> bool:
        """Whether the session ends when its rights are withdrawn: one rule that wants it is enough."""
        return any(rule.end_withdrawn for rule in self.matched)

    @property
    def max_sessions(self) -> int | None:
        """Sessions that this person may have at the same time, this one included; None = no limit."""
        return _smallest((rule.max_sessions for rule in self.matched), None)

    @property
    def watch(self) -> str:
        """Whether the session may be watched and its engineer is told: the strictest of the rules counts."""
        return max((rule.watch for rule in self.matched), key=WATCH.index, default=NO)

    @property
    def permits(self) -> frozenset[str]:
        """The extensions that an upstream certificate for this session may carry.

        permit-user-rc is never among them: no verb lets a session run ~/.ssh/rc.
        """
        return frozenset(
            permit for permit, verbs in PERMIT_VERBS.items() if not self.granted_by.keys().isdisjoint(verbs)
        )


class LoginRefused(Refused):
    """The target may be reached, but not as that account. `logins` are those that may be used, preferred first."""

    def __init__(self, text: str, logins: tuple[str, ...]) -> None:
        super().__init__(PolicyReason.LOGIN_NOT_ALLOWED, text)
        self.logins = logins


FACTOR_WORDS: Final = MappingProxyType(
    {
        "certificate": "a certificate",
        "sk-publickey": "a security key",
        "publickey": "a key",
        CODE: "a one-time code",
        PASSWORD: "the directory's password",
        OIDC: "a sign-in at the identity provider",
        RADIUS: "an answer that the RADIUS server accepts",
    }
)


def askable(factors: Chain) -> bool:
    """Can whoever is logged in already be asked for all of them?"""
    return all(factor in (CODE, PASSWORD, *OUTSIDE) for factor in factors)


class FactorsNeeded(Refused):
    """The rules would give it to whoever has proved more: `missing`, in the order in which they are given.

    `trust_forwards`: of these rules, one says so.
    """

    def __init__(self, place: str, missing: Chain, trust_forwards: bool = False) -> None:
        words = " and ".join(FACTOR_WORDS[factor] for factor in missing)
        super().__init__(PolicyReason.FACTOR_NEEDED, f"{place} needs {words}, which this login has not given")
        self.missing = missing
        self.trust_forwards = trust_forwards

    @property
    def askable(self) -> bool:
        """Whoever is logged in already can be asked for all of it."""
        return askable(self.missing)


def check_factors(rules: Iterable[Rule], identity: Identity, place: str) -> None:
    """Raises FactorsNeeded when `identity` has not proved all that these rules want together.

    The strictest counts, as with limits: a rule could be walked round otherwise by not giving its factor.
    """
    rules = tuple(rules)
    left = missing((factor for rule in rules for factor in rule.factors), identity.factors)
    if left:
        raise FactorsNeeded(place, left, any(rule.trust_forwards for rule in rules))


class Giving(NamedTuple):
    """A rule that lets somebody reach a target, and the accounts that it gives there: one at least."""

    rule: Rule
    logins: tuple[str, ...]


class Reachable(NamedTuple):
    """One target that somebody may reach: the accounts, preferred first, and the verbs of any of them."""

    target: Target
    logins: tuple[str, ...]
    verbs: frozenset[str]


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def giving_rules(policy: Policy, identity: Identity, target: Target, source: str, now: float) -> list[Giving]:
    """Rules that let `identity`, coming from `source`, reach `target` at `now` as anybody at all."""
    return [
        Giving(rule, logins)
        for rule in policy.rules
        if rule.matches_identity(identity)
        and rule.matches_target(target)
        and rule.matches_source(source)
        and rule.matches_time(now)
        and (logins := rule.logins_for(identity, target))
    ]


def matching_rules(policy: Policy, identity: Identity, target: Target, source: str, now: float) -> list[Rule]:
    """The same without the accounts."""
    return [giving.rule for giving in giving_rules(policy, identity, target, source, now)]


def _logins(given: Iterable[Giving]) -> tuple[str, ...]:
    """The accounts of all of them, preferred first."""
    return _once(login for giving in given for login in giving.logins)


def tunnel_rules(policy: Policy, identity: Identity, source: str, now: float) -> tuple[Rule, ...]:
    """Rules that let `identity`, coming from `source`, tunnel to somewhere at `now`. A break-glass account does not."""
    if identity.is_break_glass:
        return ()
    return tuple(
        rule
        for rule in policy.rules
        if TUNNEL in rule.verbs
        and rule.matches_identity(identity)
        and rule.matches_source(source)
        and rule.matches_time(now)
    )


def reachable(
    policy: Policy,
    inventory: Inventory,
    identity: Identity,
    source: str | None = None,
    now: float | None = None,
) -> list[Reachable]:
    """What `identity` may reach, in the inventory's order. None: wherever from, and at some time."""
    return list(each_reachable(policy, inventory, identity, source, now))


def each_reachable(
    policy: Policy, inventory: Inventory, identity: Identity, source: str | None, now: float | None
) -> Iterator[Reachable]:
    """As `reachable`, one at a time; no target is looked at that no rule for this identity selects."""
    mine = [
        (rule, bits)
        for rule, bits in zip(policy.rules, policy.selections(inventory), strict=True)
        if bits
        and rule.matches_identity(identity)
        and (source is None or rule.matches_source(source))
        and (now is None or rule.matches_time(now))
    ]
    left = 0
    for _, bits in mine:
        left |= bits
    while left:
        index = (left & -left).bit_length() - 1
        left &= left - 1
        target = inventory.targets[index]
        given = [
            Giving(rule, logins)
            for rule, bits in mine
            if bits >> index & 1 and (logins := rule.logins_for(identity, target))
        ]
        if given:
            verbs = frozenset(verb for giving in given for verb in giving.rule.verbs)
            yield Reachable(target, _logins(given), verbs)


def authorise(
    policy: Policy,
    inventory: Inventory,
    identity: Identity,
    target_name: str,
    login: str | None,
    source: str,
    now: float,
    grant_id: str = "",
) -> Grant:
    """Decide whether `identity`, coming from `source`, may log in to `target_name` as `login`.

    Without a login it is the first one that policy names. `now` in seconds since the epoch; `grant_id` is the
    session's id. Raises `Refused` with a `PolicyReason` and one line for the engineer.
    """
    check_credential(policy, identity, source, now)
    target = inventory.find(target_name)
    given = [] if target is None else giving_rules(policy, identity, target, source, now)
    if target is None or not given:
        reason = PolicyReason.UNKNOWN_TARGET if target is None else PolicyReason.NO_RULE
        raise Refused(reason, not_reachable(policy, inventory, identity, target_name, source, now))
    if target.kind == "gateway":
        text = f"{target.name} is a gateway of its own: reach it with ssh -J"
        raise Refused(PolicyReason.BAD_DESTINATION, text)
    logins = _logins(given)
    chosen = logins[0] if login is None else login
    if chosen not in logins:
        shown = f'login "{chosen}"' if TARGET_LOGIN.match(chosen) else "that login"
        text = f"{shown} is not yours on {target.name}; yours: {listing(logins)}"
        raise LoginRefused(text, logins)
    matched = tuple(giving.rule for giving in given if chosen in giving.logins)
    check_factors(matched, identity, f"{chosen} on {target.name}")
    age = policy.defaults.max_auth_age
    return Grant(
        _MAKER,
        id=grant_id,
        identity_name=identity.name,
        target=target,
        login=chosen,
        matched=matched,
        ends_at=_ends_at(policy, matched, identity, now),
        opens_until=None if age is None else identity.authenticated_at + age,
        idle=_smallest((rule.idle for rule in matched), policy.defaults.idle),
        restrictions=identity.restrictions,
        inventory=inventory,
    )


def probe_grant(inventory: Inventory, target_name: str, login: str, now: float, grant_id: str) -> Grant:
    """A Grant of no verb at all, for `bastion target test`: it can be dialled with, and opens nothing.

    Raises `Refused` for an unknown target or a login that is none.
    """
    target = inventory.find(target_name)
    if target is None or target.kind == "gateway":
        raise Refused(PolicyReason.UNKNOWN_TARGET, "no such target to log in to")
    if not TARGET_LOGIN.match(login) or (target.logins and login not in target.logins):
        raise Refused(PolicyReason.LOGIN_NOT_ALLOWED, "not an account that may be used on this target")
    return Grant(
        _MAKER,
        id=grant_id,
        identity_name="probe",
        target=target,
        login=login,
        matched=(),
        ends_at=now,
        opens_until=now,
        idle=None,
        restrictions=Restrictions(extensions=frozenset()),
        inventory=inventory,
    )


def check_credential(policy: Policy, identity: Identity, source: str, now: float) -> None:
    """Refuse what the login itself no longer allows, whatever the rules say. Raises `Refused`."""
    if not identity.restrictions.allows_source(source):
        text = "your key or certificate may not be used from this address"
        raise Refused(PolicyReason.CERT_RESTRICTION, text)
    if identity.restrictions.ended(now):
        raise Refused(PolicyReason.GRANT_ENDED, "your key or certificate has expired: log in with a new one")
    age = policy.defaults.max_auth_age
    if age is not None and now - identity.authenticated_at >= age:
        raise Refused(PolicyReason.GRANT_ENDED, "this login is too old to open anything new: log in again")


def _smallest(values: Iterable[_Limit | None], default: _Limit | None) -> _Limit | None:
    """The smallest limit that any rule sets; the default when none does."""
    return min((value for value in values if value is not None), default=default)


def _ends_at(policy: Policy, rules: tuple[Rule, ...], identity: Identity, now: float) -> float | None:
    longest = _smallest((rule.max_duration for rule in rules), policy.defaults.max_duration)
    ends = [] if longest is None else [now + longest]
    expiry = identity.restrictions.valid_before
    if expiry is not None and (identity.service or any(rule.certificate_expiry for rule in rules)):
        ends.append(float(expiry))
    return min(ends, default=None)


def listing(names: tuple[str, ...]) -> str:
    """Names for one line, at most `LISTED_MAX` of them."""
    text = ", ".join(names[:LISTED_MAX])
    return text if len(names) <= LISTED_MAX else f"{text} and more"


def not_reachable(
    policy: Policy, inventory: Inventory, identity: Identity, target_name: str, source: str, now: float
) -> str:
    """One text for a target that does not exist and for one that this identity may not reach.

    It depends on what was typed and on what may be reached, never on the rest of the inventory (
    section 4: the gateway must not be a way to list targets).
    """
    typed = target_name.lower().removesuffix(".") if target_name.isascii() else ""
    shown = f'no target "{typed}" for you' if TARGET_NAME.match(typed) else "no such target for you"
    found = islice(each_reachable(policy, inventory, identity, source, now), LISTED_MAX + 1)
    may = tuple(reached.target.name for reached in found)
    reach = f"you may reach: {listing(may)}" if may else "you may reach no target at all"
    places = _once(
        place.text for rule in tunnel_rules(policy, identity, source, now) for place in rule.tunnel
    )
    return f"{shown}; {reach}; tunnels: {listing(places)}" if places else f"{shown}; {reach}"
