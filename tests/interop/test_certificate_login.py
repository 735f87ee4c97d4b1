"""OpenSSH certificates of the login CA: who gets in with one, and every reason why not."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import asyncssh
import pytest

from tests.support.slapd import Slapd, group, person, slapd_missing
from tests.support.sshd import keygen, make_key, sshd_missing
from tests.support.world import World, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "available"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """alice and Dora are in slapd, without any key; ghost has certificates only."""
    directory = Slapd([person("alice"), person("Dora"), group("ops", "alice", "Dora")], tls=False)
    directory.start()
    made = World(slapd=directory, users="[users]\n", limits="penalties = { free = 1000, accounts = 1000 }")
    make_key(made.keys / "rsa_ca", "rsa", bits=2048)
    made.add_login_ca("rsa_ca")
    yield made.start()
    made.close()
    directory.close()


def log_in(world: World, *command: str, user: str = "alice+root+web1") -> subprocess.CompletedProcess[bytes]:
    return world.ssh(*(command or ("echo in",)), user=user)


def test_a_certificate_logs_in_and_its_facts_are_written_down(world: World) -> None:
    world.certify("alice", ("somebody", "alice"), "-z", "42")
    with world.moves('bastion_auth_attempts_total{method="certificate",reason="ok"}'):
        done = log_in(world)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"")
    line = world.audit("auth")[-1]
    assert line["certificate_id"] == "alice-laptop" and line["certificate_serial"] == 42
    assert line["ca"] == keygen("-l", "-f", str(world.keys / "login_ca.pub")).split()[1]
    world.last_session()
    header = world.sessions()[-1]
    assert header["session_id"] == world.audit("session_started")[-1]["session"]


@pytest.mark.parametrize("kind, bits", [("rsa", 3072), ("ecdsa", 256), ("ecdsa", 384), ("ed25519", None)])
def test_a_certificate_of_every_key_type(world: World, kind: str, bits: int | None) -> None:
    name = f"{kind}{bits}"
    make_key(world.keys / name, kind, bits=bits)
    world.certify(name, ("alice",))
    done = world.ssh("echo in", key=name)
    assert (done.returncode, done.stdout) == (0, b"in\n")
    assert world.audit("auth")[-1]["method"] == "certificate"


def test_a_certificate_by_an_rsa_authority(world: World) -> None:
    world.certify("alice", ("alice",), ca="rsa_ca")
    assert log_in(world).returncode == 0


def test_the_identity_is_the_directorys_name_in_lower_case(world: World) -> None:
    world.certify("alice", ("dora",))
    assert log_in(world, user="DORA+root+web1").returncode == 0
    assert world.audit("session_started")[-1]["user"] == "dora"


@dataclass(frozen=True)
class Bad:
    """A certificate and the reason that refuses it."""

    reason: str
    principals: tuple[str, ...] = ("alice",)
    options: tuple[str, ...] = ()
    validity: str = "-5m:+1h"
    ca: str = "login_ca"
    user: str = "alice"


BAD = {
    "expired": Bad("cert_expired", validity="-2h:-1h"),
    "not yet valid": Bad("cert_not_yet_valid", validity="+1h:+2h"),
    "another principal": Bad("cert_wrong_principal", ("bob",)),
    "a principal that only looks alike": Bad("cert_wrong_principal", ("alice2", "*", "Alice")),
    "the login instead of the identity": Bad("cert_wrong_principal", ("root",)),
    "no principal": Bad("cert_no_principals", ()),
    "an authority nobody trusts": Bad("cert_untrusted_ca", ca="target_host_ca"),
    "the upstream CA, which only targets trust": Bad("cert_untrusted_ca", ca="upstream_ca"),
    "signed by the key it certifies": Bad("cert_untrusted_ca", ca="alice"),
    "from other addresses": Bad("cert_source_address", options=("-O", "source-address=192.0.2.0/24")),
    "an unknown critical option": Bad(
        "cert_critical_option", options=("-O", "critical:moon-phase@example.org=full")
    ),
    "verification, which takes a security key": Bad("cert_critical_option", options=("-O", "verify-required")),
    "a SHA-1 signature of the authority": Bad("cert_ca_algorithm", options=("-t", "ssh-rsa"), ca="rsa_ca"),
    "an account that the directory does not know": Bad("unknown_user", ("ghost",), user="ghost"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_refused(world: World, what: str) -> None:
    bad = BAD[what]
    world.certify("alice", bad.principals, *bad.options, ca=bad.ca, validity=bad.validity)
    # A parse that fails cannot tell a certificate's facts, so it is counted by what was offered.
    method = "publickey" if bad.reason == "cert_ca_algorithm" else "certificate"
    with world.refuses(method, bad.reason):
        done = log_in(world, user=f"{bad.user}+root+web1")
    assert done.returncode == 255 and b"Permission denied" in done.stderr and done.stdout == b""
    if method == "certificate":
        line = [line for line in world.audit("auth") if line["reason"] == bad.reason][-1]
        assert line["certificate_id"] == "alice-laptop" and line["key"].startswith("SHA256:")


def test_a_certificate_for_hosts_is_refused(world: World) -> None:
    """OpenSSH's client keeps such a certificate to itself, so another client offers it."""
    world.certify("alice", ("alice",), "-h")

    async def offer() -> None:
        files = (str(world.keys / "alice"), str(world.keys / "alice-cert.pub"))
        await asyncssh.connect(
            "127.0.0.1", world.port, username="alice+root+web1", known_hosts=None, config=None,
            client_keys=[files], agent_path=None, preferred_auth="publickey",
        )  # fmt: skip

    seen = len(world.audit("auth"))
    with pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(offer())
    lines = world.new_audit("auth", seen)
    assert ("certificate", "cert_wrong_type") in {(line["method"], line["reason"]) for line in lines}
    assert {line["result"] for line in lines} == {"refused"}


