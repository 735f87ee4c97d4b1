"""The embedded directory: its file, every fault of it, and logins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest

from bastion.auth.directory import NOT_ADMITTED
from bastion.auth.embedded import (
    HASH,
    EmbeddedDirectory,
    UserEntry,
    _decoy_hash,
    load_users,
    parse_users,
)
from bastion.auth.identity import Account
from bastion.errors import AuthReason, ConfigError, Refused
from bastion.options import ConfigErrors, declarations
from tests.unit.auth.test_ldap_entry import key_line
from tests.unit.auth.threads import StillReactor, outcome

# The cheapest hash there is, so that the tests do not pay for hashing.
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHED = CHEAP.hash("correct horse")
KEY = key_line()
FILE = f"""\
[users.alice]
password = "{HASHED}"
keys = [
  "{KEY} laptop",
  'restrict,command="backup" {KEY}',
]
groups = ["sre", "DB admins"]
id = "7c1d"

[users.bob]
keys = ["{KEY}"]

[users.mallory]
password = "{HASHED}"
disabled = true
"""


class Asked:
    """A directory with its reactor; `password` and `lookup` give the account or the refusal."""

    def __init__(self, content: str = FILE) -> None:
        self.reactor = StillReactor()
        self.directory = EmbeddedDirectory(parse_users(content, "users.toml"), self.reactor, 32)

    def password(self, name: str, password: str, *, hashes: int = 1) -> Any:
        answered = self.directory.check_password(name, password)
        self.reactor.drain(hashes)
        return outcome(answered)

    def lookup(self, name: str) -> Any:
        return outcome(self.directory.lookup(name))


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.directory.close()


# -- logins --------------------------------------------------------------------------------------------


def test_right_password(asked: Asked) -> None:
    account = asked.password("Alice", "correct horse")
    assert isinstance(account, Account)
    assert (account.name, account.uid, account.source) == ("alice", "7c1d", "embedded")
    assert account.groups == {"sre", "db admins"}
    assert [key.options.command for key in account.keys] == [None, "backup"]


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("alice", "wrong", AuthReason.BAD_PASSWORD),
        ("nobody", "correct horse", AuthReason.UNKNOWN_USER),
        ("bob", "correct horse", AuthReason.BAD_PASSWORD),  # has no password at all
        ("mallory", "wrong", AuthReason.ACCOUNT_LOCKED),
    ],
)
def test_every_refusal_costs_one_hash_and_reads_the_same(
    asked: Asked, name: str, password: str, reason: AuthReason
) -> None:
    refused = asked.password(name, password)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.text) == (reason, NOT_ADMITTED)


def test_a_disabled_user_hears_it_after_the_right_password(asked: Asked) -> None:
    refused = asked.password("mallory", "correct horse")
    assert refused.reason is AuthReason.ACCOUNT_LOCKED and refused.text != NOT_ADMITTED
    assert asked.lookup("mallory").reason is AuthReason.ACCOUNT_LOCKED


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("alice", "", AuthReason.EMPTY_PASSWORD),
        ("alice", "x" * 1025, AuthReason.PASSWORD_TOO_LONG),
        ("alice", "correct horse\0", AuthReason.BAD_PASSWORD),
        ("al*ce", "correct horse", AuthReason.BAD_USER_NAME),
    ],
)
def test_some_questions_cost_nothing(asked: Asked, name: str, password: str, reason: AuthReason) -> None:
    assert asked.password(name, password, hashes=0).reason is reason


def test_lookup(asked: Asked) -> None:
    assert asked.lookup("BOB").uid == "embedded:bob"
    assert asked.lookup("nobody").reason is AuthReason.UNKNOWN_USER
    assert "alice" in asked.directory and "nobody" not in asked.directory


def test_too_many_logins_at_once_are_refused(asked: Asked) -> None:
    answers = [asked.directory.check_password("alice", "wrong") for _ in range(2 + 32)]
    extra = outcome(asked.directory.check_password("alice", "correct horse"))
    assert extra.reason is AuthReason.DIRECTORY_UNAVAILABLE
    asked.reactor.drain(len(answers))
    assert {outcome(answer).reason for answer in answers} == {AuthReason.BAD_PASSWORD}


def test_an_honest_burst_of_logins_waits_its_turn() -> None:
    """With the queue that it has by itself: sixty right passwords at once are all let in."""
    reactor = StillReactor()
    directory = EmbeddedDirectory(parse_users(FILE, "users.toml"), reactor)
    answers = [directory.check_password("alice", "correct horse") for _ in range(60)]
    reactor.drain(len(answers))
    assert {outcome(answer).name for answer in answers} == {"alice"}
    directory.close()


def test_without_a_reactor_no_password_is_right() -> None:
    directory = EmbeddedDirectory(parse_users(FILE, "users.toml"))
    refused = outcome(directory.check_password("alice", "correct horse"))
    assert refused.reason is AuthReason.DIRECTORY_UNAVAILABLE
    assert outcome(directory.lookup("alice")).name == "alice"


def test_the_decoy_is_as_costly_as_the_costliest_hash() -> None:
    costly = argon2.PasswordHasher(time_cost=2, memory_cost=64, parallelism=1).hash("x")
    users = parse_users(f'{FILE}\n[users.carol]\npassword = "{costly}"\n', "users.toml")
    decoy = argon2.extract_parameters(_decoy_hash(users))
    assert (decoy.memory_cost, decoy.time_cost) == (64, 2)
    assert argon2.extract_parameters(_decoy_hash({})) == argon2.extract_parameters(
        argon2.PasswordHasher().hash("x")
    )


# -- the file ------------------------------------------------------------------------------------------


def faults(content: str) -> list[ConfigError]:
    with pytest.raises(ConfigError) as caught:
        parse_users(content, "users.toml")
    return list(caught.value.errors) if isinstance(caught.value, ConfigErrors) else [caught.value]


@pytest.mark.parametrize(
    ("content", "line", "key"),
    [
        ("[users.alice]\npasword = 'x'", 2, "users.alice.pasword"),
        ("[users.alice]\n\npassword = 'plain'", 3, "users.alice.password"),
        ("[users.alice]\npassword = 7", 2, "users.alice.password"),
        ("[users.alice]\nkeys = [\n 'ssh-ed25519 AAAA',\n]", 3, "users.alice.keys[1]"),
        (f"[users.alice]\nkeys = ['bad-option {KEY}']", 2, "users.alice.keys[1]"),
        ("[users.alice]\nkeys = 'x'", 2, "users.alice.keys"),
        ('[users.alice]\ngroups = ["a\\u0007"]', 2, "users.alice.groups[1]"),
        ("[users.Alice]", 1, "users.Alice"),
        ("[users.'a b']", 1, "users.a b"),
        ("[users]\nalice = 'x'", 2, "users.alice"),
        ("[user.alice]", 1, "user"),
        ("users = 3", 1, "users"),
        ("[users.a]\nid = 'x'\n[users.b]\nid = 'x'", 4, "users.b.id"),
        ("[users.a]\nid = 'embedded:b'\n[users.b]", 3, "users.b.id"),
        ("[users.a]\ndisabled = 'yes'", 2, "users.a.disabled"),
        ("[users.a\n", 1, ""),
    ],
)
def test_a_fault_names_file_line_and_key(content: str, line: int, key: str) -> None:
    (fault,) = faults(content)
    assert (fault.file, fault.line, fault.key) == ("users.toml", line, key)
    assert fault.problem


def test_all_faults_are_told_at_once_and_no_hash_is_shown() -> None:
    found = faults(f"[users.alice]\npassword = '{HASHED[:-20]}!'\nkeys = ['x']\n[users.b]\nid = ''\n")
    assert [fault.line for fault in found] == [2, 3, 5]
    assert HASHED[20:40] not in str(found[0])


@pytest.mark.parametrize(
    "hashed",
    [
        HASHED.replace("argon2id", "argon2i"),
        HASHED.replace("m=8", "m=99999999"),
        HASHED.replace("t=1", "t=9999"),
        "$2b$12$abcdefghijklmnopqrstuv",
        "",
    ],
    ids=["argon2i", "too much memory", "too much time", "bcrypt", "empty"],
)
def test_hashes_of_other_kinds_or_without_measure_are_refused(hashed: str) -> None:
    (fault,) = faults(f"[users.alice]\npassword = '{hashed}'")
    assert fault.key == "users.alice.password"


def test_an_empty_file_has_no_users() -> None:
    assert parse_users("", "users.toml") == {}


def test_a_dump_hides_the_hash() -> None:
    assert HASHED not in HASH.write(HASHED)
    assert [declared.name for declared in declarations(UserEntry)] == [
        "password", "keys", "groups", "id", "disabled", "kind", "owner", "expires", "sources",
        "break_glass", "targets",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_closed_file_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "users.toml"
    path.write_text(FILE)
    path.chmod(mode)
    assert set(load_users(path)) == {"alice", "bob", "mallory"}
    assert "alice" in EmbeddedDirectory.load(path)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602, 0o666])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "users.toml"
    path.write_text(FILE)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"{mode:04o}"):
        load_users(path)


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "latin").write_bytes(b"[users.\xe9]")
    (tmp_path / "latin").chmod(0o600)
    for name, problem in (
        ("fifo", "regular"),
        ("missing", "No such file"),
        ("latin", "UTF-8"),
        (".", "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=problem):
            load_users(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    path.write_text(FILE)
    path.chmod(0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="uid 12345"):
        load_users(path)


@pytest.mark.parametrize("kind", ["ssh-dss", "restrict ssh-dss", "ssh-ed25519-cert-v01@openssh.com"])
def test_a_key_that_is_not_taken_is_called_that_and_hides_nothing(kind: str) -> None:
    content = f"""[users.alice]
