"""How old the keys are: by the ledger, or else by their files."""

from __future__ import annotations

import os
from typing import Any

from bastion.ca.ledger import KeyName, read_ledger, write_ledger
from bastion.config.key_dates import KeyDates, key_dates
from bastion.config.load import load
from tests.unit.config.site import rotating


def test_without_a_ledger_a_key_is_as_old_as_its_file(site: Any) -> None:
    os.utime(site.folder / "host_key", (1_700_000_000, 1_700_000_000))
    found = key_dates(load(site.config))
    assert found[KeyName.HOST_KEYS] == KeyDates(1_700_000_000, 0)
    assert found[KeyName.ISSUE] == KeyDates(0, 0)  # there is none
    assert set(found) == set(KeyName)


def test_the_ledger_knows_better_and_when_the_old_key_goes(site: Any) -> None:
    rotating(site, "front_host_ca", ledger="keys.toml")
    assert key_dates(load(site.config))[KeyName.FRONT_HOST_CA] == KeyDates(1, 4_000_000_000)


def test_a_retired_key_is_not_in_use(site: Any) -> None:
    rotating(site, "upstream_ca", ledger="keys.toml")
    path = site.folder / "keys.toml"
    ledger = read_ledger(path)
    old, new = ledger.kept(KeyName.UPSTREAM_CA)
    write_ledger(path, ledger.changed(old.public, retired=5.0).changed(new.public, made=7.0))
    assert key_dates(load(site.config))[KeyName.UPSTREAM_CA] == KeyDates(7, 0)
