# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""Every section of `bastion.toml`, each option declared once (L2).

`config.limits.login_grace` is a float in seconds. Sample, reference, check and dump are made from these lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bastion.auth.factors import CODE, EMERGENCY, KEYS, Chain
from bastion.auth.ldap_config import LdapConfig
from bastion.config.approvals import Approvals
from bastion.config.console import Console
from bastion.config.detections import Detections
from bastion.config.further_factors import Oidc, Radius
from bastion.config.issue import Issue, never_given
from bastion.config.listen import Listen
from bastion.config.login import Login, Totp
from bastion.config.mail import Mail
from bastion.config.metrics import Metrics
from bastion.config.nodes import Nodes
from bastion.config.outputs import Audit, Control, Log, Recording, Retention, State
from bastion.config.proxy_command import PROXY_COMMAND
from bastion.config.redact import Redact
from bastion.config.traces import TracesSection
from bastion.inventories.section import INVENTORIES, InventorySource
from bastion.options import At, Kind, Scope, option, shown
from bastion.options.kinds import (
    ADDRESS,
    NETWORK,
    SIZE,
    Address,
    Network,
    choice,
    duration,
    integer,
    list_of,
    mapping_of,
    optional,
    or_off,
    quoted,
    section,
    text,
)
from bastion.options.paths import FILE
from bastion.policy.patterns import PATTERN

COMMAND_WORD = re.compile(r"\A[a-z][a-z0-9_-]{0,31}\Z")
_STARTUPS = re.compile(r"\A([0-9]{1,6}):([0-9]{1,3}):([0-9]{1,6})\Z")


@dataclass(frozen=True, slots=True)
class Startups:
    """From `begin` unfinished logins on `rate` per cent are dropped, all at `full` (`auth.startups` says whose)."""

    begin: int
    rate: int
    full: int

    def __str__(self) -> str:
        return f"{self.begin}:{self.rate}:{self.full}"


def _read_startups(value: object, at: At) -> Startups:
    found = _STARTUPS.match(value) if isinstance(value, str) else None
    if found is not None:
        made = Startups(int(found[1]), int(found[2]), int(found[3]))
        if 0 < made.begin <= made.full and made.rate <= 100:
            return made
    raise at.wrong(f"{shown(value)} is not begin:rate:full", STARTUPS.allowed)


STARTUPS: Kind[Startups] = Kind(
    "begin:rate:full",
    '"100:30:1000": from 100 on 30 per cent of those, all at 1000',
    _read_startups,
    lambda value: quoted(str(value)),
)


def _read_workers(value: object, at: At) -> int:
    return 0 if value == "auto" else _WORKERS.read(value, at)


_WORKERS: Kind[int] = integer(1, 64)

WORKERS: Kind[int] = Kind(
    "workers",
    f'{_WORKERS.allowed}, or "auto": as many as there are processors',
    _read_workers,
    lambda value: str(value) if value else '"auto"',
)


@dataclass(frozen=True, slots=True)
class Process:
    """The processes that serve. With one of them the gateway is one process; with more a small supervisor starts them,
    and they share the listening sockets, the limits and the penalties (`docs/service.md`)."""

    workers: int = option(
        WORKERS,
        "Processes that accept connections. One uses one processor; each has its own memory.",
        default=1,
        scope=Scope.RESTART,
    )


@dataclass(frozen=True, slots=True)
class HostKeys:
    """What the gateway proves its own identity with."""

    files: tuple[Path, ...] = option(
        list_of(FILE, at_least=1),
        "Private host keys, one per type; readable by their owner only.",
        example='["keys/ssh_host_ed25519_key"]',
    )
    passphrase_file: Path | None = option(
        optional(FILE),
        "File with the passphrase of these keys in its first line, closed to others. Not set: none is encrypted.",
        default=None,
        example='"credential:host_keys"',
    )


_FILE_NAME = re.compile(r"\A[^\x00]{1,4096}\Z")
_OF_A_CA = mapping_of(
    list_of(PATTERN, at_least=1), _FILE_NAME, "a file of login_ca.files = a list of names and patterns"
)


