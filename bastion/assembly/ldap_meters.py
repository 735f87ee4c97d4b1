"""What the LDAP directory says of itself, as counters (L4): `auth.ldap_observer.Observer` over the process's meters."""

from __future__ import annotations

from bastion.observe.families.directory import (
    LDAP_CONNECTIONS,
    LDAP_FAILURES,
    LDAP_LOOKUPS,
    LDAP_POOL_IN_USE,
    LDAP_POOL_STUCK,
    LDAP_QUEUE_WAITING,
    LDAP_SECONDS,
)
from bastion.observe.meters import Meters


class LdapMeters:
    """The directory's observer: what LDAP does, as counters."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    @property
    def in_use(self) -> int:
        return self._meters.value(LDAP_POOL_IN_USE)

    @in_use.setter
    def in_use(self, count: int) -> None:
        self._meters.set(LDAP_POOL_IN_USE, count)

    @property
    def stuck(self) -> int:
        return self._meters.value(LDAP_POOL_STUCK)

    @stuck.setter
    def stuck(self, count: int) -> None:
        self._meters.set(LDAP_POOL_STUCK, count)

    @property
    def waiting(self) -> int:
        return self._meters.value(LDAP_QUEUE_WAITING)

    @waiting.setter
    def waiting(self, count: int) -> None:
        self._meters.set(LDAP_QUEUE_WAITING, count)

    @property
    def connections(self) -> int:
        return self._meters.value(LDAP_CONNECTIONS)

    @connections.setter
    def connections(self, count: int) -> None:
        self._meters.set(LDAP_CONNECTIONS, count)

    def lookup(self, way: str) -> None:
        self._meters.add(LDAP_LOOKUPS, way)

    def operation(self, name: str, seconds: float) -> None:
        self._meters.observe(LDAP_SECONDS, seconds, name)

    def failure(self, name: str, error: str) -> None:
        self._meters.add(LDAP_FAILURES, name, error)
