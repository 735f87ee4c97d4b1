"""Service and authentication messages: counts bounded, secrets in no repr; what is written by hand there and back.

That each declared one is strict is `test_struct.py`'s.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import userauth as u
from bastion.wire.data import boolean, byte, string, uint32
from tests.unit.wire.strategies import NAMES, RAW

BY_HAND: dict[type[Any], st.SearchStrategy[Any]] = {
    u.PublicKeyBody: st.builds(u.PublicKeyBody, NAMES, RAW, st.none() | RAW),
    u.PasswordBody: st.builds(u.PasswordBody, RAW, st.none() | RAW),
}
"""The bodies whose first byte says which fields follow; the declared ones are in `strategies.py`."""


@given(st.one_of(list(BY_HAND.values())))
def test_there_and_back(message: Any) -> None:
    assert type(message).parse(message.encode()) == message


@given(st.one_of(list(BY_HAND.values())), st.data())
def test_truncated_and_trailing_bytes(message: Any, data: st.DataObject) -> None:
    raw = message.encode()
    with pytest.raises(ProtocolError):
        type(message).parse(raw + b"\x00")
    with pytest.raises(ProtocolError):
        type(message).parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.sampled_from(list(BY_HAND)), st.binary(max_size=80))
def test_garbage_gives_protocol_errors_only(kind: type[Any], garbage: bytes) -> None:
    try:
        message = kind.parse(garbage)
    except ProtocolError:
        return
    assert kind.parse(message.encode()) == message


@given(NAMES, RAW, RAW, st.none() | RAW)
def test_a_hostbound_body_there_and_back(
    algorithm: str, blob: bytes, host_key: bytes, signature: bytes | None
) -> None:
    body = u.PublicKeyBody(algorithm, blob, signature, host_key)
    assert u.PublicKeyBody.parse(body.encode(), hostbound=True) == body
    with pytest.raises(ProtocolError):
        u.PublicKeyBody.parse(body.encode())


@pytest.mark.parametrize("count", [33, 2**20, 2**32 - 1])
def test_counts_given_by_a_peer_are_bounded_first(count: int) -> None:
    """CVE-2026-48107: the prompt count allocated."""
    with pytest.raises(ProtocolError, match="too many responses"):
        u.InfoResponse.parse(byte(61) + uint32(count) + b"\x00" * 200)
    with pytest.raises(ProtocolError, match="too many prompts"):
        u.InfoRequest.parse(byte(60) + string("") * 3 + uint32(count) + b"\x00" * 400)


def test_secrets_are_in_no_repr() -> None:
    for message in (
        u.PasswordBody(b"hunter2", b"hunter2"),
        u.InfoResponse((b"hunter2",)),
        u.UserauthRequest("alice", "ssh-connection", "password", u.PasswordBody(b"hunter2").encode()),
    ):
        assert "hunter2" not in repr(message)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 1024, 64 * 1024])
def test_passwords_of_every_size_parse(size: int) -> None:
    """That one is too long is for authentication to say (CVE-2026-123158), not for the parser."""
    assert len(u.PasswordBody.parse(u.PasswordBody(b"x" * size).encode()).password) == size


def test_a_password_of_a_mebibyte_does_not_parse() -> None:
    with pytest.raises(ProtocolError):
        u.PasswordBody.parse(u.PasswordBody(b"x" * 2**20).encode())


def test_a_query_carries_no_signature() -> None:
    assert u.PublicKeyBody.parse(u.PublicKeyBody("ssh-ed25519", b"blob").encode()).signature is None
    empty = u.PublicKeyBody.parse(u.PublicKeyBody("ssh-ed25519", b"blob", b"").encode())
    assert empty.signature == b""


def test_what_a_signature_covers_is_laid_out_as_rfc_4252_section_7_says() -> None:
    data = u.signed_data(b"H" * 32, "alice+web1", "ssh-connection", "ssh-ed25519", b"blob")
    assert data == (
        uint32(32) + b"H" * 32 + b"\x32" + string(b"alice+web1") + string(b"ssh-connection")
        + string(b"publickey") + boolean(True) + string(b"ssh-ed25519") + string(b"blob")
    )  # fmt: skip


def test_signed_data_is_the_request_up_to_its_signature() -> None:
    body = u.PublicKeyBody("ssh-ed25519", b"blob", b"signature")
    request = u.UserauthRequest("alice", "ssh-connection", "publickey", body.encode()).encode()
    signed = u.signed_data(b"H", "alice", "ssh-connection", "ssh-ed25519", b"blob")
    assert string(b"H") + request == signed + string(b"signature")


def test_a_user_name_is_utf_8() -> None:
    with pytest.raises(ProtocolError, match="UTF-8"):
        u.UserauthRequest.parse(byte(50) + string(b"\xff") + string("ssh-connection") + string("none"))
