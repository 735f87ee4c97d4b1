"""Security keys through OpenSSH's own client, with an authenticator in software (its `SecurityKeyProvider`)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.authenticator import (
    TOUCHED,
    VERIFIED,
    build_provider,
    compiler_missing,
    make_security_key,
    saying,
)
from tests.support.slapd import Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World

MISSING = sshd_missing() or slapd_missing() or compiler_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")]

KINDS = ("ed25519-sk", "ecdsa-sk")
POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1"]
logins = ["root"]
verbs = ["shell", "pty", "exec"]
[[rule]]
name = "careful"
groups = ["ops"]
targets = ["safe"]
logins = ["root"]
verbs = ["exec"]
require_verify = true
"""


class Office:
    """alice is in slapd with a key of each kind; sure's must verify, hasty's need no touch as far as they say."""

    def __init__(self) -> None:
        self.world = World(policy=POLICY, limits="penalties = { free = 1000, accounts = 1000 }")
        keys, world = self.world.keys, self.world
        self.provider = build_provider(world.folder)
        public = {}
        for name in (*KINDS, "sure", "hasty", "certified-ed25519-sk", "certified-ecdsa-sk"):
            kind = next((kind for kind in KINDS if name.endswith(kind)), "ed25519-sk")
            make_security_key(self.provider, keys / name, kind, "-O", "no-touch-required")
            public[name] = (keys / f"{name}.pub").read_text().strip()
        people = [
            person("alice", *(f"sshPublicKey: {public[kind]}" for kind in KINDS)),
            person("sure", f"sshPublicKey: verify-required {public['sure']}"),
            person("hasty", f"sshPublicKey: no-touch-required {public['hasty']}"),
            group("ops", "alice", "sure", "hasty"),
        ]
        self.slapd = Slapd(people, tls=False)
        self.slapd.start()
        world.use_slapd(self.slapd, users="[users]\n")
        world.add_target("safe", "127.0.0.1", world.sshd.port)
        world.start()

    def ssh(
        self, key: str, flags: int, user: str = "alice+root+web1", counter: int = 1
    ) -> subprocess.CompletedProcess[bytes]:
        """An engineer whose authenticator says so; OpenSSH takes the flags as they are."""
        options = ("-o", f"SecurityKeyProvider={self.provider}")
        command = self.world.ssh_command("echo in", user=user, key=key, options=options)
        environment = saying(flags, counter) | {"SSH_AUTH_SOCK": ""}
        return subprocess.run(command, capture_output=True, timeout=60, env=environment)

    def close(self) -> None:
        self.world.close()
        self.slapd.close()


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


def looked_up(office: Office) -> float:
    """How often an account was, whether slapd was asked for it or it was remembered."""
    ways = ("asked", "joined", "remembered", "offline")
    return sum(office.world.metric(f'bastion_ldap_lookups_total{{way="{way}"}}') for way in ways)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_was_touched(office: Office, kind: str) -> None:
    looked = looked_up(office)
    with office.world.moves('bastion_auth_attempts_total{method="publickey",reason="ok"}'):
        done = office.ssh(kind, TOUCHED, counter=12)
    assert looked_up(office) > looked
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    line = office.world.audit("auth")[-1]
    assert (line["user_verified"], line["counter"]) == (0, 12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [0, VERIFIED])
def test_a_key_that_nobody_touched(office: Office, kind: str, flags: int) -> None:
    with office.world.refuses("publickey", "sk_not_touched"):
        done = office.ssh(kind, flags)
    assert done.returncode == 255 and b"your security key was not touched" in done.stderr


def test_a_counter_that_falls_is_counted(office: Office) -> None:
    """Two authenticators with one key: the other one has signed more often."""
    fallen = "bastion_security_key_counters_fallen_total"
    assert office.ssh(KINDS[0], TOUCHED, counter=900).returncode == 0
    with office.world.moves(fallen):
        assert office.ssh(KINDS[0], TOUCHED, counter=700).returncode == 0, "it is told, and not refused"


@pytest.mark.parametrize("kind", KINDS)
def test_certificates(office: Office, kind: str) -> None:
    name = f"certified-{kind}"
    office.world.certify(name, ("alice",))
    assert office.ssh(name, TOUCHED).returncode == 0
    assert office.world.audit("auth")[-1]["method"] == "certificate"
    with office.world.refuses("certificate", "sk_not_touched"):
        assert office.ssh(name, 0).returncode == 255
    office.world.certify(name, ("alice",), "-O", "verify-required")
    with office.world.refuses("certificate", "sk_not_verified"):
        done = office.ssh(name, TOUCHED)
    assert done.returncode == 255 and b"your security key must verify you" in done.stderr
    assert office.ssh(name, TOUCHED | VERIFIED).returncode == 0


def test_the_keys_own_demand_for_verification(office: Office) -> None:
    with office.world.refuses("publickey", "sk_not_verified"):
        assert office.ssh("sure", TOUCHED, "sure+root+web1").returncode == 255
    assert office.ssh("sure", TOUCHED | VERIFIED, "sure+root+web1").returncode == 0


def test_a_rule_for_verified_logins_only(office: Office) -> None:
    done = office.ssh("ed25519-sk", TOUCHED, "alice+root+safe")
    assert done.returncode == 255 and b'no target "safe" for you' in done.stderr
    assert office.ssh("ed25519-sk", TOUCHED | VERIFIED, "alice+root+safe").returncode == 0


def test_the_operators_word(office: Office) -> None:
    """Of a key without touch its options and the operator must both say so; a reload is enough for both words."""
    with office.world.refuses("publickey", "sk_not_touched"):
        assert office.ssh("hasty", 0, "hasty+root+web1").returncode == 255
    text = office.world.config.read_text()
    try:
        office.world.config.write_text(f"{text}[login]\nallow_no_touch = true\n")
        office.world.reload()
        assert office.ssh("hasty", 0, "hasty+root+web1").returncode == 0
        with office.world.refuses("publickey", "sk_not_touched"):
            assert office.ssh("ed25519-sk", 0).returncode == 255
        office.world.config.write_text(f"{text}[login]\nrequire_verify = true\n")
        office.world.reload()
        with office.world.refuses("publickey", "sk_not_verified"):
            assert office.ssh("ed25519-sk", TOUCHED).returncode == 255
        assert office.ssh("ed25519-sk", TOUCHED | VERIFIED).returncode == 0
    finally:
        office.world.config.write_text(text)
        office.world.reload()
