"""A gateway always has a key that vouches for its recordings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.assembly.recording_key import sealing_of
from bastion.ca.keys import write_private_key
from bastion.clock import FixedClock
from bastion.config.check import inspect
from bastion.config.key_slots import recording_key_path
from bastion.config.load import load
from bastion.config.material import Material
from bastion.errors import ConfigError
from bastion.wire.keys import PrivateKey
from tests.unit.config.site import Site


def test_one_is_made_where_none_is_configured_and_stays(tmp_path: Path) -> None:
    site = Site(tmp_path)
    config = load(site.config)
    path = recording_key_path(config)
    assert not path.exists()
    first = sealing_of(config, Material(), FixedClock())()
    assert path.stat().st_mode & 0o777 == 0o600 and first.node
    again = sealing_of(config, Material(), FixedClock())()  # another worker that found none either
    assert again.signer.public == first.signer.public
    material = inspect(site.config).material
    assert material is not None and material.recording is not None
    assert material.recording.first.public == first.signer.public


def test_the_configured_one_is_used_and_must_be_ed25519(tmp_path: Path) -> None:
    site = Site(tmp_path)
    key = PrivateKey.generate_ed25519()
    write_private_key(tmp_path / "vouch", key)
    site.edit("[recording]\n", '[recording]\nsigning_key = "vouch"\n')
    config, material = inspect(site.config).accepted()
    assert sealing_of(config, material, FixedClock())().signer.public == key.public
    os.unlink(tmp_path / "vouch")
    os.unlink(tmp_path / "vouch.pub")
    write_private_key(tmp_path / "vouch", PrivateKey.generate_rsa(3072))
    (error,) = inspect(site.config).errors
    assert "recording.signing_key" in str(error) and "an ed25519 key" in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_none_is_an_error(tmp_path: Path) -> None:
    site = Site(tmp_path)
    config = load(site.config)
    recording_key_path(config).parent.mkdir(parents=True)
    recording_key_path(config).parent.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        sealing_of(config, Material(), FixedClock())
