"""Which host keys a target may have: known_hosts, pins and DNS, and the algorithms that go with them.

Shared by everything that is dialled, hops too. Invariant: a key is judged by the target's own names, never by what a
peer says of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.ca.known_hosts import HostKeyVerdict, KnownHosts, Outcome, plain_key
from bastion.clock import Clock
from bastion.errors import Refused, UpstreamReason
from bastion.policy.targets import Target
from bastion.transport.settings import TransportSettings
from bastion.upstream.sshfp import Records, Sshfp, SshfpFailed
from bastion.wire.legacy import LEGACY_HOST_KEYS

MAX_REMEMBERED = 8192
"""Targets whose settings are looked up instead of made: a large inventory. They share a few values, so an entry is a
key and a reference, 300 bytes."""

Judged = Callable[[str, str], None]
"""Hears the outcome and the fingerprint, before anything is raised."""


class HostKeys:
    """What is known, for one configuration."""

    def __init__(
        self, known_hosts: KnownHosts, settings: TransportSettings, clock: Clock, sshfp: Sshfp | None
    ) -> None:
        self.known_hosts = known_hosts
        self._settings = settings
        self._clock = clock
        self.sshfp = sshfp
        self._made: dict[tuple[tuple[str, ...], tuple[str, ...]], TransportSettings] = {}
        self._made_for: dict[tuple[tuple[str, ...], int, tuple[str, ...]], TransportSettings] = {}

    def close(self) -> None:
        """Nobody asks any more: give up the threads that ask DNS."""
        if self.sshfp is not None:
            self.sshfp.close()

    def settings_of(self, target: Target) -> TransportSettings:
        """The algorithms for one target: host keys that can be verified come first, its legacy names last."""
        where = (target.known_as, target.port, target.legacy)
        found = self._made_for.get(where)
        if found is None:
            if len(self._made_for) >= MAX_REMEMBERED:
                self._made_for.clear()
            found = self._made_for[where] = self._make_settings(target)
        return found

    def _make_settings(self, target: Target) -> TransportSettings:
        """The same, made; equal ones are one value for all targets that share it."""
        names = self.known_hosts.algorithms_for(target.known_as, target.port)
        usable = [name for name in names if name in self._settings.algorithms.host_keys]
        for name in LEGACY_HOST_KEYS:
            if name in target.legacy:
                # SHA-1 with the pinned RSA key is worth more than a better signature with a key nobody knows.
                usable.insert(usable.index("rsa-sha2-256") + 1, name)
        key = (tuple(usable), target.legacy)
        made = self._made.get(key)
        if made is None:
            algorithms = self._settings.algorithms.with_legacy(target.legacy)
            made = replace(self._settings, algorithms=replace(algorithms, host_keys=key[0]))
            self._made[key] = made
        return made

    def check(self, target: Target, blob: bytes, judged: Judged) -> Deferred[None] | None:
        """Judge the host key in `blob`. Raises Refused(HOST_KEY_*), now or later."""
        verdict = self.known_hosts.check(target.known_as, target.port, blob, self._clock.time())
        if verdict.outcome is Outcome.UNKNOWN and target.by_sshfp and self.sshfp is not None:
            return self.sshfp.ask(target.host).addBoth(_sshfp_answered, target, blob, judged)
        _conclude(target, verdict, judged)
        return None


def _conclude(target: Target, verdict: HostKeyVerdict, judged: Judged) -> None:
    judged(verdict.outcome, verdict.fingerprint)
    refusal = host_key_refusal(target.name, verdict)
    if refusal is not None:
        raise refusal


def _sshfp_answered(answer: Records | Failure, target: Target, blob: bytes, judged: Judged) -> None:
    """What DNS says of the host key in `blob`. Raises Refused(HOST_KEY_*)."""
    key = plain_key(blob)
    shown, reason = key.fingerprint(), UpstreamReason.HOST_KEY_UNKNOWN
    if isinstance(answer, Failure):
        if not isinstance(answer.value, SshfpFailed):
            answer.raiseException()
        outcome, text = Outcome.UNKNOWN, f"the host key {shown} is not known: {answer.value.text}"
    elif answer.vouch_for(key):
        _conclude(target, HostKeyVerdict(Outcome.SSHFP_OK, shown), judged)
        return
    else:
        outcome, reason = Outcome.CHANGED, UpstreamReason.HOST_KEY_CHANGED
        text = f"the host key {shown} is not one that the SSHFP records of {target.host} vouch for"
    judged(outcome, shown)
    raise Refused(reason, f"{target.name}: {text}")


def host_key_refusal(name: str, verdict: HostKeyVerdict) -> Refused | None:
    """The refusal that goes with a verdict on a host key, or None when the key is good."""
    shown = verdict.fingerprint
    if verdict.accepted:
        return None
    if verdict.outcome is Outcome.CHANGED:
        old = ", ".join(verdict.known_fingerprints)
        reason, text = (
            UpstreamReason.HOST_KEY_CHANGED,
            f"the host key has changed: known {old}, shown {shown}; "
            f"if that is right: bastion target pin {name} {shown}",
        )
    elif verdict.outcome is Outcome.REVOKED:
        reason, text = UpstreamReason.HOST_KEY_REVOKED, f"the host key {shown} is revoked"
    elif verdict.outcome is Outcome.CERT_INVALID:
        reason, text = UpstreamReason.HOST_CERT_INVALID, f"its host certificate is not good: {verdict.text}"
    else:
        reason, text = (
            UpstreamReason.HOST_KEY_UNKNOWN,
            f"the host key {shown} is not known; if it is right: bastion target pin {name} {shown}",
        )
    return Refused(reason, f"{name}: {text}")
