"""Which host keys count for a target: by its names, and the algorithms that can be verified first."""

from __future__ import annotations

import tomllib

import pytest

from bastion.ca.known_hosts import KnownHosts
from bastion.clock import FixedClock
from bastion.errors import Refused, UpstreamReason
from bastion.options import Source
from bastion.policy.targets import Target, parse_targets
from bastion.transport.settings import TransportSettings
from bastion.upstream.host_keys import HostKeys
from bastion.wire.kexinit import TARGET
from bastion.wire.keys import PrivateKey

PLAIN, BEHIND = PrivateKey.generate_ed25519(), PrivateKey.generate_ed25519()
TARGETS = """
[targets.edge1]
host = "192.0.2.1"
hop_login = "jump"
[targets.a]
host = "10.0.0.5"
aliases = ["also-a"]
[targets.b]
host = "10.0.0.5"
via = "edge1"
aliases = ["also-b"]
[targets.old]
host = "10.0.0.6"
legacy = ["ssh-rsa"]
"""
INVENTORY = parse_targets(tomllib.loads(TARGETS), Source("t"))


def target(name: str) -> Target:
    found = INVENTORY.find(name)
    assert found is not None
    return found


@pytest.fixture
def keys() -> HostKeys:
    known = KnownHosts.parse(f"10.0.0.5 {PLAIN.public.line()}\nalso-b {BEHIND.public.line()}\n")
    return HostKeys(known, TransportSettings(algorithms=TARGET), FixedClock(), None)


@pytest.mark.parametrize(
    ("name", "key", "outcome"),
    [
        ("a", PLAIN, "pinned_ok"),
        ("a", BEHIND, "changed"),
        ("b", BEHIND, "pinned_ok"),
        ("b", PLAIN, "changed"),
        ("edge1", PLAIN, "unknown"),
    ],
)
def test_a_target_behind_a_hop_is_known_by_its_names_alone(
    keys: HostKeys, name: str, key: PrivateKey, outcome: str
) -> None:
    heard: list[tuple[str, str]] = []
    reason = None
    try:
        assert keys.check(target(name), key.public.blob, lambda *judged: heard.append(judged)) is None
    except Refused as refused:
        reason = refused.reason
    assert heard == [(outcome, key.public.fingerprint())]
    assert (
        reason
        == {
            "pinned_ok": None,
            "changed": UpstreamReason.HOST_KEY_CHANGED,
            "unknown": UpstreamReason.HOST_KEY_UNKNOWN,
        }[outcome]
    )


def test_settings_are_made_once_and_shared(keys: HostKeys) -> None:
    first = keys.settings_of(target("a"))
    assert first.algorithms.host_keys[0] == "ssh-ed25519"
    assert keys.settings_of(target("a")) is first and keys.settings_of(target("b")) is first


def test_a_legacy_host_key_is_offered_last_of_its_kind(keys: HostKeys) -> None:
    names = keys.settings_of(target("old")).algorithms.host_keys
    assert names[names.index("rsa-sha2-256") + 1] == "ssh-rsa"
    assert "ssh-rsa" not in keys.settings_of(target("a")).algorithms.host_keys
