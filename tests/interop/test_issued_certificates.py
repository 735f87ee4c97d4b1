"""`ssh alice@bastion cert`: who gets a certificate, for which key, what it is good for, and who gets none."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from bastion.auth.issued import EXTENSION, Carried
from bastion.ca.keys import load_certificate
from bastion.clock import SystemClock
from tests.support.agents import Agent
from tests.support.net import LOOPBACK
from tests.support.sshd import keygen, make_key, sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

CONFIG = """[login]
require = [["publickey", "totp"], ["certificate"]]
[totp]
key_file = "totp.key"
[issue]
require = [["publickey", "totp"]]
key = "keys/issuing_ca"
keys = "any"
"""
CLOCK = SystemClock()
ROOM = "penalties = { free = 1000, accounts = 1000 }"


class Issuing(World):
    """Alice has a second factor; a login with her key and a code may have a certificate."""

    totp: pyotp.TOTP
    recovery: list[str]

    def enroll(self, name: str = "alice") -> None:
        done = self.bastion("totp", "enroll", name, "--config", str(self.config), "--json")
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        (secret,) = parse_qs(urlsplit(made["uri"]).query)["secret"]
        self.totp, self.recovery = pyotp.TOTP(secret), made["recovery"]

    def lobby(self, *command: str, key: str = "alice", user: str = "alice") -> list[str]:
        """An ssh to the lobby that may ask for a code, and shows no certificate."""
        options = self.ssh_options(key)
        at = options.index("BatchMode=yes")
        del options[at - 1 : at + 1]
        return ["ssh", *options, "-p", str(self.port), f"{user}@{LOOPBACK}", *command]

    def with_code(
        self, *command: str, key: str = "alice", stdin: bytes = b"", user: str = "alice", code: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, by key and a code of its own."""
        environment = self.environment(code or self.recovery.pop())
        return subprocess.run(
            self.lobby(*command, key=key, user=user),
            input=stdin,
            capture_output=True,
            timeout=60,
            env=environment,
        )

    def by_certificate(self, file: Path, key: str, *command: str, user: str = "alice+root+web1"
                       ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        return self.ssh(*command, user=user, key=key, options=("-o", f"CertificateFile={file}"))

    def take(self, done: subprocess.CompletedProcess[bytes], name: str) -> Path:
        """The certificate that was printed, in a file."""
        assert (done.returncode, done.stderr) == (0, b""), done
        file = self.folder / f"{name}.cert"
        file.write_bytes(done.stdout)
        return file

    def refused(self, reason: str, done: subprocess.CompletedProcess[bytes]) -> str:
        """Nothing on standard output, words on the other, one line of the audit log."""
        assert (done.returncode, done.stdout) == (1, b""), done
        line = [one for one in self.audit("refused") if one["what"] == "certificate"][-1]
        assert line["reason"] == reason, line
        text = done.stderr.decode()
        assert line["text"] in text
        return text


def made_world(config: str = CONFIG, **options: Any) -> Issuing:
    made = Issuing(config=config, limits=ROOM, **options)
    make_key(made.keys / "issuing_ca")
    make_key(made.keys / "laptop")
    (made.folder / "totp.key").write_text("k" * 44 + "\n")
    (made.folder / "totp.key").chmod(0o600)
    bob = (made.keys / "bob.pub").read_text().strip()
    with made.users.open("a") as users:
        users.write(f'[users.bob]\nid = "u-bob"\nkeys = ["{bob}"]\ngroups = ["ops"]\n')
    return made


@pytest.fixture(scope="module")
def world() -> Iterator[Issuing]:
    with unbroken(made_world()) as made:
        made.enroll()
        yield made


@pytest.fixture(autouse=True)
def codes(world: Issuing) -> None:
    """Recovery codes stand in for codes, since each of those is good once in 30 seconds."""
    if len(world.recovery) < 5:
        world.bastion("totp", "reset", "alice", "--reason", "used up", "--config", str(world.config))
        world.enroll()


def test_the_certificate_of_a_morning_logs_in_without_a_code(world: Issuing) -> None:
    before = CLOCK.time()
    with world.moves("bastion_certificates_issued_total"):
        file = world.take(world.with_code("cert"), "alice")
    shown = keygen("-L", "-f", str(file))
    assert EXTENSION in shown and "permit-pty" in shown
    certificate = load_certificate(file)
    assert certificate.principals == ("alice",) and certificate.key_id == f"alice@{certificate.key_id[6:]}"
    assert certificate.key.line() == " ".join((world.keys / "alice.pub").read_text().split()[:2])
    carried = Carried.read(certificate.extensions[EXTENSION])
    assert carried.factors == ("publickey", "totp") and carried.uid == "u-alice"
    assert before - 1 <= carried.at <= CLOCK.time()
    assert certificate.valid_before == carried.at + 10 * 3600 and certificate.valid_after <= before
    assert world.by_certificate(file, "alice", "echo in").stdout == b"in\n"
    login = [line for line in world.audit("auth") if line["method"] == "certificate"][-1]
    assert login["carried"] == ["publickey", "totp"] and login["certificate_serial"] == certificate.serial
    who = json.loads(world.by_certificate(file, "alice", "whoami --json", user="alice").stdout)
    assert who["factors"] == ["certificate", "publickey", "totp"]
    listed = world.bastion("certificates", "list", "--config", str(world.config), "--json")
    (row,) = [
        one for one in json.loads(listed.stdout)["certificates"] if one["serial"] == str(certificate.serial)
    ]
    assert row["state"] == "valid" and row["name"] == "alice" and row["factors"] == ["publickey", "totp"]
    issued = world.audit("certificate_issued")[-1]
    assert issued["certificate_serial"] == certificate.serial and issued["until"] == certificate.valid_before


def test_what_somebody_may_log_in_with_is_listed(world: Issuing) -> None:
    file = world.take(world.with_code("cert"), "listed")
    assert world.by_certificate(file, "alice", "true").returncode == 0
    config = ("--config", str(world.config))

    def listed(*more: str) -> list[dict[str, Any]]:
        done = world.bastion("keys-of", "alice", *config, "--json", *more)
        assert done.returncode == (1 if more and json.loads(done.stdout)["keys"] else 0), done.stderr
        return list(json.loads(done.stdout)["keys"])

    print_ = keygen("-l", "-f", str(world.keys / "alice.pub")).split()[1]
    key = poll(lambda: next((one for one in listed() if one["kind"] == "key" and one["sessions"]), None))
    assert (key["key"], key["type"], key["source"]) == (print_, "ssh-ed25519", "embedded")
    assert key["first_used"] <= key["last_used"] <= CLOCK.time()
    serial = load_certificate(file).serial
    (certificate,) = [one for one in listed() if f"serial {serial}@" in one["options"]]
    assert certificate["source"] == "issued here" and certificate["ends_at"] > CLOCK.time()
    older = listed("--older-than", "1ms")
    assert listed("--older-than", "1d") == [] and [one["kind"] for one in older] == ["key"]
    assert world.bastion("keys-of", "nobody", *config).returncode == 1
    assert print_ in world.bastion("keys-of", "alice", *config).stdout.decode()


def test_who_logged_in_with_one_gets_no_other(world: Issuing) -> None:
    file = world.take(world.with_code("cert"), "again")
    text = world.refused("issued_before", world.by_certificate(file, "alice", "cert", user="alice"))
    assert "log in without it" in text


def test_a_login_that_gave_too_little_gets_none(world: Issuing) -> None:
    world.certify("laptop", ("alice",))  # of the company's CA, and that is enough for a login
    with world.moves('bastion_certificates_refused_total{reason="chain_missing"}'):
        done = world.ssh("cert", user="alice", key="laptop")
    (world.keys / "laptop-cert.pub").unlink()
    text = world.refused("chain_missing", done)
    assert "log in by publickey and totp" in text


def test_another_key_from_a_file_and_as_an_argument(world: Issuing) -> None:
    line = (world.keys / "laptop.pub").read_text()
    file = world.take(world.with_code("cert", "-", stdin=line.encode()), "laptop")
    carried = Carried.read(load_certificate(file).extensions[EXTENSION])
    assert carried.factors == ("totp",), "what a key proved counts for that key"
    assert world.by_certificate(file, "laptop", "echo in").stdout == b"in\n"
    world.take(world.with_code("cert", line.strip()), "argument")


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (b"ssh-ed25519 " + b"A" * (16 << 10), "key_too_long"),
        (b"{laptop}\n{alice}\n", "key_unreadable"),
        (b"", "key_unreadable"),
        (b"\xff\xfe\x00", "key_unreadable"),
        (b"{certificate}", "key_unreadable"),
        (b"{private}", "key_unreadable"),
        (b"{rsa1024}", "key_unreadable"),
        (b"ssh-dss AAAAB3NzaC1kc3MAAACBAA==", "key_unreadable"),
        (b'command="id" {laptop}', "key_unreadable"),
        (b"{bob}", "key_of_another"),
    ],
    ids=["long", "two lines", "nothing", "no text", "a certificate", "a private key", "RSA-1024", "DSA", "options",
         "someone else's"],
)  # fmt: skip
def test_what_is_no_key_to_certify(world: Issuing, tmp_path: Path, stdin: bytes, reason: str) -> None:
    weak = tmp_path / "weak"
    subprocess.run(["openssl", "genrsa", "-out", str(weak), "1024"], check=True, capture_output=True)
    weak.chmod(0o600)
    world.certify("laptop", ("alice",))
    texts = {
        b"{laptop}": (world.keys / "laptop.pub").read_bytes().strip(),
        b"{alice}": (world.keys / "alice.pub").read_bytes().strip(),
        b"{bob}": (world.keys / "bob.pub").read_bytes().strip(),
        b"{certificate}": (world.keys / "laptop-cert.pub").read_bytes().strip(),
        b"{private}": (world.keys / "laptop").read_bytes().replace(b"\n", b" "),
        b"{rsa1024}": keygen("-y", "-f", str(weak)).strip().encode(),
    }
    (world.keys / "laptop-cert.pub").unlink()
    for name, text in texts.items():
        stdin = stdin.replace(name, text)
    with world.moves(f'bastion_certificates_refused_total{{reason="{reason}"}}'):
        world.refused(reason, world.with_code("cert", "-", stdin=stdin))


