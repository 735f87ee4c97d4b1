"""Locks: no spelling gets round one, and what is not locked is not met by it."""

from __future__ import annotations

import tomllib

import pytest

from bastion.options import Source
from bastion.policy.locks import MAX_KEY_ID, Lock, LockKind, LockSet, Party, value_of
from bastion.policy.targets import parse_targets

NOW = 1000.0
KEY = "SHA256:" + "k" * 43
CA = "SHA256:" + "c" * 43
ALICE = Party("alice", "u-1", "192.0.2.7", (KEY, "alice@laptop", f"7@{CA}"))
INVENTORY = parse_targets(
    tomllib.loads(
        '[targets.web1]\nhost = "10.0.0.5"\nport = 2222\naliases = ["www"]\n'
        '[targets.db1]\nhost = "db.internal"\nport = 22\n'
    ),
    Source("t"),
)


def lock(kind, value, until=None):
    return Lock(LockKind(kind), value_of(LockKind(kind), value), "why", "root (uid 0)", 1.0, until)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("user", "alice"),
        ("user", "ALICE"),
        ("source", "192.0.2.7"),
        ("source", "192.0.2.0/24"),
        ("source", "::ffff:192.0.2.7"),
        ("source", "::ffff:192.0.2.0/120"),
        ("certificate", "alice@laptop"),
        ("certificate", KEY),
        ("certificate", f"7@{CA}"),
    ],
)
def test_a_party_meets_its_lock_however_it_was_written(kind, value):
    found = LockSet([lock(kind, value)]).party(ALICE, NOW)
    assert found is not None and found.kind == kind and found.text == "locked by the security team: why"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("user", "alic"),
        ("user", "bob"),
        ("source", "192.0.2.8"),
        ("source", "192.0.3.0/24"),
        ("source", "2001:db8::/32"),
        ("certificate", "alice"),
        ("certificate", CA),
        ("certificate", f"8@{CA}"),
        ("target", "alice"),
    ],
)
def test_and_no_other(kind, value):
    assert LockSet([lock(kind, value)]).party(ALICE, NOW) is None


def test_a_source_however_it_is_written():
    locks = LockSet([lock("source", "192.0.2.7"), lock("source", "2001:db8::/64")])
    for source in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "2001:DB8:0:0::1%eth0"):
        assert locks.source(source, NOW) is not None
    for source in ("192.0.2.8", "2001:db8:0:1::1", "", "nowhere"):
        assert locks.source(source, NOW) is None


@pytest.mark.parametrize("name", ["web1", "WEB1.", "www", "10.0.0.5", "::ffff:10.0.0.5"])
def test_a_target_by_any_of_its_names(name):
    locks = LockSet([lock("target", name)])
    web1, db1 = INVENTORY
    assert locks.target(web1, NOW) is not None and locks.target(db1, NOW) is None


@pytest.mark.parametrize(
    ("locked", "host", "address", "met"),
    [
        ("web1", "web1", "10.0.0.5", True),
        ("web1", "other.name", "10.0.0.5", True),
        ("web1", "www", "10.9.9.9", True),
        ("web1", "web2", "10.0.0.6", False),
        ("db1", "db.internal", "10.0.0.9", True),
        ("elsewhere.example", "elsewhere.example", "10.0.0.7", True),
        ("10.0.0.7", "elsewhere.example", "10.0.0.7", True),
    ],
)
def test_a_tunnel_does_not_lead_round_the_lock_of_its_target(locked, host, address, met):
    found = LockSet([lock("target", locked)]).tunnel(INVENTORY, host, address, NOW)
    assert (found is not None) is met


def test_a_tunnel_meets_the_lock_of_a_target_whose_name_leads_there():
    class Resolved:
        complete = True

        def names_at(self, address):
            return ("db.internal",) if str(address) == "10.0.0.9" else ()

    inventory = INVENTORY.with_resolved(Resolved())
    assert LockSet([lock("target", "db1")]).tunnel(inventory, "x", "10.0.0.9", NOW) is not None
    assert LockSet([lock("target", "db1")]).tunnel(inventory, "x", "10.0.0.8", NOW) is None


