"""Signatures of security keys: OpenSSH's own, a browser's, and wrong in every field (docs/security.md, C17)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.wire.data import Reader, byte, mpint, string, uint32
from bastion.wire.keys import BadSignature, PrivateKey, PublicKey, parse_public_line
from bastion.wire.security_keys import WEBAUTHN_ECDSA, Assertion, verify_assertion
from tests.support.authenticator import ECDSA_SK, ED25519_SK, TOUCHED, VERIFIED, SoftKey

KINDS = (ED25519_SK, ECDSA_SK)
KEYS = {kind: SoftKey(kind) for kind in KINDS}
DATA = b"what is signed"

# Made once by ssh-keygen -Y sign of OpenSSH 9.2 with a software authenticator: key, and what SSHSIG wraps.
VECTORS = Path(__file__).with_name("security_key_vectors.txt").read_text().splitlines()


def refuses(key: PublicKey, signature: bytes, algorithm: str, data: bytes = DATA) -> None:
    with pytest.raises(BadSignature):
        verify_assertion(key, signature, data, algorithm)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [0, TOUCHED, VERIFIED, TOUCHED | VERIFIED, 0xC5])
def test_what_the_authenticator_says(kind: str, flags: int) -> None:
    key = KEYS[kind]
    said = verify_assertion(key.public, key.sign(DATA, flags, 77), DATA, kind)
    assert said == Assertion(bool(flags & TOUCHED), bool(flags & VERIFIED), 77)


@pytest.mark.parametrize("line", VECTORS, ids=lambda line: line.split()[0])
def test_signatures_of_openssh(line: str) -> None:
    kind, blob, signature, flags, counter, signed = line.split()
    key = parse_public_line(f"{kind} {blob}")[0]
    said = verify_assertion(key, base64.b64decode(signature), base64.b64decode(signed), kind)
    assert said == Assertion(flags == "1", False, int(counter))
    refuses(key, base64.b64decode(signature), kind, base64.b64decode(signed) + b"x")


@pytest.mark.parametrize("kind", KINDS)
def test_flags_and_counter_are_signed(kind: str) -> None:
    key = KEYS[kind]
    refuses(key.public, key.sign(DATA, 0, said_flags=TOUCHED), kind)
    good = key.sign(DATA)
    refuses(key.public, good[:-1] + byte(good[-1] ^ 1), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_another_application_or_key_or_text(kind: str) -> None:
    key = KEYS[kind]
    refuses(key.public, key.sign(DATA, application="ssh:other"), kind)
    refuses(SoftKey(kind).public, key.sign(DATA), kind)
    refuses(key.public, key.sign(b"another"), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_must_be_the_one_that_was_asked_for(kind: str) -> None:
    key = KEYS[kind]
    other = next(name for name in KINDS if name != kind)
    for name in (other, "ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", WEBAUTHN_ECDSA, ""):
        refuses(key.public, key.sign(DATA, name=name), kind)
        refuses(key.public, key.sign(DATA), name)
        refuses(key.public, key.sign(DATA, name=name), name)


def test_a_plain_key_makes_no_assertion() -> None:
    key = PrivateKey.generate_ed25519()
    for name in ("ssh-ed25519", ED25519_SK):
        refuses(key.public, key.sign(DATA), name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_shorter_and_longer_signature(kind: str) -> None:
    key = KEYS[kind]
    good = key.sign(DATA)
    for cut in range(len(good)):
        refuses(key.public, good[:cut], kind)
    for more in (b"\0", good, bytes(5000)):
        refuses(key.public, good + more, kind)


@pytest.mark.parametrize("inner", [b"", bytes(63), bytes(65), mpint(1), mpint(1) + mpint(0), mpint(1) * 3])
@pytest.mark.parametrize("kind", KINDS)
def test_an_inner_signature_that_is_none(kind: str, inner: bytes) -> None:
    refuses(KEYS[kind].public, string(kind) + string(inner) + b"\1" + uint32(1), kind)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), kind=st.sampled_from((*KINDS, WEBAUTHN_ECDSA)))
def test_every_changed_bit_is_refused(at: int, bit: int, kind: str) -> None:
    key = KEYS[ECDSA_SK if kind == WEBAUTHN_ECDSA else kind]
    good = bytearray(key.sign_in_browser(DATA) if kind == WEBAUTHN_ECDSA else key.sign(DATA))
    good[at % len(good)] ^= 1 << bit
    refuses(key.public, bytes(good), kind)


@given(st.binary(max_size=300))
def test_garbage(garbage: bytes) -> None:
    for kind in KINDS:
        refuses(KEYS[kind].public, garbage, kind)
        refuses(KEYS[kind].public, string(kind) + garbage, kind)
    refuses(KEYS[ECDSA_SK].public, string(WEBAUTHN_ECDSA) + garbage, WEBAUTHN_ECDSA)


# -- browsers ------------------------------------------------------------------------------------------------

BROWSER = KEYS[ECDSA_SK]


@pytest.mark.parametrize("more", ["}", ',"crossOrigin":false}', ',"crossOrigin":true,"x":{"y":[1]}}', ""])
@pytest.mark.parametrize("flags", [TOUCHED, TOUCHED | VERIFIED])
def test_a_signature_that_a_browser_had_made(more: str, flags: int) -> None:
    said = verify_assertion(
        BROWSER.public, BROWSER.sign_in_browser(DATA, flags, 9, more=more), DATA, WEBAUTHN_ECDSA
    )
    assert said == Assertion(True, bool(flags & VERIFIED), 9)


def test_a_browser_that_adds_extensions() -> None:
    signature = BROWSER.sign_in_browser(DATA, 0x81, extensions=b"\xa1\x61x\x01")
    assert verify_assertion(BROWSER.public, signature, DATA, WEBAUTHN_ECDSA).touched


@pytest.mark.parametrize(
    "changes",
    [
        {"challenge": b"another text"},
        {"challenge": b""},
        {"said_origin": "https://ssh.example.com.evil"},
        {"said_origin": ""},
        {"said_origin": 'https://x","y":"', "origin": 'https://x","y":"'},
        {"origin": "a\0b"},
        {"kind": "webauthn.create"},
        {"kind": 'webauthn.get","challenge":"x","y":"'},
        {"flags": 0x81},
        {"flags": 0x41},
        {"extensions": b"\xa0"},
    ],
    ids=lambda changes: ",".join(f"{k}={v!r}" for k, v in changes.items()),
)
def test_browser_signatures_that_are_about_something_else(changes: dict[str, object]) -> None:
    refuses(BROWSER.public, BROWSER.sign_in_browser(DATA, **changes), WEBAUTHN_ECDSA)  # type: ignore[arg-type]


def test_the_two_forms_are_not_taken_for_each_other() -> None:
    refuses(BROWSER.public, BROWSER.sign_in_browser(DATA), ECDSA_SK)
    refuses(BROWSER.public, BROWSER.sign(DATA), WEBAUTHN_ECDSA)
    refuses(BROWSER.public, BROWSER.sign(DATA, name=WEBAUTHN_ECDSA), WEBAUTHN_ECDSA)
    reader = Reader(BROWSER.sign_in_browser(DATA))
    reader.name()
    head = string(ECDSA_SK) + string(reader.string()) + byte(reader.byte()) + uint32(reader.uint32())
    refuses(BROWSER.public, head, ECDSA_SK)
