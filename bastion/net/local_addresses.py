"""What this machine knows of itself: its addresses, asked of the kernel, and the ports that the gateway listens on.

Asked each time, because addresses come and go (a failover address moves to us while we run).
"""

from __future__ import annotations

import ipaddress
import socket

from bastion.policy.patterns import Address, address_of

_ANY = frozenset(map(ipaddress.ip_address, ("0.0.0.0", "::")))
# Any port will do: a datagram socket that is connected sends nothing.
_PROBE_PORT = 9


class OwnPlaces:
    """Implements `policy.addresses.Own`. `listening` is told once for each port, when it is open."""

    def __init__(self) -> None:
        self._listeners: set[tuple[Address, int]] = set()

    def listening(self, host: str, port: int) -> None:
        """The gateway listens on this numeric address (0.0.0.0 and :: for all) and port."""
        address = address_of(host or "0.0.0.0")
        if address is not None:
            self._listeners.add((address, port))

    def has(self, address: Address) -> bool:
        """Is it an address of ours? The kernel answers from what is sent to ourselves with that very source.

        Binding would answer too, but not where `ip_nonlocal_bind` is set, as failover pairs set it.
        """
        return address_of(source_towards(address)) == address

    def listens_on(self, address: Address, port: int) -> bool:
        """Is that a port of the gateway? One that is open on all addresses is so on each of ours."""
        if (address, port) in self._listeners:
            return True
        if not any((anywhere, port) in self._listeners for anywhere in _ANY):
            return False
        return address.is_loopback or address.is_unspecified or self.has(address)


def source_towards(address: Address) -> str:
    """The address of this machine that a connection to `address` would come from.

    "" when there is no route, or no such family here.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _PROBE_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return ""
