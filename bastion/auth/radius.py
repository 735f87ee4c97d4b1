"""RADIUS servers as a factor: what somebody types is asked of them (RFC 2865), over UDP (L2).

Invariants: each request goes from a socket of its own, connected to the one server that may answer it; an answer that
does not prove that its sender knows the secret is dropped, and waited on for another; a server that stays silent is
asked last for a while; no answer is ever a yes but an Access-Accept.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from bastion.auth.identity import Identity
from bastion.auth.outside import Ask, Places
from bastion.auth.radius_packets import (
    AUTHENTICATE_ONLY,
    MAX_VALUE,
    VIRTUAL,
    Answer,
    Attribute,
    BadAnswer,
    Code,
    Request,
)
from bastion.clock import Clock
from bastion.errors import AuthReason, BastionError, Refused
from bastion.observe.meters import FACTOR_FAULTS, Meters
from bastion.options.kinds import Address
from bastion.wire.printable import printable
from bastion.wire.userauth import Prompt

SILENT: Final = 60.0
"""Seconds for which a server that did not answer is asked after all others."""

CHALLENGES: Final = 5
"""Questions of a server in one proof."""

TYPING: Final = 60.0
"""Seconds for the answer to each."""

MESSAGE: Final = 512
"""Characters of a server's text that are shown."""

LOG_EVERY: Final = 10.0
"""Seconds between two lines of the operator's log about silent servers."""

NO_ECHO: Final = (0).to_bytes(4, "big")
ECHO: Final = (1).to_bytes(4, "big")

Attributes = tuple[tuple[Attribute, bytes], ...]


@dataclass(frozen=True, slots=True)
class RadiusTerms:
    """Whom to ask and how: `timeout` seconds for each of `tries` of each server. `suffix` follows the name of whoever
    is asked about."""

    servers: tuple[Address, ...]
    secret: bytes = field(repr=False)
    timeout: float = 5.0
    tries: int = 2
    nas: str = "bastion"
    suffix: str = ""
    prompt: str = "Code"


class Silence(BastionError):
    """A server that has not answered."""


