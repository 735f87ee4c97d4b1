"""Owners and modes: each fault, made for real, is named with the command that repairs it."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from bastion.doctor.files import examine_files
from bastion.doctor.findings import Finding, Level
from tests.unit.doctor.conftest import Look

ROOT = os.geteuid() == 0
pytestmark = pytest.mark.slow


def faults(look: Look, user: str = "") -> list[Finding]:
    """What is not right, but for pytest's own folder."""
    found = examine_files(look(user=user))
    return [one for one in found if (one.level is not Level.OK and not one.subject.startswith("/tmp"))
            or ("gateway" in one.subject and one.level is not Level.OK)]  # fmt: skip


def test_what_init_makes_is_right(look: Look) -> None:
    assert faults(look) == []
    (right,) = (one for one in examine_files(look()) if one.level is Level.OK)
    assert right.text.startswith("16 files")


@pytest.mark.parametrize(
    ("path", "mode", "words"),
    [
        ("keys/upstream_ca", 0o640, "open to others"),
        ("keys/ssh_host_ed25519_key", 0o604, "open to others"),
        ("policy.toml", 0o664, "written by others"),
        ("bastion.toml", 0o646, "written by others"),
        ("known_hosts", 0o666, "written by others"),
        ("keys/login_ca.pub", 0o622, "written by others"),
        ("users.toml", 0o644, "lets others in"),
        ("users.toml", 0o660, "lets others in"),
        ("recordings", 0o770, "written by others"),
        ("recordings", 0o705, "read by everybody"),
        ("log", 0o777, "written by others"),
    ],
)
def test_a_wrong_mode_is_repaired_by_what_is_to_be_typed(
    gateway: Path, look: Look, path: str, mode: int, words: str
) -> None:
    (gateway / path).chmod(mode)
    # The folder of the log is above the log, too.
    found = [one for one in faults(look) if words in one.text]
    assert str(gateway / path) in found[0].subject
    for one in faults(look):
        subprocess.run(["sh", "-c", one.type], check=True)
    assert faults(look) == []


def test_a_folder_above_that_others_can_write_to_is_told(gateway: Path, look: Look) -> None:
    gateway.chmod(0o777)
    (found,) = (one for one in faults(look) if one.subject == str(gateway))
    assert found.level is Level.FAIL and found.type == f"chmod go-w {gateway}"
    gateway.chmod(0o1777)
    (found,) = (one for one in faults(look) if one.subject == str(gateway))
    assert found.level is Level.WARN


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_files_of_the_wrong_owner_are_told_and_repaired(gateway: Path, look: Look) -> None:
    """Made by root for root, and run as nobody."""
    told = faults(look, "nobody")
    subjects = "\n".join(one.subject for one in told)
    for path in (
        "keys/upstream_ca",
        "keys/front_host_ca",
        "keys/ssh_host_rsa_key",
        "users.toml",
        "recordings",
        "log",
    ):
        assert str(gateway / path) in subjects
    for _ in range(2):
        for one in faults(look, "nobody"):
            subprocess.run(["sh", "-c", one.type], check=True)
    assert faults(look, "nobody") == []
    nobody = pwd.getpwnam("nobody")
    os.chown(gateway / "policy.toml", nobody.pw_uid, -1)
    (found,) = faults(look, "nobody")
    assert found.level is Level.WARN and "broken into" in found.text
    os.chown(gateway / "policy.toml", pwd.getpwnam("daemon").pw_uid, -1)
    (found,) = faults(look, "nobody")
    assert found.level is Level.FAIL and "belongs to daemon" in found.text


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_a_login_ca_that_the_gateway_can_read_is_told(gateway: Path, look: Look) -> None:
    os.chown(gateway / "keys" / "login_ca", pwd.getpwnam("nobody").pw_uid, -1)
    (found,) = (one for one in faults(look, "nobody") if one.subject == str(gateway / "keys" / "login_ca"))
    assert found.level is Level.WARN and "signs engineers' certificates" in found.text
    subprocess.run(["sh", "-c", found.type], check=True)
    assert not [one for one in faults(look, "nobody") if one.subject == found.subject]
