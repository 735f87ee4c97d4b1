"""Where a place that somebody asks for leads: to a session, to a gateway, into a tunnel, or nowhere (L1, pure).

An engineer's client names places as `host:port`; every door asks here what one means. Invariants: the SSH server of
a target is never a tunnel, however it is spelt; what exists and is not this engineer's is refused in the words that
refuse what does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

from bastion.auth.identity import Identity
from bastion.errors import PolicyReason, Refused
from bastion.policy.grant import matching_rules, not_reachable
from bastion.policy.rules import Policy, Rule
from bastion.policy.targets import Inventory, Target


@dataclass(frozen=True, slots=True)
class ToSession:
    """An SSH server of the inventory that some rule lets the identity reach: it is logged in to and recorded."""

    target: Target


@dataclass(frozen=True, slots=True)
class ToGateway:
    """Another gateway, which records itself: a tunnel leads there, under the rules that let the identity reach it."""

    target: Target
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class ToTunnel:
    """No SSH server of the inventory: the rules about tunnels decide (`policy.tunnel`)."""


@dataclass(frozen=True, slots=True)
class Nowhere:
    """The SSH server of a target that is not this engineer's, or no port: `unreachable` has the words."""


Route = ToSession | ToGateway | ToTunnel | Nowhere


def route(
    policy: Policy, inventory: Inventory, identity: Identity, host: str, port: int, source: str, now: float
) -> Route:
    """Where `host:port`, both as the client wrote them, leads at `now` for `identity`, who comes from `source`.

    Of several targets with one address it is the first that may be reached, in the order of `Inventory.at`. Where hops
    or programs lead to some of them they are other machines with the same address: then only a name says which.
    """
    found = inventory.at(host, port)
    several = len({(target.via, target.proxy_command) for target in found}) > 1
    for target in found:
        if several and inventory.find(host) is not target:
            continue
        rules = matching_rules(policy, identity, target, source, now)
        if rules:
            return ToGateway(target, tuple(rules)) if target.kind == "gateway" else ToSession(target)
    if found or not 1 <= port <= 65535 or inventory.is_ssh_place(host, port):
        return Nowhere()
    return ToTunnel()


def unreachable(
    policy: Policy, inventory: Inventory, identity: Identity, host: str, port: int, source: str, now: float
) -> Refused:
    """The one answer for what does not exist and for what is not this engineer's."""
    reason = PolicyReason.NO_RULE if inventory.is_ssh_place(host, port) else PolicyReason.UNKNOWN_TARGET
    target = inventory.find(host)
    if target is not None and port != target.port:
        right = route(policy, inventory, identity, target.name, target.port, source, now)
        if isinstance(right, ToSession | ToGateway) and right.target is target:
            text = f"{target.name} is reached at port {target.port}: "
            return Refused(reason, f"{text}ssh -J bastion -p {target.port} {target.name}")
    return Refused(reason, not_reachable(policy, inventory, identity, host, source, now))
