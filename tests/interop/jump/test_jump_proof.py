"""Who is behind an inner connection: nobody but `-J` and `-W` themselves gets in without proof of identity."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from tests.support.jump import JumpWorld, connect_from, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.world import PASSWORD, poll

pytestmark = pytest.mark.interop

NO_KEY = ("-o", "PubkeyAuthentication=no")


def local(
    world: JumpWorld,
    port: int,
    *arguments: str,
    to: str = "root",
    key: str | None = None,
    options: Sequence[str] = (),
    password: str | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """What another process of the engineer's machine does with a forwarded port."""
    command = local_command(world, port, *arguments, to=to, key=key, options=options)
    return subprocess.run(
        command, input=b"", capture_output=True, timeout=60, env=world.environment(password)
    )


def local_command(
    world: JumpWorld,
    port: int,
    *arguments: str,
    to: str = "root",
    key: str | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    proof = NO_KEY if key is None else ("-i", str(world.keys / key), "-o", "IdentitiesOnly=yes")
    return [
        "ssh", "-F", "none", "-o", f"UserKnownHostsFile={world.folder}/client_known_hosts", "-o", "IdentityAgent=none",
        "-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlias=web1", "-o", "CheckHostIP=no",
        "-o", "NumberOfPasswordPrompts=1", *proof, *options, "-p", str(port), f"{to}@{LOOPBACK}", *arguments,
    ]  # fmt: skip


@pytest.fixture
def forwarded(world: JumpWorld) -> Iterator[int]:
    with world.forwarding() as port:
        yield port


def test_a_jump_needs_no_second_proof_with_a_key(world: JumpWorld) -> None:
    done = world.jump("echo in", options=["-v", "-J", "bastion"])
    assert done.stdout == b"in\n"
    assert b'Authenticated to web1 (via proxy) using "none"' in done.stderr


def test_a_jump_needs_no_second_proof_with_a_certificate(world: JumpWorld) -> None:
    certificate = world.certify("bob", ("alice",))
    assert certificate.exists()
    done = world.jump(
        "echo in", options=["-v", "-J", "bastion"], config=world.jump_config(key="bob", name="c")
    )
    assert done.stdout == b"in\n", done.stderr
    assert b'(via proxy) using "none"' in done.stderr


def test_a_password_is_typed_once(world: JumpWorld) -> None:
    asked = world.folder / "asked"
    ask = world.folder / "counting-askpass"
    ask.write_text(f'#!/bin/sh\necho "$1" >>{asked}\nprintf "%s\\n" "{PASSWORD}"\n')
    ask.chmod(0o755)
    environment = world.environment(PASSWORD) | {"SSH_ASKPASS": str(ask)}
    command = [
        "ssh",
        "-F",
        str(world.jump_config(key=None, name="p")),
        "-J",
        "bastion",
        "root@web1",
        "echo in",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=environment)
    assert done.stdout == b"in\n", done.stderr
    assert len(asked.read_text().splitlines()) == 1


def test_a_local_process_gets_no_session_without_proof(world: JumpWorld, forwarded: int) -> None:
    done = local(world, forwarded, "echo stolen")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Permission denied (publickey,keyboard-interactive)" in done.stderr  # and never `password`


def test_not_even_from_the_port_that_marks_stdio(world: JumpWorld, forwarded: int) -> None:
    """127.0.0.1 port 65535 is what -W says; anybody may bind that port and connect to an -L."""
    before = len(world.audit("jump"))
    with connect_from(forwarded, 65535):
        poll(lambda: len(world.audit("jump")) > before, text="no channel was opened")
    opened = world.audit("jump")[-1]
    assert (opened["originator"], opened["originator_port"], opened["stdio"]) == (LOOPBACK, 65535, 0)


def test_not_through_socks_either(world: JumpWorld) -> None:
    port, before = free_port(), len(world.audit("jump"))
    with world.jumping(to="bastion", options=["-N", "-D", f"{LOOPBACK}:{port}"]):
        poll(lambda: listens(port))
        proxy = f"ProxyCommand={sys.executable} -m tests.support.socks_client {port} web1 {world.sshd.port}"
        done = local(world, world.sshd.port, "echo stolen", options=["-o", proxy])
        assert done.stdout == b"" and b"Permission denied" in done.stderr, done.stderr
        done = local(world, world.sshd.port, "echo mine", key="alice", options=["-o", proxy])
        assert done.stdout == b"mine\n", done.stderr
    assert [line["stdio"] for line in world.audit("jump")[before:]] == [0, 0]


def test_the_same_key_is_a_proof(world: JumpWorld, forwarded: int) -> None:
    done = local(world, forwarded, "echo mine", key="alice")
    assert done.stdout == b"mine\n", done.stderr
    session = world.last_session()
    (proof,) = [
        line for line in world.audit("auth") if line["connection"] == session and line["result"] == "ok"
    ]
    assert (proof["user"], proof["method"]) == ("alice+root+web1", "publickey")


def test_a_certificate_of_the_same_person_is_a_proof(world: JumpWorld, forwarded: int) -> None:
    certificate = world.certify("bob", ("alice",))
    done = local(world, forwarded, "echo mine", key="bob", options=["-o", f"CertificateFile={certificate}"])
    assert done.stdout == b"mine\n", done.stderr


def test_another_persons_key_is_refused(world: JumpWorld, forwarded: int) -> None:
    stranger = world.certify("bob", ("carol",))
    done = local(world, forwarded, "echo stolen", key="bob", options=["-o", f"CertificateFile={stranger}"])
    assert (done.returncode, done.stdout) == (255, b"")


def test_the_user_name_inside_is_no_identity(world: JumpWorld, forwarded: int) -> None:
    """carol's password for a login called carol: it is alice's connection and alice's password that is asked."""
    done = local(world, forwarded, "echo stolen", to="carol", password="not alice's")
    assert (done.returncode, done.stdout) == (255, b"")


def test_the_prompt_says_whose_password_is_asked(world: JumpWorld, forwarded: int) -> None:
    shown = world.folder / "prompt"
    ask = world.folder / "showing-askpass"
    ask.write_text(f'#!/bin/sh\nprintf "%s" "$1" >{shown}\nprintf "%s\\n" "{PASSWORD}"\n')
    ask.chmod(0o755)
    world.environment(PASSWORD)
    wrapper = ["env", f"SSH_ASKPASS={ask}", "SSH_ASKPASS_REQUIRE=force"]
    command = [
        *wrapper, "ssh", "-F", "none", *NO_KEY, "-o", "IdentityAgent=none",
        "-o", f"UserKnownHostsFile={world.folder}/client_known_hosts",
        "-o", "HostKeyAlias=web1", "-p", str(forwarded), f"deploy@{LOOPBACK}", "true",
    ]  # fmt: skip
    subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=world.environment(PASSWORD)
    )
    assert shown.read_text().endswith("Directory password of alice (not of deploy): ")
    assert world.audit("auth")[-1]["method"] == "keyboard-interactive"
    assert world.audit("auth")[-1]["result"] == "ok"


