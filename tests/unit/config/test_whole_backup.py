"""Which files a whole gateway has, and where what comes back may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.ca.backup import Member
from bastion.ca.ledger import Ledger
from bastion.config.load import load
from bastion.config.whole_backup import gateway_members, placed
from bastion.errors import ConfigError
from tests.unit.config.site import Site


def test_configuration_and_keys_are_members_by_their_names(tmp_path: Path) -> None:
    site = Site(tmp_path)
    name, members = gateway_members(load(site.config), Ledger())
    assert name == "bastion.toml"
    assert {
        "bastion.toml",
        "targets.toml",
        "policy.toml",
        "users.toml",
        "host_key",
        "upstream_ca",
    } <= members.keys()
    assert members["host_key"].fingerprint and members["host_key"].mode == 0o600
    assert not members["bastion.toml"].fingerprint


def test_files_go_into_the_folder_that_is_named(tmp_path: Path) -> None:
    paths = placed({"a.toml": Member(b"", 0o644), "keys/b": Member(b"", 0o600)}, tmp_path / "x", False, "s")
    assert list(paths) == [tmp_path / "x" / "a.toml", tmp_path / "x" / "keys" / "b"]


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "a/../../x", ".", ""])
def test_what_would_go_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="outside"):
        placed({name: Member(b"", 0o644)}, tmp_path, False, "s")


def test_elsewhere_is_allowed_by_name_and_never_by_a_way_up(tmp_path: Path) -> None:
    assert list(placed({"/srv/keys/k": Member(b"", 0o600)}, tmp_path, True, "s")) == [Path("/srv/keys/k")]
    with pytest.raises(ConfigError):
        placed({"../x": Member(b"", 0o600)}, tmp_path, True, "s")
