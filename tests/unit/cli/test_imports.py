"""A command imports what it uses: what is looked at while somebody waits does not load what only the gateway needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.config.site import Site

pytestmark = pytest.mark.slow

# What runs the gateway, and takes most of a second to load.
HEAVY = {"twisted", "zope", "cryptography", "ldap3", "argon2", "prometheus_client", "ssl", "asyncio", "rich"}

ASK = """
import json, sys
from bastion.__main__ import main
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = Site(tmp_path_factory.mktemp("site"))
    site.write("audit.jsonl", '{"event":"outer_started","connection":"aaaabbbbccccdddd"}\n')
    return site.config


def loaded(*arguments: str) -> set[str]:
    """Every module that the command has imported."""
    command = [sys.executable, "-c", ASK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "command",
    [["sessions"], ["sessions", "--json"], ["explain", "aaaabb"], ["export", "aaaa"], ["replay", "aaaa"]],
    ids=" ".join,
)
def test_looking_at_what_was_loads_no_gateway(config: Path, command: list[str]) -> None:
    modules = loaded(*command, "--config", str(config))
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    for room in ("policy", "relay", "session", "ssh"):
        assert not any(name.startswith(f"bastion.{room}.") for name in modules)
    assert not modules & {"bastion.config.load", "bastion.recording.recorder", "bastion.recording.writer"}


def test_help_loads_no_command(config: Path) -> None:
    modules = loaded("--help")
    assert {name for name in modules if name.startswith("bastion.")} == {
        "bastion.__main__",
        "bastion.cli",
        "bastion.cli.main",
        "bastion.loading",
    }


def test_packed_logs_alone_load_what_unpacks_them(config: Path) -> None:
    assert "zstandard" not in loaded("explain", "aaaabb", "--config", str(config))


def test_factors_that_are_off_are_not_loaded() -> None:
    """Neither their libraries nor what is made of them: a gateway starts with what its configuration names."""
    ask = "import sys, bastion.app, bastion.config.check; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, timeout=120, check=True
    )
    modules = set(done.stdout.split())
    further = ("oidc", "oidc_provider", "oidc_token", "radius", "radius_packets")
    assert modules & {"joserfc", "pyrad", *(f"bastion.auth.{name}" for name in further)} == set()
    assert "bastion.auth.outside" in modules
    assert not any(name.partition(".")[0] in ("jinja2", "markupsafe") for name in modules), (
        "of the console alone"
    )
    assert not any(name.startswith("bastion.console") for name in modules)
