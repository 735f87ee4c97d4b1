"""The face an inner connection shows: the gateway's own host keys, under the names of the target.

With a front host CA each key is offered with a host certificate for the inventory's names of that target, and
plain beside it for clients that know no certificates. What a client typed plays no part: the certificate is the
same for everybody, made once and kept until half of its life is over. When its key is in an agent, `prepare` makes it
in a thread; one that is still good is shown as long as the agent fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.ca.agent_threads import WORDS, AgentThreads
from bastion.ca.front_host import FrontHostCA
from bastion.ca.front_keys import FrontKeys
from bastion.clock import Clock
from bastion.errors import Refused, UpstreamReason
from bastion.policy.targets import Target
from bastion.transport.settings import HostKey, TransportSettings
from bastion.wire.kexinit import Algorithms

RETRY: Final = 60.0
"""Seconds after which an agent that failed is asked again for a certificate that the old one still stands in for."""


@dataclass(slots=True)
class _Face:
    """What is shown for one target, when it is to be made anew, and until when it is good (seconds since the epoch)."""

    settings: TransportSettings
    renew_at: float
    until: float


class InnerHostKeys:
    """Transport settings of inner connections by target. One per `Services`; holds one entry per target."""

    def __init__(
        self,
        front: FrontKeys,
        algorithms: Algorithms,
        ca: FrontHostCA | None,
        clock: Clock,
        agents: AgentThreads | None = None,
    ) -> None:
        """`front` has the plain host keys, `algorithms` also the names of their certificates."""
        self.front = front
        self._algorithms = algorithms
        self._clock = clock
        self._agents = agents
        self._made: dict[str, _Face] = {}
        self._waiting: dict[str, list[Deferred[None]]] = {}  # for a certificate that is being made
        self.ca = ca

    @property
    def expires(self) -> float:
        """When the first of the certificates that were shown ends, in seconds since the epoch; 0: none was."""
        return min((face.until for face in self._made.values()), default=0.0)

    def prepare(self, target: Target) -> Deferred[None] | None:
        """What to wait for before `settings_for`; None when there is nothing. It may fail with Refused."""
        now = self._clock.time()
        face = self._made.get(target.name)
        if self.ca is None or self._agents is None or (face is not None and now < face.renew_at):
            return None
        signer = self.ca.waits(now)
        if signer is None:
            return None
        waits: Deferred[None] = Deferred()
        others = self._waiting.setdefault(target.name, [])
        others.append(waits)
        if len(others) == 1:
            made = self._agents.run(signer, self._maker(target, self.ca, now))
            made.addCallbacks(lambda made: self._ready(target, made), lambda why: self._failed(target, why))
        return waits

    def _ready(self, target: Target, face: _Face) -> None:
        self._made[target.name] = face
        for waits in self._waiting.pop(target.name):
            waits.callback(None)

    def _failed(self, target: Target, why: Failure) -> None:
        now, face = self._clock.time(), self._made.get(target.name)
        good = face is not None and now < face.until
        if face is not None and good:
            face.renew_at = min(now + RETRY, face.until)
        for waits in self._waiting.pop(target.name):
            if good:
                waits.callback(None)
            else:
                waits.errback(why)

    def settings_for(self, target: Target) -> TransportSettings:
        """The settings of one inner connection to `target`. A running one keeps the certificate it showed.

        Raises Refused when `prepare` would have to make it first.
        """
        if self.ca is None:
            return self.front.settings()
        now = self._clock.time()
        face = self._made.get(target.name)
        waits = self.ca.waits(now) is not None
        if face is None and waits:
            raise Refused(UpstreamReason.CREDENTIAL_FAILED, f"{WORDS}; try again")
        if face is None or (now >= face.renew_at and not waits):
            face = self._made[target.name] = self._maker(target, self.ca, now)()
        return face.settings

    def _maker(self, target: Target, ca: FrontHostCA, now: float) -> Callable[[], _Face]:
        """Makes the face of a target; with an agent, in a thread. Everything that changes is looked at here, before."""
        base, names = self.front.settings(), names_of(target)
        changes = (now + ca.lifetime / 2, self.front.next_change(), ca.next_change(now))

        def make() -> _Face:
            certified = tuple(
                HostKey(key.signer, ca.certify(key.signer.public, names, now).blob) for key in base.host_keys
            )
            host_keys = (*certified, *base.host_keys)
            settings = replace(base, algorithms=self._algorithms, host_keys=host_keys)
            return _Face(settings, min(changes), now + ca.lifetime)

        return make


def names_of(target: Target) -> tuple[str, ...]:
    """What a host certificate for `target` may say: its name, its aliases and where it is."""
    return tuple(dict.fromkeys((*target.names, target.host)))
