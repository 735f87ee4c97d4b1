"""From a checked configuration to `Services`: the value a reload swaps.

Nothing here has an effect outside the value, so a reload that fails leaves the old services in use. The `load_*`
functions are for commands that need one thing of a configuration, without the whole check.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.logger import Logger

from bastion import __version__
from bastion.auth.break_glass import BreakGlassRules
from bastion.auth.budget import LIMITS, Payer, Work
from bastion.auth.chain import ChainDirectory
from bastion.auth.context import AuthServices
from bastion.auth.directory import Directory
from bastion.auth.embedded import EmbeddedDirectory, Users
from bastion.auth.factors import OIDC, RADIUS, in_order
from bastion.auth.ldap import LdapDirectory
from bastion.auth.ldap_observer import Observer
from bastion.auth.outside import OutsideFactor
from bastion.auth.security_keys import Demands
from bastion.auth.throttle import Penalties
from bastion.ca.agent_threads import AgentThreads
from bastion.ca.files import is_there
from bastion.ca.front_host import FrontHostCA
from bastion.ca.front_keys import FrontKeys
from bastion.ca.host_certificates import InnerHostKeys
from bastion.ca.issuing import IssuingCA
from bastion.ca.keys import load_private_key
from bastion.ca.known_hosts import KnownHosts
from bastion.ca.ledger import KeyName
from bastion.ca.slots import Staged
from bastion.ca.upstream import UpstreamCA
from bastion.clock import Clock
from bastion.config.key_slots import load_staged
from bastion.config.load import Config
from bastion.config.material import Material
from bastion.config.resolvers import resolvers_of
from bastion.config.second_factors import SecondFactors
from bastion.errors import ConfigError
from bastion.observe.meters import Meters
from bastion.policy.addresses import Own
from bastion.policy.targets import Inventory, Resolved
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.session.announcing import Ways
from bastion.session.approvals import Terms
from bastion.session.gateway import DeletionTerms, Limits, Services
from bastion.session.traces import TraceTerms
from bastion.transport.settings import TransportSettings
from bastion.upstream.credentials import TargetCredentials
from bastion.upstream.dial import Dialler
from bastion.upstream.sshfp import Sshfp
from bastion.wire.kexinit import COMPAT, FRONT, TARGET, Algorithms
from bastion.wire.keys import PrivateKey

_log = Logger(namespace="bastion.session")

# OpenSSH sends eow@openssh.com and no-more-sessions@openssh.com only to a peer whose software is "OpenSSH*"
# (compat.c, SSH_NEW_OPENSSH), and both ends of a session may be OpenSSH. Without eow@ a client whose reader has
# gone (`ssh web1 yes | head -1`) reads and drops output for ever. No "OpenSSH_": what follows that is read as
# OpenSSH's own version (golang.org/x/crypto takes a word for 0, which "is broken before 6.0", and guesses ports;
# libssh2, paramiko and PuTTY look for it too). RFC 4253 section 4.2: no blank and no minus sign.
VERSION_LINE = f"SSH-2.0-OpenSSH.Bastion_{__version__}"


def build_services(
    config: Config,
    material: Material,
    reactor: Any,
    clock: Clock,
    observer: Observer | None,
    penalties: Penalties,
    own: Own | None = None,
    resolved: Resolved | None = None,
    workers: int = 1,
    meters: Meters | None = None,
) -> Services:
    """Make the services of a configuration and what was read for it. Raises ConfigError.

    `penalties` outlive them: a reload is no amnesty. `own` knows where the gateway itself is, `resolved` where the
    names of targets lead; `workers` processes share the directory. The reactor is kept, not called, maybe in a thread.
    """
    agents, upstream = AgentThreads(reactor, material.in_agents), upstream_ca(config, material.upstream_ca)
    return Services(
        auth=AuthServices(
            directory=build_directory(config, material.users, reactor, clock, observer, workers),
            login_cas=material.login_cas,
            ca_scopes=material.ca_scopes,
            penalties=penalties,
            methods=config.login.methods,
            revocation=material.revocation,
            demands=Demands(config.login.require_verify, config.login.allow_no_touch),
            chains=config.login.chains,
            factor_ttl=config.login.factor_ttl,
            break_glass=break_glass_rules(config, material.users),
            issuers=material.issuing_ca.publics if material.issuing_ca is not None else (),
            outside=outside_factors(config, material.second, reactor, clock, meters or Meters()),
        ),
        policy=config.rules,
        inventory=config.inventory.with_resolved(resolved) if resolved else config.inventory,
        dialler=build_dialler(config, material.known_hosts, reactor, clock, own),
        upstream=TargetCredentials(upstream, material.target_keys, clock, reactor, agents),
        recording=recording_policy(config),
        limits=session_limits(config),
        inner_host_keys=build_inner_host_keys(config, material, clock, agents),
        agents=agents,
        totp_key=material.second.totp_key,
        issuer=config.totp.issuer,
        issuing=issuing_ca(config, material.issuing_ca),
        approvals=approval_terms(config),
        deletions=DeletionTerms(config.console.groups["admin"], config.retention.at_least),
        announce=announcements(config),
        traces=trace_terms(config),
        policy_digest=config.version.digest,
    )


def outside_factors(
    config: Config, read: SecondFactors, reactor: Any, clock: Clock, meters: Meters
) -> dict[str, OutsideFactor]:
    """Who judges factors that this gateway does not, of those that are configured. Nothing else of them is loaded."""
    made: dict[str, OutsideFactor] = {}
    oidc, radius = config.oidc, config.radius
    if oidc.issuer is not None and read.tls is not None:
        from bastion.auth.oidc import Binding, OidcFactor
        from bastion.auth.oidc_provider import Client, Provider

        client = Client(oidc.issuer, oidc.client_id or "", read.oidc_secret, " ".join(oidc.scopes))
        provider = Provider(client, read.tls, reactor, clock, meters)
        binding = Binding(oidc.claim, oidc.suffix, oidc.equals == "id")
        made[OIDC] = OidcFactor(provider, binding, oidc.wait, reactor, clock, meters)
    if radius.servers:
        from bastion.auth.radius import RadiusFactor, RadiusTerms

        terms = RadiusTerms(
            radius.servers,
            read.radius_secret,
            radius.timeout,
            radius.tries,
            radius.nas_identifier,
            radius.suffix,
            radius.prompt,
        )
        made[RADIUS] = RadiusFactor(terms, reactor, clock, meters)
    return made


def issuing_ca(config: Config, keys: Staged | None) -> IssuingCA | None:
    """What issues certificates to people, where anybody may have one."""
    wanted = config.issue
    return None if keys is None else IssuingCA(keys, wanted.chains, int(wanted.lifetime), wanted.keys)


def approval_terms(config: Config) -> Terms:
    """How long requests wait, and whose passkeys answer them."""
    wanted = config.approvals
    return Terms(wanted.pending, wanted.valid, config.console.origin if wanted.passkeys else "")


def announcements(config: Config) -> Ways:
    """Where requests for approval are told of."""
    wanted = config.approvals
    return Ways(
        wanted.webhook or "",
        wanted.webhook_token_file,
        wanted.mail_command,
        wanted.mail_from or "",
        wanted.mail_to,
    )


def trace_terms(config: Config) -> TraceTerms:
    """Where the steps of logins are told to."""
    wanted = config.traces
    return TraceTerms(wanted.endpoint or "", wanted.ratio, wanted.token_file, config.state.name)


def session_limits(config: Config) -> Limits:
    """What the session layer keeps to."""
    limits = config.limits
    return Limits(
        keepalive_interval=limits.keepalive_interval or 0.0,
        keepalive_count=limits.keepalive_count,
        sessions=limits.sessions,
        sftp_hash=config.recording.sftp_hash,
        audit_detail=config.audit.detail,
        recheck=config.directory.recheck or 0.0,
        drain_timeout=limits.drain_timeout or 0.0,
        recording_bytes=config.recording.max_recording_bytes or 0,
        user_recording_bytes=config.recording.max_recording_bytes_per_user or 0,
        channels=limits.channels_per_connection,
        sessions_per_connection=limits.sessions_per_connection,
        key_age=config.login.key_age or 0.0,
    )


def build_dialler(
    config: Config, known_hosts: KnownHosts, reactor: Any, clock: Clock, own: Own | None = None
) -> Dialler:
    """What reaches targets, and judges their host keys."""
    sshfp = Sshfp(reactor, resolvers_of(config.targets.sshfp_resolvers))
    timeout = config.limits.dial_timeout
    commands = config.targets.proxy_commands
    return Dialler(reactor, known_hosts, target_settings(config), clock, timeout, own, sshfp, commands)


def recording_policy(config: Config) -> RecordingPolicy:
    """What of a session is recorded, under the names of `recording.bulk`."""
    wanted = config.recording
    return RecordingPolicy(
        mode=Mode(wanted.mode),
        input=wanted.input,
        burst_bytes=wanted.bulk_burst,
        sustained_bytes=wanted.bulk_rate,
        terminal_bytes=wanted.terminal_rate,
    )


def break_glass_rules(config: Config, users: Users | None) -> BreakGlassRules:
    """Whose accounts are for emergencies, and when they are."""
    special = {name: user.id or "" for name, user in (users or {}).items() if user.break_glass}
    wanted = config.directory
    chains = tuple(in_order(chain) for chain in wanted.break_glass_require)
    return BreakGlassRules(frozenset(special), wanted.break_glass_after, chains, frozenset(special.values()))


def build_directory(
    config: Config,
    users: Users | None,
    reactor: Any,
    clock: Clock,
    observer: Observer | None,
    workers: int = 1,
) -> Directory:
    """The embedded accounts, LDAP, or the one before the other. `users` are those of the file that is configured. Each
    of `workers` processes has its part of the conversations with LDAP."""
    wanted = config.directory
    # Whoever may be at the door may ask one question, and so may second proofs inside: so many may have to wait, and
    # none is sent away.
    queue = config.limits.startups.full + LIMITS[Payer.IDENTITY, Work.DIRECTORY].everybody
    ldap = None
    if wanted.ldap is not None:
        threads = max(1, wanted.ldap.threads // workers)
        ldap = LdapDirectory(replace(wanted.ldap, threads=threads), reactor, clock, observer, queue)
    # Also without embedded accounts: a chain refuses in steps of time.
    return ChainDirectory(EmbeddedDirectory(users or {}, reactor, queue), ldap, reactor)


def front_keys(config: Config, material: Material, clock: Clock) -> FrontKeys:
    """What engineers' connections are told: our host keys and the algorithms that go with them."""
    base = replace(_common_settings(config), algorithms=_front_algorithms(config))
    return FrontKeys(base, material.host_keys, clock, material.host_keys_changing)