@pytest.mark.soak
def test_a_key_that_does_not_come_is_waited_for_ten_seconds(world: Issuing) -> None:
    command, environment = world.lobby("cert", "-"), world.environment(world.recovery.pop())
    began = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as slow:
        assert slow.stdin is not None and slow.stdout is not None and slow.stderr is not None
        slow.stdin.write(b"ssh-ed25519 AAAA")
        slow.stdin.flush()
        assert slow.wait(60) == 1 and time.monotonic() - began > 9.5
        assert slow.stdout.read() == b"" and b"did not come in time" in slow.stderr.read()


def test_somebody_elses_key_that_was_certified_here_before(world: Issuing) -> None:
    """No directory knows it, and the store does."""
    make_key(world.keys / "shared")
    world.take(world.with_code("cert", "-", stdin=(world.keys / "shared.pub").read_bytes()), "shared")
    alice = (world.recovery, world.totp)
    world.enroll("bob")
    try:
        done = world.with_code(
            "cert", "-", key="bob", user="bob", stdin=(world.keys / "shared.pub").read_bytes()
        )
    finally:
        world.recovery, world.totp = alice
    assert "certified for somebody else" in world.refused("key_of_another", done)


def test_a_lock_reaches_one_certificate_and_nobody_locked_gets_one(world: Issuing) -> None:
    first = world.take(world.with_code("cert"), "first")
    serial = load_certificate(first).serial
    config = ("--config", str(world.config))
    rows = json.loads(world.bastion("certificates", "list", *config, "--json").stdout)["certificates"]
    (row,) = [one for one in rows if one["serial"] == str(serial)]
    name = f"{row['serial']}@{row['ca']}"
    with world.client("cat", key="alice", options=("-o", f"CertificateFile={first}")) as client:
        client.echo(b"in")
        locked = world.bastion("lock", "certificate", name, "--reason", "lost", *config)
        assert locked.returncode == 0, locked.stderr
        assert client.wait() == 255 and b"lost" in client.err
    assert world.by_certificate(first, "alice", "true").returncode == 255
    assert b"locked" in world.bastion("certificates", "list", *config).stdout
    assert world.with_code("whoami").returncode == 0, "the key itself is not"
    world.bastion("unlock", name, "--reason", "found", *config)


