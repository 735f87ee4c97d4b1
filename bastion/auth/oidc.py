"""A sign-in at an identity provider as a factor: the device flow of RFC 8628 (L2).

`ssh` shows an address and a code; whoever is to be there opens the one in a browser and types the other, while the
gateway asks the provider every few seconds whether that was done. Invariants: who signs in must be the identity that
is there already, by the claim that is configured; the token is verified before a word of it counts (`oidc_token`); the
wait has an end, and ends with the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.task import deferLater

from bastion.auth.identity import Account, Identity
from bastion.auth.oidc_provider import (
    PENDING,
    SLOW_DOWN,
    DeviceCode,
    Provider,
    ProviderFault,
)
from bastion.auth.oidc_token import BadToken, Expected, UnknownKey, verified
from bastion.auth.outside import Ask, Places
from bastion.clock import Clock
from bastion.errors import AuthReason, Refused
from bastion.observe.meters import Meters
from bastion.options.kinds import show_seconds

SLOWER: Final = 5.0
"""Seconds that `slow_down` adds to the interval (RFC 8628 section 3.5)."""

LONGEST: Final = 60.0
"""Seconds between two polls while the provider does not answer: they double up to this."""

SHOW_TIME: Final = 60.0
"""Seconds in which the client says that it has shown the code. OpenSSH does it at once."""

EMAIL: Final = "email"
USUAL: Final = "preferred_username"


@dataclass(frozen=True, slots=True)
class Binding:
    """Which claim says who has signed in, and what it must be: the identity's name with `suffix`, or its immutable id
    in the directory (`by_id`)."""

    claim: str
    suffix: str = ""
    by_id: bool = False

    def name_in(self, claims: Mapping[str, Any]) -> str:
        """Which account somebody says he is, before it is asked for and `check` has compared; "" for none. By its id
        nobody is found: there the usual claim names it."""
        value = claims.get(USUAL if self.by_id else self.claim)
        if not isinstance(value, str) or not value.isascii():
            return ""
        name = value.lower()
        suffix = "" if self.by_id else self.suffix.lower()
        return name[: len(name) - len(suffix)] if name.endswith(suffix) else ""

    def check(self, claims: Mapping[str, Any], who: Identity | Account) -> None:
        """Raises Refused(FACTOR_MISMATCH)."""
        value = claims.get(self.claim)
        if self.claim == EMAIL and claims.get("email_verified") is not True:
            value = None  # anybody may write any address there
        if self.by_id:
            same = value == who.uid
        else:
            wanted = who.name + self.suffix.lower()
            same = isinstance(value, str) and value.isascii() and value.lower() == wanted
        if not same:
            raise Refused(AuthReason.FACTOR_MISMATCH, "somebody else has signed in")


class OidcFactor:
    """`outside.OutsideFactor` by one identity provider. `wait`: seconds to sign in."""

    prompt = ""

    def __init__(
        self, provider: Provider, binding: Binding, wait: float, reactor: Any, clock: Clock, meters: Meters
    ) -> None:
        self._provider, self._binding = provider, binding
        self._reactor, self._clock = reactor, clock
        self._places = Places("oidc", meters)
        self.wait = wait

    def close(self) -> None:
        self._provider.close()

    async def prove(self, who: Identity, source: str, answer: str, ask: Ask) -> None:
        with self._places.place(who.uid):
            since = self._clock.time()
            until = self._reactor.seconds() + self.wait
            try:
                device = await self._provider.begin()
            except ProviderFault:
                raise Refused(
                    AuthReason.FACTOR_UNAVAILABLE, "the identity provider does not answer"
                ) from None
            until = min(until, self._reactor.seconds() + device.expires_in)
            await self._show(device, who, source, until - self._reactor.seconds(), ask)
            token = await self._token(device, until)
            self._binding.check(await self._claims(token, since), who)

    async def _show(self, device: DeviceCode, who: Identity, source: str, left: float, ask: Ask) -> None:
        lines = [f"Sign in to show that it is you who logs in as {who.name} from {source}:"]
        lines += [f"  {device.uri}", f"  code {device.user_code}"]
        if device.whole_uri:
            lines.append(f"or open {device.whole_uri}")
        longest = show_seconds(max(1, round(left)))
        lines.append(f"This waits for {longest} at most. If it was not you who asked, do not.")
        try:
            await ask((), "\n".join(lines), min(left, SHOW_TIME))
        except Refused:
            raise Refused(AuthReason.FACTOR_TIMEOUT, "the code could not be shown") from None

    async def _token(self, device: DeviceCode, until: float) -> str:
        """The ID token, once somebody has signed in. Raises Refused."""
        interval = device.interval
        while True:
            left = until - self._reactor.seconds()
            if left <= interval:
                await deferLater(self._reactor, max(left, 0.0))
                raise Refused(AuthReason.FACTOR_TIMEOUT, "nobody has signed in in time")
            await deferLater(self._reactor, interval)
            try:
                said = await self._provider.poll(device.code)
            except ProviderFault:
                interval = min(2 * interval, LONGEST)
                continue
            error = said.get("error")
            if error == SLOW_DOWN:
                interval += SLOWER
            elif error != PENDING:
                return self._final(said, error)

    def _final(self, said: Mapping[str, Any], error: object) -> str:
        token = said.get("id_token")
        if error is None and isinstance(token, str):
            return token
        if error == "access_denied":
            raise Refused(AuthReason.FACTOR_DENIED, "the sign-in was refused")
        if error == "expired_token":
            raise Refused(AuthReason.FACTOR_TIMEOUT, "nobody has signed in in time")
        what = "no ID token: is the scope openid there?" if error is None else "an error that ends it"
        self._provider.failed("malformed", f"the token endpoint answers {what}")
        raise Refused(AuthReason.FACTOR_UNAVAILABLE, "the identity provider failed")

    async def _claims(self, token: str, since: float) -> Mapping[str, Any]:
        return await claims_of(self._provider, token, self._clock, since)


async def claims_of(
    provider: Provider, token: str, clock: Clock, since: float, nonce: str = ""
) -> Mapping[str, Any]:
    """What an ID token of this provider, made since then for the request with this nonce, claims. Raises Refused."""
    expected = Expected(provider.client.issuer, provider.client.client_id, since, nonce)
    try:
        try:
            return verified(token, await provider.keys(), expected, clock.time())
        except UnknownKey:
            return verified(token, await provider.keys(again=True), expected, clock.time())
    except ProviderFault:
        raise Refused(AuthReason.FACTOR_UNAVAILABLE, "the identity provider does not answer") from None
    except BadToken as error:
        provider.failed("unverified", error.text)
        raise Refused(AuthReason.FACTOR_INVALID, "the ID token proves nothing") from None
