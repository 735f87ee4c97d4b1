"""ssh-audit at the default front door of the gateway process: no failure, the known notes only, and our policy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import make_key, sshd_missing
from tests.support.world import World

TOOL = Path(sys.executable).with_name("ssh-audit")
POLICY = Path(__file__).with_name("ssh-audit.policy")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing()),
    pytest.mark.skipif(not TOOL.exists(), reason="ssh-audit is not installed"),
]

# Every method that is not post-quantum has this note. docs/security.md says who would be locked out without them.
NOTE = "does not provide protection against post-quantum attacks"
CLASSIC = {
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    make_key(made.keys / "gateway_rsa", "rsa", bits=3072)
    keys = 'files = ["keys/gateway_host"'
    made.config.write_text(made.config.read_text().replace(keys, keys + ', "keys/gateway_rsa"'))
    try:
        yield made.start()
    finally:
        made.close()


def audit(world: World, *options: str) -> subprocess.CompletedProcess[str]:
    # --skip-rate-test: it asks for less than 20 connections per second from one address (docs/security.md)
    command = [str(TOOL), "--skip-rate-test", *options, "-p", str(world.port), "127.0.0.1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_policy_is_passed(world: World) -> None:
    done = audit(world, "-P", str(POLICY))
    assert done.returncode == 0 and "Passed" in done.stdout, done.stdout


def test_the_policy_would_notice(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other.policy"
    other.write_text(POLICY.read_text().replace("mlkem768x25519-sha256, ", ""))
    assert audit(world, "-P", str(other)).returncode != 0


def test_no_failure_and_only_the_known_notes(world: World) -> None:
    report = json.loads(audit(world, "-j").stdout)
    failures, warnings = [], []
    for group in ("kex", "key", "enc", "mac"):
        assert report[group]
        for entry in report[group]:
            notes = entry.get("notes", {})
            failures += [(entry["algorithm"], text) for text in notes.get("fail", [])]
            warnings += [(entry["algorithm"], text) for text in notes.get("warn", [])]
    assert failures == []
    assert set(warnings) == {(name, NOTE) for name in CLASSIC}
    assert report.get("cves", []) == []
    assert "Traceback" not in world.log.read_text()
