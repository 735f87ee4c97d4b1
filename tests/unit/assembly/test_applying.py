"""What a reload changes: every option that is declared to be reloadable, on a gateway that runs.

`CASES` has one line for each; an option without one fails the first test. Each says what to write instead and where
the gateway shows it, as near to the place where it acts as can be seen without a peer.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import argon2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from bastion.app import Program
from bastion.archive.place import S3Place
from bastion.assembly import reloading
from bastion.auth.ca_scope import CaScope
from bastion.config.changes import each_option
from bastion.config.check import inspect
from bastion.config.detections import Detections
from bastion.config.outputs import Audit, Recording, read_section
from bastion.config.sections import Sections
from bastion.config.start import read_sections
from bastion.errors import AuthReason, ConfigError, Detection, RecorderFailed, Refused
from bastion.observe.meters import CONFIG_LAST_RELOAD, CONFIG_RELOADS, CONFIG_RESTART_PENDING
from bastion.options import ConfigErrors, Scope
from bastion.session.gateway import Gateway
from tests.support.node_certificates import NodesCA
from tests.support.pki import Authority
from tests.support.tls import make_certificate
from tests.unit.auth.threads import StillReactor
from tests.unit.config.site import Site, rotating
from tests.unit.test_age import GOOD

pytestmark = pytest.mark.slow

ADDRESS = "198.51.100.7"


class Files(Site):
    """A site whose bastion.toml is made of single options, so that one can be changed."""

    def __init__(self, folder: Path, with_ldap: bool = False) -> None:
        super().__init__(folder)
        self.options: dict[str, dict[str, str]] = {
            "listen": {"addresses": '["127.0.0.1:0"]'},
            "host_keys": {"files": '["host_key"]'},
            "login_ca": {"files": '["login_ca.pub"]'},
            "upstream_ca": {"key": '"upstream_ca"', "egress": '["192.0.2.10"]'},
            "front_host_ca": {"key": '"front_host_ca"'},
            "directory": {"embedded": '"users.toml"'},
            "targets": {"file": '"targets.toml"', "known_hosts": '"known_hosts"'},
            "policy": {"file": '"policy.toml"'},
            "recording": {"directory": '"recordings"'},
            "metrics": {"listen": '"off"'},
            "audit": {"file": '"audit.jsonl"'},
        }
        if with_ldap:  # the system's authorities are read for it: a tenth of a second each time
            self.options["directory.ldap"] = {
                "servers": '["ldap://127.0.0.1:1"]',
                "user_base": '"dc=example"',
                "group_base": '"ou=groups,dc=example"',
                "bind_dn": '"cn=reader,dc=example"',
                "bind_password_file": '"ldap.secret"',
            }
        self.make_key("second")
        self.write("words", "battery staple\n", 0o600)
        self.write("ldap.secret", "reader's\n", 0o600)
        self.write("other.secret", "another\n", 0o600)
        self.write("r.txt", GOOD + "\n")
        self.write("known_hosts.2", "web1.example.com " + self.keys["second"].public.line() + "\n")
        self.write(
            "targets.2",
            '[targets.web1]\nhost = "web1.example.org"\n[targets.db1]\nhost = "db1.example.org"\n',
        )
        self.write("policy.2", (folder / "policy.toml").read_text().replace('"staff"', '"people"'))
        self.write("users.2", '[users.zoe]\ngroups = ["staff"]\n', 0o600)
        (folder / "recordings.2").mkdir(0o700)
        make_certificate(folder)
        self.write("metrics.users", f"prometheus:{argon2.PasswordHasher(1, 8, 1).hash('x')}\n", 0o600)
        self.save()

    def lock(self, name: str, words: bytes) -> None:
        (self.folder / name).write_bytes(self.keys[name].openssh_bytes(words))
        os.chmod(self.folder / name, 0o600)

    def save(self) -> None:
        text = ""
        for section, values in self.options.items():
            lines = "".join(f"{key} = {value}\n" for key, value in values.items())
            text = text + f"[{section}]\n{lines}" if section else lines + text
        self.write("bastion.toml", text)

    def set(self, path: str, toml: str) -> None:
        section, _, key = path.rpartition(".")
        self.options.setdefault(section, {})[key] = toml
        self.save()


class Threadless(StillReactor):
    """Nobody asks this one for host names. In place of the processes that upload, ask inventories, detect and send the
    log on it reads, as those would when they begin, where to, whom and how."""

    def __init__(self) -> None:
        super().__init__()
        self.uploading: S3Place | None = None
        self.asking: list[str] = []
        self.detecting: Detections | None = None
        self.sending: list[str] = []

    def suggestThreadPoolSize(self, size: int) -> None: ...

    def spawnProcess(self, process: ProcessProtocol, _: str, command: list[str], **how: Any) -> None:
        if "bastion.assembly.asking" in command:
            self.asking = list(_sections_of(command[-1]).inventories)
            process.makeConnection(Asking(self, process))  # type: ignore[arg-type]
            return
        if "bastion.assembly.detecting" in command:
            self.detecting = read_section(command[-1], Detections)
            process.makeConnection(Detecting(self, process))  # type: ignore[arg-type]
            return
        if "bastion.assembly.sending" in command:
            self.sending = list(read_section(command[-1], Audit).sinks)
            process.makeConnection(Sending(self, process))  # type: ignore[arg-type]
            return
        self.uploading = read_section(command[-1], Recording).store.place()
        process.makeConnection(Uploading(self, process))  # type: ignore[arg-type]


@dataclass
class Uploading:
    """The transport of the process that uploads: it ends when its input does."""

    reactor: Threadless
    process: ProcessProtocol

    def closeStdin(self) -> None:
        self.reactor.uploading = None
        self.process.processEnded(Failure(ProcessDone(0)))


@dataclass
class Sending(Uploading):
    """That of the process that sends the audit log on."""

    def closeStdin(self) -> None:
        self.reactor.sending = []
        self.process.processEnded(Failure(ProcessDone(0)))


@dataclass
class Asking(Uploading):
    """That of the process that asks."""

    def closeStdin(self) -> None:
        self.reactor.asking = []
        self.process.processEnded(Failure(ProcessDone(0)))


@dataclass
class Detecting(Uploading):
    """That of the process that detects."""

    def closeStdin(self) -> None:
        self.reactor.detecting = None
        self.process.processEnded(Failure(ProcessDone(0)))


def _sections_of(file: str) -> Sections:
    found = read_sections(Path(file))
    assert found is not None
    return found


class Running:
    """A gateway of these files. Nothing listens; a reload reads in its thread, as always."""

    def __init__(self, folder: Path, with_ldap: bool = False) -> None:
        self.files = Files(folder, with_ldap)
        self.reactor = Threadless()
        self.program = Program(self.files.config, self.reactor)
        self.gateway = self.program.gateway

    def reload(self) -> dict[str, Any]:
        self.program.reloading.hup()
        self.reactor.drain()
        return self.told()

    def told(self) -> dict[str, Any]:
        """The last line about a reload, wherever the log is now."""
        lines = Path(self.gateway.audit.path).read_text().splitlines()
        return [json.loads(line) for line in lines if '"reload"' in line][-1]

    def close(self) -> None:
        self.program.reloading.stop()
        self.gateway.services.auth.directory.close()
        self.gateway.services.upstream.close()
        self.gateway.store.close()
        self.gateway.state.close()
        self.gateway.audit.close()


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    made = Running(tmp_path, "ldap" in request.node.name)
    yield made
    made.close()


@dataclass(frozen=True)
class Case:
    """`toml` is what the option becomes, `shows` what is seen of it, `then` what it must show afterwards."""

    toml: str
    shows: Callable[[Gateway], Any]
    then: Any
    before: Callable[[Running], None] = lambda running: None


def ldap(name: str) -> Callable[[Gateway], Any]:
    return lambda gateway: getattr(gateway.services.auth.directory._other._config, name)  # type: ignore[attr-defined]


def front(name: str) -> Callable[[Gateway], Any]:
    return lambda gateway: getattr(gateway.services.front_settings, name)


def _admitted(gateway: Gateway, source: str = ADDRESS) -> int:
    """How many unfinished logins one source may have, of the next ten."""
    held = []
    try:
        for _ in range(10):
            held.append(gateway.startups.admit(source))
    except Refused:
        pass
    for one in held:
        one.release()
    return len(held)


def _waits(failures: int, accounts: int = 1) -> Callable[[Gateway], Any]:
    """Seconds to wait after so many wrong passwords for each of so many accounts, from a source of its own."""
    used = iter(range(1, 250))

    def look(gateway: Gateway) -> int:
        source, penalties = f"198.51.100.{next(used)}", gateway.services.auth.penalties
        for account in range(accounts):
            for _ in range(failures):
                penalties.failed(source, f"user{account}", AuthReason.BAD_PASSWORD)
        return round(penalties.wait(source, "user0"))

    return look


def _known(name: str) -> Callable[[Gateway], bool]:
    return lambda gateway: name in gateway.services.auth.directory._embedded  # type: ignore[attr-defined]


def _ca(part: str) -> Callable[[Gateway], Any]:
    return lambda gateway: getattr(gateway.services.upstream._ca, part)  # type: ignore[attr-defined]


def _pinned(gateway: Gateway) -> bool:
    return bool(gateway.services.dialler.keys.known_hosts.pinned(["web1.example.com"], 22))


def _locked(name: str) -> Callable[[Running], None]:
    return lambda running: running.files.lock(name, b"battery staple")


def _locked_signing_key(running: Running) -> None:
    running.files.make_key("vouch")
    running.files.lock("vouch", b"battery staple")
    running.files.options["recording"]["signing_key"] = '"vouch"'


def _locked_host_key(running: Running) -> None:
    running.files.lock("host_key", b"battery staple")


def _public_half(name: str) -> Callable[[Running], None]:
    """With an agent the file holds no more than that."""

    def only(running: Running) -> None:
        running.files.write(name, running.files.keys[name].public.line() + "\n")

    return only


def _rotating_front_host_ca(running: Running) -> None:
    rotating(running.files, "front_host_ca")


def _compat_key(running: Running) -> None:
    """An ECDSA key beside the other: only "compat" has it on offer."""
    key = ec.generate_private_key(ec.SECP256R1())
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    running.files.write("ecdsa", data.decode(), 0o600)
    running.files.set("host_keys.files", '["host_key", "ecdsa"]')


def _store(name: str) -> Callable[[Gateway], Any]:
    """What the process that uploads goes by; None while there is none."""
    return lambda gateway: getattr(gateway.reactor.uploading, name, None)


def _from_its_start(running: Running) -> None:
    running.program.reloading.on_applied = running.program._applied


def _uploads(**options: str) -> Callable[[Running], None]:
    """They go to a bucket already, with `options` besides."""

    def begin(running: Running) -> None:
        _from_its_start(running)
        for name, toml in {"kind": '"s3"', "bucket": '"one"', **options}.items():
            running.files.set(f"recording.store.{name}", toml)
        assert running.reload()["result"] == "ok"

    return begin


def _recorded(user: bool) -> Callable[[Gateway], Any]:
    limits = "user_recording_bytes" if user else "recording_bytes"
    return lambda gateway: getattr(gateway.services.limits, limits)


def _totp_key(running: Running) -> None:
    running.files.write("totp.key", "k" * 44, 0o600)


def _client_certificates(running: Running) -> None:
    """In place of the password; a second file for the same key pair, of either kind."""
    issued = Authority(running.files.folder / "pki").issue("bastion")
    for name, file, mode in (("pem", issued.certificate, 0o644), ("key", issued.key, 0o600)):
        for copy in ("first", "second"):
            running.files.write(f"{copy}.{name}", file.read_text(), mode)
    options = running.files.options["directory.ldap"]
    del options["bind_dn"], options["bind_password_file"]
    options |= {"client_certificate": '"first.pem"', "client_key": '"first.key"'}
    running.files.save()
    assert running.reload()["result"] == "ok"


def _issues(running: Running) -> None:
    """Certificates are issued already."""
    running.files.make_key("issuing_ca")
    running.files.set("issue.key", '"issuing_ca"')
    running.files.set("issue.require", '[["publickey"]]')
    assert running.reload()["result"] == "ok"


def _issues_by(before: Callable[[Running], None]) -> Callable[[Running], None]:
    """The same, and something of its key is to change."""

    def begin(running: Running) -> None:
        _issues(running)
        before(running)

    return begin


def _scope(gateway: Gateway) -> CaScope:
    """Of the one login CA."""
    return next((one for held in gateway.services.auth.ca_scopes.of.values() for one in held), CaScope())


def _mails(running: Running) -> None:
    """Requests for approval are told of by mail already."""
    for name, toml in {
        "mail_command": '["/bin/cat"]',
        "mail_from": '"a@x.org"',
        "mail_to": '["b@x.org"]',
    }.items():
        running.files.set(f"approvals.{name}", toml)
    assert running.reload()["result"] == "ok"


def _announced(name: str) -> Callable[[Gateway], Any]:
    return lambda gateway: getattr(gateway.services.announce, name)


def _more_targets(running: Running) -> None:
    (running.files.folder / "targets.d").mkdir()
    running.files.write("targets.d/more.toml", '[targets.db9]\nhost = "db9.example.org"\n')


def _hook(running: Running) -> None:
    running.files.set("approvals.webhook", '"https://x.org/one"')
    assert running.reload()["result"] == "ok"


def _collector(running: Running) -> None:
    running.files.set("traces.endpoint", '"http://127.0.0.1:4317"')
    assert running.reload()["result"] == "ok"


def _further(section: str, **options: str) -> Callable[[Running], None]:
    """A factor that others judge is on already."""

    def begin(running: Running) -> None:
        running.files.write("further.secret", "sixteen or more of them", 0o600)
        running.files.write("other.secret16", "another of sixteen or more", 0o600)
        (running.files.folder / "id-ca.pem").write_bytes(
            Authority(running.files.folder / "idp").certificate.read_bytes()
        )
        for name, toml in options.items():
            running.files.set(f"{section}.{name}", toml)
        assert running.reload()["result"] == "ok"

    return begin


_oidc = _further("oidc", issuer='"https://id.example.com"', client_id='"bastion"')
_radius = _further("radius", servers='["192.0.2.8:1812"]', secret_file='"further.secret"')


def _of_oidc(name: str) -> Callable[[Gateway], Any]:
    """Of the provider's client, of what binds a claim, or of the factor itself."""

    def look(gateway: Gateway) -> Any:
        factor: Any = gateway.services.auth.outside["oidc"]
        for one in (factor._provider.client, factor._binding, factor):
            if hasattr(one, name):
                return getattr(one, name)
        raise AttributeError(name)

    return look