def test_a_wrong_password_is_refused(world: JumpWorld, forwarded: int) -> None:
    assert local(world, forwarded, "echo stolen", password="wrong").returncode == 255


def test_without_a_key_a_shared_outer_connection_asks_for_the_password(world: JumpWorld) -> None:
    """Behind a master there may be listening sockets too, and nothing on the wire tells them apart."""
    path = world.folder / "m-asks"
    config = world.jump_config("Host bastion", f"ControlPath {path}", "ControlMaster auto", "ControlPersist yes",
                               name="asking", key=None)  # fmt: skip
    try:
        done = world.jump("echo in", config=config, password=PASSWORD)
        assert done.stdout == b"in\n", done.stderr
        assert world.audit("auth")[-1]["method"] == "keyboard-interactive"
    finally:
        world.jump(options=["-O", "exit"], to="bastion", config=config)


def test_a_rule_may_trust_forwards() -> None:
    policy = """
[[rule]]
name = "trusting"
groups = ["ops"]
targets = ["web1"]
logins = ["root"]
verbs = ["exec"]
trust_forwards = true
"""
    made = JumpWorld(policy=policy)
    try:
        made.start()
        with made.forwarding() as port:
            assert local(made, port, "echo trusted").stdout == b"trusted\n"
    finally:
        made.close()


def test_a_lock_on_a_certificate_that_was_shown_inside_only_ends_its_session(
    world: JumpWorld, forwarded: int
) -> None:
    """The connection was opened with a key; the certificate was the second proof, behind -L."""
    certificate = world.certify("bob", ("alice",))
    shown = ("-o", f"CertificateFile={certificate}")
    command = local_command(world, forwarded, "echo in; sleep 600", key="bob", options=shown)
    lock = ["lock", "--config", str(world.config), "certificate", "bob-laptop", "--reason", "stolen"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=world.environment()
    ) as engineer:
        assert engineer.stdout is not None and engineer.stdout.readline() == b"in\n"
        locked = world.bastion(*lock)
        assert b"locked certificate bob-laptop; ended: 1 session, 0 tunnels, 0 connections" in locked.stdout
        said = engineer.communicate(timeout=60)[1]
    assert engineer.returncode == 255 and b"ended by the security team: stolen" in said
    again = local(world, forwarded, "echo in", key="bob", options=shown)
    assert again.stdout == b"" and b"locked by the security team: stolen" in again.stderr
    assert local(world, forwarded, "echo in", key="alice").stdout == b"in\n"
    world.bastion("unlock", "--config", str(world.config), "bob-laptop")
    assert local(world, forwarded, "echo in", key="bob", options=shown).stdout == b"in\n"
