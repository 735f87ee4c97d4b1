"""Which targets lead to a target: the hops of its `via`, in the order in which the gateway goes (L1, pure).

A hop is the gateway's own road and no door: whoever may reach the target behind it needs no grant for the hop, gets no
shell there, and names it nowhere. Invariant: a road ends, at no more than MAX_HOPS, and has no target twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from bastion.errors import PolicyReason, Refused
from bastion.options import At, did_you_mean
from bastion.policy.targets import Inventory, Target

MAX_HOPS: Final = 4
"""Hops of one road. Each is a connection, a login and some 100 KiB for every session, and its round trip is in every
keystroke; networks are cut into two or three zones."""


class BadRoad(Refused):
    """The `via` of a target leads nowhere. `index` is the place in it that is wrong, None when it is right by itself
    and a hop's own `via` is not. `allowed` says what may stand there."""

    def __init__(self, text: str, index: int | None, allowed: str = "") -> None:
        super().__init__(PolicyReason.BAD_DESTINATION, text)
        self.index = index
        self.allowed = allowed


def road_of(inventory: Inventory, target: Target) -> tuple[Target, ...]:
    """The hops from the gateway on to `target`, empty when it is dialled at once. Raises BadRoad.

    In a list the first one may have a `via` of its own; the others are reached from the one before them.
    """
    if not target.via:
        return ()
    road: list[Target] = []
    names, own = target.via, True
    while names:
        road[:0] = [_hop(inventory, name, index, own) for index, name in enumerate(names)]
        _check(target, road, own)
        names, own = road[0].via, False
    return tuple(road)


def _hop(inventory: Inventory, name: str, index: int, own: bool) -> Target:
    """The one at `index` of a `via`, which is the target's own or that of a hop."""
    at = index if own else None
    hop = inventory.find(name)
    if hop is None:
        raise BadRoad(f'"{name}" is no target{did_you_mean(name, inventory.names)}', at, "names of targets")
    if hop.hop_login is None:
        text = f'"{name}" leads nowhere: its table does not say as whom the gateway goes on from there'
        raise BadRoad(text, at, f"hop_login in targets.{hop.name}")
    if index and hop.proxy_command is not None:
        raise BadRoad(f'"{name}" is reached by a program of the gateway: only the first hop can be', at)
    return hop


def _check(target: Target, road: list[Target], own: bool) -> None:
    """Neither in a circle nor without an end."""
    names = [hop.name for hop in (*road, target)]
    shown = " -> ".join(names)
    if len(set(names)) < len(names):
        # Whoever only leads into the circle has no fault of its own.
        at = 0 if own or names.count(target.name) > 1 else None
        raise BadRoad(f"leads in a circle: {shown}", at, "each target once")
    if len(road) > MAX_HOPS:
        raise BadRoad(f"is a road of more than {MAX_HOPS} hops: {shown}", 0, f"{MAX_HOPS} hops")


def check_roads(inventory: Inventory, place: Callable[[Target], At], commands: Collection[str] = ()) -> None:
    """Note the fault of every `via`, once and in the table where it is; `place` is a target's own. And that of every
    `proxy_command`, which must be one of `commands`."""
    for target in inventory:
        name = target.proxy_command
        if name is not None and name not in commands:
            text = f'"{name}" is none of targets.proxy_commands{did_you_mean(name, commands)}'
            place(target).child("proxy_command").wrong(text, ", ".join(sorted(commands)))
        try:
            road_of(inventory, target)
        except BadRoad as bad:
            if bad.index is not None:
                at = place(target).child("via")
                (at.child(bad.index) if len(target.via) > 1 else at).wrong(bad.text, bad.allowed)
