"""The question whether we hold the keys that a client was told of: one answer, and only for those."""

from __future__ import annotations

import pytest

from bastion.ca.host_key_news import HOSTKEYS, HOSTKEYS_PROVE, HostKeyNews
from bastion.wire.data import Reader, string
from bastion.wire.keys import PrivateKey
from bastion.wire.messages import GlobalRequest, RequestSuccess
from tests.unit.wire.keygen import load, make_key

OLD, NEW = PrivateKey.generate_ed25519(), PrivateKey.generate_ed25519()
SESSION = b"s" * 32


def news(agreed: str = "ssh-ed25519") -> HostKeyNews:
    return HostKeyNews([OLD, NEW], SESSION, agreed)


def proofs(answer: bytes) -> list[bytes]:
    reader = Reader(RequestSuccess.parse(answer).body)
    found = []
    while reader.remaining:
        found.append(reader.string())
    return found


def asked(*blobs: bytes) -> bytes:
    return b"".join(map(string, blobs))


def test_it_names_every_key() -> None:
    message = GlobalRequest.parse(news().message())
    assert (message.name, message.want_reply) == (HOSTKEYS, False)
    assert message.body == asked(OLD.public.blob, NEW.public.blob)


def test_each_proof_is_of_this_connection_and_this_key() -> None:
    blob = NEW.public.blob
    (proof,) = proofs(news().prove(asked(blob)))
    NEW.public.verify(proof, string(HOSTKEYS_PROVE) + string(SESSION) + string(blob), "ssh-ed25519")
    assert len(proofs(news().prove(asked(blob, OLD.public.blob)))) == 2


WRONG = {
    "nothing": b"",
    "a stranger's key": asked(PrivateKey.generate_ed25519().public.blob),
    "the same key twice": asked(OLD.public.blob, OLD.public.blob),
    "cut": asked(OLD.public.blob)[:-1],
    "too long": asked(b"x" * 5000),
}


@pytest.mark.parametrize("body", list(WRONG.values()), ids=list(WRONG))
def test_nothing_else_is_proved_and_nothing_twice(body: bytes) -> None:
    one = news()
    assert one.prove(body) == b""
    assert one.prove(asked(OLD.public.blob)) == b""


@pytest.mark.slow
def test_rsa_signs_as_the_key_exchange_agreed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    key = load(make_key(tmp_path, "rsa", "-t", "rsa", "-b", "2048"))
    for agreed, used in (("rsa-sha2-256", "rsa-sha2-256"), ("ssh-ed25519", "rsa-sha2-512")):
        (proof,) = proofs(HostKeyNews([key], SESSION, agreed).prove(asked(key.public.blob)))
        data = string(HOSTKEYS_PROVE) + string(SESSION) + string(key.public.blob)
        key.public.verify(proof, data, used)
