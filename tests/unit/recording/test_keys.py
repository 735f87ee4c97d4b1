"""Keys of recordings: what a header says of them, and that nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bastion.recording.format import FormatError, Header, Suite
from bastion.recording.framing import key_commitment
from bastion.recording.keys import Seal, Sealing, is_signed, node_key_of, raw_key, signed_message
from bastion.recording.unwrapping import DataKeys, split_signed
from bastion.wire.keys import PrivateKey
from tests.unit.recording.samples import header
from tests.unit.recording.sealed import NODE, with_keys


def sealed_header(**changes: Any) -> Header:
    seal = Seal("gw1", NODE.signer.public, bytes(range(32)), Suite.CHAINED).document()
    return header(extra={"seal": {**seal, **changes}})


def test_a_seal_survives_the_header() -> None:
    seal = Seal.of(sealed_header())
    assert (seal.node, seal.node_key, seal.public_key) == ("gw1", NODE.signer.public, bytes(range(32)))
    assert seal.suite is Suite.CHAINED and seal.output == ""


@pytest.mark.parametrize(
    "change",
    [
        {"node": 1},
        {"suite": 0},
        {"suite": True},
        {"suite": 3},
        {"public_key": "00"},
        {"public_key": "zz" * 32},
        {"node_key": "ssh-ed25519 AAAA"},
        {"output": None},
    ],
)
def test_a_seal_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        Seal.of(sealed_header(**change))
    with pytest.raises(FormatError):
        Seal.of(header())


def test_only_ed25519_vouches() -> None:
    rsa = PrivateKey.generate_rsa(2048).public
    with pytest.raises(FormatError, match="not ed25519"):
        node_key_of(rsa.line())


def test_a_wrong_data_key_is_told() -> None:
    keys = with_keys().keys
    assert keys is not None and len(keys.wrapped) == 64 and keys.recipients == ("age1one", "age1two")
    other = DataKeys.new((), lambda both: both)
    seal = replace(Seal.of(sealed_header()), suite=Suite.SEALED)
    seal = replace(seal, output=key_commitment(keys.output), input=key_commitment(keys.input))
    assert seal.fits(DataKeys.joined(keys.wrapped)) and not seal.fits(other)
    assert not seal.fits(replace(keys, input=other.input))
    with pytest.raises(FormatError):
        DataKeys.joined(keys.wrapped[1:])


def test_no_secret_is_shown() -> None:
    sealing = with_keys()
    assert sealing.keys is not None
    assert sealing.keys.output.hex() not in repr(sealing) and repr(sealing.keys.output) not in repr(sealing)


def test_a_signature_is_that_of_its_key_and_message() -> None:
    message = signed_message(b"link", b"head", b"document")
    signature = NODE.sign(message)
    public = raw_key(NODE.signer.public)
    assert len(signature) == 64 and is_signed(public, signature, message)
    assert not is_signed(public, signature, message + b"x")
    assert not is_signed(raw_key(Sealing.alone().signer.public), signature, message)
    assert split_signed(signature + b"{}") == (signature, b"{}")
    with pytest.raises(FormatError):
        split_signed(signature[:-1])