@dataclass(frozen=True, slots=True)
class LoginCA:
    """Whose certificates engineers may log in with. Targets must never trust these."""

    files: tuple[Path, ...] = option(
        list_of(FILE),
        "Files with public keys of the CAs, one per line. Empty: certificates are refused.",
        default=(),
        example='["keys/login_ca.pub"]',
    )
    users: Mapping[str, tuple[str, ...]] = option(
        _OF_A_CA,
        "Of a file in `files`: the accounts that certificates of its CAs let in, by name or pattern. With `groups`,"
        " either is enough. A file that neither names lets in everybody.",
        default=MappingProxyType({}),
        example='{ "keys/login_ca.pub" = ["ext-*"] }',
    )
    groups: Mapping[str, tuple[str, ...]] = option(
        mapping_of(list_of(text(), at_least=1), _FILE_NAME, "a file of login_ca.files = a list of groups"),
        "Of a file in `files`: the directory's groups whose members certificates of its CAs let in.",
        default=MappingProxyType({}),
        example='{ "keys/login_ca.pub" = ["contractors"] }',
    )
    principals: Mapping[str, tuple[str, ...]] = option(
        _OF_A_CA,
        "Of a file in `files`: patterns, one of which every principal of a certificate of its CAs must fit.",
        default=MappingProxyType({}),
        example='{ "keys/login_ca.pub" = ["ext-*"] }',
    )


@dataclass(frozen=True, slots=True)
class UpstreamCA:
    """Signs the certificates that the gateway logs in to targets with. Only targets trust it."""

    key: Path | None = option(
        optional(FILE),
        "Private key of the CA. Not set: every target needs a `key_file` of its own.",
        default=None,
        example='"keys/upstream_ca"',
    )
    passphrase_file: Path | None = option(
        optional(FILE),
        "File with the key's passphrase in its first line, closed to others. Not set: the key is not encrypted.",
        default=None,
        example='"credential:upstream_ca"',
    )
    agent: Path | None = option(
        optional(FILE),
        "Socket of an ssh-agent with the private key (in a token, a KMS); `key` is then the file of its public half.",
        default=None,
        example='"/run/bastion/agent.sock"',
    )
    lifetime: float = option(
        duration(30, 3600), "How long a certificate is valid; it is used once, at once.", default=300.0
    )
    egress: tuple[Network, ...] = option(
        list_of(NETWORK),
        "Addresses that the gateways connect from; certificates work from there only. Empty: from anywhere.",
        default=(),
        example='["192.0.2.10", "192.0.2.11"]',
    )


@dataclass(frozen=True, slots=True)
class FrontHostCA:
    """Signs stand-in host certificates for the names of the inventory."""

    key: Path | None = option(
        optional(FILE), "Private key of the CA.", default=None, example='"keys/front_host_ca"'
    )
    passphrase_file: Path | None = option(
        optional(FILE),
        "File with the key's passphrase in its first line, closed to others. Not set: the key is not encrypted.",
        default=None,
        example='"credential:front_host_ca"',
    )
    agent: Path | None = option(
        optional(FILE),
        "Socket of an ssh-agent with the private key (in a token, a KMS); `key` is then the file of its public half.",
        default=None,
        example='"/run/bastion/agent.sock"',
    )
    lifetime: float = option(
        duration(3600, 30 * 86400),
        "How long a host certificate is valid; a new one is made when half of it is over.",
        default=86400.0,
    )


@dataclass(frozen=True, slots=True)
class Keys:
    """What is known of the gateway's own keys beside the keys: `bastion keys`."""

    ledger: Path | None = option(
        optional(FILE),
        "File in which `bastion keys` writes which key is in force from when, and which were retired."
        " Not set: `keys.toml` in the folder of the first host key, which need not be there.",
        default=None,
        example='"keys/keys.toml"',
    )


@dataclass(frozen=True, slots=True)
class Directory:
    """Who the engineers are. A name of the embedded directory is never an account of LDAP."""

    embedded: Path | None = option(
        optional(FILE),
        "File with users, hashes, keys and groups: for small sites and for break-glass accounts.",
        default=None,
        example='"users.toml"',
    )
    recheck: float | None = option(
        or_off(duration(1, 86400)),
        "How often the accounts of engineers who are connected are looked at again, and the rules of running sessions"
        " and tunnels, for rules with `end_withdrawn`.",
        default=300.0,
    )
    break_glass_after: float = option(
        duration(60, 86400),
        "How long every LDAP server must have failed before break-glass accounts of the embedded file may log in. Or:"
        " `bastion break-glass open`.",
        default=600.0,
    )
    break_glass_require: tuple[Chain, ...] = option(
        list_of(list_of(choice(*KEYS, CODE), at_least=2), at_least=1),
        "Chains of factors of break-glass accounts, whatever login.require says: each has a key and a one-time code."
        " One of them must be proved.",
        default=EMERGENCY,
    )
    ldap: LdapConfig | None = option(optional(section(LdapConfig)), "An LDAP directory.", default=None)

    def validate(self, at: At) -> None:
        for index, chain in enumerate(self.break_glass_require):
            if len(set(chain)) < len(chain) or CODE not in chain:
                text = "needs a key and a one-time code, each factor once"
                at.child("break_glass_require").child(index).wrong(text, '["publickey", "totp"]')
        if self.embedded is None and self.ldap is None:
            at.wrong(
                "needs embedded or ldap: nobody could log in", 'embedded = "users.toml", [directory.ldap]'
            )


