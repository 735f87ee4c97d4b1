"""Does somebody who logged in a while ago still have the account, and the rights? Asked again (L3).

Two questions. Before anything new is opened on an old outer connection, `Standing` asks the directory when its last
answer is older than FRESH or than the last reload: an account that is gone opens nothing. For what runs, `Rechecks`
asks after every reload and every `[directory] recheck` seconds, and ends the sessions and tunnels whose account is gone
or that no rule allows any more, when a rule that gave them says `end_withdrawn`; and the connections of an account that
is gone, once nothing goes on in them.

Invariants: a directory that does not answer ends nothing. It is asked once for each identity, one at a time, behind
everybody who waits for a login; new channels of one connection wait for one question.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.auth.directory import SILENT, Asker
from bastion.auth.factors import missing
from bastion.auth.identity import Account, Identity
from bastion.clock import DelayedCall
from bastion.errors import AuthReason, EndReason, LimitReason, PolicyReason, Refused
from bastion.policy.grant import giving_rules, matching_rules
from bastion.policy.route import ToGateway
from bastion.policy.tunnel import TunnelGrant, authorise_tunnel
from bastion.recording.format import REF_LENGTH
from bastion.session.ending import End
from bastion.session.gateway import Gateway, Services
from bastion.session.live import Right
from bastion.session.present import Kind, Present
from bastion.session.session import Session

FRESH: Final = 60.0
"""Seconds for which an answer about an account counts: the longest that somebody who was removed can still open
something on a connection that is open. A Deferred and a message to the directory per engineer and minute at most."""

UNANSWERED: Final = 600.0
"""Seconds for which the last answer counts while the directory does not answer. After that nothing new is opened, as
nobody can log in either: an outage must not be what keeps an account alive."""

GAP: Final = 0.1
"""Seconds between two questions of one round, or less where a round would take longer than half of its interval."""

GONE: Final = frozenset((AuthReason.UNKNOWN_USER, AuthReason.ACCOUNT_LOCKED, AuthReason.ACCOUNT_EXPIRED))
"""Answers that say that the account is none any more. Whatever else goes wrong ends no session."""

_NOT_GIVEN: Final = frozenset(
    (PolicyReason.DESTINATION_NOT_ALLOWED, PolicyReason.NESTED_SSH, PolicyReason.FACTOR_NEEDED)
)
"""Why a tunnel is let no more; whatever else may be said now ends none."""

GONE_TEXT: Final = "your account has been locked or removed"
CLOSED_TEXT: Final = "break-glass accounts are closed again"
NO_RULE_TEXT: Final = "no rule lets you do this any more"


def is_silent(refusal: Refused) -> bool:
    """The directory gave no answer, or had no time for one: it says nothing about the account."""
    return refusal.reason in SILENT or isinstance(refusal.reason, LimitReason)


class Standing:
    """The account behind one outer connection. `identity` has the groups of the last answer."""

    __slots__ = ("_asked_at", "_asking", "_gateway", "_reloads", "_waiting", "identity")

    def __init__(self, gateway: Gateway, identity: Identity) -> None:
        self.identity = identity
        self._gateway = gateway
        self._asked_at = gateway.reactor.seconds()
        self._reloads = gateway.reloads
        self._asking: Deferred[Account] | None = None
        self._waiting: list[Callable[[Refused | None], None]] = []

    def ask(self, then: Callable[[Refused | None], None]) -> None:
        """Call `then` with None when something new may be opened, or with why not: at once, or with the answer."""
        if self.identity.is_break_glass and not self._gateway.broken_by:
            then(Refused(PolicyReason.ACCOUNT_GONE, CLOSED_TEXT))
            return
        fresh = self._age() < FRESH and self._reloads == self._gateway.reloads
        if self._asking is None and fresh:
            then(None)
            return
        self._waiting.append(then)
        if self._asking is None:
            gateway, name = self._gateway, self.identity.name
            certified = self.identity.certificate is not None
            asker = Asker(gateway.budget.identity(name), certified=certified)
            self._asking = asking = gateway.services.auth.directory.lookup(name, asker)
            asking.addCallbacks(self._answered, self._refused)

    def stop(self) -> None:
        """The connection is over: nobody waits any more."""
        asking, self._asking = self._asking, None
        self._waiting.clear()
        if asking is not None:
            asking.addErrback(lambda _: None)
            asking.cancel()

    def _age(self) -> float:
        return float(self._gateway.reactor.seconds() - self._asked_at)

    def _answered(self, account: Account) -> None:
        if account.uid != self.identity.uid:
            self._tell(Refused(PolicyReason.ACCOUNT_GONE, "the account is another one than at the login"))
            return
        self._asked_at, self._reloads = self._gateway.reactor.seconds(), self._gateway.reloads
        self.identity = replace(self.identity, groups=account.groups)
        self._tell(None)

    def _refused(self, failure: Failure) -> None:
        refusal = failure.value
        if not isinstance(refusal, Refused):
            self._gateway.log_failure("asking for an account again", failure)
            refusal = Refused(AuthReason.DIRECTORY_UNAVAILABLE, "the gateway could not ask for your account")
        if not is_silent(refusal):
            gone = refusal.reason in GONE
            self._tell(Refused(PolicyReason.ACCOUNT_GONE, GONE_TEXT if gone else refusal.text))
        elif self._age() < UNANSWERED:
            self._tell(None)
        else:
            self._tell(Refused(PolicyReason.ACCOUNT_UNCONFIRMED, refusal.text))

    def _tell(self, refusal: Refused | None) -> None:
        self._asking = None
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(refusal)


class Rechecks:
    """One per process: `start` it, and call `now` after a reload. Asks about the sessions that run."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._timer: DelayedCall | None = None
        self._names: deque[str] = deque()
        self._gap = GAP
        self._asking: Deferred[Account] | None = None

    def start(self) -> None:
        self._schedule()

    def stop(self) -> None:
        """Nothing fires after this."""
        self._cancel()
        self._names.clear()
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.addErrback(lambda _: None)
            asking.cancel()

    def now(self) -> None:
        """Begin a round: everybody is asked about once more."""
        interval = self._gateway.services.limits.recheck
        names = {right.identity.name for _, right in self._gateway.live.rights()}
        names |= {one.party.user for one in self._gateway.present if _is_asked(one)}
        self._names = deque(sorted(names))
        self._gap = min(GAP, (interval or GAP) / 2 / max(len(self._names), 1))
        if self._asking is None:
            self._cancel()
            self._next()

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _schedule(self) -> None:
        interval = self._gateway.services.limits.recheck
        if interval:
            self._timer = self._gateway.reactor.callLater(interval, self.now)

    def _next(self) -> None:
        self._timer = None
        if not self._names:
            self._schedule()
            return
        name = self._names.popleft()
        self._asking = self._gateway.services.auth.directory.lookup(name, Asker(None, query=True))
        self._asking.addCallbacks(self._stands, self._refused, (name,), {}, (name,))
        self._asking.addErrback(lambda failure: self._gateway.log_failure("asking for rights again", failure))
        self._asking.addCallback(self._go_on)

    def _go_on(self, _: object) -> None:
        self._asking = None
        self._timer = self._gateway.reactor.callLater(self._gap, self._next)

    def _stands(self, account: Account, name: str) -> None:
        services, now = self._gateway.services, self._gateway.clock.time()
        for session, right in self._gateway.live.rights():
            mine = right.identity.name == name and right.identity.uid == account.uid
            if mine and not still_allowed(services, right, account, now):
                self._end(session, NO_RULE_TEXT)
        for one in self._gateway.present:
            grant = one.tunnel if one.party.user == name and one.party.uid == account.uid else None
            if grant is None or not grant.end_withdrawn or not one.address:
                continue
            if not tunnel_still_allowed(services, grant, one.address, account, now):
                one.end(_ending(one, NO_RULE_TEXT))
        self._gone(name, account.uid)

    def _refused(self, failure: Failure, name: str) -> None:
        refusal = failure.value
        if not isinstance(refusal, Refused):
            self._gateway.log_failure("asking for rights again", failure)
        elif refusal.reason in GONE:
            self._gone(name, None)

    def _gone(self, name: str, uid: str | None) -> None:
        """The account that is called so is none any more, or another one now: `uid`. What rules want ended ends, and
        then connections of it with nothing inside that goes on: they can open nothing new."""
        ended: set[str] = set()
        for session, right in self._gateway.live.rights():
            if right.identity.name == name and right.identity.uid != uid:
                ended.add(session.session_id)
                self._end(session, GONE_TEXT)
        theirs = [one for one in self._gateway.present if one.party.user == name and one.party.uid != uid]
        for one in theirs:
            if one.tunnel is not None and one.tunnel.end_withdrawn:
                ended.add(one.id)
                one.end(_ending(one, GONE_TEXT))
        kept = {one.connection for one in theirs if one.id not in ended}
        for one in theirs:
            if one.kind is Kind.CONNECTION and one.id not in kept:
                one.end(_ending(one, GONE_TEXT))

    def _end(self, session: Session, text: str) -> None:
        session.end(End(EndReason.RIGHTS_WITHDRAWN, text, ref=session.session_id[:REF_LENGTH]))