def _front_algorithms(config: Config) -> Algorithms:
    return COMPAT if config.listen.algorithms == "compat" else FRONT


def build_inner_host_keys(
    config: Config, material: Material, clock: Clock, agents: AgentThreads
) -> InnerHostKeys:
    """How the gateway stands in for targets on inner connections: with the same host keys."""
    keys = material.front_host_ca
    ca = None if keys is None else FrontHostCA(keys, int(config.front_host_ca.lifetime))
    front = front_keys(config, material, clock)
    return InnerHostKeys(front, _front_algorithms(config), ca, clock, agents)


def target_settings(config: Config) -> TransportSettings:
    """What connections to targets are told; the dialler sorts the host key algorithms for each target."""
    # The dial has one timer for all its steps, so the transport's own are switched off.
    return replace(_common_settings(config), algorithms=TARGET, handshake_timeout=0.0, login_grace=0.0)


def _common_settings(config: Config) -> TransportSettings:
    limits = config.limits
    return TransportSettings(
        algorithms=FRONT,
        version=VERSION_LINE,
        login_grace=limits.login_grace,
        kex_timeout=limits.kex_timeout,
        write_stall=limits.write_stall,
        rekey_bytes=limits.rekey_bytes,
        rekey_seconds=limits.rekey_interval,
        trace=config.log.trace,
    )


