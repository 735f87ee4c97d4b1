"""Asking a host which keys it has, without logging in to it: what `bastion target scan` and `pin` stand on.

One connection per key type, each given up as soon as the host has proved that it holds the key: the proof is
the signature over the exchange, which the transport verifies before it asks what we think of the key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from bastion.errors import Refused, UpstreamReason
from bastion.net.resolver import resolve
from bastion.net.socket import connect
from bastion.policy.grant import Grant
from bastion.transport.settings import CloseReason, TransportSettings
from bastion.transport.transport import Transport, client_transport
from bastion.upstream.dial import Dialler, MakeHopLogin
from bastion.upstream.facts import HopPassed, UpstreamConnected, mismatch_text
from bastion.wire.kexinit import HOST_KEY_LIST
from bastion.wire.legacy import LEGACY_HOST_KEYS
from bastion.wire.numbers import Disconnect
from bastion.wire.printable import printable

# One question per line: a host answers with the first it has. Certificates are asked for first.
KEY_QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("ssh-ed25519-cert-v01@openssh.com",),
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)


async def scan_host_keys(
    reactor: Any, host: str, port: int, settings: TransportSettings, timeout: float
) -> list[bytes]:
    """The host key blobs (plain keys and certificates) that `host:port` proves to hold.

    Raises Refused(UpstreamReason, text) when the host cannot be reached at all or speaks no SSH.
    """
    try:
        addresses = await resolve(reactor, host)
    except Exception:
        raise Refused(UpstreamReason.NAME_NOT_FOUND, f"the name {host} does not resolve") from None
    return await _each(settings, lambda asked: ask_host_key(reactor, addresses[0], port, asked, timeout))


async def scan_behind_hops(
    dialler: Dialler, grant: Grant, hop_login: MakeHopLogin, settings: TransportSettings
) -> list[bytes]:
    """The same of a target behind hops or a program: for each question the way is gone, and nothing proved to it."""

    async def ask(asked: TransportSettings) -> bytes:
        result: Deferred[bytes] = Deferred()
        factory = _ScanFactory(dialler.reactor, asked, result, dialler.timeout)
        try:
            await dialler.lead(grant, _Nobody(), hop_login, lambda: factory.buildProtocol(None))
        except Refused as refusal:
            factory.give_up(refusal)
        return await result

    return await _each(settings, ask)


async def _each(
    settings: TransportSettings, ask: Callable[[TransportSettings], Awaitable[bytes]]
) -> list[bytes]:
    """Ask for a key of each type."""
    found: list[bytes] = []
    questions = KEY_QUESTIONS
    if set(LEGACY_HOST_KEYS) & set(settings.algorithms.host_keys):  # listed for this target
        questions += (LEGACY_HOST_KEYS,)
    for algorithms in questions:
        blob = await ask(replace(settings, algorithms=replace(settings.algorithms, host_keys=algorithms)))
        if blob and blob not in found:
            found.append(blob)
    return found


class _Nobody:
    """Hears how a dial goes and does nothing; implements `upstream.dial.DialObserver`."""

    def phase(self, name: str, seconds: float) -> None: ...

    def host_key(self, outcome: str, fingerprint: str) -> None: ...

    def banner(self, text: str, missing: int) -> None: ...

    def hop(self, passed: HopPassed) -> None: ...

    def connected(self, facts: UpstreamConnected) -> None: ...


def ask_host_key(
    reactor: Any, address: str, port: int, settings: TransportSettings, timeout: float
) -> Deferred[bytes]:
    """The host key that a numeric address proves to hold for the offered algorithms; b"" when it has none."""
    result: Deferred[bytes] = Deferred()
    connect(reactor, address, port, _ScanFactory(reactor, settings, result, timeout), timeout)
    return result


class _ScanFactory(ClientFactory[Any]):
    """One connection of a scan; `result` fires once."""

    noisy = False

    def __init__(
        self, reactor: Any, settings: TransportSettings, result: Deferred[bytes], timeout: float
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._result: Deferred[bytes] | None = result
        self._transport: Transport | None = None
        self._timer = reactor.callLater(timeout, self._late)
        self._blob = b""

    def buildProtocol(self, addr: object) -> Transport:
        transport = self._transport = client_transport(
            self._settings, self._reactor, check_host_key=self._host_key_proved
        )
        transport.on_closed = self._closed
        return transport

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._finish(Refused(UpstreamReason.CONNECTION_REFUSED, reason.getErrorMessage()))

    def _host_key_proved(self, blob: bytes) -> None:
        self._blob = blob
        if self._transport is not None:
            self._transport.disconnect(Disconnect.BY_APPLICATION, "only looking")

    def _closed(self, reason: CloseReason) -> None:
        transport = self._transport
        # A host without a key of the asked type is an answer; one that has nothing else in common is not.
        missing = [one for one in transport.keys.mismatches if one.what != HOST_KEY_LIST] if transport else []
        if self._blob:
            self._finish(self._blob)
        elif missing:
            self._finish(Refused(UpstreamReason.KEX_FAILED, mismatch_text(missing)))
        elif transport is not None and not transport.keys.peer_version:
            self._finish(Refused(UpstreamReason.NOT_SSH, "it does not speak SSH"))
        elif reason.code in (0, Disconnect.KEY_EXCHANGE_FAILED):
            self._finish(b"")  # no key of the asked type
        else:
            self._finish(Refused(UpstreamReason.KEX_FAILED, printable(reason.text)))

    def give_up(self, why: Refused) -> None:
        """There will be no connection."""
        self._finish(why)

    def _late(self) -> None:
        transport = self._transport
        self._finish(Refused(UpstreamReason.TIMEOUT, "no answer in time"))
        if transport is not None:
            transport.disconnect(Disconnect.BY_APPLICATION, "too slow")

    def _finish(self, outcome: bytes | Refused) -> None:
        result, self._result = self._result, None
        self._transport = None
        if self._timer.active():
            self._timer.cancel()
        if result is None:
            return
        if isinstance(outcome, Refused):
            result.errback(outcome)
        else:
            result.callback(outcome)