def _is_asked(one: Present) -> bool:
    """Connections of a gone account end, and tunnels where a rule wants that."""
    return one.kind is Kind.CONNECTION or (one.tunnel is not None and one.tunnel.end_withdrawn)


def _ending(one: Present, text: str) -> End:
    return End(EndReason.RIGHTS_WITHDRAWN, text, ref=one.id[:REF_LENGTH])


def tunnel_still_allowed(
    services: Services, grant: TunnelGrant, address: str, account: Account, now: float
) -> bool:
    """The same of a tunnel that is connected to `address`."""
    lasting = replace(grant.identity.restrictions, valid_before=None)
    identity = replace(grant.identity, groups=account.groups, authenticated_at=now, restrictions=lasting)
    policy, inventory, source = services.policy, services.inventory, identity.source_address
    gateway = None
    if grant.target is not None:
        target = inventory.find(grant.target.name)
        rules = [] if target is None else matching_rules(policy, identity, target, source, now)
        if target is None or target.kind != "gateway" or not rules:
            return False
        gateway = ToGateway(target, tuple(rules))
    try:
        again = authorise_tunnel(policy, inventory, identity, grant.host, grant.port, source, now, gateway)
        again.route(address, services.dialler.own)
    except Refused as refusal:
        return refusal.reason not in _NOT_GIVEN
    return True


def still_allowed(services: Services, right: Right, account: Account, now: float) -> bool:
    """Does some rule in force at `now` let this account go where the session is? Age and expiry have other clocks."""
    identity = replace(right.identity, groups=account.groups)
    target = services.inventory.find(right.target)
    if target is None:
        return False
    given = giving_rules(services.policy, identity, target, identity.source_address, now)
    rules = [giving.rule for giving in given if right.login in giving.logins]
    return bool(rules) and not missing((name for rule in rules for name in rule.factors), identity.factors)
