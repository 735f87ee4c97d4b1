"""Which addresses the gateway may connect to, judged after the name was resolved (L1, pure).

A name is resolved once, every address that came of it is judged here, and one of those addresses is connected
to: nothing can be swapped in between (GHSA-hw4x-mcx5-9q36). Invariant: an address that carries another one
inside (IPv4-mapped, NAT64, 6to4, Teredo) is judged by both. What a gateway can reach and engineers cannot is
never reached by a name: the gateway itself, its link, the metadata service of its cloud.

The operator's explicit word is a literal address: a target whose `host` is an address, a tunnel destination that
is one address, a network in a target's `allow_addresses`. It opens everything but the gateway's own listeners.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

from bastion.policy.patterns import Address, address_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Barred(StrEnum):
    """Why an address is not connected to; the text stands in the refusal."""

    LISTENER = "the gateway's own port"
    OWN = "the gateway itself"
    LOOPBACK = "the gateway's loopback"
    UNSPECIFIED = "an unspecified address"
    LINK_LOCAL = "a link-local address"
    METADATA = "a cloud metadata service"
    MULTICAST = "a multicast or broadcast address"
    RESERVED = "a reserved address"
    MALFORMED = "no address"


class Own(Protocol):
    """What the machine knows of itself (`net.local_addresses.OwnPlaces`)."""

    def has(self, address: Address) -> bool:
        """Is this an address of one of our interfaces?"""
        ...

    def listens_on(self, address: Address, port: int) -> bool:
        """Is this a port that the gateway listens on?"""
        ...


# Services that give credentials to whoever can reach them, by address; 169.254.0.0/16 holds most others.
METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, DigitalOcean, Hetzner
        "169.254.170.2",  # AWS, task roles
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure, host agent
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "fd00:42::42",  # Scaleway
    )
)
# Their last four bytes are an IPv4 address.
_ENDS_IN_IPV4: Final = (
    ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped, RFC 4291 section 2.5.5.2
    ipaddress.IPv6Network("::/96"),  # compatible, RFC 4291 section 2.5.5.1, deprecated
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052 section 2.1
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 for local use, RFC 8215, at its usual length of 96
)
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122 section 3.2.1.3
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


def inner_addresses(address: Address) -> tuple[Address, ...]:
    """`address` and the IPv4 addresses inside it that a translator or tunnel on the way would connect to."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    found: list[Address] = [address]
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in network for network in _ENDS_IN_IPV4) and int(address) > 0xFFFF:  # not ::1
        found.append(last)
    if address.sixtofour is not None:  # RFC 3056 section 2
        found.append(address.sixtofour)
    if address.teredo is not None:  # RFC 4380 section 4: server and client
        found.extend(address.teredo)
    if (int(address) >> 32) & 0xFFFFFFFF in (0x5EFE, 0x2005EFE):  # ISATAP, RFC 5214 section 6.1
        found.append(last)
    return tuple(found)


def _kind(address: Address) -> Barred | None:
    """What is wrong with one address, whatever machine looks at it."""
    if address in METADATA:
        return Barred.METADATA
    if address.is_unspecified or address in _THIS_NETWORK:
        return Barred.UNSPECIFIED
    if address.is_loopback:
        return Barred.LOOPBACK
    if address.is_link_local:
        return Barred.LINK_LOCAL
    if address.is_multicast or address == _BROADCAST:
        return Barred.MULTICAST
    return Barred.RESERVED if address.is_reserved else None


def barred(text: str, port: int, own: Own, allowed: Sequence[Network] = ()) -> Barred | None:
    """Why nobody may be connected to `text` (a numeric address) and `port`, or None when it is fine.

    `allowed` are networks that an operator wrote down for this destination: what lies in them is only refused
    when it is a listener of the gateway.
    """
    address = address_of(text)
    if address is None:
        return Barred.MALFORMED
    inner = inner_addresses(address)
    if any(own.listens_on(one, port) for one in inner):
        return Barred.LISTENER
    if any(address in network for network in allowed):
        return None
    for one in inner:
        found = _kind(one)
        # The outer form of a NAT64 address is a reserved one: what it carries is what counts.
        if found is not None and not (found is Barred.RESERVED and one is address and len(inner) > 1):
            return found
    return Barred.OWN if any(own.has(one) for one in inner) else None


def out_of_reach(host: str, allowed: Sequence[Network] = ()) -> Barred | None:
    """Why a name is not followed to `host`, whatever machine looks; None for other addresses, and for names. An address
    that an operator wrote down is connected to all the same; this is for those that somebody else did."""
    address = address_of(host)
    if address is None or any(address in network for network in allowed):
        return None
    return next(filter(None, map(_kind, inner_addresses(address))), None)


@lru_cache(maxsize=1024)  # hosts of the inventory, each asked for at every dial: 600 bytes each at most
def literal_network(host: str) -> tuple[Network, ...]:
    """The network of one address that `host` is when it is written as an address; nothing for a name."""
    address = address_of(host)
    return () if address is None else (ipaddress.ip_network(address),)
