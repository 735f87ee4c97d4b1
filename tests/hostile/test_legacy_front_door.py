"""No path leads a legacy algorithm to the front door: not a setting, not a call, not a peer's offer."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from bastion.auth.credentials import KEY_TYPE_OF
from bastion.errors import LimitReason, ProtocolError
from bastion.transport.settings import HostKey, TransportSettings
from bastion.wire.kexinit import COMPAT, FRONT, Algorithms, KexInit, negotiate
from bastion.wire.legacy import LEGACY_HOST_KEYS, LEGACY_KEX, LEGACY_NAMES
from tests.unit.transport.parts import HOST_KEY, server_and_raw, server_settings
from tests.unit.wire.keygen import load, make_key

CODE = Path(__file__).resolve().parents[2] / "bastion"
PROFILES = {"default": FRONT, "compat": COMPAT}


def only(name: str) -> Algorithms:
    """What the compat profile knows, but for one list in which there is one legacy name and nothing else."""
    if name in LEGACY_KEX:
        return replace(COMPAT, kex=(name,))
    if name in LEGACY_HOST_KEYS:
        return replace(COMPAT, host_keys=(name,))
    if name.endswith("-cbc"):
        return replace(COMPAT, ciphers=(name,))
    return replace(COMPAT, ciphers=("aes128-ctr",), macs=(name,))


@pytest.mark.parametrize("name", LEGACY_NAMES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_client_that_knows_only_a_legacy_name_is_turned_away(profile: str, name: str) -> None:
    # The raw client says what it wants; what it can do never comes to matter.
    bench, raw = server_and_raw(server_settings(PROFILES[profile]), algorithms=only(name))
    with pytest.raises(ProtocolError, match="no common"):
        raw.handshake()
    assert bench.reason.reason is LimitReason.HANDSHAKE_FAILED and bench.reason.text.startswith("no common ")
    assert bench.transport.keys.agreed is None


@pytest.mark.parametrize("profile", PROFILES)
def test_the_offer_of_the_front_door_holds_none(profile: str) -> None:
    _, raw = server_and_raw(server_settings(PROFILES[profile]))
    raw.handshake()
    theirs = KexInit.parse(raw.theirs)
    lists = (
        theirs.kex,
        theirs.host_keys,
        theirs.ciphers_c2s,
        theirs.ciphers_s2c,
        theirs.macs_c2s,
        theirs.macs_s2c,
    )
    assert not set(LEGACY_NAMES) & {name for names in lists for name in names}


@pytest.mark.parametrize("name", LEGACY_NAMES)
def test_settings_with_a_host_key_of_ours_take_no_legacy_name(name: str) -> None:
    with pytest.raises(ValueError, match="never for a server of ours"):
        TransportSettings(FRONT.with_legacy([name]), (HostKey(HOST_KEY),))


def test_an_rsa_host_key_of_ours_never_signs_with_sha1(tmp_path: Path) -> None:
    rsa = load(make_key(tmp_path, "rsa", "-t", "rsa", "-b", "2048"))
    assert "ssh-rsa" not in HostKey(rsa).algorithms
    assert "ssh-rsa" not in TransportSettings(COMPAT, (HostKey(rsa),)).host_key_of


def test_the_login_knows_no_sha1_signature() -> None:
    assert not set(LEGACY_NAMES) & set(KEY_TYPE_OF)
    assert not set(LEGACY_NAMES) & set(TransportSettings(FRONT, (HostKey(HOST_KEY),)).signature_algorithms)


def users_of(name: str) -> set[str]:
    """The modules that say `name` outside of text: as a name, an attribute or a keyword."""
    found = set()
    for path in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = {getattr(node, part, None) for part in ("id", "attr", "arg", "name")}
            if name in said:
                found.add(path.relative_to(CODE).as_posix())
    return found


def test_only_what_dials_and_scans_can_switch_it_on() -> None:
    assert users_of("allow_sha1") == {"wire/keys.py", "transport/exchange.py"}
    assert users_of("with_legacy") == {"wire/kexinit.py", "upstream/host_keys.py", "cli/target.py"}


def test_two_sides_agree_on_it_only_when_both_offer_it() -> None:
    offers = [KexInit.offer(bytes(16), only(name), client_role=True, initial=True) for name in LEGACY_NAMES]
    front = KexInit.offer(bytes(16), FRONT, client_role=False, initial=True)
    for offer in offers:
        with pytest.raises(ProtocolError):
            negotiate(offer, front)
