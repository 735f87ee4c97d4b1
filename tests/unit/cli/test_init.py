"""`bastion init` as operators call it: by options, on a terminal, twice, and where something is in the way."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import argon2
import pexpect
import pytest
from click.testing import CliRunner, Result

from bastion.auth.embedded import load_users
from bastion.cli.init import SIGNALS
from bastion.cli.init import init as init_command
from bastion.config.load import load
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import Sshd, sshd_missing
from tests.unit.test_age import GOOD

pytestmark = pytest.mark.slow

BASTION = [sys.executable, "-m", "bastion"]
SELF = pwd.getpwuid(os.geteuid()).pw_name


def init(*words: object, user: str = SELF) -> subprocess.CompletedProcess[str]:
    command = [*BASTION, "init", *map(str, words), "--user", user]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def called(*words: object, stdin: str = "", user: str = SELF) -> Result:
    """The same in this process: for what needs no reactor."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        return CliRunner().invoke(init_command, [*map(str, words), "--user", user], input=stdin)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if reason := sshd_missing():
        pytest.skip(reason)
    with Sshd(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


def test_one_command_makes_a_gateway_that_check_accepts(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    done = init(
        folder, "--yes", "--target", f"web1={LOOPBACK}:2299", "--login", "deploy", "--public", "gate:2222"
    )
    assert done.returncode == 0, done.stderr
    assert "is valid for" in done.stdout and "warning" not in done.stdout
    password = re.search(r"shown once: (\S+)", done.stdout)
    assert password is not None
    users = load_users(folder / "users.toml")
    assert argon2.PasswordHasher().verify(str(users["admin"].password), password[1])
    config = load(folder / "bastion.toml")
    assert [target.address for target in config.inventory] == [f"{LOOPBACK}:2299"]
    assert [str(network) for network in config.upstream_ca.egress] == [f"{LOOPBACK}/32"]
    next_lines = re.findall(r"(?m)^  (?!#)(\S.*)$", done.stdout.partition("Next:")[2])
    assert len(next_lines) == 5 and "ssh -p 2222 admin+deploy+web1@gate" in next_lines
    for line in next_lines:
        if "target-config" in line or "sessions" in line:
            wanted = 1 if "sessions" in line else 0  # nobody has logged in yet, and it says so
            done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=60)
            assert done.returncode == wanted, (line, done.stderr)


def test_a_second_run_changes_nothing_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    first = json.loads(called(folder, "--json", "--recipient", GOOD).stdout)
    assert first["changed"] and first["check"]["ok"] and first["password"]
    assert (folder / "recipients.txt").read_text().endswith(f"\n{GOOD}\n")
    before = tree(folder)
    again = called(folder, "--yes", "--target", "other=10.0.0.9")
    assert again.exit_code == 0 and "nothing was changed" in again.stdout
    assert tree(folder) == before and os.listdir(tmp_path) == ["gateway"]
    (folder / "policy.toml").unlink()
    told = called(folder, "--json")
    assert told.exit_code == 1
    answer = json.loads(told.stdout)
    assert answer["changed"] is False and answer["there"][str(folder / "policy.toml")] == "missing"
    assert not answer["check"]["ok"] and not (folder / "policy.toml").exists()


def test_what_is_in_the_way_is_listed_and_left(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "users.toml").write_text("mine")
    before = tree(tmp_path)
    done = called(tmp_path, "--yes")
    assert done.exit_code == 1
    assert f"{tmp_path}/keys" in done.stderr and f"{tmp_path}/users.toml" in done.stderr
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--target", "a b=1"], "--target"),
        (["--login", "a+b"], "--login"),
        (["--account", "Admin"], "--account"),
        (["--recipient", GOOD[:-1] + "q"], "mistyped"),
        (["--egress", "here"], "--egress"),
        (["--pin", "web1=SHA256:x"], "--pin"),
        (["--pin", "web1=SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"], "no --target of that name"),
        (["--login-ca", "/nowhere.pub"], "--login-ca"),
        (["--password-file", "/nowhere"], "--password-file"),
        (["--target", "web1=h", "--target", "web1=i"], "web1"),
    ],
)
def test_a_wrong_call_ends_with_2_and_makes_nothing(tmp_path: Path, words: list[str], problem: str) -> None:
    done = called(tmp_path / "gateway", "--yes", *words)
    assert done.exit_code == 2 and problem in done.stderr, done.output
    assert os.listdir(tmp_path) == []


def test_a_user_that_is_not_there_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    done = called(tmp_path / "gateway", "--yes", user="no-such-user")
    assert done.exit_code == 2 and "useradd --system" in done.stderr and os.listdir(tmp_path) == []


def test_without_a_terminal_it_does_not_guess_whether_it_may(tmp_path: Path) -> None:
    done = called(tmp_path / "gateway")
    assert done.exit_code == 2 and "--yes" in done.stderr and os.listdir(tmp_path) == []


