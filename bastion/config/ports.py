"""Two listeners on one port, of which the second could not start; and who is believed on them (L2)."""

from __future__ import annotations

from collections.abc import Iterator

from bastion.config.console import Console
from bastion.config.sections import Sections
from bastion.options import KeyPath, dotted
from bastion.options.kinds import Address


def port_faults(config: Sections) -> Iterator[tuple[KeyPath, str, str]]:
    """(key, problem, what is allowed) of each listener whose port another one has."""
    taken: dict[tuple[str, int], str] = {}
    wanted: list[tuple[KeyPath, Address]] = [
        (("listen", "addresses", index), address) for index, address in enumerate(config.listen.addresses)
    ]
    if config.metrics.listen is not None:
        wanted.append((("metrics", "listen"), config.metrics.listen))
    if config.nodes.listen is not None:
        wanted.append((("nodes", "listen"), config.nodes.listen))
    if config.console.socket is None and config.console != Console():
        wanted.append((("console", "listen"), config.console.listen))
    for key, address in wanted:
        for (host, port), other in taken.items():
            if port == address.port and port and _overlap(host, address.host):
                yield key, f"{address} is taken by {other}", "a port of its own for each"
                break
        taken.setdefault((address.host, address.port), dotted(key))


def balancer_doubts(config: Sections) -> Iterator[tuple[KeyPath, str, str]]:
    """(key, problem, what would be right) of each network whose word on addresses is taken, and is everybody."""
    for name, networks in config.listen.proxy_protocol.items():
        for index, network in enumerate(networks):
            if not network.prefixlen:
                problem = f"{network} is everybody: whoever connects chooses the address that rules look at"
                yield ("listen", "proxy_protocol", name, index), problem, "the load balancers' own addresses"


def _overlap(one: str, other: str) -> bool:
    """Do listeners on these addresses take each other's port? "::" takes IPv4 too."""
    if one == other or "::" in (one, other):
        return True
    return "0.0.0.0" in (one, other) and ":" not in one + other
