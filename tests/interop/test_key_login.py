"""Public keys that stand in the directory as sshPublicKey, and those that do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.slapd import Slapd, group, person, slapd_missing
from tests.support.sshd import keygen, make_key, sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "available"),
]

KINDS = {"ed25519": None, "rsa": 2048, "ecdsa": 256}
OPTIONS = {
    "elsewhere": 'from="192.0.2.0/24"',
    "expired": 'expiry-time="20200101"',
    "forced": 'command="echo forced; exit 3"',
    "nopty": "no-pty",
}


class Office:
    """A world whose slapd knows alice by three keys, and one person per key option."""

    def __init__(self) -> None:
        self.world = World(limits="penalties = { free = 1000, accounts = 1000 }")
        keys = self.world.keys
        for kind, bits in KINDS.items():
            make_key(keys / kind, kind, bits=bits)
        for name in (*OPTIONS, "stranger"):
            make_key(keys / name)
        mine = [f"sshPublicKey: {(keys / f'{kind}.pub').read_text().strip()}" for kind in KINDS]
        people = [
            person(name, f"sshPublicKey: {option} {(keys / f'{name}.pub').read_text().strip()}")
            for name, option in OPTIONS.items()
        ]
        self.slapd = Slapd(
            [person("alice", *mine), person("keyless"), *people, group("ops", "alice", "keyless", *OPTIONS)],
            tls=False,
        )
        self.slapd.start()
        self.world.use_slapd(self.slapd, users="[users]\n")
        self.world.start()

    def close(self) -> None:
        self.world.close()
        self.slapd.close()


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_the_entry_logs_in(office: Office, kind: str) -> None:
    with office.world.moves('bastion_auth_attempts_total{method="publickey",reason="ok"}'):
        done = office.world.ssh("echo in", key=kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"")
    shown = keygen("-l", "-f", str(office.world.keys / f"{kind}.pub")).split()[1]
    assert office.world.audit("auth")[-1]["key"] == shown


def test_a_key_that_is_not_in_the_entry_is_refused(office: Office) -> None:
    with office.world.refuses("publickey", "key_not_authorised"):
        done = office.world.ssh("true", key="stranger")
    assert done.returncode == 255 and b"Permission denied" in done.stderr
    assert office.world.audit("auth")[-1]["key"].startswith("SHA256:")


def test_another_persons_key_is_refused(office: Office) -> None:
    with office.world.refuses("publickey", "key_not_authorised"):
        assert office.world.ssh("true", key="ed25519", user="keyless+root+web1").returncode == 255


def test_a_key_of_somebody_unknown_is_refused(office: Office) -> None:
    with office.world.refuses("publickey", "unknown_user"):
        assert office.world.ssh("true", key="ed25519", user="nobody+root+web1").returncode == 255


@pytest.mark.parametrize("name", ["elsewhere", "expired"])
def test_an_option_of_the_key_refuses(office: Office, name: str) -> None:
    with office.world.refuses("publickey", "key_options"):
        assert office.world.ssh("true", key=name, user=f"{name}+root+web1").returncode == 255


def test_a_key_with_a_forced_command_runs_that_command_and_no_other(office: Office) -> None:
    done = office.world.ssh("echo forced; exit 3", key="forced", user="forced+root+web1")
    assert (done.returncode, done.stdout) == (3, b"forced\n")
    seen = len(office.world.audit("request"))
    done = office.world.ssh("echo mine", key="forced", user="forced+root+web1")
    assert (done.returncode, done.stdout) == (3, b"forced\n")
    assert office.world.new_audit("request", seen)[-1]["asked"] == "exec"


def test_no_pty_holds_on_the_target(office: Office) -> None:
    done = office.world.ssh("tty", key="nopty", user="nopty+root+web1", options=("-tt",))
    assert b"PTY allocation request failed" in done.stderr and b"/dev/" not in done.stdout
    refused = [line for line in office.world.audit("refused") if line.get("name") == "pty-req"]
    assert refused and refused[-1]["reason"] == "cert_restriction"