def test_a_list_of_revoked_keys_reaches_it(world: Issuing) -> None:
    file = world.take(world.with_code("cert"), "krl")
    spec, krl = world.folder / "spec", world.folder / "krl"
    spec.write_text(f"serial: {load_certificate(file).serial}\n")
    keygen("-q", "-k", "-f", str(krl), "-s", f"{world.keys}/issuing_ca.pub", str(spec))
    text = world.config.read_text()
    world.config.write_text(text.replace("[login]\n", '[login]\nrevoked_keys = "krl"\n'))
    world.reload()
    assert world.by_certificate(file, "alice", "true").returncode == 255
    assert "cert_revoked" in [line["reason"] for line in world.audit("auth")[-3:]]
    world.config.write_text(text)
    world.reload()


def test_with_the_second_factor_go_the_certificates(world: Issuing) -> None:
    file = world.take(world.with_code("cert"), "reset")
    with world.client("cat", key="alice", options=("-o", f"CertificateFile={file}")) as client:
        client.echo(b"in")
        done = world.bastion(
            "totp", "reset", "alice", "--reason", "lost phone", "--config", str(world.config)
        )
        assert done.returncode == 0 and b"certificates locked: " in done.stdout, done.stderr
        assert client.wait() == 255 and b"second factor was taken away" in client.err
    assert world.by_certificate(file, "alice", "true").returncode == 255
    world.enroll()
    assert world.by_certificate(file, "alice", "true").returncode == 255
    world.take(world.with_code("cert"), "new")


