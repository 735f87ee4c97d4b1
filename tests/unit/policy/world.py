"""A small inventory, policies from TOML text and identities, for the tests of this folder."""

import tomllib

from bastion.auth.identity import Identity
from bastion.auth.restrictions import Restrictions
from bastion.options import Source
from bastion.policy.grant import Grant, authorise
from bastion.policy.rules import Policy, parse_policy
from bastion.policy.targets import Inventory, parse_targets

NOW = 1_800_000_000.0
TARGETS = """
[targets.web1]
host = "web1.example.com"
aliases = ["www"]
labels = { env = "prod", role = "web" }
[targets.web2]
host = "10.1.0.2"
labels = { env = "stage", role = "web" }
[targets.db1]
host = "db1.example.com"
port = 2200
labels = { env = "prod", role = "db" }
logins = ["postgres"]
[targets.edge]
host = "edge.example.com"
kind = "gateway"
"""
FULL = """
[[rule]]
name = "all"
groups = ["staff"]
targets = ["*"]
logins = ["deploy", "{identity}", "postgres"]
verbs = ["shell", "exec", "sftp", "pty", "env", "forward-local"]
"""


def inventory_of(text: str = TARGETS) -> Inventory:
    return parse_targets(tomllib.loads(text), Source("targets.toml"))


def policy_of(text: str = FULL) -> Policy:
    return parse_policy(tomllib.loads(text), Source("policy.toml"))


def person(
    name: str = "alice",
    *groups: str,
    source: str = "192.0.2.1",
    restrictions: Restrictions | None = None,
    since: float = NOW,
) -> Identity:
    return Identity(
        name,
        f"uid-{name}",
        frozenset(groups),
        "embedded",
        ("publickey",),
        None,
        source,
        restrictions or Restrictions(),
        since,
    )


def grant_of(
    policy: str = FULL,
    target: str = "web1",
    login: str | None = None,
    restrictions: Restrictions | None = None,
) -> Grant:
    """A grant of alice in group staff."""
    alice = person("alice", "staff", restrictions=restrictions)
    return authorise(policy_of(policy), inventory_of(), alice, target, login, "192.0.2.1", NOW, "sess")


def rule(verbs: str, extra: str = "", name: str = "one", logins: str = '["deploy"]') -> str:
    """The text of one rule for group staff and all targets."""
    return f"""
[[rule]]
name = "{name}"
groups = ["staff"]
targets = ["*"]
logins = {logins}
verbs = {verbs}
{extra}
"""
