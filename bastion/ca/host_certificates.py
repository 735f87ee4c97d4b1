"""The face an inner connection shows: the gateway's own host keys, under the names of the target.

With a front host CA each key is offered with a host certificate for the inventory's names of that target, and
plain beside it for clients that know no certificates. What a client typed plays no part: the certificate is the
same for everybody, made once and kept until half of its life is over.
"""

from __future__ import annotations

from dataclasses import replace

from bastion.ca.front_host import FrontHostCA
from bastion.ca.front_keys import FrontKeys
from bastion.clock import Clock
from bastion.policy.targets import Target
from bastion.transport.settings import HostKey, TransportSettings
from bastion.wire.kexinit import Algorithms


class InnerHostKeys:
    """Transport settings of inner connections by target. One per `Services`; holds one entry per target."""

    def __init__(
        self, front: FrontKeys, algorithms: Algorithms, ca: FrontHostCA | None, clock: Clock
    ) -> None:
        """`front` has the plain host keys, `algorithms` also the names of their certificates."""
        self.front = front
        self._algorithms = algorithms
        self._clock = clock
        self._made: dict[str, tuple[TransportSettings, float]] = {}
        self.ca = ca

    def settings_for(self, target: Target) -> TransportSettings:
        """The settings of one inner connection to `target`. A running one keeps the certificate it showed."""
        base = self.front.settings()
        if self.ca is None:
            return base
        now = self._clock.time()
        made, renew_at = self._made.get(target.name, (None, 0.0))
        if made is None or now >= renew_at:
            names = names_of(target)
            certified = tuple(
                HostKey(key.signer, self.ca.certify(key.signer.public, names, now).blob)
                for key in base.host_keys
            )
            host_keys = (*certified, *base.host_keys)
            made = replace(base, algorithms=self._algorithms, host_keys=host_keys)
            changes = (now + self.ca.lifetime / 2, self.front.next_change(), self.ca.next_change(now))
            self._made[target.name] = made, min(changes)
        return made


def names_of(target: Target) -> tuple[str, ...]:
    """What a host certificate for `target` may say: its name, its aliases and where it is."""
    return tuple(dict.fromkeys((*target.names, target.host)))
