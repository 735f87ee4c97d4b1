"""What is asked of an identity provider: what it is, its keys, a device code, and whether somebody has signed in (L2).

Every question is one HTTPS request in a thread, with a deadline that the reactor keeps. Invariants: what the provider
says of itself is of the issuer that is configured, and every address of it is https; nothing that it says is longer
than it may be, or shown as it came.
"""

from __future__ import annotations

import json
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.auth.https import Answered, Asked, Unanswered
from bastion.auth.oidc_token import SigningKey, signing_keys
from bastion.auth.workers import DeadlinePassed, QueueFull, Workers, WorkersClosed
from bastion.clock import Clock
from bastion.errors import BastionError
from bastion.observe.meters import FACTOR_FAULTS, Meters
from bastion.wire.printable import printable

DEADLINE: Final = 10.0
"""Seconds for one question, the wait for a thread included."""

THREADS: Final = 4
"""Questions that are asked at once. 256 who wait ask fifty times a second, a twentieth of a second each."""

WAITING: Final = 512
"""Questions that wait for a thread: two for each who signs in."""

KEPT: Final = 3600.0
"""Seconds for which the provider's description and keys are used."""

KEYS_AGAIN: Final = 30.0
"""Seconds between two look-ups of keys because a token has one that is not known."""

LOG_EVERY: Final = 10.0
"""Seconds between two lines of the operator's log about its faults."""

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"

DEVICES: Final = "device_authorization_endpoint"
BROWSERS: Final = "authorization_endpoint"
"""Names in what a provider says of itself."""

PENDING: Final = "authorization_pending"
SLOW_DOWN: Final = "slow_down"
"""RFC 8628 section 3.5."""

