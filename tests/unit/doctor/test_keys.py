"""Agents that hold their keys or do not, and overlaps that have ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bastion.ca.keys import load_private_key
from bastion.ca.ledger import Entry, KeyName, Ledger, write_ledger
from bastion.doctor.files import examine_files
from bastion.doctor.findings import Level
from bastion.doctor.keys import examine_keys
from tests.support.agents import Agent
from tests.unit.doctor.conftest import Look

pytestmark = pytest.mark.slow


def test_what_init_makes_is_right(look: Look) -> None:
    (one,) = examine_keys(look())
    assert (one.level, one.text) == (Level.OK, "no key is being rotated")


def test_an_agent_is_asked_for_its_key(gateway: Path, look: Look, tmp_path: Path) -> None:
    key = gateway / "keys" / "upstream_ca"
    kept = tmp_path / "kept"
    shutil.copy(key, kept)
    key.write_text((gateway / "keys" / "upstream_ca.pub").read_text())
    key.chmod(0o644)
    path = tmp_path / "agent"
    subject = look(('key = "keys/upstream_ca"', f'key = "keys/upstream_ca"\nagent = "{path}"'))
    (gone,) = examine_keys(subject)
    assert gone.level is Level.FAIL and "cannot be asked: No such file" in gone.text
    assert gone.type == f"SSH_AUTH_SOCK={path} ssh-add -l"
    agent = Agent(path).start()
    try:
        (missing,) = examine_keys(subject)
        assert missing.level is Level.FAIL and "does not hold SHA256:" in missing.text
        agent.add("-q", kept)
        (held,) = examine_keys(subject)
        assert held.level is Level.OK and "holds SHA256:" in held.text
    finally:
        agent.stop()
    assert not [one for one in examine_files(subject) if "upstream_ca" in one.subject]


@pytest.mark.parametrize(("until", "level"), [(1e9, Level.WARN), (4e9, Level.OK)])
def test_an_overlap_that_has_ended_is_told(gateway: Path, look: Look, until: float, level: Level) -> None:
    public = load_private_key(gateway / "keys" / "upstream_ca").public
    entry = Entry(KeyName.UPSTREAM_CA, public, 1.0, "root", 1.0, retire_after=until)
    write_ledger(gateway / "keys" / "keys.toml", Ledger((entry,)))
    (one,) = examine_keys(look())
    assert (one.level, one.subject) == (level, "upstream_ca")
    assert ("keys retire" in one.type) is (level is Level.WARN)
