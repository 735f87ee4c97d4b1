"""The gauges that nobody keeps up to date: set when somebody looks, from plain state that is there anyway (L4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bastion.assembly.penalty_keeper import look_at_penalties
from bastion.auth.budget import Payer, Work
from bastion.auth.throttle import Penalties
from bastion.ca.ledger import KeyName
from bastion.config.key_dates import KeyDates
from bastion.config.sections import Startups
from bastion.net.resolver import resolver_of
from bastion.observe.families.directory import LDAP_SERVERS, LDAP_SERVERS_FAILING
from bastion.observe.families.flow import BUFFERED_BYTES, LEGS_PAUSED, PAUSED_SECONDS
from bastion.observe.families.keys import CERTIFICATE_EXPIRES, KEY_MADE, KEY_RETIRES
from bastion.observe.families.recordings import (
    RECORDER_SLOW_WRITES,
    RECORDER_UNSYNCED_SECONDS,
    RECORDING_STORE_FREE_BYTES,
)
from bastion.observe.families.standing import (
    SESSIONS_LIMIT,
    UNFINISHED_LOGINS,
    UNFINISHED_LOGINS_LIMIT,
)
from bastion.observe.meters import MICROSECONDS, NAME_LOOKUPS
from bastion.observe.process_figures import look_at_this_process
from bastion.session.gateway import Gateway
from bastion.transport.stalls import STALLS
from bastion.transport.states import Role

LEG_OF = {Role.SERVER: "engineer", Role.CLIENT: "target"}


class Gauges:
    """One per process that serves; `look` before a page or a snapshot is made."""

    def __init__(
        self, gateway: Gateway, role: str, penalties: Penalties, refresh: Callable[[], object]
    ) -> None:
        """`refresh` sets those of somebody else."""
        self._gateway, self._role, self._penalties, self._refresh = gateway, role, penalties, refresh

    def take(self, startups: Startups, dates: Mapping[KeyName, KeyDates]) -> None:
        """A configuration is in force: what it says of limits, and how old its keys are."""
        meters = self._gateway.meters
        meters.set(SESSIONS_LIMIT, self._gateway.services.limits.sessions)
        meters.set(UNFINISHED_LOGINS_LIMIT, startups.begin, "begin")
        meters.set(UNFINISHED_LOGINS_LIMIT, startups.full, "full")
        for name, found in dates.items():
            meters.set(KEY_MADE, found.made, name)
            meters.set(KEY_RETIRES, found.retires, name)

    def look(self) -> None:
        """As they are now."""
        gateway = self._gateway
        meters = gateway.meters
        look_at_this_process(meters, self._role)
        self._refresh()
        resolver = resolver_of(gateway.reactor)
        meters.set(NAME_LOOKUPS, resolver.running, "running")
        meters.set(NAME_LOOKUPS, resolver.waiting, "waiting")
        meters.set(NAME_LOOKUPS, resolver.stuck, "stuck")
        health = gateway.store.health()
        meters.set(RECORDING_STORE_FREE_BYTES, health.free_bytes)
        meters.set(RECORDER_UNSYNCED_SECONDS, round(health.sync_behind * MICROSECONDS))
        meters.set(RECORDER_SLOW_WRITES, health.slow_writes)
        servers = gateway.services.auth.directory.servers()
        meters.set(LDAP_SERVERS, servers.all)
        meters.set(LDAP_SERVERS_FAILING, servers.all - servers.healthy)
        meters.set(UNFINISHED_LOGINS, gateway.startups.waiting)
        meters.set(CERTIFICATE_EXPIRES, round(gateway.services.inner_host_keys.expires), "front_host")
        look_at_penalties(meters, self._penalties)
        self._look_at_flow()
        gateway.state.refresh()

    def _look_at_flow(self) -> None:
        gateway, now = self._gateway, self._gateway.reactor.seconds()
        meters = gateway.meters
        for role, leg in LEG_OF.items():
            stalls = STALLS[role]
            meters.set(LEGS_PAUSED, len(stalls), leg)
            meters.set(PAUSED_SECONDS, round(stalls.seconds(now) * MICROSECONDS), leg)
            meters.set(BUFFERED_BYTES, stalls.waiting(), leg)
        meters.set(BUFFERED_BYTES, gateway.budget.held(Payer.IDENTITY, Work.BUFFERED), "channels")
