"""What counts as one source of failed logins, and which sources are never blocked as a whole (L1, pure)."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from bastion.auth.restrictions import normal_address
from bastion.errors import ProtocolError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REMEMBERED_SOURCES = 1024
"""Addresses whose block is kept: a login asks for it five times. With its texts each takes 250 bytes."""


@lru_cache(maxsize=REMEMBERED_SOURCES)
def source_block(address: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 /64 (one customer's smallest network)."""
    try:
        peer = normal_address(address)
    except ProtocolError:
        return "?"
    if isinstance(peer, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(peer) >> 64 << 64, 64)))
    return str(peer)


def is_block(text: str) -> bool:
    """Is it what `source_block` makes of some address?"""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return text == "?"
    return source_block(str(network.network_address)) == text


@lru_cache(maxsize=REMEMBERED_SOURCES)
def is_exempt(block: str, networks: tuple[str, ...]) -> bool:
    """Is `block` (a `source_block`) in one of these networks? An IPv6 one has to be all of the block, or more."""
    try:
        source = ipaddress.ip_network(block)
    except ValueError:
        return False
    return any(_within(source, ipaddress.ip_network(text)) for text in networks)


def _within(source: Network, network: Network) -> bool:
    first, last = source.network_address, source.broadcast_address
    return first in network and last in network
