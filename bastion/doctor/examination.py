"""Everything at the same time, each part with its deadline (L4).

What blocks runs in threads that hold nothing up when they hang; what dials runs in the reactor, a few targets at a
time. `told` hears of each part that is done, for whoever waits at a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore, TimeoutError

from bastion.auth.workers import DeadlinePassed, Workers
from bastion.doctor import (
    bucket,
    console,
    directory,
    disk,
    files,
    gateway,
    keys,
    machine,
    network,
    ports,
    sinks,
)
from bastion.doctor.findings import Area, CannotLook, Finding, Level
from bastion.doctor.subject import Subject

THREADS: Final = 16
QUEUE: Final = 1000
SECONDS: Final = 15.0  # for a part that has no deadline of its own
AT_ONCE: Final = 16  # targets that are dialled at the same time, as a person with few rights would
MARGIN: Final = 1.0  # beyond the deadline that a part keeps itself

Told = Callable[[int, int], None]
"""How many parts are done, and of how many."""

Blocking = Callable[[Subject], Iterable[Finding]]
BLOCKING: Final[tuple[tuple[Area, Blocking], ...]] = (
    (Area.PROGRAM, machine.examine_program),
    (Area.FILES, files.examine_files),
    (Area.FILES, console.examine_console),
    (Area.KEYS, keys.examine_keys),
    (Area.PORTS, ports.examine_ports),
    (Area.DIRECTORY, directory.examine_embedded),
    (Area.DISK, disk.examine_disk),
    (Area.BUCKET, bucket.examine_bucket),
    (Area.CLOCK, machine.examine_clock),
    (Area.LIMITS, machine.examine_limits),
    (Area.GATEWAY, gateway.examine_gateway),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at: areas, and the account to try targets with (None: a usual one)."""

    areas: frozenset[Area]
    login: str | None = None


class Examination:
    """One look at everything; `run` once."""

    def __init__(self, reactor: Any, subject: Subject, wanted: Wanted, told: Told) -> None:
        self._reactor, self._subject, self._wanted, self._told = reactor, subject, wanted, told
        self._threads = Workers(reactor, "doctor", THREADS, QUEUE)
        self._targets: network.TargetLook | None = None
        self._done = 0

    def run(self) -> Deferred[list[Finding]]:
        """All findings, in the order of the areas. Never fails for what it finds."""
        parts = list(self._parts())

        def count(result: Any) -> Any:
            self._done += 1
            self._told(self._done, len(parts))
            return result

        everything = DeferredList([part.addBoth(count) for part in parts])

        def collect(results: list[tuple[bool, Any]]) -> list[Finding]:
            self._threads.close()
            if self._targets is not None:
                self._targets.close()
            found = [finding for _, findings in results for finding in findings]
            order = list(Area)
            return sorted(found, key=lambda finding: order.index(finding.area))

        collected: Deferred[Any] = everything.addCallback(collect)
        return collected

    def _parts(self) -> Iterator[Deferred[list[Finding]]]:
        """Each part of what is wanted, begun; none of them fails."""
        subject, areas = self._subject, self._wanted.areas
        for area, look in BLOCKING:
            if area in areas:
                yield self._thread(area, partial(_listed, look, subject), SECONDS)
        if Area.SINKS in areas:
            for name, sink in subject.config.audit.sinks.items():
                look_there = partial(sinks.examine_sink, name, sink, subject.config.state.name)
                yield self._thread(Area.SINKS, look_there, sinks.SECONDS + MARGIN, None, name)
        ldap = subject.config.directory.ldap
        if ldap is not None and Area.DIRECTORY in areas:
            for server in ldap.servers:
                one = directory.LdapLook(ldap, server, subject)
                yield self._thread(Area.DIRECTORY, one.run, ldap.deadline, one.cut, str(server))
        if Area.NAMES in areas:
            for name, users in network.names_of(subject).items():
                asking = partial(network.look_up, self._reactor, name, users)
                yield self._dialling(Area.NAMES, name, asking, SECONDS)
        if Area.TARGETS in areas:
            yield from self._all_targets()

    def _all_targets(self) -> Iterator[Deferred[list[Finding]]]:
        inventory = self._subject.config.inventory
        if not len(inventory):
            text = "the inventory has no target yet"
            yield _known([Finding(Area.TARGETS, Level.WARN, str(self._subject.config.targets.file), text)])
            return
        try:
            looks = self._targets = network.TargetLook(self._reactor, self._subject, self._wanted.login)
        except CannotLook as error:
            text = f"targets cannot be tried: {error}"
            yield _known([Finding(Area.TARGETS, Level.FAIL, str(self._subject.config.file), text)])
            return
        few = DeferredSemaphore(AT_ONCE)
        seconds = self._subject.config.limits.dial_timeout + MARGIN
        for target in inventory:
            dialling = partial(
                self._dialling, Area.TARGETS, target.name, partial(looks.look, target), seconds
            )
            yield few.run(dialling)

    def _thread(
        self, area: Area, work: Callable[[], list[Finding]], seconds: float,
        cut: Callable[[], None] | None = None, what: str = "",
    ) -> Deferred[list[Finding]]:  # fmt: skip
        asked: Deferred[Any] = self._threads.run(work, seconds, cut)
        return asked.addErrback(lambda failure: [_not_seen(area, what or area.value, failure, seconds)])

    def _dialling(
        self, area: Area, what: str, work: Callable[[], Any], seconds: float
    ) -> Deferred[list[Finding]]:
        asked = network.within(self._reactor, seconds, work())
        asked.addCallback(lambda finding: [finding])
        return asked.addErrback(lambda failure: [_not_seen(area, what, failure, seconds)])


def _listed(look: Blocking, subject: Subject) -> list[Finding]:
    return list(look(subject))


def _known(findings: list[Finding]) -> Deferred[list[Finding]]:
    made: Deferred[list[Finding]] = Deferred()
    made.callback(findings)
    return made


def _not_seen(area: Area, what: str, failure: Any, seconds: float) -> Finding:
    """A part that did not come to its end."""
    if failure.check(DeadlinePassed, TimeoutError):
        return Finding(area, Level.FAIL, what, f"no answer within {seconds:g} s")
    return Finding(area, Level.FAIL, what, f"cannot be looked at: {failure.getErrorMessage()}")
