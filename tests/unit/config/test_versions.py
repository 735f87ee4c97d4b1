"""A policy that was read is kept as it was, is known by its digest, and judges again as it did."""

from __future__ import annotations

import hashlib
import random
import zlib
from pathlib import Path

import pytest

from bastion.config.load import load
from bastion.config.versions import (
    NONE,
    PACKED_MAX,
    BadVersion,
    KeptFile,
    PolicyVersion,
    judge_by,
    kept_file,
    unpack,
    version_of,
)
from bastion.options import ConfigErrors
from bastion.policy.rules import Defaults
from tests.unit.config.site import POLICY, TARGETS, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_was_read_is_kept_and_judges_as_it_did(site: Site) -> None:
    site.edit("[audit]", '[limits]\nmax_duration = "1h"\nmax_auth_age = "off"\n[audit]')
    config = load(site.config)
    kept = unpack(config.version)
    assert (kept.policy.text, kept.inventory[0].text) == (POLICY, TARGETS)
    assert kept.policy.file == str(site.folder / "policy.toml")
    site.write("policy.toml", "")
    rules, inventory = judge_by(kept)
    assert rules == config.rules and rules.defaults.max_duration == 3600.0
    assert [target.name for target in inventory] == ["web1", "db1"]


def test_the_digest_is_of_policy_inventory_and_limits_and_of_nothing_else(site: Site) -> None:
    first = load(site.config).version.digest
    site.write("users.toml", "[users.zoe]\n", 0o600)
    site.edit("[audit]", "[log]\n[audit]")
    assert load(site.config).version.digest == first and len(first) == 64
    found = {first}
    site.write("policy.toml", POLICY + "\n")
    found.add(load(site.config).version.digest)
    site.write("targets.toml", TARGETS + "\n")
    found.add(load(site.config).version.digest)
    site.edit("[audit]", '[limits]\nidle = "5m"\n[audit]')
    found.add(load(site.config).version.digest)
    assert len(found) == 4


def test_every_file_of_the_inventory_is_kept(site: Site) -> None:
    (site.folder / "more").mkdir()
    site.write("more/b.toml", '[targets.b]\nhost = "b"\n')
    site.edit("[policy]", 'folder = "more"\n[policy]')
    kept = unpack(load(site.config).version)
    assert [Path(one.file).name for one in kept.inventory] == ["targets.toml", "b.toml"]
    assert [target.name for target in judge_by(kept)[1]] == ["web1", "db1", "b"]


def test_what_was_changed_since_is_not_believed(site: Site) -> None:
    version = load(site.config).version
    text = zlib.decompress(version.packed)
    forged = zlib.compress(text.replace(b"deploy", b"root"))
    for packed in (forged, version.packed[:-1], b"", b"garbage"):
        with pytest.raises(BadVersion, match="not what its digest says"):
            unpack(PolicyVersion(version.digest, packed))


@pytest.mark.parametrize("text", [b"{}", b"[]", b"nonsense", b'{"defaults": {}}'])
def test_what_another_program_kept_is_said_so(text: bytes) -> None:
    with pytest.raises(BadVersion, match="does not understand"):
        unpack(PolicyVersion(hashlib.sha256(text).hexdigest(), zlib.compress(text)))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(1 << 27))
    with pytest.raises(BadVersion):
        unpack(PolicyVersion(hashlib.sha256(bytes(1 << 27)).hexdigest(), bomb))


def test_of_one_that_is_too_large_the_digest_is_kept() -> None:
    noise = random.Random(1).randbytes(PACKED_MAX).hex()
    version = version_of(KeptFile("p", "#" + noise), (), Defaults())
    assert len(version.digest) == 64 and version.packed == b""


def test_rules_that_this_program_takes_no_more_are_told() -> None:
    version = version_of(KeptFile("/p.toml", '[[rule]]\nname = "x"\nverbs = ["fly"]\n'), (), Defaults())
    with pytest.raises(ConfigErrors, match=r"/p\.toml:3: rule\[1\]\.verbs"):
        judge_by(unpack(version))


def test_a_path_that_is_no_text_can_be_kept() -> None:
    kept = kept_file(Path("/etc/\udcff.toml"), "")
    assert unpack(version_of(kept, (), Defaults())).policy.file == "/etc/\\udcff.toml"


def test_a_configuration_without_a_policy_has_none(site: Site) -> None:
    assert NONE.digest == "" and repr(load(site.config).version).count("packed") == 0
