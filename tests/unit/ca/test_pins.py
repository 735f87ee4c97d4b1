"""Pinning a host key: one atomic replacement, and nothing about other hosts changes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bastion.ca import pins
from bastion.ca.known_hosts import KnownHosts, Outcome
from bastion.ca.pins import pin
from bastion.errors import ConfigError
from bastion.wire.data import string
from bastion.wire.keys import PrivateKey, PublicKey
from tests.support.rights import NOBODY, without_rights
from tests.unit.wire.keygen import keygen

ONE = PrivateKey.generate_ed25519().public
TWO = PrivateKey.generate_ed25519().public


def outcome(path: Path, host: str, key: PublicKey, port: int = 22) -> Outcome:
    return KnownHosts.load(path).check((host,), port, key.blob, 0).outcome


@pytest.mark.parametrize("hashed", [False, True])
def test_a_pin_is_found_by_us_and_by_ssh_keygen(tmp_path: Path, hashed: bool) -> None:
    path = tmp_path / "kh"
    assert pin(path, "Web1", 2222, ONE, hashed=hashed)
    assert not pin(path, "web1", 2222, ONE)
    assert path.stat().st_mode & 0o777 == 0o644  # new: public keys, and the gateway is another user
    assert ("web1" in path.read_text()) is not hashed
    assert outcome(path, "web1", ONE, 2222) is Outcome.PINNED_OK
    assert "found" in keygen("-F", "[web1]:2222", "-f", path)
    assert os.listdir(tmp_path) == ["kh"]


def test_what_was_there_stays_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    before = f"# a comment\n\nweb0,10.0.0.1   {TWO.line('old')}\n@revoked * {TWO.line()}"
    path.write_text(before)
    pin(path, "web1", 22, ONE)
    assert path.read_text() == f"{before}\nweb1 {ONE.line()}\n"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_owner_and_mode_stay(tmp_path: Path, mode: int) -> None:
    """Made 0600 and root's, the file stops the gateway's next reload and its next start."""
    path = tmp_path / "kh"
    path.write_text(f"web0 {TWO.line()}\n")
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    path.chmod(mode)
    owner = path.stat().st_uid, path.stat().st_gid
    assert pin(path, "web1", 22, ONE)
    now = path.stat()
    assert (now.st_uid, now.st_gid, now.st_mode & 0o7777) == (*owner, mode)


def test_a_folder_of_somebody_else_says_who_must_do_it(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    place = tmp_path / "etc"
    place.mkdir()
    path = place / "kh"
    path.write_text(f"web0 {TWO.line()}\n")
    path.chmod(0o666)
    place.chmod(0o555)
    with (
        without_rights(),
        pytest.raises(ConfigError, match=r"Permission denied \(allowed: run it as root, or as "),
    ):
        pin(path, "web1", 22, ONE)
    place.chmod(0o000)
    with without_rights(), pytest.raises(ConfigError):
        pin(path, "web1", 22, ONE)
    place.chmod(0o755)
    assert os.listdir(place) == ["kh"]


def test_without_replace_an_old_key_stays_beside_the_new(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    pin(path, "web1", 22, ONE)
    pin(path, "web1", 22, TWO)
    assert KnownHosts.load(path).pinned(("web1",), 22) == (ONE, TWO)


@pytest.mark.parametrize("hashed", [False, True])
def test_replace_forgets_the_old_key_of_this_host_only(tmp_path: Path, hashed: bool) -> None:
    path = tmp_path / "kh"
    pin(path, "web1", 22, ONE, hashed=hashed)
    pin(path, "web2", 22, ONE)
    pin(path, "web1", 2222, ONE)
    assert pin(path, "web1", 22, TWO, replace=True)
    assert outcome(path, "web1", ONE) is Outcome.CHANGED
    assert outcome(path, "web1", TWO) is Outcome.PINNED_OK
    assert outcome(path, "web2", ONE) is Outcome.PINNED_OK
    assert outcome(path, "web1", ONE, 2222) is Outcome.PINNED_OK
    assert not pin(path, "web1", 22, TWO, replace=True)


def test_replace_takes_one_name_out_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    path.write_text(f"web0,Web1,10.0.0.1 {ONE.line('x')}\nweb1,!other {ONE.line()}\n")
    pin(path, "web1", 22, TWO, replace=True)
    assert path.read_text() == f"web0,10.0.0.1 {ONE.line('x')}\nweb1 {TWO.line()}\n"


def test_an_old_key_pinned_by_a_pattern_is_left_to_a_person(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    text = f"# x\nweb* {ONE.line()}\n"
    path.write_text(text)
    with pytest.raises(ConfigError, match="pattern") as error:
        pin(path, "web1", 22, TWO, replace=True)
    assert error.value.line == 2 and path.read_text() == text and os.listdir(tmp_path) == ["kh"]
    path.write_text(f"web1,web* {ONE.line()}\n")
    with pytest.raises(ConfigError, match="pattern"):
        pin(path, "web1", 22, TWO, replace=True)


@pytest.mark.parametrize("host", ["", "*", "a,b", "!a", "a b", "a\nb", "|1|x", "#a", "@revoked"])
def test_names_that_would_mean_something_else(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError):
        pin(tmp_path / "kh", host, 22, ONE)
    assert os.listdir(tmp_path) == []


def test_security_keys_are_not_pinned(tmp_path: Path) -> None:
    blob = string("sk-ssh-ed25519@openssh.com") + string(b"k" * 32) + string("ssh:")
    with pytest.raises(ConfigError):
        pin(tmp_path / "kh", "web1", 22, PublicKey.parse(blob))


def test_a_malformed_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    path.write_text("@revokd * x\n")
    with pytest.raises(ConfigError):
        pin(path, "web1", 22, ONE)
    assert path.read_text() == "@revokd * x\n"


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "kh"
    link.symlink_to(tmp_path / "real" / "kh")
    pin(link, "web1", 22, ONE)
    pin(link, "web2", 22, ONE)
    assert link.is_symlink() and len(KnownHosts.load(link).lines) == 2


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kh"
    pin(path, "web1", 22, ONE)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pins.os, "fsync", full)
    with pytest.raises(ConfigError, match="No space"):
        pin(path, "web2", 22, TWO)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["kh"]


def test_pins_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    threads = [threading.Thread(target=pin, args=(path, f"web{n}", 22, ONE)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(KnownHosts.load(path).lines) == 12


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        pin(tmp_path / "none" / "kh", "web1", 22, ONE)