SHORTEST_INTERVAL: Final = 1.0
USUAL_INTERVAL: Final = 5.0
LONGEST_INTERVAL: Final = 60.0
"""Seconds between two polls, whatever the provider says."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are for the provider. Scopes with blanks between them."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    scopes: str


@dataclass(frozen=True, slots=True)
class Described:
    """OpenID Connect Discovery 1.0 and RFC 8628 section 4; `posts_secret`: it takes no Authorization header. `begin` is
    where a sign-in begins: the endpoint for devices, or the one for browsers."""

    begin: str
    token: str
    keys: str
    posts_secret: bool


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """RFC 8628 section 3.2; seconds. What people see of it is printable."""

    code: str = field(repr=False)
    user_code: str
    uri: str
    whole_uri: str
    expires_in: float
    interval: float


class ProviderFault(BastionError):
    """It did not answer, or not so that anything could be done with it. `text` is ours, and for operators."""

    def __init__(self, fault: str, text: str) -> None:
        super().__init__(text)
        self.fault, self.text = fault, text


class Provider:
    """One issuer, as one process knows it."""

    def __init__(
        self,
        client: Client,
        context: ssl.SSLContext,
        reactor: Any,
        clock: Clock,
        meters: Meters,
        begins: str = DEVICES,
    ) -> None:
        """`begins`: where a sign-in begins, DEVICES or BROWSERS."""
        self.client, self._begins = client, begins
        self._context, self._clock, self._meters = context, clock, meters
        self._threads = Workers(reactor, "oidc", THREADS, WAITING)
        self._described: Described | None = None
        self._keys: tuple[SigningKey, ...] = ()
        self._described_at = self._keys_at = self._told_at = float("-inf")
        self._log = Logger(namespace="bastion.oidc")

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.close()

    async def begin(self) -> DeviceCode:
        """Somebody wants to sign in. Raises ProviderFault."""
        described = await self._description()
        answer = await self._post(described, described.begin, {"scope": self.client.scopes})
        document = self._document(answer, "device code")
        return self._device_code(document)

    async def poll(self, device_code: str) -> Mapping[str, Any]:
        """What the token endpoint says, `error` or an `id_token`. Raises ProviderFault."""
        described = await self._description()
        form = {"grant_type": DEVICE_GRANT, "device_code": device_code}
        answer = await self._post(described, described.token, form)
        if answer.status >= 500:
            raise self.failed("unreachable", f"the token endpoint has status {answer.status}")
        return self._json(answer, "token")

    async def browsers(self) -> str:
        """The address to which browsers are led. Raises ProviderFault."""
        return (await self._description()).begin

    async def redeem(self, code: str, redirect: str, verifier: str) -> Mapping[str, Any]:
        """What the token endpoint says of a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5). Raises
        ProviderFault."""
        described = await self._description()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        answer = await self._post(described, described.token, form)
        if answer.status >= 500:
            raise self.failed("unreachable", f"the token endpoint has status {answer.status}")
        return self._json(answer, "token")

    async def keys(self, again: bool = False) -> tuple[SigningKey, ...]:
        """Those that it signs with; `again`: one is missing among those that are known. Raises ProviderFault."""
        age = self._clock.monotonic() - self._keys_at
        if age >= KEPT or (again and age >= KEYS_AGAIN):
            described = await self._description()
            found = signing_keys(self._document(await self._get(described.keys), "keys"))
            if not found:
                raise self.failed("malformed", "the issuer publishes no key that could be used")
            self._keys, self._keys_at = found, self._clock.monotonic()
        return self._keys

    # -- asking ------------------------------------------------------------------------------------------

    async def _description(self) -> Described:
        if self._described is None or self._clock.monotonic() - self._described_at >= KEPT:
            url = self.client.issuer.rstrip("/") + "/.well-known/openid-configuration"
            self._described = self._read_description(self._document(await self._get(url), "description"))
            self._described_at = self._clock.monotonic()
        return self._described

    def _read_description(self, document: Mapping[str, Any]) -> Described:
        if document.get("issuer") != self.client.issuer:
            raise self.failed("malformed", "the issuer says that it is another one")
        places = []
        for name in (self._begins, "token_endpoint", "jwks_uri"):
            value = document.get(name)
            if not isinstance(value, str) or not _is_https(value):
                raise self.failed("malformed", f"the issuer has no {name} by https")
            places.append(value)
        ways = document.get("token_endpoint_auth_methods_supported")
        posts = isinstance(ways, list) and "client_secret_basic" not in ways and "client_secret_post" in ways
        begin, token, keys = places
        return Described(begin, token, keys, posts)

    def _post(self, described: Described, url: str, form: Mapping[str, str]) -> Deferred[Answered]:
        """RFC 6749 section 2.3.1: id and secret form-encoded, before they are put together."""
        client, headers, whole = self.client, {}, {"client_id": self.client.client_id, **form}
        if client.secret and described.posts_secret:
            whole["client_secret"] = client.secret
        elif client.secret:
            both = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
            headers["Authorization"] = f"Basic {b64encode(both.encode()).decode()}"
        return self._ask(Asked(self._context, url, urlencode(whole).encode(), headers))

    def _get(self, url: str) -> Deferred[Answered]:
        return self._ask(Asked(self._context, url))

    def _ask(self, asked: Asked) -> Deferred[Answered]:
        return Deferred.fromCoroutine(self._answered(asked))

    async def _answered(self, asked: Asked) -> Answered:
        try:
            return await self._threads.run(asked.send, DEADLINE, asked.cut)
        except Unanswered as error:
            raise self.failed("unreachable", error.text) from None
        except (DeadlinePassed, QueueFull, WorkersClosed):
            raise self.failed("unreachable", "it did not answer in time") from None

    # -- reading -----------------------------------------------------------------------------------------

    def _document(self, answer: Answered, what: str) -> Mapping[str, Any]:
        if answer.status != 200:
            raise self.failed("malformed", f"asked for its {what} it has status {answer.status}")
        return self._json(answer, what)

    def _json(self, answer: Answered, what: str) -> Mapping[str, Any]:
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self.failed("malformed", f"asked for its {what} it answers no JSON object")
        return document

    def _device_code(self, document: Mapping[str, Any]) -> DeviceCode:
        code, user_code = document.get("device_code"), document.get("user_code")
        uri, whole = document.get("verification_uri"), document.get("verification_uri_complete", "")
        expires, interval = document.get("expires_in"), document.get("interval", USUAL_INTERVAL)
        texts = all(isinstance(one, str) and len(one) <= 2048 for one in (code, user_code, uri, whole))
        numbers = all(isinstance(one, (int, float)) and 0 <= one <= 86400 for one in (expires, interval))
        if not (texts and numbers and code and user_code and uri and str(code).isascii()):
            raise self.failed("malformed", "it gave no device code")
        assert (
            isinstance(code, str) and isinstance(expires, (int, float)) and isinstance(interval, (int, float))
        )
        between = min(max(float(interval), SHORTEST_INTERVAL), LONGEST_INTERVAL)
        whole = str(whole) if len(str(whole)) <= 512 else ""
        shown = (printable(str(user_code), 64), printable(str(uri), 512), printable(whole))
        return DeviceCode(code, *shown, float(expires), between)

    def failed(self, fault: str, text: str) -> ProviderFault:
        """A fault of its, counted, and told the operator now and then."""
        self._meters.add(FACTOR_FAULTS, "oidc", fault)
        now = self._clock.monotonic()
        if now - self._told_at >= LOG_EVERY:
            self._told_at = now
            self._log.warn("identity provider {issuer}: {text}", issuer=self.client.issuer, text=text)
        return ProviderFault(fault, text)


def _is_https(url: str) -> bool:
    """An address that can be asked, and that a browser can be sent to: what the provider says of itself may be
    anything, and `urlsplit` passes over ends of lines."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
