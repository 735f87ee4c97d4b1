"""What attempts to log in are made with: a configuration's value, and one connection's (L2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from bastion.auth.break_glass import NO_BREAK_GLASS, BreakGlassRules
from bastion.auth.budget import Purse, Work
from bastion.auth.ca_scope import CaScopes
from bastion.auth.codes import Codes
from bastion.auth.directory import Directory
from bastion.auth.factors import Chain
from bastion.auth.key_counters import KeyCounters
from bastion.auth.outside import OutsideFactor
from bastion.auth.revocation import NOTHING_REVOKED, Revocation
from bastion.auth.security_keys import TOUCH_ONLY, Demands
from bastion.auth.throttle import Penalties
from bastion.clock import Clock
from bastion.errors import AuthReason, Refused
from bastion.observe.audit import AuditLog
from bastion.observe.families.opening import AUTH_SECONDS
from bastion.observe.meters import Meters
from bastion.observe.rationed import RationedLog
from bastion.observe.spans import STEPS, Trace
from bastion.recording.format import REF_LENGTH
from bastion.wire.keys import PublicKey

NOBODY_ELSE: Final[Mapping[str, OutsideFactor]] = MappingProxyType({})
"""No other judges anything."""


@dataclass(frozen=True, slots=True)
class AuthServices:
    """What authentication needs; one value, swapped whole at a reload."""

    directory: Directory
    login_cas: tuple[PublicKey, ...]
    penalties: Penalties
    methods: tuple[str, ...]
    chains: tuple[Chain, ...]  # each is enough
    demands: Demands = TOUCH_ONLY
    revocation: Revocation = NOTHING_REVOKED
    break_glass: BreakGlassRules = NO_BREAK_GLASS
    factor_ttl: float = 3600.0  # seconds that a factor counts which was given later, for its outer connection
    ca_scopes: CaScopes = field(default_factory=CaScopes)
    issuers: tuple[PublicKey, ...] = ()  # of the login CAs those that certificates are issued with here
    outside: Mapping[str, OutsideFactor] = field(
        default_factory=lambda: NOBODY_ELSE
    )  # factor -> who judges it

    def chains_of(self, break_glass: bool) -> tuple[Chain, ...]:
        """What an account proves at the login. One for emergencies is asked for its code at a door of its own."""
        return self.break_glass.key_chains if break_glass else self.chains

    @property
    def chains_of_anybody(self) -> tuple[Chain, ...]:
        """What somebody may begin with of whom it is not known yet what account it is, and may not be told."""
        special = self.break_glass.key_chains if self.break_glass.names else ()
        return tuple(dict.fromkeys((*self.chains, *special)))

    @property
    def outside_wait(self) -> float:
        """Seconds that all others together may take."""
        return sum(factor.wait for factor in self.outside.values())

    def close(self) -> None:
        """Ask nobody any more."""
        self.directory.close()
        for factor in self.outside.values():
            factor.close()


@dataclass(frozen=True, slots=True)
class AuthContext:
    """What all attempts of one connection need. `purse` pays for their work and their refused lines, in the name of
    `payer`: the source block before a login, the identity after it. `connection` is the id in the audit log."""

    services: AuthServices
    source: str
    purse: Purse
    payer: str
    clock: Clock
    meters: Meters
    audit: AuditLog
    rationed: RationedLog
    connection: str
    codes: Codes | None = None  # None: no code is ever right
    counters: KeyCounters = field(default_factory=KeyCounters)
    list_in_force: Callable[[], Revocation] | None = None  # also for who came before the reload
    trace: Trace | None = None  # of the way in, where it leaves one

    @property
    def revocation(self) -> Revocation:
        """What is revoked now."""
        return self.services.revocation if self.list_in_force is None else self.list_in_force()

    @property
    def reference(self) -> str:
        """What the engineer is shown of the connection's id."""
        return f" (ref {self.connection[:REF_LENGTH]})"

    def judged(self, method: str, seconds: float) -> None:
        """A proof was right, and it took so long to know that."""
        self.meters.observe(AUTH_SECONDS, seconds, method)
        if self.trace is not None:
            self.trace.proved = True
            self.trace.took(STEPS[AUTH_SECONDS.name, ""], seconds, {"bastion.method": method})

    def pay_for_keys(self, microseconds: int) -> None:
        """Public key operations. Raises Refused(OVER_BUDGET)."""
        try:
            self.purse.spend(Work.PUBLIC_KEY, microseconds)
        except Refused as refusal:
            raise Refused(AuthReason.OVER_BUDGET, refusal.text) from None
