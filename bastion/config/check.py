"""`bastion check`: everything that can be known about a configuration without starting (L2).

Beyond what `load` refuses: key files and their modes, who may write the files that decide, the four
authorities that may never be equal, policy beside inventory, and a trial of what will be written, as the user who
runs it (`bastion.config.places`). Nothing is changed and nobody is contacted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from bastion.auth.embedded import load_users
from bastion.auth.ldap_config import read_bind_password, tls_context
from bastion.ca.keys import load_private_key, load_public_keys
from bastion.ca.known_hosts import KnownHosts, Marker
from bastion.ca.secrets import check_program, read_secret_file
from bastion.clock import SystemClock
from bastion.config.load import Config, load_into, open_document
from bastion.config.places import try_places
from bastion.errors import ConfigError
from bastion.options import ConfigErrors, KeyPath, Problems, Source, dotted
from bastion.policy.review import review
from bastion.policy.targets import Target, TargetPassword
from bastion.wire.keys import PublicKey

# An RSA host key below this is rated a weakness by ssh-audit.
RSA_HOST_KEY_BITS = 3072


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    `readable` is False when the file is missing or no TOML; `config` is None when its options are not all
    valid, and then nothing beyond them was looked at.
    """

    readable: bool
    config: Config | None
    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]


def inspect(path: str | os.PathLike[str]) -> Report:
    """Check the configuration at `path` and all files it names. Never raises for what it finds."""
    problems = Problems()
    opened = open_document(Path(path), Problems())
    config = load_into(path, problems)
    if config is None or opened is None:
        return Report(opened is not None, None, tuple(problems.errors), ())
    checked = _Check(config, opened[1])
    checked.run()
    errors = tuple(problems.errors) + tuple(checked.errors)
    return Report(True, config, errors, tuple(checked.warnings))


