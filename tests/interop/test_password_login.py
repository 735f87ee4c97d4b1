"""Passwords, checked by a real slapd: with method `password` and by keyboard-interactive, and how they are refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.slapd import PASSWORD, Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "available"),
]

METHODS = ("password", "keyboard-interactive")
ALICE = "alice+root+web1"


@pytest.fixture(scope="module")
def directory() -> Iterator[Slapd]:
    made = Slapd(
        [
            person("alice"),
            person("Dora"),
            person("locked", "pwdAccountLockedTime: 000001010000Z"),
            group("ops", "alice", "Dora", "locked"),
        ],
        tls=False,
    )
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(directory: Slapd) -> Iterator[World]:
    # Every test here fails logins of the same few names from one address.
    made = World(slapd=directory, limits="penalties = { free = 1000, accounts = 1000 }")
    yield made.start()
    made.close()


@pytest.mark.parametrize("method", METHODS)
def test_the_right_password_logs_in(world: World, method: str) -> None:
    with world.moves(f'bastion_auth_attempts_total{{method="{method}",reason="ok"}}'):
        done = world.ask(ALICE, PASSWORD, method, "echo in; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in\n", b"")
    line = world.audit("auth")[-1]
    assert (line["method"], line["result"], line["reason"], line["user"]) == (method, "ok", "ok", ALICE)
    assert "key" not in line and "certificate_id" not in line


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_password_is_refused(world: World, method: str) -> None:
    with world.refuses(method, "bad_password"):
        done = world.ask(ALICE, "not " + PASSWORD, method)
    assert done.returncode == 255 and b"Permission denied" in done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_password_is_refused_before_the_directory_is_asked(
    world: World, directory: Slapd, method: str
) -> None:
    directory.forget()
    with world.refuses(method, "empty_password"):
        done = world.ask(ALICE, "", method)
    assert done.returncode == 255
    assert not any("BIND" in line or "SRCH" in line for line in directory.lines)


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_user_is_refused_with_the_same_words_as_a_wrong_password(
    world: World, method: str
) -> None:
    with world.refuses(method, "unknown_user"):
        unknown = world.ask("nobody-here+root+web1", PASSWORD, method)
    wrong = world.ask(ALICE, "wrong", method)
    assert unknown.returncode == wrong.returncode == 255
    assert unknown.stderr == wrong.stderr.replace(b"alice", b"nobody-here")


def test_a_locked_account_is_refused_with_the_right_password(world: World) -> None:
    with world.refuses("password", "account_locked"):
        assert world.ask("locked+root+web1", PASSWORD).returncode == 255


def test_the_prompt_names_whose_password_it_is(world: World) -> None:
    ask = world.folder / "noting-askpass"
    ask.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {world.folder}/prompt\nprintf "%s\\n" "$TEST_PASSWORD"\n')
    ask.chmod(0o755)
    environment = world.environment(PASSWORD) | {"SSH_ASKPASS": str(ask)}
    options = ("-o", "PreferredAuthentications=keyboard-interactive")
    with world.client("true", user=ALICE, key=None, options=options) as unasked:
        assert unasked.wait() == 255, "without an askpass there is nobody to ask"
    command = world.ssh_command("true", user=ALICE, key=None, options=options)
    assert subprocess.run(command, env=environment, timeout=30, capture_output=True).returncode == 0
    prompt = (world.folder / "prompt").read_text()
    assert "Directory password of alice: " in prompt and "root" not in prompt.rpartition(")")[2]


@pytest.mark.parametrize("typed", ["dora", "Dora", "DORA"])
def test_the_identity_is_the_directorys_name_in_lower_case_however_it_is_typed(
    world: World, typed: str
) -> None:
    assert world.ask(f"{typed}+root+web1", PASSWORD).returncode == 0
    world.last_session()
    started = world.audit("session_started")[-1]
    assert started["user"] == "dora"
    assert world.sessions()[-1]["identity"] == "dora"
    world.sshd.wait_for_log(f'ID "?dora {started["session"]}')


def test_the_account_brings_its_groups_from_the_directory(world: World, directory: Slapd) -> None:
    directory.change(
        "dn: cn=ops,ou=groups,dc=example,dc=org\nchangetype: modify\ndelete: member\n"
        "member: uid=Dora,ou=people,dc=example,dc=org\n"
    )
    try:
        text, _ = refusal(world.ask("dora+root+web1", PASSWORD))
        assert text == 'no target "web1" for you; you may reach no target at all'
    finally:
        directory.change(
            "dn: cn=ops,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\n"
            "member: uid=Dora,ou=people,dc=example,dc=org\n"
        )


@pytest.mark.parametrize("user", ["a" * 40, "alice+root+web1+more", "alice+root+we b1", "al/ice+root+web1"])
@pytest.mark.parametrize("method", METHODS)
def test_a_user_name_that_is_none_is_refused_and_told(world: World, method: str, user: str) -> None:
    with world.refuses(method, "bad_user_name"):
        done = world.ask(user, PASSWORD, method)
    assert done.returncode == 255
    assert b"identity+login+target" in done.stderr and b"(ref " in done.stderr


def test_a_password_stands_nowhere(world: World) -> None:
    world.ask(ALICE, PASSWORD)
    world.ask(ALICE, "hunter-two")
    for file in (world.log, world.folder / "audit.jsonl"):
        text = file.read_text()
        assert PASSWORD not in text and "hunter-two" not in text and "reader-secret" not in text
