"""Names, and the way to each target (L4): reached, its host key known, our certificate accepted."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred

from bastion.assembly.building import (
    build_dialler,
    load_known_hosts,
    load_upstream_ca,
    target_keys,
    target_settings,
)
from bastion.ca.agent_threads import AgentThreads
from bastion.doctor.findings import Area, CannotLook, Finding, Level
from bastion.doctor.subject import Subject
from bastion.errors import ConfigError, Refused, UpstreamReason
from bastion.install.program import command
from bastion.net.resolver import resolve
from bastion.policy.grant import probe_grant
from bastion.policy.patterns import address_of
from bastion.policy.targets import Target
from bastion.recording.store import new_session_id
from bastion.transport.transport import Transport
from bastion.upstream.credentials import TargetCredentials
from bastion.upstream.facts import HopPassed, UpstreamConnected
from bastion.upstream.keyscan import scan_behind_hops, scan_host_keys

BY_APPLICATION: Final = 11

# What shows more, or repairs it: the subcommand of bastion and what stands before its --config.
_TYPE: Final = {
    UpstreamReason.HOST_KEY_UNKNOWN: ("target", "scan"),
    UpstreamReason.HOST_KEY_CHANGED: ("target", "scan"),
    UpstreamReason.HOST_CERT_INVALID: ("target", "scan"),
    UpstreamReason.LOGIN_REFUSED: ("target-config",),
}


def names_of(subject: Subject) -> dict[str, list[str]]:
    """Every name that has to be resolved here -> for whom."""
    config = subject.config
    wanted: dict[str, list[str]] = {}
    if config.listen.public is not None:
        wanted.setdefault(config.listen.public.host, []).append("listen.public")
    for target in config.inventory:
        if target.dialled:  # else a hop or a program looks it up
            wanted.setdefault(target.host, []).append(f"target {target.name}")
    for server in config.directory.ldap.servers if config.directory.ldap else ():
        wanted.setdefault(server.host, []).append(str(server))
    return {name: users for name, users in wanted.items() if address_of(name) is None}


async def look_up(reactor: Any, name: str, users: list[str]) -> Finding:
    """Does the name lead anywhere? What only engineers type may be known to them alone."""
    about = f"{name} ({', '.join(users[:3])}{', ...' if len(users) > 3 else ''})"
    try:
        found = await resolve(reactor, name)
    except Exception as error:
        level = Level.WARN if users == ["listen.public"] else Level.FAIL
        return Finding(Area.NAMES, level, about, f"does not resolve: {error}", f"getent ahosts {name}")
    return Finding(Area.NAMES, Level.OK, about, f"is {', '.join(found[:3])}")


class _Seen:
    """What becomes known on the way; implements `upstream.dial.DialObserver`."""

    def __init__(self) -> None:
        self.connected_as: UpstreamConnected | None = None
        self.seconds = 0.0

    def phase(self, name: str, seconds: float) -> None:
        self.seconds += seconds

    def host_key(self, outcome: str, fingerprint: str) -> None: ...

    def banner(self, text: str, missing: int) -> None: ...

    def hop(self, passed: HopPassed) -> None: ...

    def connected(self, facts: UpstreamConnected) -> None:
        self.connected_as = facts


class TargetLook:
    """Everything that dialling needs, made once; `look` goes to one target."""

    def __init__(self, reactor: Any, subject: Subject, login: str | None) -> None:
        """`login`: the account to log in as; None: one that policy or inventory names. Raises CannotLook."""
        self._reactor, self._subject, self._login = reactor, subject, login
        config = subject.config
        try:
            known = load_known_hosts(config)
            ca, keys = load_upstream_ca(config), target_keys(config.inventory)
        except ConfigError as error:
            raise CannotLook(str(error)) from None
        self._settings = target_settings(config)
        self._dialler = build_dialler(config, known, reactor, subject.clock)
        self._credentials = TargetCredentials(ca, keys, subject.clock, reactor, AgentThreads(reactor))

    def close(self) -> None:
        self._dialler.close()
        self._credentials.close()

    async def look(self, target: Target) -> Finding:
        """The whole way; as far as it can be gone without a person where a password must be asked."""
        config = self._subject.config.file
        login = self._login or _usual_login(self._subject, target)
        if target.kind == "gateway" or login is None or (target.password is not None and target.password.ask):
            return await self._reach(target)
        about = f"{login}@{target.name}"
        seen = _Seen()
        try:
            inventory, now = self._subject.config.inventory, self._subject.clock.time()
            grant = probe_grant(inventory, target.name, login, now, new_session_id())
            transport: Transport = await self._dialler.dial(
                grant,
                lambda: self._credentials.probe(grant),
                seen,
                hop_login=partial(self._credentials.hop_login, grant),
            )
            transport.disconnect(BY_APPLICATION, "only a test")
        except Refused as refusal:
            words = (
                _TYPE.get(UpstreamReason(refusal.reason), ("target", "test"))
                if _is_upstream(refusal)
                else ("why",)
            )
            more = {"test": (target.name, login), "scan": (target.name,)}.get(words[-1], ())
            line = command(*words, "--config", config, *more)
            return Finding(Area.TARGETS, Level.FAIL, about, f"{refusal.text} ({refusal.reason})", line)
        facts = seen.connected_as
        how = f" by {facts.login_method}" if facts else ""
        if facts and facts.legacy:
            text = f"logged in{how}, with weak algorithms: {', '.join(facts.legacy)}"
            return Finding(Area.TARGETS, Level.WARN, about, text)
        return Finding(Area.TARGETS, Level.OK, about, f"logged in{how} in {seen.seconds * 1000:.0f} ms")

    async def _reach(self, target: Target) -> Finding:
        """As far as its host keys: nobody to log in as, or a password that only a person has."""
        timeout = self._subject.config.limits.dial_timeout
        try:
            if not target.dialled:
                inventory, now = self._subject.config.inventory, self._subject.clock.time()
                grant = probe_grant(
                    inventory, target.name, (*target.logins, "root")[0], now, new_session_id()
                )
                login = partial(self._credentials.hop_login, grant)
                keys = await scan_behind_hops(self._dialler, grant, login, self._settings)
            else:
                keys = await scan_host_keys(self._reactor, target.host, target.port, self._settings, timeout)
        except Refused as refusal:
            line = command("target", "scan", "--config", self._subject.config.file, target.name)
            return Finding(Area.TARGETS, Level.FAIL, target.name, f"{refusal.text} ({refusal.reason})", line)
        text = f"answers, with {len(keys)} host keys; the login is not tried"
        return Finding(Area.TARGETS, Level.OK, target.name, text)


def _is_upstream(refusal: Refused) -> bool:
    return isinstance(refusal.reason, UpstreamReason)


def _usual_login(subject: Subject, target: Target) -> str | None:
    """An account that may be used there: the target's first, or the first that a rule about it names."""
    if target.logins:
        return target.logins[0]
    for rule in subject.config.rules.rules:
        if rule.matches_target(target):
            for login in rule.logins:
                if login.replace("_", "a").replace("-", "a").replace(".", "a").isalnum():
                    return login
    return None


def within(reactor: Any, seconds: float, work: Any) -> Deferred[Any]:
    """A coroutine as a Deferred that is cancelled after `seconds`."""
    result: Deferred[Any] = Deferred.fromCoroutine(work)
    result.addTimeout(seconds, reactor)
    return result
