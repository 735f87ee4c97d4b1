"""Messages 80-100: there and back, byte for byte as the RFC lays them out, and nothing but ProtocolError
else.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import messages as m
from tests.unit.wire.test_data import NAMES

U32 = st.integers(0, 2**32 - 1)
BODY = st.binary(max_size=40)

MESSAGES: list[st.SearchStrategy[m.Message]] = [
    st.builds(m.GlobalRequest, NAMES, st.booleans(), BODY),
    st.builds(m.RequestSuccess, BODY),
    st.builds(m.RequestFailure),
    st.builds(m.ChannelOpen, NAMES, U32, U32, U32, BODY),
    st.builds(m.ChannelOpenConfirmation, U32, U32, U32, U32),
    st.builds(m.ChannelOpenFailure, U32, U32, st.text(max_size=40), BODY),
    st.builds(m.WindowAdjust, U32, U32),
    st.builds(m.Data, U32, BODY),
    st.builds(m.ExtendedData, U32, U32, BODY),
    st.builds(m.Eof, U32),
    st.builds(m.Close, U32),
    st.builds(m.ChannelRequest, U32, NAMES, st.booleans(), BODY),
    st.builds(m.ChannelSuccess, U32),
    st.builds(m.ChannelFailure, U32),
]
ENDLESS = (m.GlobalRequest, m.RequestSuccess, m.ChannelOpen, m.ChannelRequest)
"""Messages whose body reaches to the end, so that no byte is trailing."""


@given(st.one_of(MESSAGES))
def test_there_and_back(message: m.Message) -> None:
    payload = message.encode()
    assert payload[0] == message.NUMBER
    assert type(message).parse(payload) == message
    assert m.parse_message(payload) == message


@given(st.one_of(MESSAGES), st.data())
def test_truncated_messages_are_errors_or_shorter_bodies(message: m.Message, data: st.DataObject) -> None:
    payload = message.encode()
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    try:
        parsed = m.parse_message(cut)
    except ProtocolError:
        return
    assert isinstance(parsed, ENDLESS)
    assert parsed.encode() == cut


@given(st.one_of(MESSAGES), st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_errors(message: m.Message, more: bytes) -> None:
    payload = message.encode() + more
    if isinstance(message, ENDLESS):
        assert m.parse_message(payload).encode() == payload
    else:
        with pytest.raises(ProtocolError):
            m.parse_message(payload)


@given(st.sampled_from(sorted(m.MESSAGES)), st.binary(max_size=80))
def test_garbage_gives_protocol_errors_only(number: int, garbage: bytes) -> None:
    payload = bytes([number]) + garbage
    try:
        message = m.parse_message(payload)
    except ProtocolError:
        return
    again = m.parse_message(message.encode())
    assert again == message


@given(st.binary(max_size=80))
def test_any_payload_gives_a_message_or_a_protocol_error(payload: bytes) -> None:
    try:
        message = m.parse_message(payload)
    except ProtocolError:
        return
    assert message.encode()[0] == payload[0]


@pytest.mark.parametrize("number", [0, 79, 83, 89, 101, 192, 255])
def test_other_numbers_have_no_codec_here(number: int) -> None:
    with pytest.raises(ProtocolError, match="no connection message"):
        m.parse_message(bytes([number]))


def test_a_codec_takes_no_other_number() -> None:
    with pytest.raises(ProtocolError, match="no CHANNEL_EOF"):
        m.Eof.parse(m.Close(1).encode())


@pytest.mark.parametrize(
    ("message", "hexed"),
    [
        (m.GlobalRequest("a@b", True, b"\x01"), "50 00000003 614062 01 01"),
        (m.RequestFailure(), "52"),
        (m.ChannelOpen("session", 1, 2, 3), "5a 00000007 73657373696f6e 00000001 00000002 00000003"),
        (m.ChannelOpenConfirmation(1, 2, 3, 4), "5b 00000001 00000002 00000003 00000004"),
        (m.ChannelOpenFailure(1, 2, "no", b"en"), "5c 00000001 00000002 00000002 6e6f 00000002 656e"),
        (m.WindowAdjust(1, 2), "5d 00000001 00000002"),
        (m.Data(1, b"hi"), "5e 00000001 00000002 6869"),
        (m.ExtendedData(1, 1, b"hi"), "5f 00000001 00000001 00000002 6869"),
        (m.Eof(1), "60 00000001"),
        (m.Close(1), "61 00000001"),
        (m.ChannelRequest(1, "shell", False), "62 00000001 00000005 7368656c6c 00"),
        (m.ChannelSuccess(1), "63 00000001"),
        (m.ChannelFailure(1), "64 00000001"),
    ],
)
def test_the_layout_of_rfc_4254(message: m.Message, hexed: str) -> None:
    assert message.encode() == bytes.fromhex(hexed)


def test_a_description_has_a_limit() -> None:
    with pytest.raises(ProtocolError):
        m.ChannelOpenFailure.parse(m.ChannelOpenFailure(1, 2, "x" * 5000).encode())
