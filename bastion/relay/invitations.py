"""What the target may open because the client has asked for it, and only while what asked for it lives.

A hostile target must not be the one who starts a channel. Agent and X11 channels belong to a session channel whose
request was not refused and which neither side has closed; forwarded connections belong to a place that the client
asked to listen at, until the target refuses it or the client cancels it. A request counts from the moment it is
forwarded: a target's first connection may come before its answer.

A place is a port or a path. The address of a forward is not compared: servers say there what they were asked, what
they bound or what was connected to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from bastion.relay.channels import CLOSED, Channel
from bastion.relay.ledger import Place
from bastion.sides import Side
from bastion.wire.requests import (
    Body,
    ForwardedStreamlocal,
    StreamlocalForward,
    TcpipForward,
    TcpipOpen,
)

MAX_PLACES = 256
"""Places that one client may have listened at. A path may have 4 KiB: at most 1 MiB for a session."""

ANY_PORT = 0
"""A port that the target is still to name, or never has."""

CHANNEL_KINDS: Final[Mapping[str, str]] = {
    "x11-req": "x11",
    "auth-agent-req@openssh.com": "auth-agent@openssh.com",
}
"""Request on a session channel -> the kind that the target may open while that channel is open."""

LISTENS: Final = frozenset({"tcpip-forward", "streamlocal-forward@openssh.com"})
CANCELS: Final = frozenset({"cancel-tcpip-forward", "cancel-streamlocal-forward@openssh.com"})


def place_of(body: Body | None) -> Place | None:
    """Where a remote forward listens, or what a channel was connected to; None for everything else."""
    if isinstance(body, TcpipForward | TcpipOpen):
        return body.port
    return body.path if isinstance(body, StreamlocalForward | ForwardedStreamlocal) else None


class Invitations:
    """The places of one connection. What a session channel has asked for stands in `Channel.invites`."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[Place, int] | None = None  # how often each was asked for; made when the first is

    def full(self, name: str, place: Place | None) -> bool:
        """True when the client may not have one more place listened at."""
        places = self._places
        return name in LISTENS and places is not None and place not in places and len(places) >= MAX_PLACES

    def asked(self, name: str, place: Place | None, answered: bool) -> None:
        """A global request goes to the target; `answered` is False when nobody will say how it went."""
        if place is not None and name in LISTENS:
            self._add(place)
        elif not answered:
            self.settled(name, place, True)

    def settled(self, name: str, place: Place | None, ok: bool, port: int = 0) -> None:
        """The target has answered; `port` is the one that it chose for `ANY_PORT`."""
        if place is None:
            return
        if (name in LISTENS and not ok) or (name in CANCELS and ok):
            self._remove(place)
        elif name in LISTENS and port:
            self._remove(place)
            self._add(port)

    def _add(self, place: Place) -> None:
        if self._places is None:
            self._places = {}
        self._places[place] = self._places.get(place, 0) + 1

    def _remove(self, place: Place) -> None:
        places = self._places
        if places is None or place not in places:
            return
        places[place] -= 1
        if not places[place]:
            del places[place]

    def has(self, kind: str, body: Body | None, channels: Iterable[Channel]) -> bool:
        """May the target open a channel of `kind` with this body now?"""
        place = place_of(body)
        if place is None:
            return inviting(kind, channels)
        places = self._places or {}
        return place in places or (isinstance(place, int) and ANY_PORT in places)


def inviting(kind: str, channels: Iterable[Channel]) -> bool:
    """May the target open a channel of `kind` for one of these, which both sides have left open?"""
    return any(
        kind in channel.invites and CLOSED not in (channel.half(side).state for side in Side)
        for channel in channels
    )


def invite(channel: Channel, name: str) -> None:
    """A request on a session channel goes to the target, and what it asks for may be opened."""
    kind = CHANNEL_KINDS.get(name)
    if kind is not None:
        channel.invites |= {kind}


def withdraw(channel: Channel, name: str) -> None:
    """The target has refused the request."""
    kind = CHANNEL_KINDS.get(name)
    if kind is not None:
        channel.invites -= {kind}