def _of_radius(name: str) -> Callable[[Gateway], Any]:
    def look(gateway: Gateway) -> Any:
        factor: Any = gateway.services.auth.outside["radius"]
        return getattr(factor._terms, name)

    return look


LOOKS = "looks"  # compared with what the running gateway shows beforehand: it must differ
CASES: dict[str, Case] = {
    "listen.public": Case('"gw.example.com:22"', lambda g: g.public, ("gw.example.com", 22)),
    "listen.proxy_protocol": Case(
        '{ "127.0.0.1:0" = ["192.0.2.20"] }',
        lambda g: [str(one) for networks in g.balancers.values() for one in networks],
        ["192.0.2.20/32"],
    ),
    "traces.endpoint": Case(
        '"http://127.0.0.1:4318"', lambda g: g.services.traces.endpoint, "http://127.0.0.1:4318"
    ),
    "traces.ratio": Case("0.5", lambda g: g.services.traces.ratio, 0.5),
    "traces.token_file": Case(
        '"words"', lambda g: getattr(g.services.traces.token_file, "name", ""), "words", _collector
    ),
    "listen.algorithms": Case(
        '"compat"', lambda g: "ecdsa-sha2-nistp256" in g.services.front_settings.algorithms.host_keys, True, _compat_key
    ),
    "host_keys.files": Case('["second"]', lambda g: g.services.front_settings.host_keys[0].signer.public, LOOKS),
    "host_keys.passphrase_file": Case('"words"', lambda g: g.services.front_settings, LOOKS, _locked_host_key),
    "login.revoked_keys": Case(
        '"second.pub"', lambda g: len(g.services.auth.revocation.revoked or ()), 1
    ),
    "login.require_verify": Case("true", lambda g: g.services.auth.demands.verify, True),
    "login.allow_no_touch": Case("true", lambda g: g.services.auth.demands.no_touch, True),
    "login.methods": Case('["publickey"]', lambda g: g.services.auth.methods, ("publickey",)),
    "login.require": Case('[["certificate"]]', lambda g: g.services.auth.chains, (("certificate",),)),
    "login.factor_ttl": Case('"7m"', lambda g: g.services.auth.factor_ttl, 420.0),
    "approvals.pending": Case('"7m"', lambda g: g.services.approvals.pending, 420.0),
    "approvals.valid": Case('"7m"', lambda g: g.services.approvals.valid, 420.0),
    "approvals.passkeys": Case("true", lambda g: bool(g.services.approvals.origin), True),
    "approvals.webhook": Case('"https://x.org/hook"', _announced("webhook"), "https://x.org/hook"),
    "approvals.webhook_token_file": Case('"words"', lambda g: g.services.announce.token_file.name if
        g.services.announce.token_file else "", "words", _hook),
    "approvals.mail_command": Case('["/bin/true"]', _announced("mail_command"), ("/bin/true",), _mails),
    "approvals.mail_from": Case('"c@x.org"', _announced("mail_from"), "c@x.org", _mails),
    "approvals.mail_to": Case('["d@x.org"]', _announced("mail_to"), ("d@x.org",), _mails),
    "totp.key_file": Case('"totp.key"', lambda g: g.services.totp_key, LOOKS, _totp_key),
    "totp.issuer": Case('"the gateway"', lambda g: g.services.issuer, "the gateway"),
    "oidc.issuer": Case('"https://other.example.com"', _of_oidc("issuer"), "https://other.example.com", _oidc),
    "oidc.client_id": Case('"gw"', _of_oidc("client_id"), "gw", _oidc),
    "oidc.client_secret_file": Case('"further.secret"', _of_oidc("secret"), "sixteen or more of them", _oidc),
    "oidc.ca_file": Case(
        '"id-ca.pem"', lambda g: g.services.auth.outside["oidc"]._provider._context, LOOKS, _oidc  # type: ignore[attr-defined]
    ),
    "oidc.scopes": Case('["openid"]', _of_oidc("scopes"), "openid", _oidc),
    "oidc.claim": Case('"upn"', _of_oidc("claim"), "upn", _oidc),
    "oidc.equals": Case('"id"', _of_oidc("by_id"), True, _oidc),
    "oidc.suffix": Case('"@x.org"', _of_oidc("suffix"), "@x.org", _oidc),
    "oidc.wait": Case('"77s"', _of_oidc("wait"), 77.0, _oidc),
    "radius.servers": Case('["192.0.2.9:1812"]', lambda g: _of_radius("servers")(g)[0].host, "192.0.2.9", _radius),
    "radius.secret_file": Case('"other.secret16"', _of_radius("secret"), b"another of sixteen or more", _radius),
    "radius.timeout": Case('"7s"', _of_radius("timeout"), 7.0, _radius),
    "radius.tries": Case("4", _of_radius("tries"), 4, _radius),
    "radius.nas_identifier": Case('"gw7"', _of_radius("nas"), "gw7", _radius),
    "radius.suffix": Case('"@x.org"', _of_radius("suffix"), "@x.org", _radius),
    "radius.prompt": Case('"Pin"', _of_radius("prompt"), "Pin", _radius),
    "issue.require": Case('[["certificate"]]', lambda g: g.services.issuing.chains, (("certificate",),), _issues),
    "issue.key": Case('"second"', lambda g: g.services.issuing.publics == g.services.auth.issuers and len(
        g.services.auth.login_cas) == 2 and g.services.issuing.publics, LOOKS, _issues),
    "issue.passphrase_file": Case(
        '"words"', lambda g: g.services.issuing, LOOKS, _issues_by(_locked("issuing_ca"))
    ),
    "issue.agent": Case(
        '"sock"', lambda g: list(g.services.agents.troubles), ["issue"],
        _issues_by(_public_half("issuing_ca"))
    ),
    "issue.lifetime": Case('"2h"', lambda g: g.services.issuing.lifetime, 7200, _issues),
    "issue.keys": Case('"any"', lambda g: g.services.issuing.certified, "any", _issues),
    "login_ca.users": Case('{ "login_ca.pub" = ["ext-*"] }', lambda g: _scope(g).users, ("ext-*",)),
    "login_ca.groups": Case('{ "login_ca.pub" = ["Ops"] }', lambda g: _scope(g).groups, frozenset({"ops"})),
    "login_ca.principals": Case('{ "login_ca.pub" = ["a"] }', lambda g: _scope(g).principals, ("a",)),
    "login_ca.files": Case("[]", lambda g: g.services.auth.login_cas, ()),
    "upstream_ca.key": Case('"second"', lambda g: _ca("_keys")(g).publics, LOOKS),
    "upstream_ca.agent": Case(
        '"sock"', lambda g: type(_ca("_keys")(g).first).__name__, "AgentSigner", _public_half("upstream_ca")
    ),
    "front_host_ca.agent": Case(
        '"sock"', lambda g: list(g.services.agents.troubles), ["front_host_ca"], _public_half("front_host_ca")
    ),
    "upstream_ca.passphrase_file": Case('"words"', _ca("_keys"), LOOKS, _locked("upstream_ca")),
    "upstream_ca.lifetime": Case('"90s"', _ca("_lifetime"), 90),
    "upstream_ca.egress": Case('["192.0.2.77"]', _ca("_sources"), "192.0.2.77/32"),
    "front_host_ca.key": Case('"second"', lambda g: g.services.inner_host_keys.ca.publics, LOOKS),
    "front_host_ca.passphrase_file": Case(
        '"words"', lambda g: g.services.inner_host_keys.ca, LOOKS, _locked("front_host_ca")
    ),
    "front_host_ca.lifetime": Case('"2h"', lambda g: g.services.inner_host_keys.ca.lifetime, 7200),
    "targets.sshfp_resolvers": Case(
        '["192.0.2.53:53"]', lambda g: [str(one) for one in g.services.dialler.keys.sshfp._resolvers], ["192.0.2.53:53"]
    ),
    "targets.proxy_commands": Case(
        '{ tunnel = ["/bin/true", "%h"] }',
        lambda g: dict(g.services.dialler.proxy_commands),
        {"tunnel": ("/bin/true", "%h")},
    ),
    "keys.ledger": Case(
        '"ledger"', lambda g: len(g.services.inner_host_keys.ca.publics), 2, _rotating_front_host_ca
    ),
    "directory.embedded": Case('"users.2"', _known("zoe"), True),
    "directory.recheck": Case('"7s"', lambda g: g.services.limits.recheck, 7.0),
    "directory.break_glass_after": Case('"20m"', lambda g: g.services.auth.break_glass.after, 1200.0),
    "directory.break_glass_require": Case(
        '[["totp", "sk-publickey"]]',
        lambda g: g.services.auth.break_glass.chains,
        (("sk-publickey", "totp"),),
    ),
    "directory.ldap.servers": Case('["ldap://127.0.0.1:2"]', lambda g: ldap("servers")(g)[0].port, 2),
    "directory.ldap.user_base": Case('"dc=org"', ldap("user_base"), "dc=org"),
    "directory.ldap.bind_dn": Case('"cn=x,dc=org"', ldap("bind_dn"), "cn=x,dc=org"),
    "directory.ldap.bind_password_file": Case(
        '"other.secret"',
        lambda g: g.services.auth.directory._other._service_password,  # type: ignore[attr-defined]
        "another",
    ),
    "directory.ldap.client_certificate": Case(
        '"second.pem"', ldap("client_certificate"), LOOKS, _client_certificates
    ),
    "directory.ldap.client_key": Case('"second.key"', ldap("client_key"), LOOKS, _client_certificates),
    "directory.ldap.ca_file": Case('"/etc/ssl/certs/ca-certificates.crt"', ldap("ca_file"), LOOKS),
    "directory.ldap.certificate_name": Case('"ldap.example"', ldap("certificate_name"), "ldap.example"),
    "directory.ldap.allow_plaintext": Case("true", ldap("allow_plaintext"), True),
    "directory.ldap.user_filter": Case('"(uid=*)"', ldap("user_filter"), "(uid=*)"),
    "directory.ldap.name_attribute": Case('"cn"', ldap("name_attribute"), "cn"),
    "directory.ldap.login_attributes": Case('["mail"]', ldap("login_attributes"), ("mail",)),
    "directory.ldap.id_attribute": Case('"objectGUID"', ldap("id_attribute"), "objectGUID"),
    "directory.ldap.key_attribute": Case('"keys"', ldap("key_attribute"), "keys"),
    "directory.ldap.member_of": Case("false", ldap("member_of"), False),
    "directory.ldap.group_base": Case('"ou=g,dc=org"', ldap("group_base"), "ou=g,dc=org"),
    "directory.ldap.group_filter": Case('"(cn=*)"', ldap("group_filter"), "(cn=*)"),
    "directory.ldap.group_members": Case('["memberUid"]', ldap("group_members"), ("memberUid",)),
    "directory.ldap.group_name_attribute": Case('"ou"', ldap("group_name_attribute"), "ou"),
    "directory.ldap.nested_groups": Case('"walk"', ldap("nested_groups"), "walk"),
    "directory.ldap.group_depth": Case("7", ldap("group_depth"), 7),
    "directory.ldap.primary_group": Case("true", ldap("primary_group"), True),
    "directory.ldap.group_ttl": Case('"5s"', ldap("group_ttl"), 5.0),
    "directory.ldap.certificates_offline": Case('"8h"', ldap("certificates_offline"), 28800.0),
    "directory.ldap.lockout": Case('"15m"', ldap("lockout"), 900.0),
    "directory.ldap.password_age": Case('"90d"', ldap("password_age"), 90 * 86400.0),
    "directory.ldap.decoy_dn": Case('"cn=d,dc=example"', ldap("decoy_dn"), "cn=d,dc=example"),
    "directory.ldap.connect_timeout": Case('"1s"', ldap("connect_timeout"), 1.0),
    "directory.ldap.timeout": Case('"4s"', ldap("timeout"), 4.0),
    "directory.ldap.deadline": Case('"14s"', ldap("deadline"), 14.0),
    "directory.ldap.rest": Case('"7s"', ldap("rest"), 7.0),
    "directory.ldap.threads": Case("3", ldap("threads"), 3),
    "directory.ldap.lookup_ttl": Case('"9s"', ldap("lookup_ttl"), 9.0),
    "targets.file": Case('"targets.2"', lambda g: g.services.inventory.find("web1").host, "web1.example.org"),
    "targets.folder": Case('"targets.d"', lambda g: g.services.inventory.find("db9") is not None, True, _more_targets),
    "targets.known_hosts": Case('"known_hosts.2"', _pinned, True),
    "policy.file": Case('"policy.2"', lambda g: g.services.policy.rules[0].groups, ("people",)),
    "recording.mode": Case('"full"', lambda g: str(g.services.recording.mode), "full"),
    "recording.input": Case("true", lambda g: g.services.recording.input, True),
    "recording.bulk_burst": Case('"1 MiB"', lambda g: g.services.recording.burst_bytes, 1 << 20),
    "recording.bulk_rate": Case('"2 MiB"', lambda g: g.services.recording.sustained_bytes, 2 << 20),
    "log.trace": Case("true", lambda g: g.services.front_settings.trace, True),
    "recording.terminal_rate": Case('"2 MiB"', lambda g: g.services.recording.terminal_bytes, 2 << 20),
    "recording.signing_key": Case('"second"', lambda g: g.store.sealing().signer.public, LOOKS),
    "recording.signing_passphrase_file": Case(
        '"words"', lambda g: g.store.sealing().signer.public, LOOKS, _locked_signing_key
    ),
    "recording.recipients": Case('"r.txt"', lambda g: g.store._data_keys is not None, True),
    "recording.max_recording_bytes": Case('"1 GiB"', _recorded(user=False), 1 << 30),
    "recording.max_recording_bytes_per_user": Case('"2 GiB"', _recorded(user=True), 2 << 30),
    "recording.sftp_hash": Case("false", lambda g: g.services.limits.sftp_hash, False),
    "recording.disk_floor": Case(str(1 << 49), lambda g: _admits(g), False),
    "recording.fsync_interval": Case('"50ms"', lambda g: round(g.store._syncer._pause, 3), 0.05),
    "recording.store.kind": Case('"folder"', _store("bucket"), None, _uploads()),
    "recording.store.bucket": Case('"two"', _store("bucket"), "two", _uploads()),
    "recording.store.prefix": Case('"gw2/"', _store("prefix"), "gw2/", _uploads()),
    "recording.store.endpoint": Case(
        '"https://s3.example.com"', _store("endpoint"), "https://s3.example.com", _uploads()
    ),
    "recording.store.region": Case('"eu-west-1"', _store("region"), "eu-west-1", _uploads()),
    "recording.store.path_style": Case("true", _store("path_style"), True, _uploads()),
    "recording.store.ca_file": Case('"/etc/ssl/certs/ca-certificates.crt"', _store("ca_file"), LOOKS, _uploads()),
    "recording.store.access_key": Case(
        '"two"', _store("access_key"), "two", _uploads(access_key='"one"', secret_file='"ldap.secret"')
    ),
    "recording.store.secret_file": Case(
        '"other.secret"', _store("secret_file"), LOOKS, _uploads(access_key='"one"', secret_file='"ldap.secret"')
    ),
    "recording.store.encryption": Case('"s3"', _store("encryption"), "AES256", _uploads()),
    "recording.store.kms_key": Case('"alias/two"', _store("kms_key"), "alias/two", _uploads(encryption='"kms"')),
    "recording.store.lock": Case('"compliance"', lambda g: _store("lock")(g) is None, False, _uploads()),
    "recording.store.lock_for": Case(
        '"2d"', lambda g: _store("lock")(g).seconds, 172800.0, _uploads(lock='"governance"')
    ),
    "recording.store.uploads": Case("7", _store("uploads"), 7, _uploads()),
    "login.key_age": Case('"90d"', lambda g: g.services.limits.key_age, 90 * 86400.0),
    "inventories": Case(
        '{ cmdb = { url = "https://cmdb.example.com/" } }', lambda g: g.reactor.asking, ["cmdb"], _from_its_start
    ),
    "audit.sinks": Case(
        '{ siem = { kind = "journald" } }', lambda g: g.reactor.sending, ["siem"], _from_its_start
    ),
    "state.unavailable": Case('"refuse"', lambda g: g.state.refuse, True),
    "audit.file": Case('"second.jsonl"', lambda g: Path(g.audit.path).name, "second.jsonl"),
    "audit.required": Case("true", lambda g: g.audit.required, True),
    "audit.detail": Case("true", lambda g: g.services.limits.audit_detail, True),
    "limits.login_grace": Case('"7s"', front("login_grace"), 7.0),
    "limits.dial_timeout": Case('"7s"', lambda g: g.services.dialler.timeout, 7.0),
    "limits.kex_timeout": Case('"7s"', front("kex_timeout"), 7.0),
    "limits.write_stall": Case('"7s"', front("write_stall"), 7.0),
    "limits.rekey_bytes": Case('"1 MiB"', front("rekey_bytes"), 1 << 20),
    "limits.rekey_interval": Case('"2m"', front("rekey_seconds"), 120.0),
    "limits.channels_per_connection": Case("7", lambda g: g.services.limits.channels, 7),
    "limits.sessions_per_connection": Case("7", lambda g: g.services.limits.sessions_per_connection, 7),
    "limits.sessions": Case("7", lambda g: g.services.limits.sessions, 7),
    "limits.keepalive_interval": Case('"7s"', lambda g: g.services.limits.keepalive_interval, 7.0),
    "limits.keepalive_count": Case("7", lambda g: g.services.limits.keepalive_count, 7),
    "limits.idle": Case('"7s"', lambda g: g.services.policy.defaults.idle, 7.0),
    "limits.max_duration": Case('"7s"', lambda g: g.services.policy.defaults.max_duration, 7.0),
    "limits.max_auth_age": Case('"7s"', lambda g: g.services.policy.defaults.max_auth_age, 7.0),
    "limits.drain_timeout": Case('"7s"', lambda g: g.services.limits.drain_timeout, 7.0),
    "limits.startups": Case('"4:100:4"', _admitted, 4),
    "limits.startups_per_source": Case("3", _admitted, 3),
    "limits.penalties.free": Case("2", _waits(3), 5),
    "limits.penalties.first_block": Case('"9s"', _waits(6), 9),
    "limits.penalties.longest_block": Case('"20s"', _waits(12), 20),
    "limits.penalties.accounts": Case("2", _waits(1, accounts=3), 60),
    "limits.penalties.exempt": Case(
        '["198.51.100.0/24"]', lambda g: g.services.auth.penalties._limits.exempt, ("198.51.100.0/24",)
    ),
    "limits.penalties.window": Case('"1s"', lambda g: g.services.auth.penalties._limits.window, 1.0),
    "limits.penalties.source_block": Case('"77s"', _waits(1, accounts=30), 77),
    "limits.penalties.longest_source_block": Case('"50s"', _waits(1, accounts=30), 50),
    "limits.penalties.account_failures": Case(
        "3", lambda g: g.services.auth.penalties._limits.account_failures, 3
    ),
    "limits.penalties.account_window": Case(
        '"1h"', lambda g: g.services.auth.penalties._limits.account_window, 3600.0
    ),
    "limits.penalties.forget": Case('"1s"', lambda g: g.services.auth.penalties._pairs.forget, 1.0),
}  # fmt: skip
STARTED = {
    "listen.addresses": '["127.0.0.1:0"]',
    "recording.directory": '"recordings"',
    "metrics.listen": '"off"',
    "process.workers": "1",
    "control.socket": '"run/control.sock"',
    "control.admin_group": '"bastion-admin"',
    "control.responder_group": '"bastion-responder"',
    "control.approver_group": '"bastion-approver"',
    "control.auditor_group": '"bastion-auditor"',
    "control.speaker_group": '"bastion-console"',
}
RESTART = {
    "listen.addresses": '["127.0.0.1:1"]',
    "recording.directory": '"recordings.2"',
    "state.directory": '"state.2"',
    "state.url": '"postgresql://gw@127.0.0.1:1/none"',
    "state.password_file": '"words"',
    "state.node": '"gw2"',
    "nodes.listen": '"127.0.0.1:2"',
    "nodes.certificate": '"node.crt"',
    "nodes.key": '"node.key"',
    "nodes.authority": '"nodes_ca.crt"',
    "nodes.peers": '{ gw9 = "127.0.0.1:3" }',
    "nodes.roles": '["auditor"]',
    "metrics.listen": '"127.0.0.1:1"',
    "metrics.tls_certificate": '"tls.crt"',
    "metrics.tls_key": '"tls.key"',
    "metrics.users": '"metrics.users"',
    "metrics.targets": '["web1"]',
    "process.workers": '"auto"',
    "control.socket": '"off"',
    "control.admin_group": '"wheel"',
    "control.responder_group": '"wheel"',
    "control.approver_group": '"wheel"',
    "control.auditor_group": '"wheel"',
    "control.speaker_group": '"wheel"',
}


