"""The exchange hash and the keys that come of it (RFC 4253 sections 7.2 and 8)."""

from __future__ import annotations

import hashlib

import pytest

from bastion.wire.kex import derive_key, direction_keys, exchange_hash, kex_method
from bastion.wire.legacy import LEGACY_KEX
from tests.unit.wire.test_kex import Foreign, run

pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")


def test_the_exchange_hash_is_over_these_fields_in_this_order() -> None:
    written_out = (
        b"\x00\x00\x00\x01a\x00\x00\x00\x02bb\x00\x00\x00\x03ccc\x00\x00\x00\x04dddd\x00\x00\x00\x05eeeee"
        b"transcriptshared"
    )
    assert (
        exchange_hash("sha256", b"a", b"bb", b"ccc", b"dddd", b"eeeee", b"transcript", b"shared")
        == hashlib.sha256(written_out).digest()
    )


@pytest.mark.parametrize("name", ["mlkem768x25519-sha256", "diffie-hellman-group16-sha512", LEGACY_KEX[0]])
def test_keys_are_derived_as_asyncssh_derives_them(name: str) -> None:
    foreign = Foreign(name, client=True).kex
    for letter in (b"A", b"B", b"C", b"D", b"E", b"F"):
        for length in (0, 1, 12, 20, 21, 32, 64, 65, 200):
            ours = derive_key(kex_method(name).hash_name, b"K" * 30, b"H" * 32, letter, b"S" * 32, length)
            assert ours == foreign.compute_key(b"K" * 30, b"H" * 32, letter, b"S" * 32, length)
            assert len(ours) == length


def test_each_direction_has_its_own_letters() -> None:
    name, mac = "curve25519-sha256", "hmac-sha2-512-etm@openssh.com"

    def expected(letter: bytes, length: int) -> bytes:
        return derive_key("sha256", b"K", b"H", letter, b"S", length)

    up = direction_keys(name, b"K", b"H", b"S", "aes256-ctr", mac, to_server=True)
    down = direction_keys(name, b"K", b"H", b"S", "aes256-ctr", mac, to_server=False)
    assert (up.iv, up.key, up.mac_key) == (expected(b"A", 16), expected(b"C", 32), expected(b"E", 64))
    assert (down.iv, down.key, down.mac_key) == (expected(b"B", 16), expected(b"D", 32), expected(b"F", 64))
    gcm = direction_keys(name, b"K", b"H", b"S", "aes256-gcm@openssh.com", "", to_server=True)
    assert (len(gcm.iv), len(gcm.key), gcm.mac_key) == (12, 32, b"")


def test_k_is_in_no_repr() -> None:
    agreed, reply = run("curve25519-sha256")
    for outcome in (agreed, reply):
        assert "shared=" not in repr(outcome) and repr(outcome.shared)[2:20] not in repr(outcome)
