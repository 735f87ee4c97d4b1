"""The console's own user: each thing that it cannot read, and each key that it can, is named with what mends it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.doctor import console
from bastion.doctor.console import examine_console
from bastion.doctor.findings import Finding, Level
from tests.unit.doctor.conftest import Look

USER, GROUP = "games", 60  # every Debian has it
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")]


@pytest.fixture(autouse=True)
def apart(gateway: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway as `bastion init --systemd --console` makes it, and as it was run for a day."""
    monkeypatch.setattr(console, "CONSOLE_USER", USER)
    for folder in gateway.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
    config = gateway / "bastion.toml"
    config.write_text(config.read_text().replace("[console]\n", '[console]\nadmin_groups = ["admins"]\n'))
    (gateway / "keys").chmod(0o751)
    day = gateway / "recordings" / "2027-01-15"
    day.mkdir()
    for folder in (gateway / "recordings", gateway / "state", day):
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2750)
    for file in (gateway / "state" / "state.db", day / f"{'a' * 16}.rec", gateway / "users.toml"):
        file.touch()
        os.chown(file, 0, GROUP)
        file.chmod(0o640)


def faults(look: Look) -> list[Finding]:
    return [one for one in examine_console(look()) if one.level is not Level.OK]


def test_what_init_makes_is_right(look: Look) -> None:
    assert faults(look) == []
    assert [one.text for one in examine_console(look())] == [
        "the console reads recordings and state, and no key"
    ]


@pytest.mark.parametrize(
    ("path", "mode", "words", "type_"),
    [
        ("keys/upstream_ca", 0o644, "needs no key", "chmod 600"),
        ("keys", 0o750, "proves no recording", "chmod o+x"),
        ("users.toml", 0o600, "nobody signs in", f"chgrp {USER}"),
        ("recordings", 0o750, f"not shared with {USER}", "chmod 2750"),
        ("state", 0o2700, f"not shared with {USER}", "chmod 2750"),
        ("state/state.db", 0o600, "cannot be read", "chmod 640"),
        (f"recordings/2027-01-15/{'a' * 16}.rec", 0o600, "1 recordings", "find"),
    ],
)
def test_each_fault_is_named(look: Look, gateway: Path, path: str, mode: int, words: str, type_: str) -> None:
    subject = look()
    (gateway / path).chmod(mode)
    if path.startswith("keys/"):
        (gateway / "keys").chmod(0o755)
    found = [one for one in examine_console(subject) if one.level is not Level.OK]
    assert any(words in one.text and type_ in one.type for one in found), found
    for one in found:
        assert os.system(one.type) == 0
    assert faults(look) == []


BUCKET = """
[recording.store]
kind = "s3"
bucket = "recordings"
access_key = "A"
secret_file = "keys/s3"
"""


def test_the_bucket_is_opened_with_a_key_of_its_own(look: Look, gateway: Path) -> None:
    config, mine, own = gateway / "bastion.toml", gateway / "keys" / "s3", gateway / "own"
    before = config.read_text().replace("[recording.store]\n", BUCKET)
    config.write_text(before)
    for secret in (mine, own):
        secret.write_text("secret\n")
        secret.chmod(0o600)
    (found,) = faults(look)
    assert "is not opened in the console" in found.text and "console.bucket_secret_file" in found.text
    (gateway / "keys").chmod(0o755)
    mine.chmod(0o644)
    (found,) = faults(look)
    assert "which needs one that only reads" in found.text and "chmod 600" in found.type
    keys = '[console]\nbucket_access_key = "B"\nbucket_secret_file = "own"\n'
    config.write_text(before.replace("[console]\n", keys))
    (found,) = faults(look)
    assert found.subject == str(own) and os.system(found.type) == 0
    assert faults(look) == []


def test_nothing_is_said_where_nobody_may_sign_in_or_there_is_no_such_user(
    look: Look, gateway: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "CONSOLE_USER", "no-such-user")
    assert list(examine_console(look())) == []
    monkeypatch.setattr(console, "CONSOLE_USER", USER)
    assert list(examine_console(look(('admin_groups = ["admins"]', "admin_groups = []")))) == []