NODES = ("state.url", *(f"nodes.{name}" for name in ("listen", "certificate", "key", "authority", "peers")))
TOGETHER = (("metrics.tls_certificate", "metrics.tls_key"), NODES)
"""None without the others."""


def _admits(gateway: Gateway) -> bool:
    try:
        gateway.store.admit()
    except RecorderFailed:
        return False
    return True


def of_scope(scope: Scope) -> set[str]:
    return {path for path, declared in each_option() if declared.scope is scope}


def test_every_option_has_a_case() -> None:
    assert set(CASES) | {f"detections.{name}" for name in DETECTS} == of_scope(Scope.RELOAD)
    assert set(RESTART) == of_scope(Scope.RESTART)


DETECTS = {
    "run": "true",
    **{str(kind): '"off"' for kind in Detection},
    "learning": '"1d"', "trusted": '["192.0.2.0/24"]', "network_bits": "16", "travel_speed": "900",
    "travel_distance": "400", "dormant_after": '"30d"', "certificate_window": '"2h"', "tunnel_bytes": '"1GiB"',
    "tunnel_long": '"4h"', "beacon_count": "9", "refused_count": "9", "refused_places": "5", "refused_window": '"5m"',
    "sftp_bytes": '"1GiB"', "habit": "5", "targets_count": "9", "targets_window": '"5m"', "geoip": '"x.mmdb"',
    "asn": '"y.mmdb"', "alertmanager": '"http://127.0.0.1:9093"', "alertmanager_token_file": '"token"',
    "webhook": '"https://soc.example.com/x"', "webhook_secret_file": '"secret"',
}  # fmt: skip
"""Of `[detections]`, in an order in which each can be set: the process that detects begins anew with it."""