def test_the_password_can_come_from_standard_input(tmp_path: Path) -> None:
    done = called(tmp_path / "gateway", "--json", "--password-file", "-", stdin="correct horse\n")
    assert json.loads(done.stdout)["password"] is None
    stored = load_users(tmp_path / "gateway" / "users.toml")["admin"].password
    assert argon2.PasswordHasher().verify(str(stored), "correct horse")
    assert "correct horse" not in done.stdout + done.stderr


def test_a_host_key_is_pinned_when_somebody_vouches_for_it(tmp_path: Path, target: Sshd) -> None:
    place = f"web1={LOOPBACK}:{target.port}"
    wrong = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
    done = init(tmp_path / "gateway", "--yes", "--target", place, "--pin", f"web1={wrong}")
    assert done.returncode == 1 and target.host_fingerprint in done.stderr and os.listdir(tmp_path) == []
    done = init(tmp_path / "gateway", "--json", "--target", place, "--pin", f"web1={target.host_fingerprint}")
    assert json.loads(done.stdout)["pinned"] == {"web1": target.host_fingerprint}
    assert target.host_public in (tmp_path / "gateway" / "known_hosts").read_text()


def test_a_scan_alone_trusts_nothing(tmp_path: Path, target: Sshd) -> None:
    done = init(tmp_path / "gateway", "--yes", "--scan", "--target", f"web1={LOOPBACK}:{target.port}")
    assert (
        done.returncode == 0 and "not trusted yet" in done.stdout and target.host_fingerprint in done.stdout
    )
    assert target.host_public not in (tmp_path / "gateway" / "known_hosts").read_text()


def test_a_target_that_does_not_answer_leaves_nothing(tmp_path: Path) -> None:
    done = init(tmp_path / "gateway", "--yes", "--scan", "--target", f"web1={LOOPBACK}:{free_port()}")
    assert done.returncode == 3 and "Nothing was made" in done.stderr and os.listdir(tmp_path) == []


def test_on_a_terminal_it_asks(tmp_path: Path, target: Sshd) -> None:
    folder = tmp_path / "gateway"
    words = [*BASTION[1:], "init", str(folder), "--scan", "--user", SELF]
    child = pexpect.spawn(BASTION[0], words, timeout=30, encoding="utf-8")
    child.expect("engineers type")
    child.sendline("gate.example.com:2222")
    child.expect("First target")
    child.sendline("web 1")
    child.expect("is no name for a target")
    child.sendline(f"web1={LOOPBACK}:{target.port}")
    child.expect("Account on web1")
    child.sendline("deploy")
    child.expect("first account")
    child.sendline("")
    child.expect("Password of admin")
    child.sendline("one")
    child.expect("Again")
    child.sendline("another")
    child.expect("not the same.*Password of admin")
    child.sendline("correct horse")
    child.expect("Again")
    child.sendline("correct horse")
    child.expect("age recipient")
    child.sendline("-")
    child.expect(re.escape(target.host_fingerprint))
    child.expect("what the console shows")
    child.sendline("y")
    child.expect("Next:")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert target.host_public in (folder / "known_hosts").read_text()
    stored = load_users(folder / "users.toml")["admin"].password
    assert argon2.PasswordHasher().verify(str(stored), "correct horse")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_nothing(tmp_path: Path, number: int, target: Sshd) -> None:
    """It waits for an answer about the host key: everything is staged, nothing is in its place."""
    words = [*BASTION[1:], "init", str(tmp_path / "gateway"), "--scan", "--user", SELF, "--public", "gate"]
    words += ["--target", f"web1={LOOPBACK}:{target.port}", "--login", "root", "--account", "admin"]
    words += ["--password-file", "/etc/hostname", "--recipient", GOOD]
    child = pexpect.spawn(BASTION[0], words, timeout=30, encoding="utf-8")
    child.expect("what the console shows")
    assert len(os.listdir(tmp_path)) == 1
    child.kill(number)
    child.expect(pexpect.EOF)
    child.close()
    if number != signal.SIGKILL:
        assert os.listdir(tmp_path) == []
        return
    assert len(os.listdir(tmp_path)) == 1, "nobody is left to remove it"
    assert init(tmp_path / "gateway", "--json").returncode == 0
    assert os.listdir(tmp_path) == ["gateway"], "the next run does"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for somebody else")
def test_root_makes_it_for_the_service_user(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"bastion-init-{os.getpid()}"  # pytest's own folder is closed to others
    try:
        done = called(folder, "--yes", user="nobody")
        assert "is valid for nobody" in done.stdout, done.output
        nobody = pwd.getpwnam("nobody").pw_uid
        assert (folder / "keys" / "upstream_ca").stat().st_uid == nobody
        assert (folder / "bastion.toml").stat().st_uid == 0
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
