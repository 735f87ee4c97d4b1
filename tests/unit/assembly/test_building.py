"""What a configuration must have before a gateway is built from it."""

import re

import pytest

from bastion.assembly.building import VERSION_LINE, front_keys, load_known_hosts, target_settings
from bastion.ca.slots import Staged
from bastion.clock import FixedClock
from bastion.config.load import load
from bastion.config.material import Material
from bastion.errors import ConfigError
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
    site = Site(tmp_path)
    config = load(site.config)
    front = front_keys(config, Material((Staged(site.keys["host_key"]),)), FixedClock())
    for settings in (front.settings(), target_settings(config)):
        assert settings.version.startswith("SSH-2.0-OpenSSH")


def test_nobody_takes_the_version_line_for_that_of_an_old_openssh():
    """golang.org/x/crypto (tcpip.go), libssh2 and paramiko read a number behind "OpenSSH_", libssh one at the ninth
    character, PuTTY and OpenSSH match "OpenSSH_2.*" and the like; others look for the names below."""
    software = VERSION_LINE.removeprefix("SSH-2.0-")
    assert software.startswith("OpenSSH") and "OpenSSH_" not in software
    assert not software[len("OpenSSH_")].isdigit()
    assert not re.search(
        "dropbear|cisco|cryptlib|sshlib|paramiko|libssh|wodfly|vshell", software, re.IGNORECASE
    )


def test_the_version_line_is_one():
    """RFC 4253 section 4.2: printable US-ASCII without white space and minus sign, 255 bytes with CR LF."""
    assert re.fullmatch(r"SSH-2\.0-[!-,.-~]+", VERSION_LINE) and len(VERSION_LINE) <= 253
