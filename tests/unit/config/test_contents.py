"""Whether two readings have read the same: every file that the configuration names counts, and no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.config.contents import contents, newest, together
from bastion.config.load import load
from tests.unit.config.site import Site


@pytest.mark.parametrize(
    "name", ["bastion.toml", "targets.toml", "policy.toml", "users.toml", "known_hosts", "host_key"]
)
def test_every_file_counts(site: Site, name: str) -> None:
    before = together(contents(load(site.config)))
    assert together(contents(load(site.config))) == before
    file = site.folder / name
    file.write_text(file.read_text() + "\n# more\n")
    assert together(contents(load(site.config))) != before


def test_what_is_written_does_not_count(site: Site) -> None:
    before = contents(load(site.config))
    (site.folder / "audit.jsonl").write_text("a line\n")
    (site.folder / "recordings" / "2026-01-01").mkdir()
    assert contents(load(site.config)) == before
    assert not {"audit.file", "recording.directory"} & before.keys()


def test_keys_of_targets_count(site: Site) -> None:
    site.make_key("box_key")
    site.write("targets.toml", (site.folder / "targets.toml").read_text() + 'key_file = "box_key"\n')
    before = together(contents(load(site.config)))
    site.make_key("box_key")
    assert together(contents(load(site.config))) != before


def test_a_file_that_cannot_be_read_is_one_that_has_changed(site: Site) -> None:
    before = together(contents(load(site.config)))
    (site.folder / "known_hosts").unlink()
    config = load(site.config)
    assert together(contents(config)) != before and newest(config) > 0.0


def test_the_newest_change_is_known(site: Site) -> None:
    config = load(site.config)
    files = [path for path in site.folder.iterdir() if path.is_file()]
    assert newest(config) <= max(path.stat().st_ctime for path in files)
    before = newest(config)
    target: Path = site.folder / "policy.toml"
    os.utime(target)  # the time of a change is the kernel's
    assert newest(config) >= max(before, target.stat().st_ctime)