def test_a_source_address_that_fits_lets_in(world: World) -> None:
    world.certify("alice", ("alice",), "-O", "source-address=127.0.0.0/8,192.0.2.1")
    assert log_in(world).returncode == 0


def test_a_ca_with_a_scope_lets_in_nobody_else(world: World) -> None:
    text = world.config.read_text()
    for scope, principals, reason in (
        ('users = { "keys/login_ca.pub" = ["ext-*", "ali?e"] }', ("alice",), ""),
        ('users = { "keys/login_ca.pub" = ["ext-*"] }', ("alice",), "cert_out_of_scope"),
        ('groups = { "keys/login_ca.pub" = ["Ops"] }', ("alice",), ""),
        ('groups = { "keys/login_ca.pub" = ["guests"] }', ("alice",), "cert_out_of_scope"),
        ('principals = { "keys/login_ca.pub" = ["alice"] }', ("alice", "root"), "cert_out_of_scope"),
    ):
        world.config.write_text(text.replace("[login_ca]\n", f"[login_ca]\n{scope}\n"))
        world.reload()
        world.certify("alice", principals)
        assert log_in(world).returncode == (255 if reason else 0)
        certified = [line["reason"] for line in world.audit("auth") if line["method"] == "certificate"]
        assert certified[-1] == (reason or "ok")
    world.config.write_text(text)
    world.reload()


