"""From a checked configuration to the one in force: the same steps at the start and at every reload.

`prepare` reads, checks and builds, and may run in a thread; it has no effect outside its value but that the first one
makes the recording key, where none is configured. `apply` swaps the value
in, in one turn of the reactor, and either all of it or nothing. Every option that a reload can change is set in
`apply` or stands in `Services`, and nowhere else, so that a start and a reload cannot differ.

What goes on is carried over: penalties keep their records, unfinished logins stay counted, sessions keep what they
began with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bastion.assembly.building import build_services
from bastion.assembly.recording_key import data_keys_of, sealing_of
from bastion.auth.ldap_observer import Observer
from bastion.auth.throttle import Penalties
from bastion.ca.ledger import KeyName
from bastion.clock import Clock
from bastion.config.check import Report, inspect
from bastion.config.contents import contents, newest
from bastion.config.key_dates import KeyDates, key_dates
from bastion.config.load import Config
from bastion.config.material import Material
from bastion.config.penalties import penalty_limits
from bastion.errors import ConfigError
from bastion.observe.families.keys import UPSTREAM_CERTIFICATES
from bastion.observe.meters import AGENT_SIGNATURES, Meters
from bastion.policy.addresses import Own
from bastion.policy.targets import Resolved
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.keys import Sealing
from bastion.session.gateway import Gateway, Services
from bastion.upstream.target_addresses import names_among

READINGS: Final = 3
"""How often the files are read before one that changes all the time is taken as it is."""

Look = Callable[[str | os.PathLike[str]], Report]
"""Reads and checks a configuration: `config.check.inspect`."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration without errors, and all that is made of it."""

    config: Config
    services: Services
    warnings: tuple[ConfigError, ...]
    names: tuple[str, ...]  # of the targets that are dialled by name
    contents: Mapping[str, str]  # digests of all files, by what they are for (`config.contents`)
    sealing: Callable[[], Sealing]  # of the recordings that begin
    data_keys: DataKeyStock | None  # what they are encrypted with, if they are
    changes: tuple[str, ...] = ()  # against what was in force, a line each
    key_dates: Mapping[KeyName, KeyDates] = field(default_factory=dict)  # how old the keys are


@dataclass(frozen=True, slots=True)
class Parts:
    """What services are built with and what outlives them."""

    reactor: Any
    clock: Clock
    observer: Observer | None
    penalties: Penalties
    own: Own
    resolved: Resolved
    workers: int = 1  # processes that share the directory
    meters: Meters | None = None


def prepare(
    file: str | os.PathLike[str],
    parts: Parts,
    look: Look = inspect,
) -> Prepared:
    """Read and check everything, and build the services. Raises ConfigErrors with every error found."""
    config, material, warnings, read = _read_at_rest(file, parts.clock, look)
    services = build_services(
        config,
        material,
        parts.reactor,
        parts.clock,
        parts.observer,
        parts.penalties,
        parts.own,
        parts.resolved,
        parts.workers,
        parts.meters,
    )
    names = names_among(target.host for target in config.inventory)
    sealing, keys = sealing_of(config, material, parts.clock), data_keys_of(config, material)
    return Prepared(config, services, warnings, names, read, sealing, keys, key_dates=key_dates(config))


def _read_at_rest(
    file: str | os.PathLike[str], clock: Clock, look: Look
) -> tuple[Config, Material, tuple[ConfigError, ...], Mapping[str, str]]:
    """What is in the files, once none of them has changed while they were read; workers compare what they have read."""
    for _ in range(READINGS):
        began = clock.time()
        report = look(file)
        config, material = report.accepted()
        read = contents(config)
        if newest(config) <= began:
            break
    return config, material, report.warnings, read


def apply(gateway: Gateway, prepared: Prepared) -> Services:
    """Put `prepared` in force and return the services that were. Raises AuditFailed, and then nothing has changed."""
    config, old = prepared.config, gateway.services
    gateway.audit.move(str(config.audit.file), config.audit.required)
    # From here on nothing can fail.
    limits, startups = config.limits, config.limits.startups
    gateway.startups.set_limits(startups.begin, startups.rate, startups.full, limits.startups_per_source)
    prepared.services.auth.penalties.set_limits(penalty_limits(limits.penalties))
    gateway.store.set_limits(config.recording.disk_floor, config.recording.fsync_interval)
    gateway.store.sealing = prepared.sealing
    gateway.store.use(prepared.data_keys)
    gateway.state.refuse = config.state.unavailable == "refuse"
    public = config.listen.public
    gateway.typed = None if public is None else (public.host, public.port)
    gateway.balancers = config.listen.balancers
    prepared.services.agents.on_signed = lambda use, ended: gateway.meters.add(AGENT_SIGNATURES, use, ended)
    prepared.services.upstream.on_certificate = lambda: gateway.meters.add(UPSTREAM_CERTIFICATES)
    gateway.services = prepared.services
    gateway.reloads += 1
    return old