@dataclass(frozen=True, slots=True)
class Targets:
    """The machines, and the host keys they are known by."""

    file: Path = option(FILE, "File with the inventory.", example='"targets.toml"')
    folder: Path | None = option(
        optional(FILE),
        "Folder whose files `*.toml` are read after it, in the order of their names; hidden ones are not.",
        default=None,
        example='"targets.d"',
    )
    known_hosts: Path | None = option(
        optional(FILE),
        "Host keys as OpenSSH's known_hosts, with @cert-authority and @revoked. Written by `target pin`.",
        default=None,
        example='"known_hosts"',
    )
    sshfp_resolvers: tuple[Address, ...] = option(
        list_of(ADDRESS),
        'Resolvers that validate DNSSEC, for targets with host_keys = "sshfp". The way to them must be safe: whoever'
        " can forge their answers can forge host keys. Not set: those on loopback in /etc/resolv.conf.",
        default=(),
        example='["127.0.0.1:53"]',
    )
    proxy_commands: Mapping[str, tuple[str, ...]] = option(
        mapping_of(PROXY_COMMAND, COMMAND_WORD, "lower-case words"),
        "Programs that targets may name in `proxy_command`, each as a list of its words, run without a shell: %h and %p"
        " are host and port of the target, %r is the account, %% is %.",
        default=MappingProxyType({}),
        example='{ tunnel = ["/usr/bin/nc", "%h", "%p"] }',
    )


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """Who may reach what."""

    file: Path = option(FILE, "File with the rules.", example='"policy.toml"')