def test_a_reload_changes_how_is_detected(running: Running) -> None:
    _from_its_start(running)
    reactor: Any = running.gateway.reactor
    seen: list[Detections | None] = [reactor.detecting]
    for name, toml in DETECTS.items():
        running.files.set(f"detections.{name}", toml)
        assert running.reload()["result"] == "ok", name
        assert reactor.detecting is not None and reactor.detecting not in seen, name
        seen.append(reactor.detecting)
    running.files.set("detections.run", "false")
    assert running.reload()["result"] == "ok" and reactor.detecting is None


@pytest.mark.parametrize("path", sorted(CASES))
def test_a_reload_changes(running: Running, path: str) -> None:
    case = CASES[path]
    case.before(running)
    before = case.shows(running.gateway)
    running.files.set(path, case.toml)
    assert running.reload()["result"] == "ok"
    after = case.shows(running.gateway)
    assert after != before
    if case.then is not LOOKS:
        assert after == case.then


@pytest.mark.parametrize("path", sorted(RESTART))
def test_what_needs_a_restart_is_told(running: Running, path: str) -> None:
    meters = running.gateway.meters
    paths = next((group for group in TOGETHER if path in group), (path,))
    if paths is NODES:
        NodesCA(running.files.folder).node("node", [socket.gethostname()])
    for one in paths:
        running.files.set(one, RESTART[one])
    line = running.reload()
    assert (line["result"], line["restart"]) == ("restart_needed", ", ".join(paths))
    assert meters.value(CONFIG_RESTART_PENDING) == len(paths)
    assert meters.value(CONFIG_RELOADS, "restart_needed") == 1
    assert meters.value(CONFIG_LAST_RELOAD) > 0
    for one in paths:
        section, _, key = one.rpartition(".")
        if one in STARTED:
            running.files.options[section][key] = STARTED[one]
        else:
            del running.files.options[section][key]
    running.files.set("limits.sessions", "7")
    assert running.reload()["result"] == "ok", "what was taken back waits for nothing"
    assert meters.value(CONFIG_RESTART_PENDING) == 0
    assert running.gateway.services.limits.sessions == 7


