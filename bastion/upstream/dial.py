"""Reaching a target: resolve, connect, key exchange, host key, login, each step timed and each with its own words.

Possession proves permission: `Dialler.dial` takes a `Grant`, and only the policy package can make one. One timer
covers the whole way (20 s by default), hops and all; whichever step it finds running is named. The addresses that were
resolved and judged (`policy.addresses`) are the addresses that are tried, in their order.

A target with `via` is reached through hops (`policy.roads`): each is a connection with a host key and a login of its
own, and the next one runs in the one channel that is opened on it (`endpoint.hop`). The destination of that channel is
the inventory's `host` and `port`. What is behind a hop is resolved there, so no address of it is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from bastion.auth.budget import Purse
from bastion.ca.known_hosts import KnownHosts
from bastion.clock import Clock
from bastion.endpoint.hop import HopConnection
from bastion.errors import Refused, UpstreamReason
from bastion.net.connect import reach
from bastion.net.local_addresses import OwnPlaces
from bastion.policy.addresses import Barred, Own, barred
from bastion.policy.grant import Grant
from bastion.policy.roads import road_of
from bastion.policy.targets import Target
from bastion.transport.settings import ClosedBy, TransportSettings
from bastion.transport.transport import Transport
from bastion.upstream.facts import HopPassed, UpstreamConnected
from bastion.upstream.host_keys import HostKeys
from bastion.upstream.leg import Heard, Leg, MakeLogin, UpstreamLogin, words_of
from bastion.upstream.proxy import Commands, Proxied
from bastion.upstream.sshfp import Sshfp

_Made = TypeVar("_Made")

MakeHopLogin = Callable[[Target], UpstreamLogin | Deferred[UpstreamLogin]]
"""The same for a hop, as its `hop_login`."""


class DialObserver(Protocol):
    """Hears how a dial goes. All calls come from the reactor."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase ended well: resolve, connect, kex, host_key or login; behind hops `hop` for each of them, and then
        connect is the way from the last one or, by a program, its start."""
        ...

    def host_key(self, outcome: str, fingerprint: str) -> None:
        """A host key was judged, a hop's or, in the end, the target's."""
        ...

    def banner(self, text: str, missing: int) -> None:
        """The target's login banner, as it came, less `missing` bytes: sanitise before showing."""
        ...

    def hop(self, passed: HopPassed) -> None:
        """A hop let us in."""
        ...

    def connected(self, facts: UpstreamConnected) -> None:
        """The target let us in: the last call, before the dial returns."""
        ...


class Dialler:
    """Opens authenticated connections to targets. Shared by all sessions; holds no state of any."""

    def __init__(
        self,
        reactor: Any,
        known_hosts: KnownHosts,
        settings: TransportSettings,
        clock: Clock,
        timeout: float,
        own: Own | None = None,
        sshfp: Sshfp | None = None,
        proxy_commands: Commands = MappingProxyType({}),
    ) -> None:
        """`own` tells where the gateway itself is; without it no port is known to be the gateway's. `sshfp` asks DNS
        about the host keys of targets that say so. `proxy_commands` are the programs that targets may name."""
        self.proxy_commands = proxy_commands
        self.reactor = reactor
        self.timeout = timeout
        self.keys = HostKeys(known_hosts, settings, clock, sshfp)
        self.own = own or OwnPlaces()

    def close(self) -> None:
        """Nobody dials any more: give up the threads that ask about host keys."""
        self.keys.close()

    async def dial(
        self,
        grant: Grant,
        login: MakeLogin,
        observer: DialObserver,
        payer: Purse | None = None,
        name: str = "",
        hop_login: MakeHopLogin | None = None,
    ) -> Transport:
        """An authenticated transport, its receiver not yet set. Raises Refused.

        It returns in the turn in which the target's success is read, before any later message of that read is
        looked at: whoever sets the receiver there misses nothing. Cancelling it closes what was opened; closing the
        transport closes the hops that it came through. `login` and `hop_login` are called after the host key was
        accepted, so no certificate is made for a host that is not the target. `payer` pays for looking up its name;
        `name` says in a trace whose messages they are.
        """
        dial = self._begin(grant, observer, payer, name, hop_login)
        return await dial.run(dial.log_in(login))

    async def lead(
        self,
        grant: Grant,
        observer: DialObserver,
        hop_login: MakeHopLogin,
        build: Callable[[], Transport],
    ) -> Transport:
        """What `build` made, connected to a target behind hops and not logged in to. Raises Refused."""
        dial = self._begin(grant, observer, None, "", hop_login)
        return await dial.run(dial.connect(build))

    def _begin(
        self,
        grant: Grant,
        observer: DialObserver,
        payer: Purse | None,
        name: str,
        hop_login: MakeHopLogin | None,
    ) -> _Dial:
        if not isinstance(grant, Grant):
            raise TypeError("dialling needs a Grant")
        return _Dial(self, grant, observer, payer, name, hop_login)


