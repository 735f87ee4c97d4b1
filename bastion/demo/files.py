"""The files of a demo world: keys, certificates, directory, inventory, policy, configuration (L4).

Everything is made new each time and lies in one folder. Nothing here is a secret of anybody: the folder is
readable by its owner only and goes away with the demo.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import argon2

from bastion.demo.target import LOGIN, LOOPBACK
from bastion.install.authorities import make_key
from bastion.wire.certificates import Certificate, CertificateKind, flag_options, issue
from bastion.wire.key_options import ALL_PERMITS
from bastion.wire.keys import PrivateKey

TARGET: Final = "web1"
DEAD_TARGET: Final = "db1"
GATEWAY: Final = "bastion"  # what ssh_config calls the gateway
VALIDITY: Final = 24 * 3600  # seconds: longer than anybody looks at a demo
BACKDATED: Final = 60

PASSWORD_GROUPS: Final = 3  # 51 bits, and an attacker has only as long as the demo runs


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens on loopback. `dead` is a port where nothing does."""

    ssh: int
    metrics: int
    target: int
    dead: int
    console: int


@dataclass(frozen=True, slots=True)
class Passwords:
    """Those that are printed."""

    alice: str
    bob: str
    dana: str


def write_keys(folder: Path, now: float) -> None:
    """The four authorities, the host keys, alice's key and her certificate."""
    keys, alice = folder / "keys", folder / "alice"
    for place in (keys, alice, folder / "recordings"):
        place.mkdir(mode=0o700)
    login_ca = make_key(keys / "login_ca", "demo login CA")
    make_key(keys / "upstream_ca", "demo upstream CA")
    make_key(keys / "front_host_ca", "demo front host CA")
    make_key(keys / "recording", "demo recordings")
    target_host_ca = make_key(keys / "target_host_ca", "demo target host CA")
    make_key(keys / "ssh_host_ed25519_key", "demo gateway")
    target_host = make_key(keys / "target_host_key", "demo target")
    names = (TARGET, LOOPBACK)
    _certify(
        keys / "target_host_key-cert.pub",
        target_host_ca,
        target_host,
        CertificateKind.HOST,
        TARGET,
        names,
        now,
    )
    own = make_key(alice / "id_ed25519", "alice")
    _certify(
        alice / "id_ed25519-cert.pub", login_ca, own, CertificateKind.USER, "alice@demo", ("alice",), now
    )


def _certify(
    path: Path,
    ca: PrivateKey,
    key: PrivateKey,
    kind: CertificateKind,
    key_id: str,
    principals: Sequence[str],
    now: float,
) -> None:
    certificate = issue(
        ca,
        key.public,
        kind=kind,
        serial=1,
        key_id=key_id,
        principals=principals,
        valid_after=int(now) - BACKDATED,
        valid_before=int(now) + VALIDITY,
        extensions=dict(flag_options(ALL_PERMITS)) if kind is CertificateKind.USER else {},
    )
    _write(path, certificate_line(certificate, key_id))


def certificate_line(certificate: Certificate, comment: str) -> str:
    """A certificate as ssh-keygen writes it into a `-cert.pub` file."""
    return f"{certificate.type} {base64.b64encode(certificate.encode()).decode()} {comment}\n"


def write_world(folder: Path, ports: Ports, passwords: Passwords) -> None:
    """Everything that is text. The keys are there already."""
    hasher = argon2.PasswordHasher()
    users = USERS.format(
        alice=hasher.hash(passwords.alice), bob=hasher.hash(passwords.bob), dana=hasher.hash(passwords.dana)
    )
    _write(folder / "users.toml", users)
    _write(folder / "targets.toml", TARGETS.format(port=ports.target, dead=ports.dead))
    _write(folder / "policy.toml", POLICY)
    config = CONFIG.format(ssh=ports.ssh, metrics=ports.metrics, console=ports.console)
    _write(folder / "bastion.toml", config)
    host_ca = _public(folder, "target_host_ca")
    names = f"{TARGET},[{TARGET}]:{ports.target},[{LOOPBACK}]:{ports.target}"
    _write(folder / "target_known_hosts", f"@cert-authority {names} {host_ca}\n")
    gateway_key = _public(folder, "ssh_host_ed25519_key")
    authority = f"@cert-authority [{TARGET}]:{ports.target} {_public(folder, 'front_host_ca')}\n"
    _write(folder / "known_hosts", f"[{LOOPBACK}]:{ports.ssh} {gateway_key}\n{authority}")
    _write(folder / "ssh_config", SSH_CONFIG.format(port=ports.ssh, target_port=ports.target, folder=folder))
    _write(folder / "hello.txt", "A file to copy.\n")


