"""What the directory says of itself is counted."""

from __future__ import annotations

from bastion.assembly.ldap_meters import LdapMeters
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


def test_each_thing_that_happens_moves_its_own_family_and_no_other() -> None:
    meters = Meters()
    observer = LdapMeters(meters)
    observer.operation("bind", 0.002)
    observer.failure("search", "timeout")
    observer.lookup("asked")
    observer.in_use, observer.stuck, observer.waiting, observer.connections = 1, 2, 3, 4
    assert (observer.in_use, observer.stuck, observer.waiting, observer.connections) == (1, 2, 3, 4)
    before, after = Meters().snapshot(), meters.snapshot()
    moved = {
        (name, key)
        for name, cells in after.items()
        for key, cell in cells.items()
        if cell != before[name][key]
    }
    assert moved == {
        (LDAP_SECONDS.name, "bind"),
        (LDAP_FAILURES.name, "search,timeout"),
        (LDAP_LOOKUPS.name, "asked"),
        (LDAP_POOL_IN_USE.name, ""),
        (LDAP_POOL_STUCK.name, ""),
        (LDAP_QUEUE_WAITING.name, ""),
        (LDAP_CONNECTIONS.name, ""),
    }
