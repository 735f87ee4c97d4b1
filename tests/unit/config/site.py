"""A whole configuration on disk, valid as it stands, for tests that then break one thing."""

import os
from pathlib import Path

from bastion.ca.keys import write_private_key
from bastion.ca.ledger import Entry, KeyName, Ledger, write_ledger
from bastion.wire.keys import PrivateKey

CONFIG = """
[host_keys]
files = ["host_key"]
[login_ca]
files = ["login_ca.pub"]
[upstream_ca]
key = "upstream_ca"
egress = ["192.0.2.10"]
[front_host_ca]
key = "front_host_ca"
[directory]
embedded = "users.toml"
[targets]
file = "targets.toml"
known_hosts = "known_hosts"
[policy]
file = "policy.toml"
[recording]
directory = "recordings"
[audit]
file = "audit.jsonl"
"""
TARGETS = '[targets.web1]\nhost = "web1.example.com"\n[targets.db1]\nhost = "db1.example.com"\n'
POLICY = """
[[rule]]
name = "staff"
groups = ["staff"]
targets = ["web1"]
logins = ["deploy"]
verbs = ["shell", "pty"]
"""
USERS = '[users.alice]\ngroups = ["staff"]\n[users.bob]\n'


class Site:
    """Files in `folder`. `write` replaces one, `edit` replaces text in bastion.toml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "bastion.toml"
        self.keys = {}
        for name in ("host_key", "login_ca", "upstream_ca", "front_host_ca", "host_ca"):
            self.make_key(name)
        (folder / "recordings").mkdir(mode=0o700)
        self.write("bastion.toml", CONFIG)
        self.write("targets.toml", TARGETS)
        self.write("policy.toml", POLICY)
        self.write("users.toml", USERS, 0o600)
        self.write("known_hosts", f"@cert-authority *.example.com {self.keys['host_ca'].public.line()}\n")

    def make_key(self, name: str) -> None:
        for suffix in ("", ".pub"):
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)
        self.keys[name] = PrivateKey.generate_ed25519()
        write_private_key(self.folder / name, self.keys[name])

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.write_text(text)
        os.chmod(path, mode)
        return path

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.write("bastion.toml", text.replace(old, new))


def rotating(site: Site, name: str, until: float = 4_000_000_000.0, ledger: str = "ledger") -> PrivateKey:
    """Another key is to take the place of that one at `until`, by a ledger of this name; the key."""
    new = PrivateKey.generate_ed25519()
    write_private_key(site.folder / f"{name}.next", new)
    kind = KeyName.HOST_KEYS if name == "host_key" else KeyName(name)
    old = Entry(kind, site.keys[name].public, 1.0, "root", 1.0, retire_after=until)
    write_ledger(site.folder / ledger, Ledger((old, Entry(kind, new.public, 1.0, "root", until))))
    return new
