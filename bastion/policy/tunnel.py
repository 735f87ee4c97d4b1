"""The permission to connect from the gateway to a place that is no SSH target, in two steps (L1, pure).

`authorise_tunnel` judges the destination as text, before any name is resolved, and gives a `TunnelGrant`. Its
`route` judges one address that came of the resolution and gives the `TunnelRoute` that is connected to. Only this
module can make either. Invariants: an address is connected to when a rule covers the name, or covers the address
and says that names may match by address; the SSH server of a target is never a tunnel, whatever name led to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import Final, TypeVar, final

from bastion.auth.identity import Identity
from bastion.errors import PolicyReason, Refused, UpstreamReason
from bastion.policy.addresses import Network, Own, barred
from bastion.policy.grant import check_credential, check_factors, tunnel_rules
from bastion.policy.patterns import address_of, canonical
from bastion.policy.route import ToGateway
from bastion.policy.rules import Policy, Rule
from bastion.policy.targets import Inventory, Target

Number = TypeVar("Number", int, float)
_MAKER: Final = object()
_NOT_PERMITTED = "your key or certificate does not permit tunnels there"


@final
@dataclass(frozen=True, slots=True)
class TunnelRoute:
    """One address that may be connected to. `bytes_max` both ways together; None = no limit."""

    maker: InitVar[object]
    address: str
    port: int
    rules: tuple[str, ...]
    allow_ssh: bool
    bytes_max: int | None

    def __post_init__(self, maker: object) -> None:
        if maker is not _MAKER:
            raise TypeError("only a TunnelGrant makes a TunnelRoute")


@final
@dataclass(frozen=True, slots=True)
class TunnelGrant:
    """May `identity_name` tunnel to `host:port`? As text yes, or perhaps by address: `route` says.

    `identity` as it asked. `host` is canonical. `target` is set for a gateway of the inventory, which records itself.
    `ends_at` in seconds since the epoch, None = never.
    """

    maker: InitVar[object]
    identity_name: str
    host: str
    port: int
    target: Target | None
    by_text: tuple[Rule, ...]
    by_address: tuple[Rule, ...]
    ends_at: float | None
    inventory: Inventory
    identity: Identity

    def __post_init__(self, maker: object) -> None:
        if maker is not _MAKER:
            raise TypeError("only bastion.policy.authorise_tunnel makes a TunnelGrant")

    @property
    def end_withdrawn(self) -> bool:
        """Whether the tunnel ends when its rights are withdrawn: one rule that wants it is enough."""
        return any(rule.end_withdrawn for rule in self.by_text + self.by_address)

    def route(self, address: str, own: Own) -> TunnelRoute:
        """The way to one address of `host`. Raises Refused: ADDRESS_REFUSED, NESTED_SSH,
        TARGETS_UNRESOLVED, DESTINATION_NOT_ALLOWED or FACTOR_NEEDED."""
        rules = self.by_text + tuple(
            rule
            for rule in self.by_address
            if rule not in self.by_text and any(place.covers(address, self.port) for place in rule.tunnel)
        )
        if not rules:
            raise Refused(PolicyReason.DESTINATION_NOT_ALLOWED, "no rule covers the address of that name")
        check_factors(rules, self.identity, f"{self.host}:{self.port}")
        why = barred(address, self.port, own, self._written_down(rules, address))
        if why is not None:
            raise Refused(UpstreamReason.ADDRESS_REFUSED, f"{self.host} is {address}, {why}")
        if any(target is not self.target for target in self.inventory.ssh_at(address, self.port)):
            raise Refused(PolicyReason.NESTED_SSH, "that is the SSH server of a target")
        gateway = self.target is not None
        allow_ssh = gateway or any(rule.allow_ssh for rule in rules)
        if allow_ssh and not gateway and not self.inventory.resolved.complete:
            # Elsewhere SSH is noticed by how it begins; here only by where it leads.
            text = "the gateway is still looking up its targets, try again in a moment"
            raise Refused(PolicyReason.TARGETS_UNRESOLVED, text)
        return TunnelRoute(
            _MAKER,
            address=address,
            port=self.port,
            rules=tuple(rule.name for rule in rules),
            allow_ssh=allow_ssh,
            bytes_max=None if gateway else min(_set(rule.tunnel_bytes for rule in rules), default=None),
        )

    def _written_down(self, rules: Iterable[Rule], address: str) -> tuple[Network, ...]:
        """What is somebody's explicit word: an entry that is this very address, and what a target allows."""
        if self.target is not None:
            return self.target.reachable
        places = (place for rule in rules for place in rule.tunnel if place.covers(address, self.port))
        return tuple(place.network for place in places if place.network is not None and place.is_one_address)