class _Exchange(DatagramProtocol):
    """One request and its answer. Sent again, it is the same packet, so that the server sees one (RFC 5080 2.1.1)."""

    noisy = False
    transport: Any

    def __init__(self, server: Address, request: Request) -> None:
        self._server, self._request = server, request
        self._waiting: Deferred[Answer | None] | None = None
        self.bad = 0  # datagrams that proved nothing

    def startProtocol(self) -> None:
        self.transport.connect(self._server.host, self._server.port)

    def send(self) -> Deferred[Answer | None]:
        """The answer; None: nobody listens there."""
        waiting: Deferred[Answer | None] = Deferred(lambda _: self._forget())
        self._waiting = waiting
        self.transport.write(self._request.data)
        return waiting

    def datagramReceived(self, data: bytes, addr: object) -> None:
        try:
            answer = self._request.answered_by(data)
        except BadAnswer:
            self.bad += 1
        else:
            self._heard(answer)

    def connectionRefused(self) -> None:
        """Nobody listens there (ICMP)."""
        self._heard(None)

    def _heard(self, answer: Answer | None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(answer)

    def _forget(self) -> None:
        self._waiting = None


class RadiusFactor:
    """`outside.OutsideFactor` by RADIUS servers."""

    def __init__(self, terms: RadiusTerms, reactor: Any, clock: Clock, meters: Meters) -> None:
        self._terms, self._reactor, self._clock, self._meters = terms, reactor, clock, meters
        self._places = Places("radius", meters)
        self._silent: dict[Address, float] = {}  # until when it is asked last
        self._told_at = float("-inf")
        self._log = Logger(namespace="bastion.radius")

    @property
    def prompt(self) -> str:
        return self._terms.prompt

    @property
    def wait(self) -> float:
        """All servers in vain, and then as many questions as one may ask."""
        one = self._terms.timeout * self._terms.tries
        return one * len(self._terms.servers) + CHALLENGES * (TYPING + one)

    def close(self) -> None:
        """Nothing is held between two questions."""

    async def prove(self, who: Identity, source: str, answer: str, ask: Ask) -> None:
        with self._places.place(who.uid):
            servers: Sequence[Address] = self._in_turn()
            asked = self._about(who, source)
            state: Attributes = ()
            typed = answer.encode()
            for left in range(CHALLENGES, -1, -1):
                server, said = await self._ask(servers, asked + state, typed)
                if said.code is Code.ACCESS_ACCEPT:
                    return
                if said.code is Code.ACCESS_REJECT:
                    raise Refused(AuthReason.BAD_CODE, "the RADIUS server has said no")
                if not left:
                    break
                typed = await self._challenged(said, ask)
                state = tuple((Attribute.STATE, one) for one in said.all(Attribute.STATE)[:1])
                servers = (server,)  # who asked knows what it asked
            raise Refused(AuthReason.FACTOR_DENIED, "the RADIUS server asks without end")

    def _about(self, who: Identity, source: str) -> Attributes:
        terms = self._terms
        return (
            (Attribute.USER_NAME, (who.name + terms.suffix).encode()[:MAX_VALUE]),
            (Attribute.NAS_IDENTIFIER, terms.nas.encode()[:MAX_VALUE]),
            (Attribute.CALLING_STATION_ID, source.encode()[:MAX_VALUE]),
            (Attribute.NAS_PORT_TYPE, VIRTUAL),
            (Attribute.SERVICE_TYPE, AUTHENTICATE_ONLY),
        )

    async def _challenged(self, said: Answer, ask: Ask) -> bytes:
        """What somebody answers to the server's question. Raises Refused."""
        text = b" ".join(said.all(Attribute.REPLY_MESSAGE)).decode("utf-8", "replace")
        shown = printable(" ".join(text.split()), MESSAGE) or "More"
        echo = said.all(Attribute.PROMPT)[:1] == (ECHO,)
        prompt = Prompt(f"RADIUS server: {shown}: ", echo=echo)
        try:
            (answer,) = await ask((prompt,), "", TYPING)
        except Refused:
            raise Refused(AuthReason.FACTOR_TIMEOUT, "nothing was answered") from None
        return answer

    # -- servers -----------------------------------------------------------------------------------------

    def _in_turn(self) -> list[Address]:
        """As configured, those that were silent lately behind the others."""
        now = self._clock.monotonic()
        return sorted(self._terms.servers, key=lambda server: self._silent.get(server, 0.0) > now)

    async def _ask(
        self, servers: Sequence[Address], about: Attributes, typed: bytes
    ) -> tuple[Address, Answer]:
        """The first server that answers. Raises Refused."""
        for server in servers:
            try:
                answer = await self._exchange(server, about, typed)
            except Silence:
                self._silent[server] = self._clock.monotonic() + SILENT
                continue
            self._silent.pop(server, None)
            return server, answer
        raise Refused(AuthReason.FACTOR_UNAVAILABLE, "no RADIUS server answers")

    async def _exchange(self, server: Address, about: Attributes, typed: bytes) -> Answer:
        """Raises Silence, and Refused for what no password can be."""
        terms = self._terms
        chance = secrets.randbelow(256), secrets.token_bytes(16)
        try:
            request = Request(*chance, terms.secret, about, typed)
        except ValueError:
            raise Refused(AuthReason.BAD_CODE, "the answer is too long for RADIUS") from None
        exchange = _Exchange(server, request)
        here = "::" if ip_address(server.host).version == 6 else "0.0.0.0"
        try:
            port = self._reactor.listenUDP(0, exchange, interface=here, maxPacketSize=8192)
        except CannotListenError:
            self._failed("unreachable", f"{server}: no socket")
            raise Silence from None
        try:
            return await self._answer(exchange, server)
        finally:
            port.stopListening()

    async def _answer(self, exchange: _Exchange, server: Address) -> Answer:
        for _ in range(self._terms.tries):
            try:
                answer = await exchange.send().addTimeout(self._terms.timeout, self._reactor)
            except TwistedTimeout:
                continue
            if answer is not None:
                return answer
            break
        why = (
            "answers without a right Message-Authenticator: is the secret right?"
            if exchange.bad
            else "no answer"
        )
        self._failed("unverified" if exchange.bad else "unreachable", f"{server}: {why}")
        raise Silence

    def _failed(self, fault: str, text: str) -> None:
        self._meters.add(FACTOR_FAULTS, "radius", fault)
        now = self._clock.monotonic()
        if now - self._told_at >= LOG_EVERY:
            self._told_at = now
            self._log.warn("RADIUS server {text}", text=text)
