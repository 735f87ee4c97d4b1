"""Key files: who may read them, and errors that say what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.ca.keys import load_certificate, load_private_key, load_public_keys, write_private_key
from bastion.errors import ConfigError
from bastion.wire.keys import PrivateKey
from tests.unit.wire.keygen import certify, keygen, make_key, public_blob


def test_a_key_of_ssh_keygen_loads(tmp_path: Path) -> None:
    path = make_key(tmp_path, "ca", "-t", "ed25519")
    assert load_private_key(path).public.blob == public_blob(path)
    assert load_public_keys(f"{path}.pub")[0].blob == public_blob(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o601])
def test_a_key_open_to_others_is_refused_with_the_repair(tmp_path: Path, mode: int) -> None:
    path = make_key(tmp_path, "ca", "-t", "ed25519")
    path.chmod(mode)
    with pytest.raises(ConfigError) as error:
        load_private_key(path)
    assert f"chmod 600 {path}" in str(error.value) and f"mode {mode:04o}" in str(error.value)
    path.chmod(0o600)
    assert load_private_key(path).public.type == "ssh-ed25519"


@pytest.mark.slow
def test_a_passphrase_is_needed_and_used(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    keygen("-q", "-t", "ed25519", "-N", "secret words", "-f", path)
    words = tmp_path / "words"
    words.write_text("secret words\nmore\n")
    words.chmod(0o600)
    assert load_private_key(path, words).public.blob == public_blob(path)
    with pytest.raises(ConfigError, match="is encrypted: set passphrase_file") as error:
        load_private_key(path)
    assert "secret" not in str(error.value)
    words.write_text("other words\n")
    with pytest.raises(ConfigError, match="the passphrase is wrong") as error:
        load_private_key(path, words)
    assert "other" not in str(error.value)
    words.chmod(0o644)
    with pytest.raises(ConfigError, match=r"the passphrase's file lets others in \(mode 0644\)"):
        load_private_key(path, words)


def test_a_passphrase_that_nothing_needs_is_told(tmp_path: Path) -> None:
    path, words = tmp_path / "plain", tmp_path / "words"
    keygen("-q", "-t", "ed25519", "-N", "", "-f", path)
    words.write_text("secret words\n")
    words.chmod(0o600)
    with pytest.raises(ConfigError, match="is not encrypted: take passphrase_file out"):
        load_private_key(path, words)


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_public_key_in_the_place_of_a_private_one_is_called_so(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    keygen("-q", "-t", "ed25519", "-N", "", "-f", path)
    public = tmp_path / "key.pub"
    public.chmod(mode)
    with pytest.raises(
        ConfigError, match="this is a public key; the private one is usually the file without"
    ):
        load_private_key(public)


def test_what_is_no_key_file(tmp_path: Path) -> None:
    fifo, empty, big = tmp_path / "fifo", tmp_path / "empty", tmp_path / "big"
    os.mkfifo(fifo, 0o600)
    empty.touch(0o600)
    big.write_bytes(b"x" * 100_000)
    big.chmod(0o600)
    for path in (fifo, empty, big, tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError) as error:
            load_private_key(path)
        assert str(path) in str(error.value)


def test_public_key_files_name_the_bad_line(tmp_path: Path) -> None:
    good = PrivateKey.generate_ed25519().public.line("ca one")
    path = tmp_path / "cas"
    path.write_text(f"# ours\n\n{good}\n{PrivateKey.generate_ed25519().public.line()}\n")
    assert len(load_public_keys(path)) == 2
    for text, line in ((f"{good}\ncert-authority {good}\n", 2), ("ssh-rsa AAAA\n", 1), ("# only\n", 0)):
        path.write_text(text)
        with pytest.raises(ConfigError) as error:
            load_public_keys(path)
        assert error.value.line == line
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_public_keys(path)


def test_written_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "ca"
    key = PrivateKey.generate_ed25519()
    write_private_key(path, key, "demo")
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_private_key(path).public == key.public
    assert keygen("-y", "-f", path).split()[:2] == Path(f"{path}.pub").read_text().split()[:2]
    with pytest.raises(FileExistsError):
        write_private_key(path, PrivateKey.generate_ed25519())
    assert load_private_key(path).public == key.public


def test_certificate_files(tmp_path: Path) -> None:
    ca, key = make_key(tmp_path, "ca", "-t", "ed25519"), make_key(tmp_path, "host", "-t", "ed25519")
    certify(ca, key, "-h", "-I", "web", "-n", "web1")
    path = Path(f"{key}-cert.pub")
    assert load_certificate(path).principals == ("web1",)
    text = path.read_text()
    for bad in ("", text + text, text.replace("ed25519-cert", "rsa-cert", 1), text[:-40], "x y"):
        path.write_text(bad)
        with pytest.raises(ConfigError):
            load_certificate(path)