class _Check:
    """One pass over one configuration."""

    def __init__(self, config: Config, source: Source) -> None:
        self.errors: list[ConfigError] = []
        self.warnings: list[ConfigError] = []
        self._config = config
        self._source = source
        # role -> (key, where it is written): the authorities of which no two may be equal
        self._authorities: dict[str, list[tuple[PublicKey, str]]] = {}
        self._groups: set[str] | None = None  # all that anybody is in, where the file of users says it

    def run(self) -> None:
        self._deciding_files()
        self._host_keys()
        self._login_ca()
        self._signing_keys()
        self._known_hosts()
        self._separate_authorities()
        self._directory()
        self._targets()
        self._places()
        self._policy()

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
            (("targets", "file"), config.targets.file),
            (("policy", "file"), config.policy.file),
        ]
        if config.targets.known_hosts is not None:
            files.append((("targets", "known_hosts"), config.targets.known_hosts))
        if config.directory.embedded is not None:
            files.append((("directory", "embedded"), config.directory.embedded))
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

    def _places(self) -> None:
        """Where the gateway writes to."""
        config = self._config
        for finding in try_places(config, SystemClock().time()):
            note = self._wrong if finding.error else self._doubtful
            note(finding.key, finding.problem, finding.allowed)
        folder = config.recording.directory
        key: KeyPath = ("recording", "directory")
        mode = stat.S_IMODE(folder.stat().st_mode) if folder.is_dir() else 0
        if mode & 0o022:
            self._wrong(key, f"{folder} can be written by others (mode {mode:04o})", f"chmod go-w {folder}")
        elif mode & 0o005:
            self._doubtful(
                key, f"{folder} can be read by everybody (mode {mode:04o})", f"chmod o-rx {folder}"
            )
        if config.recording.mode == "off":
            self._doubtful(("recording", "mode"), "nothing that is shown or typed will be recorded")

    # -- keys --------------------------------------------------------------------------------------------

    def _host_keys(self) -> None:
        kinds: dict[str, Path] = {}
        for index, path in enumerate(self._config.host_keys.files):
            key: KeyPath = ("host_keys", "files", index)
            public = self._private(key, path)
            if public is None:
                continue
            if public.type in kinds:
                self._wrong(
                    key, f"{path} and {kinds[public.type]} are both {public.type}", "one key per type"
                )
            kinds[public.type] = path
            if public.type == "ssh-rsa" and public.bits < RSA_HOST_KEY_BITS:
                self._wrong(
                    key, f"{path} has {public.bits} bits", f"RSA with {RSA_HOST_KEY_BITS} bits or more"
                )
            self._add("host key of the gateway", public, str(path))

    def _login_ca(self) -> None:
        for index, path in enumerate(self._config.login_ca.files):
            try:
                keys = load_public_keys(path)
            except ConfigError as error:
                self._wrong(("login_ca", "files", index), str(error))
                continue
            for public in keys:
                self._add("login CA", public, str(path))

    def _signing_keys(self) -> None:
        config = self._config
        for role, section, path in (
            ("upstream CA", "upstream_ca", config.upstream_ca.key),
            ("front host CA", "front_host_ca", config.front_host_ca.key),
        ):
            if path is not None and (public := self._private((section, "key"), path)) is not None:
                self._add(role, public, str(path))
        if config.upstream_ca.key is not None and not config.upstream_ca.egress:
            text = "is empty: a stolen certificate would work from any address until it expires"
            self._doubtful(("upstream_ca", "egress"), text, "the gateways' own addresses")

    def _private(self, key: KeyPath, path: Path) -> PublicKey | None:
        try:
            return load_private_key(path).public
        except ConfigError as error:
            self._wrong(key, str(error))
            return None

    def _known_hosts(self) -> None:
        path = self._config.targets.known_hosts
        if path is None:
            return
        if not path.exists():
            text = f"{path} does not exist; `touch {path}` creates an empty one"
            self._wrong(("targets", "known_hosts"), text)
            return
        try:
            known = KnownHosts.load(path)
        except ConfigErrors as found:
            for fault in found.errors:
                self._wrong(("targets", "known_hosts"), str(fault))
            return
        except ConfigError as error:
            self._wrong(("targets", "known_hosts"), str(error))
            return
        for warning in known.warnings:
            self._doubtful(("targets", "known_hosts"), str(warning))
        for line in known.lines:
            if line.marker is Marker.CERT_AUTHORITY:
                self._add("target host CA", line.key, f"{path}:{line.number}")

    def _add(self, role: str, key: PublicKey, where: str) -> None:
        self._authorities.setdefault(role, []).append((key, where))

    def _separate_authorities(self) -> None:
        """If targets trusted the login CA, engineers could walk round the gateway; other pairs alike."""
        for (one, keys), (other, others) in combinations(self._authorities.items(), 2):
            for key, where in keys:
                for second, elsewhere in others:
                    if key.blob == second.blob:
                        text = (
                            f"{where} ({one}) and {elsewhere} ({other}) are the same key {key.fingerprint()}"
                        )
                        self._wrong((_SECTIONS[one],), text, "a key of its own for each authority")

    # -- people and machines -----------------------------------------------------------------------------

    def _directory(self) -> None:
        directory = self._config.directory
        if directory.embedded is not None:
            try:
                users = load_users(directory.embedded)
                if directory.ldap is None:
                    self._groups = {group for user in users.values() for group in user.account().groups}
            except ConfigError as error:
                self._wrong(("directory", "embedded"), str(error))
        ldap = directory.ldap
        if ldap is not None:
            for key, check in (("bind_password_file", read_bind_password), ("ca_file", tls_context)):
                try:
                    check(ldap)
                except ConfigError as error:
                    self._wrong(("directory", "ldap", key), str(error))
            for key, text in ldap.warnings():
                self._doubtful(("directory", "ldap", key), text)

    def _targets(self) -> None:
        config = self._config
        opened = open_document(config.targets.file, Problems())
        source = opened[1] if opened is not None else Source(str(config.targets.file))
        for target in config.inventory:
            for error, key, problem, allowed in self._target(target):
                path: KeyPath = ("targets", target.name, key) if key else ("targets", target.name)
                made = ConfigError(source.file, source.line(path), dotted(path), problem, allowed)
                (self.errors if error else self.warnings).append(made)

    def _target(self, target: Target) -> Iterator[tuple[bool, str, str, str]]:
        """(is an error, key, problem, what is allowed) for one target."""
        if target.kind == "gateway":
            return
        if target.key_file is not None:
            try:
                load_private_key(target.key_file)
            except ConfigError as error:
                yield True, "key_file", str(error), ""
        elif target.password is not None:
            yield from _password(target.password)
        elif self._config.upstream_ca.key is None:
            yield (
                True,
                "",
                "there is no way to log in: no key_file, no password and no upstream CA",
                "upstream_ca.key, key_file, password",
            )
        try:
            KnownHosts().with_keys(target.host, target.port, target.host_keys, str(self._config.targets.file))
        except ConfigError as error:
            yield True, "host_keys", str(error), "public key lines"
        if self._config.targets.known_hosts is None and not target.host_keys:
            text = "its host key can never be verified: no known_hosts and no host_keys"
            yield True, "", text, "targets.known_hosts, host_keys"
        if target.legacy:
            text = f"weak algorithms are offered to this target: {', '.join(target.legacy)}"
            yield False, "legacy", text, "upgrade it, and take out what it no longer needs"
        if target.recording == "off":
            yield False, "recording", "what happens on this target is not recorded", ""

    def _policy(self) -> None:
        rules = self._config.rules
        if not rules.rules:
            self._doubtful(("policy", "file"), "has no rules: nobody may reach anything")
        for finding in review(rules, self._config.inventory, self._groups):
            file, _, line = finding.rule.origin.rpartition(":")
            key = f"rule {finding.rule.name}: {finding.key}"
            made = ConfigError(file, int(line), key, finding.text, finding.allowed)
            (self.errors if finding.error else self.warnings).append(made)


def _password(password: TargetPassword) -> Iterator[tuple[bool, str, str, str]]:
    """As `_Check._target`. The secret is read and dropped; a command is looked at and not run."""
    try:
        if password.file is not None:
            read_secret_file(password.file)
        elif password.command is not None:
            check_program(password.command[0])
    except ConfigError as error:
        yield True, "password", str(error), ""


_SECTIONS = {
    "host key of the gateway": "host_keys",
    "login CA": "login_ca",
    "upstream CA": "upstream_ca",
    "front host CA": "front_host_ca",
    "target host CA": "targets",
}