def test_help_names_lines_for_every_client(world: Issuing) -> None:
    text = world.with_code("help", "cert").stdout.decode()
    for words in ("PowerShell", "plink -P", "ssh-add", "setup openssh", f"ssh -p {world.port} alice@"):
        assert words in text
    usage = world.with_code("cert", "please")
    assert usage.returncode == 2 and usage.stdout == b"" and usage.stderr.startswith(b"usage: cert")


def test_what_powershell_pipes(world: Issuing) -> None:
    """A byte order mark before the key, and CR LF behind it."""
    line = (world.keys / "laptop.pub").read_bytes().strip()
    world.take(world.with_code("cert", "-", stdin=b"\xef\xbb\xbf" + line + b"\r\n"), "windows")


@pytest.mark.skipif(shutil.which("plink") is None, reason="plink is not installed")
def test_putty_logs_in_with_it(world: Issuing, tmp_path: Path) -> None:
    file = world.take(world.with_code("cert"), "putty")
    key = tmp_path / "alice.ppk"
    subprocess.run(["puttygen", str(world.keys / "alice"), "-O", "private", "-o", str(key)], check=True)
    known = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(world.keys / "gateway_host.pub")], capture_output=True
    )
    command = ["plink", "-batch", "-P", str(world.port), "-i", str(key), "-cert", str(file),
               "-hostkey", known.stdout.split()[1].decode(), f"alice+root+web1@{LOOPBACK}", "echo in"]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        env=world.environment() | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == b"in\n", done.stderr


