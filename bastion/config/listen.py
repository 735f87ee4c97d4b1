# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""`[listen]`: where engineers connect to, and behind whom (L2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bastion.options import At, Scope, option, shown
from bastion.options.kinds import (
    ADDRESS,
    NETWORK,
    Address,
    Network,
    address_of,
    choice,
    list_of,
    mapping_of,
    optional,
)

_PLACE = re.compile(r"\A[^\s\x00]{1,262}\Z")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where engineers connect to."""

    addresses: tuple[Address, ...] = option(
        list_of(ADDRESS, at_least=1),
        'Addresses and ports of the SSH door. On Linux "[::]:2222" takes IPv4 too.',
        default=(Address("0.0.0.0", 2222),),
        scope=Scope.RESTART,
    )
    public: Address | None = option(
        optional(ADDRESS),
        "Name and port that engineers type, for the commands that are shown to them. Not set: the host's name.",
        default=None,
        example='"bastion.example.com:22"',
    )
    proxy_protocol: Mapping[str, tuple[Network, ...]] = option(
        mapping_of(
            list_of(NETWORK, at_least=1), _PLACE, "an address of listen.addresses = a list of networks"
        ),
        "Of an address in `addresses`: the load balancers, who must begin each connection with a PROXY header (version"
        " 1 or 2); nobody else may connect there. Their word on where an engineer is is taken for all that looks at"
        " addresses.",
        default=MappingProxyType({}),
        example='{ "0.0.0.0:2222" = ["192.0.2.20", "192.0.2.21"] }',
    )
    algorithms: str = option(
        choice("default", "compat"),
        'Algorithms on offer. "compat" adds older ones that are not broken, for old clients.',
        default="default",
    )

    @property
    def balancers(self) -> dict[tuple[str, int], tuple[Network, ...]]:
        """Who must send a header, by host and port of the listener."""
        return {
            (place.host, place.port): networks
            for name, networks in self.proxy_protocol.items()
            if (place := address_of(name)) is not None
        }

    def validate(self, at: At) -> None:
        for name in self.proxy_protocol:
            if address_of(name) not in self.addresses:
                place = at.child("proxy_protocol").child(name)
                place.wrong(f"{shown(name)} is none of listen.addresses", ", ".join(map(str, self.addresses)))
