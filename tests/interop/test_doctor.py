"""`bastion doctor` beside real servers: each fault of a directory, a target, a name or a port is made, and told."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.net import LOOPBACK, free_port
from tests.support.slapd import READER, SUFFIX, Slapd, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]


def doctor(config: Path, *options: str) -> tuple[int, list[dict[str, str]]]:
    """The exit code and the findings."""
    words = [sys.executable, "-m", "bastion", "doctor", "--config", str(config), "--json", *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90)
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["ok"] is (done.returncode == 0)
    return done.returncode, told["findings"]


def about(findings: list[dict[str, str]], subject: str) -> dict[str, str]:
    (found,) = (one for one in findings if one["subject"].startswith(subject))
    return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    try:
        yield world
    finally:
        world.close()


def test_a_gateway_that_runs_is_seen_and_everything_it_needs_is_right(world: World) -> None:
    world.start()
    text = world.config.read_text()
    # With port 0 nothing is held that could be looked at: say which port it took.
    listening = world.config.with_name("listening.toml")
    listening.write_text(
        text.replace(f'addresses = ["{LOOPBACK}:0"]', f'addresses = ["{LOOPBACK}:{world.port}"]')
    )
    code, findings = doctor(listening, "--only", "ports", "--only", "targets", "--only", "config")
    assert code == 0, findings
    assert "held by the gateway" in about(findings, f"{LOOPBACK}:{world.port}")["text"]
    assert "logged in by publickey" in about(findings, "root@web1")["text"]
    _, findings = doctor(world.config, "--only", "gateway")
    (process,) = (
        one for one in findings if re.match(r"pid \d+$", one["subject"]) and "runs as" in one["text"]
    )
    assert process["level"] == "ok"
    assert any(
        "of the gateway" in one["subject"] and "nothing is wrong" in one["text"] for one in findings
    ), findings


def test_each_target_is_told_for_itself(world: World) -> None:
    world.add_sshd("stranger", known="")  # its host key is pinned nowhere
    refusing = world.add_sshd("refusing", known="", user_ca=world.keys / "login_ca.pub")
    world.add_target("dead", LOOPBACK, free_port())
    world.add_target("nowhere", "nowhere.invalid", 22)
    text = world.known_hosts.read_text()
    world.known_hosts.write_text(text + refusing.known_hosts_line)
    code, findings = doctor(world.config, "--only", "targets", "--only", "names", "--login", "root")
    assert code == 1
    for name, words, line in [
        ("root@web1", "logged in", ""),
        ("root@stranger", "host_key_unknown", "target scan"),
        ("root@refusing", "login_refused", "target-config"),
        ("root@dead", "connection_refused", "target test"),
        ("root@nowhere", "name_not_found", "target test"),
        ("nowhere.invalid", "does not resolve", "getent ahosts"),
    ]:
        found = about(findings, name)
        assert words in found["text"] and line in found["type"], found
    scan = about(findings, "root@stranger")["type"]
    done = subprocess.run(["sh", "-c", scan], capture_output=True, text=True, timeout=60)
    assert "bastion target pin stranger SHA256:" in done.stdout, "what is to be typed works"


def test_text_is_one_line_each_with_what_to_type(world: World) -> None:
    words = [
        sys.executable,
        "-m",
        "bastion",
        "doctor",
        "--config",
        str(world.config),
        "--only",
        "targets",
        "--quiet",
    ]
    done = subprocess.run([*words, "--login", "no+login"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "wrong" in done.stdout.splitlines()[-1]
    assert re.search(r"(?m)^fail  targets    no\+login@web1: .*$\n {17}\S", done.stdout), done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    done = subprocess.run([*words, "--user", "no-such-user"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no such user" in done.stderr


def test_a_gateway_of_two_workers_is_one() -> None:
    world = World(workers=2)
    try:
        world.start()
        _, findings = doctor(world.config, "--only", "gateway")
    finally:
        world.close()
    assert sum("runs as" in one["text"] for one in findings) == 1, findings


def test_a_gateway_that_cannot_be_asked_is_told() -> None:
    world = World()
    try:
        world.start()
        (world.folder / "run" / "control.sock").unlink()
        code, findings = doctor(world.config, "--only", "gateway")
    finally:
        world.close()
    (told,) = (one for one in findings if "control.sock" in one["text"])
    assert code == 0 and told["level"] == "warn" and "bastion status" in told["type"]


# -- the directory


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    if reason := slapd_missing():
        pytest.skip(reason)
    server = Slapd([], days=5)  # its certificate ends soon
    server.start()
    yield server
    server.close()


@pytest.fixture
def ldap(slapd: Slapd) -> Iterator[World]:
    world = World(slapd=slapd)
    try:
        yield world
    finally:
        world.close()


def directory(world: World, *edits: tuple[str, str]) -> tuple[int, dict[str, str]]:
    """The findings about the one server, the worst first."""
    text = world.config.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    world.config.write_text(text)
    code, findings = doctor(world.config, "--only", "directory")
    servers = [one for one in findings if one["subject"].startswith("ldap")]
    return code, max(servers, key=lambda one: ["ok", "warn", "fail"].index(one["level"]))


def test_a_directory_that_works(ldap: World) -> None:
    code, found = directory(ldap)
    assert code == 0 and "connected, bound and searched" in found["text"]


def test_a_certificate_that_ends_soon(ldap: World, slapd: Slapd) -> None:
    edit = (f'servers = ["{slapd.url}"]\nallow_plaintext = true',
            f'servers = ["{slapd.tls_url}"]\nca_file = "{slapd.authority.certificate}"')  # fmt: skip
    code, found = directory(ldap, edit)
    assert code == 0 and found["level"] == "warn" and re.search(r"ends in [45]\.\d days", found["text"])


def test_a_certificate_of_nobody(ldap: World, slapd: Slapd) -> None:
    edit = (f'servers = ["{slapd.url}"]\nallow_plaintext = true', f'servers = ["{slapd.tls_url}"]')
    code, found = directory(ldap, edit)
    assert code == 1 and "certificate is not accepted" in found["text"]
    assert found["type"] == f"openssl s_client -connect {LOOPBACK}:{slapd.tls_port}"


def test_a_password_of_the_service_account_that_is_wrong(ldap: World) -> None:
    secret = ldap.folder / "ldap.secret"
    secret.write_text("wrong\n")
    code, found = directory(ldap)
    assert code == 1 and f"does not accept the service account {READER}" in found["text"]
    if shutil.which("ldapwhoami"):
        line = f"printf wrong > {secret}; {found['type']}"  # -y reads the file whole
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30)
        assert "Invalid credentials" in done.stderr


def test_accounts_below_an_entry_that_is_not_there(ldap: World) -> None:
    code, found = directory(ldap, (f'user_base = "ou=people,{SUFFIX}"', f'user_base = "ou=nobody,{SUFFIX}"'))
    assert code == 1 and f"has no entry ou=nobody,{SUFFIX}" in found["text"]


def test_a_server_that_is_not_there(ldap: World, slapd: Slapd) -> None:
    code, found = directory(ldap, (slapd.url, f"ldap://{LOOPBACK}:{free_port()}"))
    assert code == 1 and "connection failed" in found["text"]


def test_a_server_that_never_answers_holds_nothing_up(ldap: World, slapd: Slapd) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        url = f"ldap://{LOOPBACK}:{silent.getsockname()[1]}"
        code, found = directory(
            ldap, (slapd.url, url), ("allow_plaintext", 'timeout = "1s"\ndeadline = "2s"\nallow_plaintext')
        )
    assert code == 1 and found["subject"] == url
    assert "in time" in found["text"] or "no answer within 2 s" in found["text"]


def test_accounts_that_cannot_be_read(ldap: World) -> None:
    (ldap.folder / "users.toml").write_text("[users.Alice]\n")
    _, findings = doctor(ldap.config, "--only", "directory")
    assert "is no login name" in about(findings, str(ldap.folder / "users.toml"))["text"]


def test_nobody_who_can_log_in(world: World) -> None:
    users = world.folder / "users.toml"
    before = users.read_text()
    users.write_text("[users.alice]\n")
    config = world.config.read_text()
    world.config.write_text(re.sub(r"\[login_ca\]\nfiles = .*", "", config))
    try:
        code, findings = doctor(world.config, "--only", "directory")
    finally:
        users.write_text(before)
        world.config.write_text(config)
    assert code == 1 and "nobody can log in" in about(findings, str(users))["text"]
