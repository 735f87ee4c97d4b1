"""Who can log in (L4): the embedded accounts, and each LDAP server for itself: reached, TLS, service account, tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bastion.auth.embedded import load_users
from bastion.auth.identity import AccountState
from bastion.auth.ldap_config import LdapConfig, ServerAddress, read_bind_password, tls_context
from bastion.auth.ldap_link import Link, ServerFailed
from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.subject import Subject
from bastion.errors import ConfigError

SUCCESS: Final = 0
DAY: Final = 86400.0
SOON: Final = 14 * DAY  # before a certificate ends


def examine_embedded(subject: Subject) -> Iterator[Finding]:
    """The file of accounts, as the gateway reads it."""
    path = subject.config.directory.embedded
    if path is None:
        return
    try:
        users = load_users(path)
    except ConfigError as error:
        # Whose file it is, is judged for the service's user elsewhere; what is in it, here.
        if not error.problem.startswith("belongs to"):
            yield Finding(Area.DIRECTORY, Level.FAIL, str(path), str(error))
        return
    active = [user for user in users.values() if user.account().state is AccountState.ACTIVE]
    able = [user for user in active if user.password is not None or user.keys]
    text = f"{len(users)} accounts, {len(able)} of them can log in by password or key"
    if not able and subject.config.directory.ldap is None and not subject.config.login_ca.files:
        yield Finding(
            Area.DIRECTORY, Level.FAIL, str(path), f"{text}: nobody can log in", "bastion hash-password"
        )
    else:
        yield Finding(Area.DIRECTORY, Level.OK, str(path), text)


class LdapLook:
    """One server. `run` blocks, and `cut` ends it from another thread."""

    def __init__(self, config: LdapConfig, server: ServerAddress, subject: Subject) -> None:
        self._config, self._server, self._subject = config, server, subject
        self._link: Link | None = None

    def cut(self) -> None:
        if self._link is not None:
            self._link.line.cut()

    def run(self) -> list[Finding]:
        """Connect, TLS, bind as the service account, look for the accounts' entry."""
        server, config = self._server, self._config
        line = shell("openssl", "s_client", "-connect", f"{server.host}:{server.port}") if server.tls else shell(
            "ldapwhoami", "-x", "-ZZ", "-H", server
        )  # fmt: skip
        try:
            password = read_bind_password(config)
            self._link = link = Link(config, tls_context(config), server)
        except ConfigError as error:
            return [self._finding(Level.FAIL, str(error))]
        clock = self._subject.clock
        began = clock.monotonic()
        try:
            link.open()
            ends = link.certificate_ends()
            if link.bind_service(password).code != SUCCESS:
                who = config.bind_dn or config.client_certificate or "(anonymous)"
                text = f"does not accept the service account {who}"
                return [self._finding(Level.FAIL, text, self._as_service("ldapwhoami"))]
            entries, _ = link.search(config.user_base, "(objectClass=*)", ["1.1"], 1, whole_tree=False)
        except ServerFailed as error:
            return [self._finding(Level.FAIL, error.text, line)]
        finally:
            link.close()
        if not entries:
            text = f"has no entry {config.user_base}, below which accounts are searched"
            return [
                self._finding(
                    Level.FAIL, text, self._as_service("ldapsearch", "-b", config.user_base, "-s", "base")
                )
            ]
        took = (clock.monotonic() - began) * 1000
        return [
            *self._certificate(ends, line),
            self._finding(Level.OK, f"connected, bound and searched in {took:.0f} ms"),
        ]

    def _certificate(self, ends: float | None, line: str) -> Iterator[Finding]:
        if ends is None:
            return
        left = ends - self._subject.clock.time()
        if left < SOON:
            yield self._finding(Level.WARN, f"its certificate ends in {left / DAY:.1f} days", line)

    def _as_service(self, program: str, *words: str) -> str:
        config = self._config
        if config.client_certificate is not None:
            shown = ["env", f"LDAPTLS_CERT={config.client_certificate}", f"LDAPTLS_KEY={config.client_key}"]
            way = [] if self._server.tls else ["-ZZ"]
            return shell(*shown, program, "-Y", "EXTERNAL", *way, "-H", self._server, *words)
        way = [] if self._server.tls or config.allow_plaintext else ["-ZZ"]
        who = ["-D", config.bind_dn, "-y", str(config.bind_password_file)] if config.bind_dn else []
        return shell(program, "-x", *way, "-H", self._server, *who, *words)

    def _finding(self, level: Level, text: str, line: str = "") -> Finding:
        return Finding(Area.DIRECTORY, level, str(self._server), text, line)
