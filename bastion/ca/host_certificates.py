"""The face an inner connection shows: the gateway's own host keys, under the names of the target.

With a front host CA each key is offered with a host certificate for the inventory's names of that target, and
plain beside it for clients that know no certificates. What a client typed plays no part: the certificate is the
same for everybody, made once and kept until half of its life is over.
"""

from __future__ import annotations

from dataclasses import replace

from bastion.ca.front_host import FrontHostCA
from bastion.clock import Clock
from bastion.policy.targets import Target
from bastion.transport.settings import HostKey, TransportSettings
from bastion.wire.kexinit import Algorithms


class InnerHostKeys:
    """Transport settings of inner connections by target. One per `Services`; holds one entry per target."""

    def __init__(
        self, base: TransportSettings, algorithms: Algorithms, ca: FrontHostCA | None, clock: Clock
    ) -> None:
        """`base` has the plain host keys, `algorithms` also the names of their certificates."""
        self._base = base
        self._algorithms = algorithms
        self._clock = clock
        self._made: dict[str, tuple[TransportSettings, float]] = {}
        self.ca = ca

    @property
    def host_keys(self) -> tuple[HostKey, ...]:
        """The plain keys."""
        return tuple(self._base.host_keys)

    def settings_for(self, target: Target) -> TransportSettings:
        """The settings of one inner connection to `target`. A running one keeps the certificate it showed."""
        if self.ca is None:
            return self._base
        now = self._clock.time()
        made, renew_at = self._made.get(target.name, (None, 0.0))
        if made is None or now >= renew_at:
            names = names_of(target)
            certified = tuple(
                HostKey(key.signer, self.ca.certify(key.signer.public, names, now).blob)
                for key in self._base.host_keys
            )
            host_keys = (*certified, *self._base.host_keys)
            made = replace(self._base, algorithms=self._algorithms, host_keys=host_keys)
            self._made[target.name] = made, now + self.ca.lifetime / 2
        return made


def names_of(target: Target) -> tuple[str, ...]:
    """What a host certificate for `target` may say: its name, its aliases and where it is."""
    return tuple(dict.fromkeys((*target.names, target.host)))