keys = [
  "{kind} AAAAB3NzaC1kc3MAAACBAP",
  "{KEY}",
]
[users.bob]
keys = ["nonsense"]
password = "plain"
"""
    with pytest.raises(ConfigErrors) as caught:
        parse_users(content, "users.toml")
    told = [str(error) for error in caught.value.errors]
    assert len(told) == 3
    assert told[0].startswith("users.toml:3: users.alice.keys[1]: ") or told[0].startswith("users.toml:2: ")
    assert "ssh-dss (DSA) keys are not taken" in told[0] or "a certificate stands where" in told[0]
    assert "bob.keys[1]" in told[1] + told[2] and "bob.password" in told[1] + told[2]


# -- services ------------------------------------------------------------------------------------------

SERVICE = f"""\
[users.backup]
kind = "service"
keys = ["{KEY}"]
owner = "alice"
expires = 2027-01-15
sources = ["10.0.0.0/8"]
"""


def test_a_service_is_bound_to_its_networks_and_its_end() -> None:
    service = Asked(SERVICE).lookup("backup").service
    assert service.owner == "alice" and service.expires == 1_799_971_200
    service.check("10.1.2.3", 1_799_971_199)
    for source, now, reason in (
        ("10.1.2.3", 1_799_971_200, AuthReason.ACCOUNT_EXPIRED),
        ("192.0.2.1", 1_799_971_199, AuthReason.SERVICE_SOURCE),
        ("", 0, AuthReason.SERVICE_SOURCE),
    ):
        with pytest.raises(Refused) as caught:
            service.check(source, now)
        assert caught.value.reason is reason
    limits = service.restrictions
    assert limits.ended(service.expires) and not limits.allows_source("192.0.2.1")
    assert Asked().lookup("alice").service is None


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('owner = "alice"\n', "", "is a service and needs owner"),
        ("expires = 2027-01-15\n", "", "is a service and needs expires"),
        ('sources = ["10.0.0.0/8"]\n', "", "is a service and needs sources"),
        ('sources = ["10.0.0.0/8"]', "sources = []", "is a service and needs sources"),
        ("2027-01-15", '"2027-01-15"', "is no date"),
        ("2027-01-15", "2027-01-15T12:00:00", "is no date"),
        ('owner = "alice"', f'owner = "alice"\npassword = "{HASHED}"', "a service has none"),
        ('owner = "alice"', 'owner = "alice"\ngroups = ["ops"]', "a service has none"),
        ('kind = "service"\n', "", "has no effect on a person"),
        ('"service"', '"robot"', "is not one of the choices"),
    ],
)
def test_what_a_service_must_have_and_may_not(before: str, after: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_users(SERVICE.replace(before, after), "users.toml")
    assert problem in caught.value.errors[0].problem


# -- break-glass accounts ------------------------------------------------------------------------------

GLASS = '[users.emergency]\nbreak_glass = true\nid = "e-1"\ntargets = ["db1", "web*"]\n'


def test_a_break_glass_account_names_its_targets() -> None:
    account = parse_users(GLASS, "users.toml")["emergency"].account()
    assert account.only_targets == ("db1", "web*") and account.uid == "e-1"
    assert parse_users("[users.alice]", "users.toml")["alice"].account().only_targets == ()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (GLASS.replace('id = "e-1"\n', ""), "users.emergency.id"),
        (GLASS.replace('targets = ["db1", "web*"]\n', ""), "users.emergency.targets"),
        (GLASS.replace("web*", "web 1"), "users.emergency.targets[2]"),
        (GLASS + f'password = "{HASHED}"\n', "users.emergency.password"),
        ('[users.alice]\ntargets = ["db1"]\n', "users.alice.targets"),
    ],
)
def test_a_break_glass_account_has_no_password_and_an_id(text: str, key: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_users(text, "users.toml")
    assert [error.key for error in caught.value.errors] == [key]
