"""The front host CA: host certificates under which the gateway stands in for a target (L2; docs/keys.md).

An engineer who trusts this CA for the names of the inventory can jump to any of them without a question about
host keys. Invariant: a certificate names only what its caller took from the inventory; the text of a client
never reaches this module.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection

from bastion.ca.agent import AgentSigner
from bastion.ca.slots import Staged
from bastion.errors import ConfigError
from bastion.wire.certificates import Certificate, CertificateKind, issue
from bastion.wire.keys import PublicKey

BACKDATED = 3600
"""Seconds by which valid_after lies before now, for laptops whose clock is behind. A host certificate is no
permission, so an hour costs nothing."""

LIFETIMES = (3600, 30 * 86400)
"""Seconds: the shortest and the longest lifetime that is accepted."""


class FrontHostCA:
    """Issues stand-in host certificates with the key that is in force. `lifetime` in seconds."""

    def __init__(self, keys: Staged, lifetime: int) -> None:
        """Raises ConfigError for a lifetime out of range."""
        if not LIFETIMES[0] <= lifetime <= LIFETIMES[1]:
            raise ConfigError(
                "[front_host_ca]", 0, "lifetime", "out of range", f"{LIFETIMES[0]} to {LIFETIMES[1]} seconds"
            )
        self._keys = keys
        self.lifetime = lifetime

    @property
    def publics(self) -> tuple[PublicKey, ...]:
        """What stands in the engineers' @cert-authority lines: two keys while one takes the other's place."""
        return self._keys.publics

    def next_change(self, now: float) -> float:
        """When another key begins to sign, in seconds since the epoch; infinite when none will."""
        return self._keys.switch if now < self._keys.switch else math.inf

    def waits(self, now: float) -> AgentSigner | None:
        """The key that `certify` would sign with at `now`, when it is in an agent: then only a thread may call it."""
        return self._keys.waits(now)

    def certify(self, key: PublicKey, names: Collection[str], now: float) -> Certificate:
        """A certificate for `key` as the host called `names`, valid from an hour ago for the lifetime."""
        return issue(
            self._keys.at(now),
            key,
            kind=CertificateKind.HOST,
            serial=secrets.randbits(64),
            key_id=f"bastion for {next(iter(names))}",
            principals=tuple(dict.fromkeys(names)),
            valid_after=max(0, int(now) - BACKDATED),
            valid_before=int(now) + self.lifetime,
        )
