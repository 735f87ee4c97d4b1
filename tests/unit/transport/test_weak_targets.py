"""What a transport adds for weak targets: padded secrets, SHA-1 host keys by name only, no slide at a rekey."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from bastion.transport.settings import SECRET_PADDING
from bastion.wire.kexinit import COMPAT, Algorithms, KexInit
from bastion.wire.keys import PrivateKey
from bastion.wire.legacy import LEGACY_NAMES
from bastion.wire.numbers import MSG_KEXINIT
from bastion.wire.userauth import PasswordBody, UserauthRequest
from tests.hostile.rawssh import RawSsh
from tests.unit.transport.parts import FAST, Bench, client_and_raw, client_settings, log_in, shake

RSA = PrivateKey(generate_private_key(65537, 2048))
LISTED = FAST.with_legacy(LEGACY_NAMES)


def password(length: int) -> bytes:
    body = PasswordBody(b"x" * length).encode()
    return UserauthRequest("admin", "ssh-connection", "password", body).encode()


def size_of(send: Any, bench: Bench) -> int:
    before = bench.transport.bytes_sent
    send()
    size: int = bench.transport.bytes_sent - before
    return size


@pytest.mark.parametrize("cipher", [*COMPAT.ciphers, "aes256-cbc", "3des-cbc"])
def test_the_length_of_a_password_does_not_show(cipher: str) -> None:
    offer = Algorithms(FAST.kex, ("ssh-ed25519",), (cipher,), ("hmac-sha2-256",))
    bench, raw = client_and_raw(client_settings(offer), algorithms=offer)
    shake(bench, raw)
    transport = bench.transport

    def secret(length: int) -> int:
        return size_of(lambda: transport.send([password(length)], SECRET_PADDING), bench)

    sizes = {secret(length) for length in range(1, 60)}
    assert len(sizes) == 1, "one size for every usual length"
    assert secret(61) <= max(sizes) + 128
    assert size_of(lambda: transport.send_any(password(1)), bench) < max(sizes)
    assert [raw.read() for _ in range(59)] == [password(length) for length in range(1, 60)]


def test_a_secret_that_waits_for_a_key_exchange_is_padded_too() -> None:
    def waited(length: int) -> int:
        bench, raw = client_and_raw()
        shake(bench, raw)
        raw.send_kexinit()  # the target begins one; ours goes out at once and holds the rest back
        bench.transport.send([password(length)], SECRET_PADDING)
        raw.read_kexinit()
        size = size_of(raw.finish_exchange, bench)
        assert raw.read_until(50) == password(length)
        return size

    assert waited(1) == waited(40)


def rsa_sha1_server(algorithms: Algorithms) -> tuple[Bench, RawSsh]:
    """A client of ours with `algorithms` and a server that proves an RSA key with SHA-1."""
    return client_and_raw(
        client_settings(algorithms), algorithms=replace(FAST, host_keys=("ssh-rsa",)), host_key=RSA
    )


def test_a_sha1_host_key_is_taken_where_it_is_offered() -> None:
    bench, raw = rsa_sha1_server(FAST.with_legacy(["ssh-rsa"]))
    shake(bench, raw)
    assert bench.transport.keys.agreed.legacy == ("ssh-rsa",)


def test_a_sha1_signature_is_refused_where_another_name_was_agreed() -> None:
    bench, raw = client_and_raw(
        client_settings(LISTED), algorithms=replace(FAST, host_keys=("rsa-sha2-256",)), host_key=RSA
    )
    raw.send_version()
    raw.read_version()
    raw.read_kexinit()
    raw.send_kexinit()
    raw.settle()
    signer: Any = SimpleNamespace(public=RSA.public, sign=lambda data, name: RSA.sign(data, "ssh-rsa"))
    raw.host_key = signer  # the right hash, signed under the name of SHA-1
    raw.read_method()
    assert bench.secured == 0 and "signature is not valid" in bench.reason.text


@pytest.mark.parametrize("used, kept", [((), ()), (("hmac-sha1", "aes256-cbc"), ("aes256-cbc", "hmac-sha1"))])
def test_a_rekey_offers_no_legacy_name_that_the_first_exchange_did_without(used: Any, kept: Any) -> None:
    server = replace(FAST, host_keys=("ssh-ed25519",))
    if used:
        server = replace(server, ciphers=("aes256-cbc",), macs=("hmac-sha1",))
    bench, raw = client_and_raw(client_settings(LISTED), algorithms=server)
    log_in(bench, raw)
    bench.transport.keys.rekey()
    offer = KexInit.parse(raw.read_until(MSG_KEXINIT))
    names = {
        *offer.kex,
        *offer.host_keys,
        *offer.ciphers_c2s,
        *offer.ciphers_s2c,
        *offer.macs_c2s,
        *offer.macs_s2c,
    }
    assert tuple(name for name in LEGACY_NAMES if name in names) == kept