def load_known_hosts(config: Config) -> KnownHosts:
    """The file and the pins of the inventory. Raises ConfigError for a file that is configured and missing.

    An empty file is a beginning; a missing one may have held @revoked lines.
    """
    file = config.targets.known_hosts
    if file is not None and not is_there(file):
        problem = f"{file} does not exist; `touch {file}` creates an empty one"
        raise ConfigError(str(config.file), 0, "targets.known_hosts", problem)
    hosts = KnownHosts.parse("") if file is None else KnownHosts.load(file)
    for warning in hosts.warnings:
        _log.warn("{warning}", warning=str(warning))
    for target in config.inventory:
        if target.pins:
            hosts = hosts.with_keys(target.known_as[0], target.port, target.pins, f"target {target.name}")
    return hosts


def upstream_ca(config: Config, keys: Staged | None) -> UpstreamCA | None:
    """The CA towards targets with those keys, None when every target has a key of its own."""
    if keys is None:
        return None
    egress = [str(network) for network in config.upstream_ca.egress]
    return UpstreamCA(keys, egress, int(config.upstream_ca.lifetime))


def load_upstream_ca(config: Config) -> UpstreamCA | None:
    """The same, for a command that needs nothing else. Raises ConfigError."""
    return upstream_ca(config, next(iter(load_staged(config, KeyName.UPSTREAM_CA)), None))


def target_keys(inventory: Inventory) -> dict[str, PrivateKey]:
    """The configured keys of targets that cannot trust a CA, by target name. Raises ConfigError."""
    return {
        target.name: load_private_key(target.key_file, target.passphrase_file)
        for target in inventory
        if target.key_file is not None
    }