def check_address(target: Target, address: str, own: Own) -> None:
    """Refuse an address that the target's name led to and nobody allowed. Raises Refused(ADDRESS_REFUSED).

    A target whose `host` is an address is the operator's own word for that address, unless an inventory gave it.
    """
    why = barred(address, target.port, own, target.reachable)
    if why is not None:
        hint = "" if why == Barred.LISTENER else "; if that is right, say so in its allow_addresses"
        raise Refused(UpstreamReason.ADDRESS_REFUSED, f"{target.host} is {address}, {why}{hint}")


class _Dial(Heard):
    """One attempt: `run` one of `log_in` and `connect`, once. For the target's leg it is the `leg.Heard`."""

    def __init__(
        self,
        dialler: Dialler,
        grant: Grant,
        observer: DialObserver,
        payer: Purse | None,
        name: str,
        hop_login: MakeHopLogin | None,
    ) -> None:
        self._dialler = dialler
        self._reactor = dialler.reactor
        self._grant = grant
        self._target = grant.target
        self._observer = observer
        self._payer = payer
        self._name = name
        self._make_hop_login = hop_login
        self._road: tuple[Target, ...] = ()
        self._hops: list[HopConnection] = []  # that have let us in
        self._proxied: Proxied | None = None
        self._at = grant.target  # the machine whose fault it would be
        self.step = "resolve"
        self._began = self._reactor.seconds()
        self._way: Deferred[Any] | None = None
        self._deadline: Any = self._reactor.callLater(dialler.timeout, self._late)
        self._too_late: Refused | None = None
        self._left = self._asked_at = 0.0  # the deadline's rest and the moment, while a person is asked

    async def run(self, steps: Coroutine[Any, Any, _Made]) -> _Made:
        """The whole way in the time that there is for it. Every refusal begins with the target's name."""
        way = self._way = Deferred.fromCoroutine(steps)
        try:
            made: _Made = await way
            return made
        except BaseException as error:
            refusal = self._broken_hop() or (error if isinstance(error, Refused) else self._too_late)
            for hop in reversed(self._hops):
                hop.end()
            if refusal is None or not isinstance(error, (Refused, CancelledError)):
                raise
            if self._proxied is not None and self._at.proxy_command is not None:
                refusal = await self._proxied.why(refusal)
            raise self._named(refusal) from None
        finally:
            if self._deadline.active():
                self._deadline.cancel()

    async def log_in(self, login: MakeLogin) -> Transport:
        """Reach the target, wait for its host key, log in."""
        leg = Leg(
            self._reactor, self._dialler.keys, self._target, (self._grant.login, login), self, self._name
        )
        transport = await self.connect(leg.build)
        await leg.log_in(transport)
        return transport

    async def connect(self, build: Callable[[], Transport]) -> Transport:
        """Reach the target, through its hops."""
        self._road = road_of(self._grant.inventory, self._target)
        for hop in self._road:
            await self._pass(hop)
        login = self._grant.login
        return await self._connect(self._target, login, build, lambda: self.entered("connect"))

    async def _pass(self, hop: Target) -> None:
        """Log in to one hop, through those before it."""
        began, make_login, login = self._reactor.seconds(), self._make_hop_login, hop.hop_login
        if make_login is None or login is None:
            raise Refused(UpstreamReason.CREDENTIAL_FAILED, f"nobody can log in to its hop {hop.name} here")
        heard = _HopHeard(self, self._observer)
        name = f"{self._name} {hop.name}" if self._name else ""
        leg = Leg(self._reactor, self._dialler.keys, hop, (login, lambda: make_login(hop)), heard, name)
        if not self._hops:
            self._at = hop
        transport = await self._connect(hop, login, leg.build, lambda: heard.entered("connect"))
        await leg.log_in(transport)
        connection = HopConnection(transport, self._reactor, hop.name, len(self._hops))
        connection.start()
        self._hops.append(connection)
        self.step, self._began = "connect", self._reactor.seconds()
        self._observer.phase("hop", self._began - began)
        assert heard.facts is not None
        self._observer.hop(HopPassed(hop.name, heard.fingerprint, heard.facts, transport.keys.charge))

    async def _connect(
        self, target: Target, login: str, build: Callable[[], Transport], resolved: Callable[[], None]
    ) -> Transport:
        """A connection to `target`: through the last hop, or, where there is none, from here."""
        if target.proxy_command is not None:
            self.step = "connect"
            self._proxied = Proxied(self._reactor, self._dialler.proxy_commands, target)
            return self._proxied.connect(login, build)
        if self._hops:
            hop = self._hops[-1]
            await hop.open(target.host, target.port)
            self._at = target
            transport = build()
            transport.makeConnection(hop.carry(transport))
            return transport
        reached: Transport = await reach(
            self._reactor,
            target.host,
            target.port,
            judge=lambda address: check_address(target, address, self._dialler.own),
            build=lambda address: build(),
            timeout=self._dialler.timeout,
            payer=self._payer,
            resolved=resolved,
        )
        return reached

    # -- leg.Heard: the target -----------------------------------------------------------------------------

    def entered(self, step: str) -> None:
        now = self._reactor.seconds()
        self._observer.phase(self.step, now - self._began)
        self.step, self._began = step, now

    def host_key(self, outcome: str, fingerprint: str) -> None:
        self._observer.host_key(outcome, fingerprint)

    def banner(self, text: str, missing: int) -> None:
        self._observer.banner(text, missing)

    def connected(self, facts: UpstreamConnected) -> None:
        self._observer.connected(facts)

    def person_asked(self, waiting: bool) -> None:
        """While a person thinks, the dial's timer stands still; whoever asks has a timer for that."""
        now = self._reactor.seconds()
        if waiting:
            self._left, self._asked_at = self._deadline.getTime() - now, now
            self._deadline.cancel()
        else:
            self._deadline = self._reactor.callLater(max(self._left, 0.0), self._late)
            self._began += now - self._asked_at

    # -- what goes wrong -----------------------------------------------------------------------------------

    def _late(self) -> None:
        seconds, step = f"{self._dialler.timeout:g} s", self.step
        if step in ("resolve", "connect"):
            reason, what = UpstreamReason.CONNECT_TIMEOUT, "no answer"
        else:
            reason, what = UpstreamReason.TIMEOUT, "not ready"
        self._too_late = Refused(reason, f"{what} within {seconds} (step: {step})")
        if self._way is not None:
            self._way.cancel()

    def _broken_hop(self) -> Refused | None:
        """Why the first hop that is gone went; whatever ran through it only saw its connection end."""
        for at, hop in zip(self._road, self._hops, strict=False):
            if hop.fault is not None:
                self._at = at
                what = (
                    "it broke the connection" if hop.fault.by is ClosedBy.US else "it closed the connection"
                )
                return Refused(UpstreamReason.CLOSED, what + words_of(hop.fault))
        return None

    def _named(self, refusal: Refused) -> Refused:
        """With the target's name in front, and that of the hop where it is the hop's fault."""
        at, text = self._at, refusal.text
        text = text.removeprefix(f"{at.name}: ")
        if at is not self._target:
            text = f"its hop {at.name}: {text}"
        return Refused(refusal.reason, f"{self._target.name}: {text}")


class _HopHeard(Heard):
    """A hop's leg: its steps are the dial's, its time is told when it has let us in, its banner is for nobody,
    and nobody is asked (`Target.validate`)."""

    def __init__(self, dial: _Dial, observer: DialObserver) -> None:
        self._dial = dial
        self._observer = observer
        self.fingerprint = ""
        self.facts: UpstreamConnected | None = None

    def entered(self, step: str) -> None:
        self._dial.step = step

    def host_key(self, outcome: str, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._observer.host_key(outcome, fingerprint)

    def connected(self, facts: UpstreamConnected) -> None:
        self.facts = facts
