"""What a configuration must have before a gateway is built from it."""

import pytest

from bastion.config import load
from bastion.errors import ConfigError
from bastion.session.building import front_settings, load_known_hosts, target_settings
from tests.unit.config.site import Site


def test_a_missing_known_hosts_file_is_refused_and_an_empty_one_is_a_beginning(tmp_path):
    site = Site(tmp_path)
    file = tmp_path / "known_hosts"
    assert load_known_hosts(load(site.config)).lines
    file.unlink()
    with pytest.raises(ConfigError, match=f"targets.known_hosts: .*`touch {file}`"):
        load_known_hosts(load(site.config))
    file.touch()
    assert load_known_hosts(load(site.config)).lines == ()


def test_no_known_hosts_file_is_a_choice(tmp_path):
    site = Site(tmp_path)
    site.edit('known_hosts = "known_hosts"\n', "")
    assert load_known_hosts(load(site.config)).lines == ()


def test_both_legs_look_like_openssh_to_openssh(tmp_path):
    """Its eow@openssh.com and no-more-sessions@openssh.com go to no other software (compat.c)."""
    config = load(Site(tmp_path).config)
    for settings in (front_settings(config), target_settings(config)):
        assert settings.version.startswith("SSH-2.0-OpenSSH_Bastion_")
