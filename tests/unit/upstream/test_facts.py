"""What is said of a target's leg: once it stands, and when nothing is common with it."""

from __future__ import annotations

from dataclasses import replace

from bastion.upstream.facts import SHOWN_NAMES, connected, mismatch_text
from bastion.wire.kexinit import Mismatch
from bastion.wire.legacy import LEGACY_NAMES
from tests.unit.transport.parts import FAST, client_and_raw, client_settings, shake

LISTED = FAST.with_legacy(LEGACY_NAMES)


def test_the_facts_of_a_leg_name_what_is_weak_once() -> None:
    bench, raw = client_and_raw(
        client_settings(LISTED),
        algorithms=replace(FAST, host_keys=("ssh-ed25519",), ciphers=("3des-cbc",), macs=("hmac-sha1",)),
    )
    shake(bench, raw)
    facts = connected(
        bench.transport.keys.peer_version, bench.transport.keys.agreed, "publickey", "key_file", ("ssh-rsa",)
    )
    assert facts.legacy == ("ssh-rsa", "3des-cbc", "hmac-sha1") and facts.peer_version == "SSH-2.0-raw"


def test_a_target_cannot_fill_a_refusal() -> None:
    many = Mismatch("cipher", tuple(f"{'x' * 60}{number}" for number in range(256)))
    assert len(mismatch_text([many])) < 600 and mismatch_text([many]).endswith(
        ", ..., which is not supported here"
    )
    assert mismatch_text([Mismatch("MAC", ())]) == (
        "no common MAC: the target offers only nothing, which is not supported here"
    )


def test_a_remedy_is_named_when_it_helps_for_every_list() -> None:
    old = Mismatch("cipher", ("aes256-cbc", "x"))
    text = mismatch_text([old, Mismatch("MAC", ("hmac-sha1",))])
    assert text == (
        "no common cipher: the target offers only aes256-cbc, x; no common MAC: the target offers only hmac-sha1; "
        'if it cannot be upgraded: legacy = ["aes256-cbc", "hmac-sha1"] in its table'
    )
    assert mismatch_text([old, Mismatch("MAC", ("unheard-of",))]).endswith("which is not supported here")


def test_a_target_s_names_are_text() -> None:
    assert "\x1b" not in mismatch_text([Mismatch("cipher", ("a\x1b[2J",))])
    assert mismatch_text([Mismatch("cipher", tuple("abcdefgh"))]).count(", ") == SHOWN_NAMES + 1