def test_a_forced_command_runs_in_the_place_of_every_other(world: World) -> None:
    """As with OpenSSH, whose sshd tells it what was asked for; the recording has both."""
    world.certify("alice", ("alice",), "-O", 'force-command=echo "forced [$SSH_ORIGINAL_COMMAND]"; exit 5')
    for command, told, asked in (
        (("echo mine",), b"forced [echo mine]\n", "exec echo mine"),
        ((), b"forced []\n", "shell"),
        (("-s", "sftp"), None, "subsystem sftp"),
    ):
        seen = len(world.audit("request"))
        done = (
            world.ssh(*command[1:], options=command[:1], stdin=b"") if told is None else world.ssh(*command)
        )
        assert done.returncode == 5 and (told is None or done.stdout == told), done
        assert done.stdout.startswith(b"forced [")
        line = world.new_audit("request", seen)[-1]
        assert (line["name"], line["asked"]) == ("exec", asked.partition(" ")[0])
        exported = world.bastion(
            "export", world.last_session(), "--recordings", str(world.recordings), "--format", "json"
        )
        assert f'"asked":"{asked}"' in exported.stdout.decode().replace('": "', '":"')
    listed = world.bastion("commands", "--recordings", str(world.recordings), "--kind", "exec", "--json")
    assert b"forced [$SSH_ORIGINAL_COMMAND]" in listed.stdout


def test_a_target_with_a_key_of_its_own_gets_the_forced_command_and_no_other(world: World) -> None:
    make_key(world.keys / "appliance")
    sshd = world.add_sshd(
        "appliance", user_ca=None, authorized_keys=(world.keys / "appliance.pub").read_text()
    )
    with world.targets_file.open("a") as file:
        file.write(f'key_file = "{world.keys}/appliance"\n')
    world.reload()
    world.certify("alice", ("alice",), "-O", "force-command=echo forced")
    for command in (("echo mine",), ()):
        done = world.ssh(*command, user="alice+root+appliance")
        assert (done.returncode, done.stdout) == (0, b"forced\n"), done
    assert sshd.port


def test_what_the_certificate_does_not_permit_stays_forbidden(world: World) -> None:
    world.certify("alice", ("alice",), "-O", "clear")
    done = world.ssh("echo in", options=("-tt",))
    assert b"PTY allocation request failed" in done.stderr
    assert world.audit("refused")[-1]["reason"] == "cert_restriction"
    world.certify("alice", ("alice",), "-O", "clear", "-O", "permit-pty")
    done = world.ssh("tty", options=("-tt",))
    assert b"/dev/pts/" in done.stdout


def test_the_certificate_towards_the_target_ends_with_the_engineers_own(world: World) -> None:
    world.certify("alice", ("alice",), validity="-5m:+20s")
    assert log_in(world).returncode == 0


def test_a_key_without_its_certificate_is_not_enough(world: World) -> None:
    make_key(world.keys / "bare")
    with world.refuses("publickey", "key_not_authorised"):
        assert world.ssh("true", key="bare").returncode == 255


def test_authorised_and_then_refused_by_policy(world: World) -> None:
    world.certify("alice", ("alice",))
    text, _ = refusal(log_in(world, user="alice+nobody+web1"))
    assert "nobody" in text and "root" in text


@pytest.mark.parametrize(
    ("addresses", "taken"),
    [
        ("127.0.0.0/8", True),
        ("::ffff:127.0.0.1", False),
        ("::ffff:127.0.0.0/104", False),
        ("::/0", False),
        ("::ffff:127.0.0.1,127.0.0.1", True),
    ],
)
def test_source_addresses_as_sshd_takes_them(world: World, addresses: str, taken: bool) -> None:
    """From 127.0.0.1. An IPv4 address written as an IPv6 one matches no IPv4 peer (sshd: addr_match_cidr_list)."""
    if not (world.keys / "mapped").exists():
        make_key(world.keys / "mapped")
    restriction = ("-O", f"source-address={addresses}")
    world.certify("mapped", ("root",), *restriction, ca="upstream_ca")
    options = world.ssh_options(
        "mapped", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"
    )
    options = [word.replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=no") for word in options]
    to_sshd = ["ssh", *options, "-p", str(world.sshd.port), "root@127.0.0.1", "echo in"]
    done = subprocess.run(to_sshd, capture_output=True, timeout=60, env=world.environment(), check=False)
    assert (done.stdout == b"in\n") is taken, done.stderr
    world.certify("mapped", ("alice",), *restriction)
    assert (world.ssh("echo in", key="mapped").stdout == b"in\n") is taken
