"""Lines about certificates: tests/interop/test_issued_certificates.py pastes them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bastion.setup_texts.certificate import ALIAS, FILE, help_text, renewing
from bastion.setup_texts.client import ssh_config
from bastion.setup_texts.facts import Certificates, ClientFacts

FACTS = ClientFacts("gw.example.com", 2222, "alice", (), (), certificates=Certificates(36000, False))


def resolved(tmp_path: Path, facts: ClientFacts, host: str) -> str:
    """What OpenSSH makes of the lines; a certificate is there, so that nothing is fetched."""
    file = tmp_path / "cert.pub"
    file.touch()
    config = tmp_path / "config"
    config.write_text("\n".join(ssh_config(facts)).replace(FILE, str(file)) + "\n")
    done = subprocess.run(["ssh", "-G", "-F", str(config), host], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_where_none_is_issued_there_is_no_line() -> None:
    assert renewing(replace(FACTS, certificates=None)) == []
    assert ALIAS not in "\n".join(ssh_config(replace(FACTS, certificates=None)))


def test_openssh_shows_it_to_the_gateway_and_asks_for_a_new_one_without(tmp_path: Path) -> None:
    assert f"certificatefile {tmp_path}/cert.pub" in resolved(tmp_path, FACTS, "bastion")
    asked = resolved(tmp_path, FACTS, ALIAS)
    assert "certificatefile" not in asked and "hostname gw.example.com" in asked and "user alice" in asked
    (accepted,) = [line for line in asked.splitlines() if line.startswith("pubkeyacceptedalgorithms")]
    assert "-cert-v01" not in accepted and "ssh-ed25519" in accepted


def test_where_a_certificate_gets_a_certificate_it_is_shown(tmp_path: Path) -> None:
    asked = resolved(tmp_path, replace(FACTS, certificates=Certificates(36000, True)), ALIAS)
    assert "ssh-ed25519-cert-v01@openssh.com" in asked


@pytest.mark.parametrize(("lifetime", "minutes"), [(36000, 570), (3600, 30), (300, 2)])
def test_it_is_renewed_before_its_end(lifetime: int, minutes: int) -> None:
    text = "\n".join(renewing(replace(FACTS, certificates=Certificates(lifetime, False))))
    assert f"-mmin -{minutes} " in text


def test_help_has_no_port_where_none_is_typed() -> None:
    assert "ssh alice@gw cert >" in help_text("gw", 22, "alice") and "plink alice@gw" in help_text(
        "gw", 22, "alice"
    )
    assert "ssh -p 2222 alice@gw cert >" in help_text("gw", 2222, "alice")
