"""Where an address is: its network, and a place on the earth where that is known (L1, pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import asin, cos, radians, sin, sqrt
from typing import Final

EARTH: Final = 6371.0  # km
SITE_BITS: Final = 48  # of IPv6: what one site has (RFC 6177)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place on the earth in degrees, and how wrong that may be in km."""

    latitude: float
    longitude: float
    radius: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known of an address. `network` is "" for what is no address; `trusted`: one of our own places."""

    network: str
    spot: Spot | None = None
    trusted: bool = False


Locate = Callable[[str], Whereabouts]
"""From an address as the log has it."""

Lookup = Callable[[str], tuple[str, Spot | None]]
"""From an address to the name of its network ("": not known) and a place, by what databases say."""


def no_lookup(source: str) -> tuple[str, Spot | None]:
    """Without databases."""
    return "", None


def locate_by(bits: int, trusted: Iterable[IPv4Network | IPv6Network], lookup: Lookup = no_lookup) -> Locate:
    """Networks of so many bits, where `lookup` knows no better."""
    own = tuple(trusted)

    def locate(source: str) -> Whereabouts:
        try:
            address = ip_address(source.partition("%")[0])
        except ValueError:
            return Whereabouts("")
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        inside = next((one for one in own if address.version == one.version and address in one), None)
        if inside is not None:
            return Whereabouts(str(inside), None, True)
        name, spot = lookup(str(address))
        length = bits if address.version == 4 else SITE_BITS
        return Whereabouts(name or str(ip_network((address, length), strict=False)), spot)

    return locate


def kilometres(one: Spot, other: Spot) -> float:
    """The shortest way over the surface, less what both places may be wrong by."""
    north, south = radians(one.latitude), radians(other.latitude)
    half = sin((south - north) / 2) ** 2
    half += cos(north) * cos(south) * sin(radians(other.longitude - one.longitude) / 2) ** 2
    return max(0.0, 2 * EARTH * asin(min(1.0, sqrt(half))) - one.radius - other.radius)