def test_the_rest_of_a_file_counts_although_something_waits_for_a_restart(running: Running) -> None:
    running.files.set("listen.addresses", RESTART["listen.addresses"])
    running.files.set("limits.sessions", "7")
    assert running.reload()["result"] == "restart_needed"
    assert running.gateway.services.limits.sessions == 7


# -- what is refused ---------------------------------------------------------------------------------------


def _same_ca(files: Files) -> None:
    files.write("login_ca.pub", files.keys["upstream_ca"].public.line() + "\n")


def _open_to_all(name: str) -> Callable[[Files], None]:
    return lambda files: os.chmod(files.folder / name, 0o666)


def _short_rsa(files: Files) -> None:
    key = rsa.generate_private_key(65537, 2048)
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    files.write("short", text.decode(), 0o600)
    files.set("host_keys.files", '["short"]')


FAULTS: dict[str, tuple[Callable[[Files], None], str]] = {
    "one key for two authorities": (_same_ca, "are the same key"),
    "a policy for all to write": (_open_to_all("policy.toml"), "can be written by others (mode 0666)"),
    "known hosts for all to write": (_open_to_all("known_hosts"), "can be written by others (mode 0666)"),
    "a login CA for all to write": (_open_to_all("login_ca.pub"), "can be written by others (mode 0666)"),
    "a short host key": (_short_rsa, "has 2048 bits"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_reload_refuses_what_a_check_refuses(running: Running, name: str) -> None:
    damage, says = FAULTS[name]
    before = running.gateway.services
    damage(running.files)
    running.files.set("limits.sessions", "7")
    line = running.reload()
    assert line["result"] == "refused" and says in line["text"]
    assert running.gateway.services is before
    assert running.gateway.meters.value(CONFIG_RELOADS, "refused") == 1


@pytest.mark.parametrize("name", FAULTS)
def test_a_start_refuses_what_a_check_refuses(tmp_path: Path, name: str) -> None:
    damage, says = FAULTS[name]
    files = Files(tmp_path)
    damage(files)
    with pytest.raises(ConfigErrors, match=re.escape(says)):
        Program(files.config, Threadless())


def test_start_and_reload_name_every_fault_at_once(running: Running) -> None:
    for damage, _ in FAULTS.values():
        damage(running.files)
    running.files.write("targets.toml", "[targets.web1]\nhots = 1\n")
    line = running.reload()
    with pytest.raises(ConfigErrors) as refused:
        Program(running.files.config, Threadless())
    told = [str(error) for error in refused.value.errors]
    assert len(told) >= 6 and [str(error) for error in inspect(running.files.config).errors] == told
    assert line["text"].splitlines() == told


# -- what is carried over ----------------------------------------------------------------------------------


def test_a_reload_is_no_amnesty(running: Running) -> None:
    penalties = running.gateway.services.auth.penalties
    for _ in range(8):
        penalties.failed(ADDRESS, "alice", AuthReason.BAD_PASSWORD)
    waits = penalties.wait(ADDRESS, "alice")
    running.files.set("limits.penalties.first_block", '"1s"')
    running.reload()
    after = running.gateway.services.auth.penalties
    assert len(after) == 2 and waits - 10 < after.wait(ADDRESS, "alice") <= waits


def test_penalties_count_before_the_first_failure_too(running: Running) -> None:
    """An empty table of penalties is one all the same."""
    assert len(running.gateway.services.auth.penalties) == 0
    before = running.gateway.services.auth.penalties
    running.reload()
    assert running.gateway.services.auth.penalties is before


def test_unfinished_logins_stay_counted(running: Running) -> None:
    held = [running.gateway.startups.admit(ADDRESS) for _ in range(3)]
    running.files.set("limits.startups_per_source", "4")
    running.reload()
    assert _admitted(running.gateway) == 1
    held[0].release()
    assert _admitted(running.gateway) == 2


def test_an_audit_log_that_cannot_be_opened_refuses_the_reload_and_the_old_one_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = running.gateway.services
    (running.files.folder / "taken").mkdir()
    running.files.set("audit.file", '"taken"')
    monkeypatch.setattr("bastion.config.check.try_places", lambda *_: ())  # it was well when it was tried
    line = running.reload()
    assert line["result"] == "refused" and "taken: Is a directory" in line["text"]
    assert running.gateway.services is before and Path(running.gateway.audit.path).name == "audit.jsonl"


# -- beside the work ---------------------------------------------------------------------------------------


def test_the_gateway_serves_while_a_reload_reads_and_swaps_in_one_turn(running: Running) -> None:
    """Nothing of the new files is seen until the turn in which all of it is."""
    before = running.gateway.services
    running.files.set("limits.sessions", "7")
    running.files.set("limits.startups_per_source", "3")
    served: list[int] = []
    running.reactor.callLater(1, served.append, 1)
    running.program.reloading.hup()
    running.reactor.advance(1)
    assert served == [1], "the reactor's own thread reads nothing"
    assert running.gateway.services is before and _admitted(running.gateway) == 10
    running.reactor.drain()  # one call from the thread
    assert running.gateway.services.limits.sessions == 7 and _admitted(running.gateway) == 3


def test_signals_while_one_reads_are_one_more_reload(running: Running) -> None:
    reading = threading.Event()
    real = running.program.reloading._prepare

    def wait_first() -> Any:
        assert reading.wait(30)
        return real()

    running.program.reloading._prepare = wait_first
    for _ in range(4):
        running.program.reloading.hup()
    running.files.set("limits.sessions", "7")
    reading.set()
    running.reactor.drain(2)
    lines = Path(running.gateway.audit.path).read_text().count('"reload"')
    assert lines == 2 and running.gateway.services.limits.sessions == 7


def test_a_file_system_that_hangs_is_told(running: Running) -> None:
    release = threading.Event()

    def hang() -> Any:
        release.wait(30)
        raise ConfigError("file", 0, "", "too late")

    running.program.reloading._prepare = hang
    running.program.reloading.hup()
    running.reactor.advance(reloading.TIMEOUT)
    assert "could not be read within 300 s" in running.told()["text"]
    running.program.reloading.hup()
    assert "could not be read" in running.told()["text"], "the thread is still away"
    release.set()
    running.reactor.drain()
    assert running.gateway.meters.value(CONFIG_RELOADS, "refused") == 2


def test_what_a_refusal_lists_is_worked_out_by_the_thread_too(running: Running) -> None:
    """Which rule selects which target takes long with many of both, and the first refusal would have to wait for it."""
    running.reload()
    services = running.gateway.services
    ((targets, bits),) = services.policy._kept
    assert targets is services.inventory.targets
    assert services.policy.selections(services.inventory) is bits


def test_what_was_in_force_is_let_go(running: Running) -> None:
    """Piece by piece, and nothing of it is kept: the inventory and the known hosts of a large site are 50 MB."""
    pinned = f"web1.example.com {running.files.keys['second'].public.line()}\n"
    running.files.write("known_hosts", pinned)
    running.reload()
    hosts = running.gateway.services.dialler.keys.known_hosts
    (line,) = hosts.lines
    assert sys.getrefcount(line) == 3  # the tuple, the name here, the call
    del hosts
    running.reload()
    running.reactor.advance(3600)
    assert sys.getrefcount(line) == 2
