"""Locks: who and what the security team has taken out of service, whatever the rules say (L1, pure).

A lock names a user, a target, a certificate or key, or a source; it has a reason that engineers read, and may have an
end. `LockSet` is a value: a new one takes the place of the old in one turn. Invariant: a lock is compared in the one
form of its value (`value_of`), so that no spelling gets round it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from bastion.auth.identity import LOGIN_NAME, Identity, shown_by
from bastion.policy.patterns import address_of, canonical
from bastion.policy.targets import Inventory, Target

MAX_REASON: Final = 200
"""Characters of a reason: it stands in a DISCONNECT and on a terminal's line."""

MAX_LOCKS: Final = 10_000
"""Locks at once: 3 MB. More is no lock but a change of the rules."""

_FINGERPRINT = re.compile(r"\ASHA256:[A-Za-z0-9+/]{43}\Z")
_SERIAL = re.compile(r"\A([0-9]{1,20})@(SHA256:[A-Za-z0-9+/]{43})\Z")
MAX_KEY_ID: Final = 256


class LockKind(StrEnum):
    """What is locked."""

    USER = "user"
    TARGET = "target"
    CERTIFICATE = "certificate"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock. `made_at` and `until` are seconds since the epoch; without `until` it stays until somebody unlocks.

    `value` of a user: the account; of a target: a name or address; of a certificate: its key id, `SERIAL@SHA256:...` of
    serial and CA, or the fingerprint of the key in it or of a plain key; of a source: an address or a network. `uid`,
    of a user, is the immutable id of the account that had the name when it was locked: the lock is on that account,
    whatever it is called since, and on nobody who has the name after it. "": the lock is on the name.
    """

    kind: LockKind
    value: str
    reason: str
    made_by: str
    made_at: float
    until: float | None = None
    uid: str = field(default="", metadata={"left_out": True})  # processes of the version before know none

    def holds(self, now: float) -> bool:
        return self.until is None or now < self.until

    @property
    def text(self) -> str:
        """For the engineer who meets it."""
        return f"locked by the security team: {self.reason}"


def value_of(kind: LockKind, text: str) -> str:
    """The one form of what is to be locked. Raises ValueError with what it has to be."""
    if kind is LockKind.USER:
        name = text.lower()
        if not LOGIN_NAME.match(name):
            raise ValueError("a user is an account's name, such as alice")
        return name
    if kind is LockKind.TARGET:
        host = canonical(text)
        if host is None:
            raise ValueError("a target is a name of the inventory, or a host")
        return host
    if kind is LockKind.SOURCE:
        return _source(text)
    if not text or len(text) > MAX_KEY_ID or not text.isprintable():
        raise ValueError("a certificate is its key id, SERIAL@SHA256:... of its CA, or a key's SHA256:...")
    return text


def _source(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("a source is an address or a network, such as 192.0.2.7 or 192.0.2.0/24") from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")
    return str(network.network_address) if network.num_addresses == 1 else str(network)


class Party(NamedTuple):
    """Whose something is: the account, where from, and what was shown in proof, as the values that a lock on a
    certificate may have: of everything that was shown, however many proofs there were."""

    user: str
    uid: str
    source: str
    shown: tuple[str, ...] = ()


def party_of(identity: Identity) -> Party:
    """Who `identity` is to the security team."""
    return Party(identity.name, identity.uid, identity.source_address, shown_by(identity))


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class LockSet:
    """The locks in force. What it is asked costs a look-up or two, and one comparison for each locked network."""

    __slots__ = ("_by_uid", "_by_value", "_networks")

    def __init__(self, locks: Iterable[Lock] = ()) -> None:
        self._by_value: dict[tuple[LockKind, str], Lock] = {(lock.kind, lock.value): lock for lock in locks}
        self._by_uid: dict[str, list[Lock]] = {}  # one for each name under which it was locked
        for lock in self:
            if lock.uid:
                self._by_uid.setdefault(lock.uid, []).append(lock)
        self._networks: list[tuple[Network, Lock]] = [
            (ipaddress.ip_network(lock.value), lock) for lock in self if lock.kind is LockKind.SOURCE
        ]

    def __iter__(self) -> Iterator[Lock]:
        return iter(self._by_value.values())

    def __len__(self) -> int:
        return len(self._by_value)

    def source(self, source: str, now: float) -> Lock | None:
        """The lock that somebody at `source` meets."""
        if not self._networks:
            return None
        address = address_of(source)
        if address is None:
            return None
        for network, lock in self._networks:
            if address in network and lock.holds(now):
                return lock
        return None

    def party(self, party: Party, now: float) -> Lock | None:
        """The lock that `party` meets, whatever it wants."""
        if not self._by_value:
            return None
        wanted = [(LockKind.CERTIFICATE, value) for value in party.shown]
        return self._account(party, now) or self._first(wanted, now) or self.source(party.source, now)

    def _account(self, party: Party, now: float) -> Lock | None:
        """The lock on the account by its id, or on its name where the lock has no id."""
        named = self._by_value.get((LockKind.USER, party.user))
        if named is not None and not (named.uid and party.uid) and named.holds(now):
            return named
        return next((lock for lock in self._by_uid.get(party.uid, ()) if lock.holds(now)), None)

    def target(self, target: Target, now: float) -> Lock | None:
        """The lock that whoever wants to `target` meets, under whichever of its names it was locked."""
        return self.place((*target.names, target.host), now)

    def place(self, names: Iterable[str], now: float) -> Lock | None:
        """The lock on a place that has these names and addresses."""
        if not self._by_value:
            return None
        known = (canonical(name) for name in names)
        return self._first([(LockKind.TARGET, name) for name in known if name is not None], now)

    def tunnel(self, inventory: Inventory, host: str, address: str, now: float) -> Lock | None:
        """The lock on where a tunnel leads: to a locked name or address, or to the address of a locked target."""
        found = self.place((host, address), now)
        if found is not None or not self._by_value:
            return found
        there = {canonical(host), canonical(address)} - {None}
        reached = address_of(address)
        if reached is not None:
            there |= set(inventory.resolved.names_at(reached))
        for lock in self:
            target = inventory.find(lock.value) if lock.kind is LockKind.TARGET and lock.holds(now) else None
            if target is not None and there & {canonical(name) for name in (*target.names, target.host)}:
                return lock
        return None

    def _first(self, wanted: Iterable[tuple[LockKind, str]], now: float) -> Lock | None:
        for place in wanted:
            lock = self._by_value.get(place)
            if lock is not None and lock.holds(now):
                return lock
        return None