def write_target_home(folder: Path) -> None:
    """The home that sessions on the target start in."""
    home = folder / "target-home"
    home.mkdir(mode=0o700)
    profile = f"PS1='{LOGIN}@{TARGET}:\\w\\$ '\necho 'You are on {TARGET}, and this session is recorded.'\n"
    _write(home / ".profile", profile)
    _write(home / "notes.txt", "Whatever you read here was on your screen, so it is in the recording.\n")


def _public(folder: Path, name: str) -> str:
    """`type base64` of a key in keys/."""
    return " ".join((folder / "keys" / f"{name}.pub").read_text().split()[:2])


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


USERS: Final = """\
# The embedded directory: who exists. Passwords are argon2id (bastion hash-password).

[users.alice]
password = "{alice}"
groups = ["engineers"]

[users.bob]
password = "{bob}"
groups = ["engineers"]

[users.carol]
groups = ["auditors"]

# She signs in to the review console, and no rule lets her log in anywhere.
[users.dana]
password = "{dana}"
groups = ["reviewers"]
"""

TARGETS: Final = f"""\
# The inventory: what exists to be reached.

[targets.{TARGET}]
host = "{LOOPBACK}"
port = {{port}}
labels = {{{{ env = "demo", role = "web" }}}}

# Nothing listens there: for seeing how a failure looks.
[targets.{DEAD_TARGET}]
host = "{LOOPBACK}"
port = {{dead}}
labels = {{{{ env = "demo", role = "db" }}}}
"""

POLICY: Final = f"""\
# Who may reach what. Whatever no rule allows is refused.

[[rule]]
name = "engineers"
groups = ["engineers"]
labels = {{ env = "demo" }}
logins = ["{LOGIN}"]
verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local"]
"""

CONFIG: Final = f"""\
# The demo's gateway. Paths are relative to this file; `bastion check --config` explains every key.

[listen]
addresses = ["{LOOPBACK}:{{ssh}}"]
public = "{LOOPBACK}:{{ssh}}"

[host_keys]
files = ["keys/ssh_host_ed25519_key"]

[login_ca]
files = ["keys/login_ca.pub"]

[upstream_ca]
key = "keys/upstream_ca"
egress = ["{LOOPBACK}"]

[front_host_ca]
key = "keys/front_host_ca"

[directory]
embedded = "users.toml"

[targets]
file = "targets.toml"
known_hosts = "target_known_hosts"

[policy]
file = "policy.toml"

[recording]
directory = "recordings"
signing_key = "keys/recording"
disk_floor = "64 MiB"

[metrics]
listen = "{LOOPBACK}:{{metrics}}"

[audit]
file = "audit.jsonl"

[console]
listen = "{LOOPBACK}:{{console}}"
require = [["password"]]
responder_groups = ["reviewers"]

[limits]
drain_timeout = "off"
"""

SSH_CONFIG: Final = f"""\
# For `ssh -F`, `scp -F`, `sftp -F`. {TARGET} is reached through the gateway as through any jump host.

Host {TARGET}
    HostName {TARGET}
    Port {{target_port}}
    User {LOGIN}
    ProxyJump {GATEWAY}

Host {GATEWAY}
    HostName {LOOPBACK}
    Port {{port}}
    User alice

Host {GATEWAY} {TARGET} {LOOPBACK}
    UserKnownHostsFile "{{folder}}/known_hosts"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    IdentityFile "{{folder}}/alice/id_ed25519"
    CertificateFile "{{folder}}/alice/id_ed25519-cert.pub"
    IdentitiesOnly yes
    IdentityAgent none
    ControlPath none
"""
