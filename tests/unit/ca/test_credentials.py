"""systemd's credentials: where they are, and that a key among them may have the mode that systemd gives it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.ca.credentials import DEFAULT_FOLDER, credentials_folder, is_credential
from bastion.ca.keys import load_private_key, write_private_key
from bastion.errors import ConfigError
from bastion.wire.keys import PrivateKey


def test_the_folder_is_what_systemd_says_or_that_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert credentials_folder() == DEFAULT_FOLDER
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/other.service")
    assert credentials_folder() == "/run/credentials/other.service"


def test_a_credential_is_roots_and_in_that_folder_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/c/")
    assert is_credential("/run/c/key", 0)
    assert not is_credential("/run/c/key", 1000)
    assert not is_credential("/run/c/more/key", 0)
    assert not is_credential("/run/c/../key", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="the file must be root's")
def test_a_key_that_an_access_list_opens_to_the_service_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upstream_ca"
    write_private_key(path, PrivateKey.generate_ed25519())
    path.chmod(0o440)
    with pytest.raises(ConfigError, match="open to others"):
        load_private_key(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_private_key(path).public.type == "ssh-ed25519"
    for mode in (0o460, 0o444):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="open to others"):
            load_private_key(path)
