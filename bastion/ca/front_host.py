"""The front host CA: host certificates under which the gateway stands in for a target (L2; docs/operators.md).

An engineer who trusts this CA for the names of the inventory can jump to any of them without a question about
host keys. Invariant: a certificate names only what its caller took from the inventory; the text of a client
never reaches this module.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

from bastion.errors import ConfigError
from bastion.wire.certificates import Certificate, CertificateKind, issue
from bastion.wire.keys import PublicKey, Signer

BACKDATED = 3600
"""Seconds by which valid_after lies before now, for laptops whose clock is behind. A host certificate is no
permission, so an hour costs nothing."""

LIFETIMES = (3600, 30 * 86400)
"""Seconds: the shortest and the longest lifetime that is accepted."""


class FrontHostCA:
    """Issues stand-in host certificates with one signing key. `lifetime` in seconds."""

    def __init__(self, signer: Signer, lifetime: int) -> None:
        """Raises ConfigError for a lifetime out of range."""
        if not LIFETIMES[0] <= lifetime <= LIFETIMES[1]:
            raise ConfigError(
                "[front_host_ca]", 0, "lifetime", "out of range", f"{LIFETIMES[0]} to {LIFETIMES[1]} seconds"
            )
        self._signer = signer
        self.lifetime = lifetime

    @property
    def public(self) -> PublicKey:
        """What stands in the engineers' @cert-authority lines."""
        return self._signer.public

    def certify(self, key: PublicKey, names: Collection[str], now: float) -> Certificate:
        """A certificate for `key` as the host called `names`, valid from an hour ago for the lifetime."""
        return issue(
            self._signer,
            key,
            kind=CertificateKind.HOST,
            serial=secrets.randbits(64),
            key_id=f"bastion for {next(iter(names))}",
            principals=tuple(dict.fromkeys(names)),
            valid_after=max(0, int(now) - BACKDATED),
            valid_before=int(now) + self.lifetime,
        )