def authorise_tunnel(
    policy: Policy,
    inventory: Inventory,
    identity: Identity,
    host: str,
    port: int,
    source: str,
    now: float,
    gateway: ToGateway | None = None,
) -> TunnelGrant:
    """Decide whether `identity`, coming from `source`, may tunnel to `host:port`, both as the client wrote them.

    `gateway`: the one that it is (`policy.route`). Raises `Refused` with a `PolicyReason`.
    """
    target = None if gateway is None else gateway.target
    check_credential(policy, identity, source, now)
    place = canonical(host)
    if place is None or not 1 <= port <= 65535:
        raise Refused(PolicyReason.BAD_DESTINATION, "that is no host name or address, or no port")
    if any(found is not target for found in inventory.ssh_at(place, port)):
        raise Refused(PolicyReason.NESTED_SSH, "that is the SSH server of a target")
    by_address: tuple[Rule, ...] = ()
    if gateway is not None:
        by_text = gateway.rules
        _check_approval(gateway)
    else:
        mine = tunnel_rules(policy, identity, source, now)
        by_text = tuple(rule for rule in mine if any(one.covers(place, port) for one in rule.tunnel))
        if address_of(place) is None:
            by_address = tuple(rule for rule in mine if rule.tunnel_by_address and _has_networks(rule, port))
    if not by_text and not by_address:
        raise Refused(PolicyReason.DESTINATION_NOT_ALLOWED, "no rule covers that destination")
    if not identity.restrictions.allows_open(place, port):
        raise Refused(PolicyReason.CERT_RESTRICTION, _NOT_PERMITTED)
    check_factors(by_text, identity, f"{place if target is None else target.name}:{port}")
    return TunnelGrant(
        _MAKER,
        identity_name=identity.name,
        host=place if target is None else target.host,
        # A gateway's name means its own port, as a target's does; port 22 there is another server, and SSH would
        # pass to it unrecorded.
        port=port if target is None else target.port,
        target=target,
        by_text=by_text,
        by_address=by_address,
        ends_at=_ends_at(policy, by_text + by_address, identity, now),
        inventory=inventory,
        identity=identity,
    )


def _check_approval(gateway: ToGateway) -> None:
    """A tunnel can neither ask for an approval nor wait. Raises Refused."""
    if any(rule.approval for rule in gateway.rules):
        text = (
            f"{gateway.target.name} needs an approval, which a gateway that is reached by a tunnel cannot get"
        )
        raise Refused(PolicyReason.DESTINATION_NOT_ALLOWED, text)


def _has_networks(rule: Rule, port: int) -> bool:
    """Could some address with this port be in one of the rule's networks?"""
    return any(
        place.network is not None and place.covers(str(place.network.network_address), port)
        for place in rule.tunnel
    )


def _ends_at(policy: Policy, rules: tuple[Rule, ...], identity: Identity, now: float) -> float | None:
    lengths = (rule.max_duration if rule.tunnel_duration is None else rule.tunnel_duration for rule in rules)
    longest = min(_set(lengths), default=policy.defaults.max_duration)
    ends = [] if longest is None else [now + longest]
    expiry = identity.restrictions.valid_before
    if expiry is not None and (identity.service or any(rule.certificate_expiry for rule in rules)):
        ends.append(float(expiry))
    return min(ends, default=None)


def _set(values: Iterable[Number | None]) -> list[Number]:
    """Those that somebody has set."""
    return [value for value in values if value is not None]