def test_an_agent_shows_it_beside_the_key(world: Issuing, tmp_path: Path) -> None:
    """What ssh-add does on macOS too: the certificate lies beside the key."""
    shutil.copy(world.keys / "alice", tmp_path / "id")
    shutil.copy(world.take(world.with_code("cert"), "agent"), tmp_path / "id-cert.pub")
    started = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(SSH_\w+)=([^;]+);", started))
    try:
        environment = world.environment() | found
        subprocess.run(["ssh-add", "-q", str(tmp_path / "id")], check=True, env=environment)
        options = [
            "-F",
            "none",
            "-o",
            f"UserKnownHostsFile={world.folder}/client_known_hosts",
            "-o",
            "BatchMode=yes",
        ]
        done = subprocess.run(
            ["ssh", *options, "-p", str(world.port), f"alice+root+web1@{LOOPBACK}", "echo in"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=environment,
        )  # fmt: skip
        assert done.stdout == b"in\n", done.stderr
    finally:
        os.kill(int(found["SSH_AGENT_PID"]), 15)


def test_setup_lets_openssh_renew_it_by_itself(world: Issuing, tmp_path: Path) -> None:
    """The lines as they are printed, pasted; `ssh` is the stock client, told only which file to read."""
    script = world.with_code("setup", "openssh").stdout.decode()
    assert "Match originalhost bastion exec" in script
    script = script.replace("~/.ssh", str(tmp_path)).replace("HostName localhost", f"HostName {LOOPBACK}")
    script = re.sub(r"HostName \S+", f"HostName {LOOPBACK}", script)
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True)
    config = tmp_path / "config"
    text = config.read_text().replace("Include bastion_config", f"Include {tmp_path}/bastion_config")
    config.write_text(
        text + f"\nHost *\n IdentityFile {world.keys}/alice\n IdentitiesOnly yes\n IdentityAgent none\n"
    )
    known = f"[{LOOPBACK}]:{world.port} " + (world.keys / "gateway_host.pub").read_text()
    (tmp_path / "bastion_known_hosts").write_text(known + world.known_hosts.read_text())
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    ssh.chmod(0o755)
    file = tmp_path / "bastion_certificate.pub"

    def go(secret: str) -> bytes:
        environment = world.environment(secret)
        environment["PATH"] = f"{tmp_path}/bin:{environment['PATH']}"
        done = subprocess.run(
            [str(ssh), "bastion", "whoami"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
            env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert b"certificate, publickey, totp" in go(world.recovery.pop())
    first = file.read_bytes()
    assert b"certificate, publickey, totp" in go("no code at all") and file.read_bytes() == first
    near_its_end = CLOCK.time() - 9.75 * 3600
    os.utime(file, (near_its_end, near_its_end))
    assert b"certificate, publickey, totp" in go(world.recovery.pop())
    assert file.read_bytes() != first and file.stat().st_mode & 0o077 == 0


def test_the_ca_in_an_agent(world: Issuing) -> None:
    config = CONFIG.replace('[["publickey", "totp"], ["certificate"]]', '[["publickey"]]')
    config = config.replace('require = [["publickey", "totp"]]', 'require = [["publickey"]]')
    made = made_world(config.replace("keys/issuing_ca", "keys/issuing_ca.pub").replace(
        'keys = "any"', 'keys = "any"\nagent = "agent.sock"'))  # fmt: skip
    agent = Agent(made.folder / "agent.sock").start()
    try:
        agent.add("-q", made.keys / "issuing_ca")
        made.start()
        assert made.ssh("cert", user="alice").returncode == 0
        agent.stop()
        text = made.refused("signing_failed", made.ssh("cert", user="alice"))
        assert "signing key cannot be used now (gone)" in text
    finally:
        agent.stop()
        made.close()


def test_many_at_once_have_serials_of_their_own(world: Issuing) -> None:
    codes = [world.recovery.pop() for _ in range(4)]
    with ThreadPoolExecutor() as together:
        done = list(together.map(lambda code: world.with_code("cert", code=code), codes))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert len({one.stdout for one in done}) == 4