@dataclass(frozen=True, slots=True)
class Penalties:
    """What failed logins cost. A source alone is only ever blocked over many different accounts."""

    free: int = option(
        integer(1, 1000), "Failures of one account from one source that cost nothing.", default=5
    )
    first_block: float = option(
        duration(0.1, 3600), "The first block after that; each further failure doubles it.", default=5.0
    )
    longest_block: float = option(duration(0.1, 86400), "Where the doubling ends.", default=600.0)
    accounts: int = option(
        integer(1, 100_000), "Different failing accounts that block their source as a whole.", default=20
    )
    window: float = option(duration(1, 86400), "The time in which those accounts are counted.", default=600.0)
    source_block: float = option(
        duration(0.1, 86400), "The first block of a source; it doubles too.", default=60.0
    )
    longest_source_block: float = option(duration(0.1, 86400), "Where that doubling ends.", default=3600.0)
    forget: float = option(
        duration(1, 7 * 86400),
        "A record is forgotten this long after its last failure or block.",
        default=1800.0,
    )
    account_failures: int = option(
        integer(0, 100),
        "Wrong passwords of one account that are tried within `account_window`, from all sources together. One less"
        " than locks it in the directory (pwdMaxFailure), so that nobody locks it from here. 0: no such limit.",
        default=0,
        example="4",
    )
    account_window: float = option(
        duration(1, 7 * 86400),
        "The time in which those are counted: no shorter than the directory's (pwdFailureCountInterval).",
        default=1800.0,
    )
    exempt: tuple[Network, ...] = option(
        list_of(NETWORK),
        "Networks whose addresses are never blocked as a whole, such as a NAT with an office behind it; an account that"
        " fails from there still waits.",
        default=(),
        example='["192.0.2.0/28"]',
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """Times and counts that no peer can exceed."""

    login_grace: float = option(duration(1, 3600), "From accept to the last factor.", default=60.0)
    dial_timeout: float = option(
        duration(1, 600),
        "From the decision to a session on the target, all addresses and steps.",
        default=20.0,
    )
    kex_timeout: float = option(duration(1, 3600), "One key exchange, from either side.", default=120.0)
    write_stall: float = option(
        duration(1, 86400),
        "A peer that takes no data for this long is dropped, keepalives or not.",
        default=180.0,
    )
    rekey_bytes: int = option(SIZE, "Bytes after which new keys are made.", default=1 << 30)
    rekey_interval: float = option(duration(60, 86400), "Time after which new keys are made.", default=3600.0)
    channels_per_connection: int = option(integer(1, 4096), "Open channels of one connection.", default=128)
    sessions_per_connection: int = option(
        integer(1, 256), "Sessions through one connection with `ssh -J`.", default=256
    )
    sessions: int = option(integer(1, 1_000_000), "Sessions at the same time.", default=10_000)
    keepalive_interval: float | None = option(
        or_off(duration(1, 86400)), "How often a silent peer is asked whether it lives.", default=60.0
    )
    keepalive_count: int = option(
        integer(1, 1000), "Questions without an answer after which the peer is dead.", default=3
    )
    idle: float | None = option(
        or_off(duration(1)), "No data either way for this long ends a session; rules may say less or more.",
        default=None,
    )  # fmt: skip
    max_duration: float | None = option(
        or_off(duration(1)), "Longest session; rules may say less or more.", default=12 * 3600.0
    )
    max_auth_age: float | None = option(
        or_off(duration(1)), "A login older than this opens nothing new.", default=12 * 3600.0
    )
    drain_timeout: float | None = option(
        or_off(duration(0.1, 7 * 86400)),
        "What sessions and tunnels get to finish after SIGTERM; a second one, or SIGINT, ends them at once.",
        default=15 * 60.0,
    )
    startups: Startups = option(
        STARTUPS,
        "Early drop of unfinished logins, after OpenSSH's MaxStartups: from the first number on, connections from the"
        " sources that hold most are refused by chance; at the last a source that holds less takes a place from the"
        " one that holds most.",
        default=Startups(100, 30, 1000),
    )
    startups_per_source: int = option(
        integer(1, 1_000_000), "Unfinished logins from one source block.", default=100
    )
    penalties: Penalties = option(section(Penalties), "What failed logins cost.", default=Penalties())


@dataclass(frozen=True, slots=True)
class Sections:
    """The whole file."""

    listen: Listen = option(section(Listen), "", default=Listen())
    process: Process = option(section(Process), "", default=Process())
    host_keys: HostKeys = option(section(HostKeys), "")
    login: Login = option(section(Login), "", default=Login())
    totp: Totp = option(section(Totp), "", default=Totp())
    oidc: Oidc = option(section(Oidc), "", default=Oidc())
    radius: Radius = option(section(Radius), "", default=Radius())
    issue: Issue = option(section(Issue), "", default=Issue())
    login_ca: LoginCA = option(section(LoginCA), "", default=LoginCA())
    upstream_ca: UpstreamCA = option(section(UpstreamCA), "", default=UpstreamCA())
    front_host_ca: FrontHostCA = option(section(FrontHostCA), "", default=FrontHostCA())
    keys: Keys = option(section(Keys), "", default=Keys())
    directory: Directory = option(section(Directory), "")
    targets: Targets = option(section(Targets), "")
    inventories: Mapping[str, InventorySource] = option(INVENTORIES, "", default=MappingProxyType({}))
    policy: PolicyFile = option(section(PolicyFile), "")
    approvals: Approvals = option(section(Approvals), "", default=Approvals())
    recording: Recording = option(section(Recording), "")
    state: State = option(section(State), "", default=State())
    nodes: Nodes = option(section(Nodes), "", default=Nodes())
    retention: Retention = option(section(Retention), "", default=Retention())
    redact: Redact = option(section(Redact), "", default=Redact())
    metrics: Metrics = option(section(Metrics), "", default=Metrics())
    traces: TracesSection = option(section(TracesSection), "", default=TracesSection())
    audit: Audit = option(section(Audit), "")
    detections: Detections = option(section(Detections), "", default=Detections())
    log: Log = option(section(Log), "", default=Log())
    control: Control = option(section(Control), "", default=Control())
    console: Console = option(section(Console), "", default=Console())
    mail: Mail = option(section(Mail), "", default=Mail())
    limits: Limits = option(section(Limits), "", default=Limits())

    @property
    def state_folder(self) -> Path:
        """Where what a gateway keeps for itself is."""
        return self.state.directory or self.recording.directory / "state"

    def validate(self, at: At) -> None:
        for index in never_given(self.issue, self.login):
            place = at.child("issue").child("require").child(index)
            place.wrong("no login gives all of these factors", "a chain of login.require, or a part of one")
