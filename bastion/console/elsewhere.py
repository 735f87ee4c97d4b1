"""A sign-in at an identity provider (L4): OpenID Connect's code flow with PKCE, by the provider that `[oidc]` names.

A browser is led there with a state, a nonce and a challenge that are sealed for it (`challenges`), and comes back with
a code, which the console redeems itself. Invariants: what comes back is of the browser that was led there, in time, and
good once, and what proves nothing is not remembered; the ID token is verified before a word of it counts
(`auth.oidc_token`); it says who somebody is and nothing else: account and roles are the directory's. RFC 6749,
RFC 7636, RFC 9207, OpenID Connect Core 1.0 section 3.1.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from bastion.auth.oidc import Binding, claims_of
from bastion.auth.oidc_provider import Provider, ProviderFault
from bastion.clock import Clock
from bastion.console.challenges import LIFE, Challenges
from bastion.console.throttle import Throttle
from bastion.errors import AuthReason, Refused

PURPOSE: Final = "elsewhere"
BACK: Final = "/sign-in/elsewhere/back"
"""Where the provider sends browsers: what is to be registered there is this behind `[console] url`."""

CODE_MAX: Final = 2048

WRONG_AT_ONCE: Final = 10
WRONG_RATE: Final = 0.1
"""Codes that prove nothing, of one address: about so many at once the provider is asked, and so many a second after
that."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a verified token says: the name by which the directory is asked, and all claims."""

    name: str
    claims: Mapping[str, Any] = field(repr=False)


class Elsewhere:
    """One per console."""

    def __init__(
        self, provider: Provider, binding: Binding, challenges: Challenges, origin: str, clock: Clock
    ) -> None:
        self.provider, self.binding = provider, binding
        self._challenges, self._clock = challenges, clock
        self._redirect = origin + BACK
        self._wrong = Throttle(clock, WRONG_AT_ONCE, WRONG_RATE)

    @property
    def name(self) -> str:
        """Of the provider, for people."""
        return urlsplit(self.provider.client.issuer).hostname or ""

    async def lead(self, browser: bytes) -> str:
        """Where this browser signs in. Raises Refused."""
        try:
            place = await self.provider.browsers()
        except ProviderFault:
            raise Refused(AuthReason.FACTOR_UNAVAILABLE, "the identity provider does not answer") from None
        state = self._challenges.make(PURPOSE, browser)
        digest = hashlib.sha256(self._verifier(state).encode("ascii")).digest()
        asked = {
            "response_type": "code",
            "client_id": self.provider.client.client_id,
            "redirect_uri": self._redirect,
            "scope": self.provider.client.scopes,
            "state": _text(state),
            "nonce": self._nonce(state),
            "code_challenge": _text(digest),
            "code_challenge_method": "S256",
        }
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"

    async def told(self, query: Mapping[str, str], browser: bytes, payer: str) -> Told:
        """Who came back with this query; `payer` is whose codes are counted that prove nothing. Raises Refused."""
        state = _bytes(query.get("state", ""))
        if not self._challenges.fits(state, PURPOSE, browser):
            raise Refused(AuthReason.FACTOR_INVALID, "that is the answer to no sign-in that began here")
        if query.get("iss", self.provider.client.issuer) != self.provider.client.issuer:
            raise Refused(AuthReason.FACTOR_INVALID, "another issuer has answered")
        if "error" in query:
            raise Refused(AuthReason.FACTOR_DENIED, "the sign-in was refused")
        code = query.get("code", "")
        if not 0 < len(code) <= CODE_MAX:
            raise Refused(AuthReason.FACTOR_INVALID, "there is no code")
        if not self._wrong.has_room(payer):
            raise Refused(AuthReason.OVER_BUDGET, "too many codes of this address proved nothing")
        try:
            claims = await self._claims(code, state)
        except Refused as refused:
            if refused.reason is AuthReason.FACTOR_INVALID:
                self._wrong.allows(payer)
            raise
        if not self._challenges.spend(
            state
        ):  # not before: strangers would use up what everybody's sign-ins need
            raise Refused(AuthReason.FACTOR_INVALID, "that sign-in was good once already")
        return Told(self.binding.name_in(claims), claims)

    async def _claims(self, code: str, state: bytes) -> Mapping[str, Any]:
        since = self._clock.time() - LIFE
        try:
            said = await self.provider.redeem(code, self._redirect, self._verifier(state))
        except ProviderFault:
            raise Refused(AuthReason.FACTOR_UNAVAILABLE, "the identity provider does not answer") from None
        token = said.get("id_token")
        if said.get("error") is not None or not isinstance(token, str):
            self.provider.failed("malformed", "the token endpoint gives no ID token for a code")
            raise Refused(AuthReason.FACTOR_INVALID, "the code proves nothing")
        return await claims_of(self.provider, token, self._clock, since, self._nonce(state))

    def _verifier(self, state: bytes) -> str:
        return _text(self._challenges.derived(state, "verifier"))

    def _nonce(self, state: bytes) -> str:
        return _text(self._challenges.derived(state, "nonce"))

    def close(self) -> None:
        """Ask nobody any more."""
        self.provider.close()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
