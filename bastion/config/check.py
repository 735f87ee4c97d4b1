"""Everything that can be known about a configuration without starting (L2).

`bastion check`, the start and every reload call `inspect` and nothing else, so none of them can take what another
refuses, and all faults are told at once. Beyond what `load` refuses: key files and their modes, who may write the
files that decide, the four authorities that may never be equal, policy beside inventory, and a
trial of what will be written, as the user who runs it (`bastion.config.places`). Nothing is changed and nobody is
contacted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from bastion.age import Recipient
from bastion.auth.ca_scope import CaScopes
from bastion.auth.embedded import Users, load_users, services_of
from bastion.auth.ldap_config import FILTER, read_bind_password, tls_context
from bastion.auth.ldap_filters import is_filter
from bastion.auth.revocation import NOTHING_REVOKED, Revocation
from bastion.ca.files import is_there
from bastion.ca.identities import read_recipients
from bastion.ca.keys import load_private_key
from bastion.ca.known_hosts import KnownHosts, Marker
from bastion.ca.ledger import KeyName, Ledger, read_ledger
from bastion.ca.revoked_keys import load_revoked_keys
from bastion.ca.secrets import read_secret_file
from bastion.ca.slots import Slot, Staged, load_slot
from bastion.clock import SystemClock
from bastion.config.authorities import CERTIFY_PEOPLE, ROLES, TARGET_HOST_CA, Held, key_faults
from bastion.config.issue import bound_by_name
from bastion.config.key_slots import ledger_path, signing_slots
from bastion.config.load import Answers, Config, load_into, source_of
from bastion.config.login_cas import read_login_cas
from bastion.config.material import Material
from bastion.config.metrics import metrics_faults
from bastion.config.nodes import nodes_faults
from bastion.config.places import try_places
from bastion.config.ports import balancer_doubts, port_faults
from bastion.config.recording_store import store_faults
from bastion.config.resolvers import resolvers_of
from bastion.config.second_factors import SecondFactors, read_second_factors
from bastion.config.target_faults import (
    Apart,
    Fault,
    Place,
    asked_faults,
    hop_faults,
    may_be_named,
    password_faults,
    place_of,
    program_faults,
    same_place,
)
from bastion.errors import ConfigError
from bastion.options import ConfigErrors, KeyPath, Problems, Source, dotted
from bastion.policy.review import review
from bastion.policy.targets import Target
from bastion.sinks.faults import sink_faults
from bastion.wire.kexinit import COMPAT, FRONT
from bastion.wire.keys import ED25519, PrivateKey

# An RSA host key below this is rated a weakness by ssh-audit.
RSA_HOST_KEY_BITS = 3072


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    `readable` is False when the file is missing or no TOML; `config` is None when its options are not all
    valid, and then nothing beyond them was looked at. `material` is what the files hold, when there are no errors.
    """

    readable: bool
    config: Config | None
    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]
    material: Material | None = field(default=None, repr=False)

    def accepted(self) -> tuple[Config, Material]:
        """What may be used. Raises ConfigErrors with every error found."""
        if self.errors:
            raise ConfigErrors(self.errors)
        assert self.config is not None and self.material is not None
        return self.config, self.material


def inspect(path: str | os.PathLike[str], answers: Answers | None = None) -> Report:
    """Check the configuration at `path` and all files it names. Never raises for what it finds. `answers` stand in the
    place of what is kept of inventories."""
    problems = Problems()
    sources: dict[Path, Source] = {}
    config = load_into(path, problems, sources, answers)
    file = Path(path)
    if config is None:
        return Report(file in sources, None, tuple(problems.errors), ())
    faulty = {error.file for error in problems.errors}
    checked = _Check(config, {name: source for name, source in sources.items() if str(name) not in faulty})
    checked.run()
    errors = tuple(problems.errors) + tuple(checked.errors)
    return Report(True, config, errors, tuple(checked.warnings), None if errors else checked.material())


