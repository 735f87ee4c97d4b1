"""The sshd that the other tests talk to does what it says, and leaves nothing behind."""

import subprocess
from pathlib import Path

import pytest

from tests.support.net import is_listening
from tests.support.processes import is_alive
from tests.support.sshd import Sshd, make_key, sign_key, sshd_missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@pytest.fixture
def user_ca(tmp_path):
    return make_key(tmp_path / "user_ca")


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "id")


def ssh(sshd, folder, *arguments, known_hosts=None):
    """Run the stock client against `sshd`, trusting its host key unless told otherwise."""
    known = folder / "known_hosts"
    known.write_text(sshd.known_hosts_line if known_hosts is None else known_hosts)
    command = [
        "ssh", "-F", "none", "-p", str(sshd.port), "-l", sshd.login, "-i", str(folder / "id"),
        "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
        "-o", f"UserKnownHostsFile={known}", "-o", "GlobalKnownHostsFile=none",
        "-o", "StrictHostKeyChecking=yes", "127.0.0.1", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


def test_a_plain_key_logs_in_and_the_host_key_is_checked(tmp_path, key):
    with Sshd(tmp_path / "sshd", authorized_keys=Path(f"{key}.pub").read_text()) as sshd:
        done = ssh(sshd, tmp_path, "echo out; echo err >&2; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
        assert sshd.host_fingerprint.startswith("SHA256:")
        other = make_key(tmp_path / "other")
        wrong = f"[127.0.0.1]:{sshd.port} " + Path(f"{other}.pub").read_text()
        assert ssh(sshd, tmp_path, "true", known_hosts=wrong).returncode == 255


def test_a_certificate_logs_in_by_principal_and_its_identity_is_in_the_log(tmp_path, key, user_ca):
    sign_key(user_ca, Path(f"{key}.pub"), "alice 7f3k2a", ["deploy"])
    principals = {"root": ["deploy"]}
    with Sshd(tmp_path / "sshd", user_ca=Path(f"{user_ca}.pub"), principals=principals) as sshd:
        assert ssh(sshd, tmp_path, "true").returncode == 0
        assert sshd.wait_for_log(r'Accepted publickey for .*ID "?alice 7f3k2a')


def test_a_wrong_principal_is_refused(tmp_path, key, user_ca):
    sign_key(user_ca, Path(f"{key}.pub"), "alice", ["somebody-else"])
    principals = {"root": ["deploy"]}
    with Sshd(tmp_path / "sshd", user_ca=Path(f"{user_ca}.pub"), principals=principals) as sshd:
        assert ssh(sshd, tmp_path, "true").returncode == 255
        assert sshd.wait_for_log("Failed publickey|does not contain an authorized principal|not listed")


def test_the_host_certificate_is_shown(tmp_path, key):
    ca = make_key(tmp_path / "host_ca")
    with Sshd(
        tmp_path / "sshd",
        host_ca=ca,
        host_names=["127.0.0.1"],
        authorized_keys=Path(f"{key}.pub").read_text(),
    ) as sshd:
        line = f"@cert-authority [127.0.0.1]:{sshd.port} " + Path(f"{ca}.pub").read_text()
        assert ssh(sshd, tmp_path, "true", known_hosts=line).returncode == 0


def test_options_of_a_test_win(tmp_path, key):
    with Sshd(
        tmp_path / "sshd",
        authorized_keys=Path(f"{key}.pub").read_text(),
        options=["ForceCommand echo forced"],
    ) as sshd:
        assert ssh(sshd, tmp_path, "true").stdout == "forced\n"


def test_it_starts_again_on_the_same_port(tmp_path):
    sshd = Sshd(tmp_path / "sshd").start()
    port = sshd.port
    sshd.stop()
    assert not is_listening(port)
    sshd.start(port)
    assert is_listening(port)
    sshd.stop()


def test_nothing_is_left_behind(tmp_path, key):
    sshd = Sshd(tmp_path / "sshd", authorized_keys=Path(f"{key}.pub").read_text()).start()
    pid, port = sshd.pid, sshd.port
    done = ssh(sshd, tmp_path, "setsid sleep 300 >/dev/null 2>&1 </dev/null & echo started")
    assert done.stdout == "started\n"
    left = sshd.session_processes()
    assert left
    sshd.stop()
    assert sshd.session_processes() == set()
    assert not is_listening(port)
    assert not any(is_alive(process) for process in {pid, *left})
