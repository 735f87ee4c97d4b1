"""`bastion target-config` on a real configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bastion.ca.keys import write_private_key
from bastion.cli.target_config import target_config
from bastion.wire.keys import PrivateKey

CONFIG = """
[host_keys]
files = ["host"]
[upstream_ca]
{key}
egress = ["192.0.2.10", "2001:db8::/64"]
[directory]
embedded = "users.toml"
[targets]
file = "targets.toml"
[policy]
file = "policy.toml"
[recording]
directory = "recordings"
[audit]
file = "audit.jsonl"
"""
CA = PrivateKey.generate_ed25519()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_private_key(tmp_path / "host", PrivateKey.generate_ed25519())
    write_private_key(tmp_path / "ca", CA)
    (tmp_path / "recordings").mkdir()
    for name in ("users.toml", "targets.toml", "policy.toml"):
        (tmp_path / name).write_text("")
    path = tmp_path / "bastion.toml"
    path.write_text(CONFIG.format(key='key = "ca"'))
    return path


def run(config: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(target_config, ["--config", str(config), *options])
    return done.exit_code, done.output


@pytest.mark.parametrize("version", ["9.8", "OpenSSH_10.0p2 Debian-7", "9.8p1"])
def test_new_servers_exempt_the_gateway_from_penalties(config: Path, version: str) -> None:
    code, text = run(config, "--sshd-version", version)
    assert code == 0, text
    assert CA.public.line() in text
    assert "PerSourcePenaltyExemptList 192.0.2.10/32,2001:db8::/64" in text.splitlines()


def test_old_servers_are_not_given_what_they_refuse(config: Path) -> None:
    code, text = run(config, "--sshd-version", "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19")
    assert code == 0 and "PerSourcePenaltyExemptList" not in text
    assert "Match Address 192.0.2.10/32,2001:db8::/64" in text.splitlines()


@pytest.mark.parametrize(
    "options",
    [
        ("--sshd-version", "new"),
        ("--principals-file", "relative"),
        ("--principals-file", "/etc/a\nPermitRootLogin"),
    ],
)
def test_wrong_calls_end_with_2(config: Path, options: tuple[str, str]) -> None:
    code, text = run(config, *options)
    assert code == 2 and options[0] in text


def test_a_gateway_without_upstream_ca_has_nothing_to_print(config: Path) -> None:
    config.write_text(CONFIG.format(key=""))
    code, text = run(config)
    assert code == 2 and "no upstream CA" in text


def test_an_open_key_is_named_with_its_repair(config: Path) -> None:
    (config.parent / "ca").chmod(0o644)
    code, text = run(config)
    assert code == 2 and "chmod 600" in text