class _Check:
    """One pass over one configuration: notes what is wrong, keeps what was read."""

    def __init__(self, config: Config, sources: Mapping[Path, Source]) -> None:
        """`sources` are the documents without a fault: what another one has, or has not, is not judged."""
        self.errors: list[ConfigError] = []
        self.warnings: list[ConfigError] = []
        self._config = config
        self._sources = sources
        self._source = sources.get(config.file, Source(str(config.file)))
        self._authorities: list[Held] = []  # of which no two may be equal
        self._ledger = Ledger()
        self._groups: set[str] | None = None  # all that anybody is in, where the file of users says it
        self._host_private: list[Staged] = []
        self._cas: dict[KeyName, Staged] = {}
        self._users: Users | None = None
        self._revocation = NOTHING_REVOKED
        self._second = SecondFactors()
        self._scopes = CaScopes()
        self._known = KnownHosts()
        self._pins: list[KnownHosts] = []
        self._recipients: tuple[Recipient, ...] = ()
        self._target_keys: dict[str, PrivateKey] = {}

    def material(self) -> Material:
        """What was read, once there are no errors."""
        return Material(
            host_keys=tuple(self._host_private),
            host_keys_changing=self._ledger.changing(KeyName.HOST_KEYS),
            login_cas=tuple(held.key for held in self._authorities if held.role in CERTIFY_PEOPLE),
            ca_scopes=self._scopes,
            upstream_ca=self._cas.get(KeyName.UPSTREAM_CA),
            front_host_ca=self._cas.get(KeyName.FRONT_HOST_CA),
            issuing_ca=self._cas.get(KeyName.ISSUE),
            recording=self._cas.get(KeyName.RECORDING),
            recipients=self._recipients,
            in_agents=tuple(key for staged in self._cas.values() for key in staged.in_agents),
            known_hosts=self._known.joined(self._pins),
            revocation=self._revocation,
            users=self._users,
            second=self._second,
            target_keys=self._target_keys,
        )

    def run(self) -> None:
        self._deciding_files()
        self._key_ledger()
        self._host_keys()
        self._login_ca()
        self._revoked_keys()
        self._signing_keys()
        self._known_hosts()
        self._recipients_of_recordings()
        self._separate_authorities()
        self._directory()
        self._second_factors()
        self._targets()
        self._asked()
        self._state()
        self._places()
        self._policy()
        self._ports()

    # -- noting ------------------------------------------------------------------------------------------

    def _wrong(self, path: KeyPath, problem: str, allowed: str = "") -> None:
        line = self._source.line(path)
        self.errors.append(ConfigError(self._source.file, line, dotted(path), problem, allowed))

    def _doubtful(self, path: KeyPath, problem: str, allowed: str = "") -> None:
        line = self._source.line(path)
        self.warnings.append(ConfigError(self._source.file, line, dotted(path), problem, allowed))

    # -- files -------------------------------------------------------------------------------------------

    def _deciding_files(self) -> None:
        """Whoever can write these files decides who gets in."""
        config = self._config
        files: list[tuple[KeyPath, Path]] = [
            ((), config.file),
            *((("targets", "file"), path) for path in config.inventory_paths),
            (("policy", "file"), config.policy.file),
            (("keys", "ledger"), ledger_path(config)),
        ]
        if config.targets.known_hosts is not None:
            files.append((("targets", "known_hosts"), config.targets.known_hosts))
        if config.recording.recipients is not None:
            files.append((("recording", "recipients"), config.recording.recipients))
        if config.login.revoked_keys is not None:
            files.append((("login", "revoked_keys"), config.login.revoked_keys))
        # Not the users file: whoever reads it looks at its owner and mode, and more strictly.
        files += [(("login_ca", "files", i), path) for i, path in enumerate(config.login_ca.files)]
        for key, path in files:
            try:
                status = os.stat(path)
            except OSError:
                continue  # whoever reads the file says so
            if status.st_mode & 0o022:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                self._wrong(key, f"{path} can be written by others (mode {mode})", f"chmod go-w {path}")
            if status.st_uid not in (0, os.geteuid()):
                self._wrong(key, f"{path} belongs to uid {status.st_uid}", "root or the gateway's own user")

    def _ports(self) -> None:
        """Where the gateway listens, and who may read what it says there."""
        config = self._config
        for key, problem, allowed in port_faults(config):
            self._wrong(key, problem, allowed)
        for key, problem, allowed in balancer_doubts(config):
            self._doubtful(key, problem, allowed)
        targets = {target.name for target in config.inventory}
        for error, name, problem, allowed in metrics_faults(config.metrics, targets):
            (self._wrong if error else self._doubtful)(("metrics", name), problem, allowed)
        for error, name, problem, allowed in nodes_faults(config.nodes, config.state, SystemClock().time()):
            (self._wrong if error else self._doubtful)(("nodes", name), problem, allowed)

    def _places(self) -> None:
        """Where the gateway writes to."""
        config = self._config
        for finding in try_places(config, SystemClock().time()):
            note = self._wrong if finding.error else self._doubtful
            note(finding.key, finding.problem, finding.allowed)
        folder = config.recording.directory
        key: KeyPath = ("recording", "directory")
        mode = stat.S_IMODE(folder.stat().st_mode) if os.path.isdir(folder) else 0
        if mode & 0o022:
            self._wrong(key, f"{folder} can be written by others (mode {mode:04o})", f"chmod go-w {folder}")
        elif mode & 0o005:
            self._doubtful(
                key, f"{folder} can be read by everybody (mode {mode:04o})", f"chmod o-rx {folder}"
            )
        for error, name, problem, allowed in store_faults(config.recording.store):
            (self._wrong if error else self._doubtful)(("recording", "store", name), problem, allowed)
        for error, sink, name, problem, allowed in sink_faults(config.audit.sinks):
            (self._wrong if error else self._doubtful)(("audit", "sinks", sink, name), problem, allowed)
        if config.recording.mode == "off":
            self._doubtful(("recording", "mode"), "nothing that is shown or typed will be recorded")

    # -- keys --------------------------------------------------------------------------------------------

    def _key_ledger(self) -> None:
        path = ledger_path(self._config)
        if self._config.keys.ledger is not None and not is_there(path):
            text = f"{path} does not exist: which keys were retired is not known; `touch {path}` begins a new one"
            self._wrong(("keys", "ledger"), text)
            return
        try:
            self._ledger = read_ledger(path)
        except ConfigErrors as found:
            for fault in found.errors:
                self._wrong(("keys", "ledger"), str(fault))
        except ConfigError as error:
            self._wrong(("keys", "ledger"), str(error))

    def _host_keys(self) -> None:
        offered = (COMPAT if self._config.listen.algorithms == "compat" else FRONT).host_keys
        kinds: dict[str, Path] = {}
        for slot in signing_slots(self._config):
            if slot.name is not KeyName.HOST_KEYS:
                continue
            key, path = slot.option, slot.path
            staged = self._slot(slot)
            if staged is None:
                continue
            public = staged.first.public
            self._host_private.append(staged)
            if public.type in kinds:
                self._wrong(
                    key, f"{path} and {kinds[public.type]} are both {public.type}", "one key per type"
                )
            kinds[public.type] = path
            if public.type == "ssh-rsa" and public.bits < RSA_HOST_KEY_BITS:
                self._wrong(
                    key, f"{path} has {public.bits} bits", f"RSA with {RSA_HOST_KEY_BITS} bits or more"
                )
            elif not set(public.algorithms) & set(offered):
                text = f"{path} is never used: {public.type} is not among the algorithms on offer"
                self._doubtful(key, text, 'ed25519, rsa, or listen.algorithms = "compat"')
        held = {name for staged in self._host_private for name in staged.first.public.algorithms}
        if self._host_private and not held & set(offered):
            self._wrong(
                ("host_keys", "files"), "no host key fits the algorithms on offer", "ed25519, rsa >= 3072"
            )

    def _login_ca(self) -> None:
        read = read_login_cas(self._config)
        for key, problem, allowed in read.faults:
            self._wrong(key, problem, allowed)
        self._authorities += read.held
        self._scopes = CaScopes(read.scopes)

    def _revoked_keys(self) -> None:
        """No error: a gateway that did not take the reload would go on with what was revoked last week."""
        path = self._config.login.revoked_keys
        if path is None:
            return
        try:
            self._revocation = Revocation(revoked := load_revoked_keys(path))
            if not revoked:
                self._doubtful(("login", "revoked_keys"), f"{path} revokes nothing: is it whole?")
        except ConfigError as error:
            self._revocation = Revocation(None)
            text = f"{error}; until it can be read, every key and every certificate is refused"
            self._doubtful(("login", "revoked_keys"), text)

    def _signing_keys(self) -> None:
        config = self._config
        for slot in signing_slots(config):
            if slot.name is not KeyName.HOST_KEYS and (staged := self._slot(slot)) is not None:
                self._cas[slot.name] = staged
                if slot.name is KeyName.RECORDING and any(key.type != ED25519 for key in staged.publics):
                    self._wrong(slot.option, f"{slot.path} is {staged.first.public.type}", "an ed25519 key")
        if config.upstream_ca.key is not None and not config.upstream_ca.egress:
            text = "is empty: a stolen certificate would work from any address until it expires"
            self._doubtful(("upstream_ca", "egress"), text, "the gateways' own addresses")

    def _slot(self, slot: Slot) -> Staged | None:
        """The keys of one slot, noted as authorities."""
        try:
            staged = load_slot(slot, self._ledger)
        except ConfigError as error:
            self._wrong(slot.option, str(error))
            return None
        for public, path in zip(staged.publics, (slot.path, slot.next), strict=False):
            self._authorities.append(Held(ROLES[slot.name], public, str(path)))
        if staged.then is None and is_there(slot.next):
            text = f"{slot.next} is in no rotation that the ledger knows of, and is not used"
            self._doubtful(slot.option, text, "bastion keys rotate, again; or remove it")
        return staged

    def _recipients_of_recordings(self) -> None:
        path, key = self._config.recording.recipients, ("recording", "recipients")
        if path is None:
            return
        try:
            self._recipients = tuple(read_recipients(path))
        except ConfigError as error:
            self._wrong(key, str(error))
            return
        if len(self._recipients) == 1:
            text = "recordings are encrypted to one recipient: with its identity lost nobody can open them"
            self._doubtful(key, text, "two or more, kept in different places")

    def _known_hosts(self) -> None:
        path = self._config.targets.known_hosts
        if path is None:
            return
        if not is_there(path):
            text = f"{path} does not exist; `touch {path}` creates an empty one"
            self._wrong(("targets", "known_hosts"), text)
            return
        try:
            self._known = KnownHosts.load(path)
        except ConfigErrors as found:
            for fault in found.errors:
                self._wrong(("targets", "known_hosts"), str(fault))
            return
        except ConfigError as error:
            self._wrong(("targets", "known_hosts"), str(error))
            return
        for warning in self._known.warnings:
            self._doubtful(("targets", "known_hosts"), str(warning))
        for line in self._known.lines:
            if line.marker is Marker.CERT_AUTHORITY:
                self._authorities.append(Held(TARGET_HOST_CA, line.key, f"{path}:{line.number}"))

    def _separate_authorities(self) -> None:
        for fault in key_faults(self._authorities, self._ledger, SystemClock().time()):
            note = self._wrong if fault.error else self._doubtful
            note((fault.section,), fault.problem, fault.allowed)

    # -- people and machines -----------------------------------------------------------------------------

    def _directory(self) -> None:
        directory = self._config.directory
        if directory.embedded is not None:
            try:
                users = self._users = load_users(directory.embedded)
                if bound := bound_by_name(self._config.issue, users):
                    self._doubtful(("directory", "embedded"), bound)
                if directory.ldap is None:
                    self._groups = {group for user in users.values() for group in user.account().groups}
            except ConfigErrors as faults:
                self.errors += faults.errors
            except ConfigError as error:
                self._wrong(("directory", "embedded"), str(error))
        if (ldap := directory.ldap) is not None:
            for key, wanted in (("user_filter", ldap.user_filter), ("group_filter", ldap.group_filter)):
                if not is_filter(wanted):
                    self._wrong(("directory", "ldap", key), "is not an LDAP filter", FILTER.allowed)
            for key, check in (("bind_password_file", read_bind_password), ("ca_file", tls_context)):
                try:
                    check(ldap)
                except ConfigError as error:
                    self._wrong(("directory", "ldap", error.key or key), str(error))
            for key, text in ldap.warnings():
                self._doubtful(("directory", "ldap", key), text)

    def _second_factors(self) -> None:
        config = self._config
        self._second = read_second_factors(config, config.rules.rules, self._users or {}, self._wrong)

    def _state(self) -> None:
        state = self._config.state
        if state.password_file is None:
            return
        if state.url is None:
            self._doubtful(("state", "password_file"), "is of no use without state.url")
        try:
            read_secret_file(state.password_file, "state store's password")
        except ConfigError as error:
            self._wrong(("state", "password_file"), str(error))

    def _targets(self) -> None:
        config = self._config
        for problem, name in program_faults(config.targets.proxy_commands):
            self._wrong(("targets", "proxy_commands", name), problem)
        found = [self._sources[file] for file in config.documents if file in self._sources]
        if len(found) < len(config.documents):
            return
        apart, egress = Apart(config.inventory), bool(config.upstream_ca.egress)
        dialled: dict[Place, Target] = {}
        for target in config.inventory:
            first = dialled.setdefault(place_of(target), target)
            faults = chain(
                self._target(target),
                same_place(target, first.name, first.inventory != target.inventory),
                hop_faults(target, egress),
                apart.faults(target),
            )
            for error, key, problem, allowed in faults:
                source = source_of(target, found)
                path: KeyPath = ("targets", target.name, key) if key else ("targets", target.name)
                made = ConfigError(source.file, source.line(path), dotted(path), problem, allowed)
                (self.errors if error else self.warnings).append(made)

    def _asked(self) -> None:
        for error, path, problem, allowed in asked_faults(self._config, SystemClock().time()):
            (self._wrong if error else self._doubtful)(path, problem, allowed)

    def _target(self, target: Target) -> Iterator[Fault]:
        """(is an error, key, problem, what is allowed) for one target."""
        if target.kind == "gateway":
            return
        if target.key_file is not None:
            try:
                self._target_keys[target.name] = load_private_key(target.key_file, target.passphrase_file)
            except ConfigError as error:
                yield True, "key_file", str(error), ""
        elif target.password is not None:
            yield from password_faults(target.password)
        elif self._config.upstream_ca.key is None:
            yield (
                True,
                "",
                "there is no way to log in: no key_file, no password and no upstream CA",
                "upstream_ca.key, key_file, password",
            )
        if target.pins:
            try:
                where = f"target {target.name}"
                self._pins.append(KnownHosts().with_keys(target.known_as[0], target.port, target.pins, where))
            except ConfigError as error:
                yield True, "host_keys", error.problem, "public key lines"
        elif target.by_sshfp:
            if not resolvers_of(self._config.targets.sshfp_resolvers):
                text = "no resolver on loopback in /etc/resolv.conf, whose word on DNSSEC could be taken"
                yield True, "host_keys", text, "targets.sshfp_resolvers"
        elif self._config.targets.known_hosts is None:
            text = "its host key can never be verified: no known_hosts and no host_keys"
            yield True, "", text, "targets.known_hosts, host_keys"
        if target.legacy:
            text = f"weak algorithms are offered to this target: {', '.join(target.legacy)}"
            yield False, "legacy", text, "upgrade it, and take out what it no longer needs"
        if target.recording == "off":
            yield False, "recording", "what happens on this target is not recorded", ""

    def _policy(self) -> None:
        rules = self._config.rules
        if self._config.policy.file not in self._sources:
            return  # it has a fault of its own: what could not be read is not called empty
        if not rules.rules:
            self._doubtful(("policy", "file"), "has no rules: nobody may reach anything")
        if not self._sources.keys() >= set(self._config.documents):
            return  # no rule is called wrong for targets that could not be read
        asked = partial(may_be_named, self._config)
        for finding in review(rules, self._config.inventory, self._groups, services_of(self._users), asked):
            file, _, line = finding.rule.origin.rpartition(":")
            key = f"rule {finding.rule.name}: {finding.key}"
            made = ConfigError(file, int(line), key, finding.text, finding.allowed)
            (self.errors if finding.error else self.warnings).append(made)