def test_a_lock_holds_until_its_end():
    locks = LockSet(
        [
            lock("user", "alice", until=NOW),
            lock("source", "192.0.2.7", until=NOW),
            lock("target", "web1", NOW),
        ]
    )
    assert locks.party(ALICE, NOW - 0.1) is not None and locks.party(ALICE, NOW) is None
    web1, _ = INVENTORY
    assert locks.tunnel(INVENTORY, "x", "10.0.0.5", NOW - 0.1) is not None
    assert locks.target(web1, NOW) is None and locks.tunnel(INVENTORY, "x", "10.0.0.5", NOW) is None


def test_one_lock_for_a_value():
    assert len(LockSet([lock("user", "alice"), lock("user", "Alice", 5.0), lock("target", "alice")])) == 2


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        ("user", "Alice", "alice"),
        ("target", "WEB1.", "web1"),
        ("target", "127.1", "127.0.0.1"),
        ("source", "192.0.2.7/24", "192.0.2.0/24"),
        ("source", "2001:DB8::1", "2001:db8::1"),
        ("certificate", "Key Id", "Key Id"),
    ],
)
def test_the_one_form(kind, value, form):
    assert value_of(LockKind(kind), value) == form


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("user", ""),
        ("user", "a b"),
        ("user", "alice+root"),
        ("target", ""),
        ("target", "a b"),
        ("source", "web1"),
        ("source", "192.0.2.300"),
        ("certificate", ""),
        ("certificate", "a\x1b[2J"),
        ("certificate", "x" * (MAX_KEY_ID + 1)),
    ],
)
def test_what_cannot_be_locked(kind, value):
    with pytest.raises(ValueError, match=r"is (an|a|its) "):
        value_of(LockKind(kind), value)


def test_a_lock_on_an_account_follows_it_and_not_its_name():
    """Renamed it is locked as before; whoever is called so next is not."""
    locks = LockSet([Lock(LockKind.USER, "alice", "left", "sec", 1.0, 100.0, "u-1")])
    assert locks.party(Party("alice", "u-1", "192.0.2.1"), 2.0)
    assert locks.party(Party("alicia", "u-1", "192.0.2.1"), 2.0)
    assert locks.party(Party("alice", "u-2", "192.0.2.1"), 2.0) is None
    assert locks.party(Party("alice", "", "192.0.2.1"), 2.0), "who is not known by an id is known by the name"
    assert locks.party(Party("alicia", "u-1", "192.0.2.1"), 100.0) is None


def test_a_lock_without_an_id_is_on_the_name():
    by_name = LockSet([Lock(LockKind.USER, "alice", "left", "sec", 1.0)])
    assert by_name.party(Party("alice", "u-2", "192.0.2.1"), 2.0)
    assert by_name.party(Party("alicia", "", "192.0.2.1"), 2.0) is None


def test_of_several_locks_any_one_holds():
    twice = LockSet(
        [
            Lock(LockKind.USER, "alicia", "left", "sec", 1.0, 2.0, "u-1"),
            Lock(LockKind.USER, "alice", "left", "sec", 1.0, None, "u-1"),
            Lock(LockKind.CERTIFICATE, "laptop", "stolen", "sec", 1.0),
        ]
    )
    assert twice.party(Party("alicia", "u-1", "192.0.2.1"), 5.0).value == "alice"
    assert twice.party(Party("alice", "u-2", "192.0.2.1", ("laptop",)), 2.0).reason == "stolen"
    named = LockSet(
        [
            Lock(LockKind.USER, "alicia", "over", "sec", 1.0, 2.0),
            Lock(LockKind.USER, "alice", "left", "sec", 1.0, None, "u-1"),
        ]
    )
    assert named.party(Party("alicia", "u-1", "192.0.2.1"), 5.0).reason == "left"
