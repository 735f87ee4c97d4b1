"""Messages 80-100: byte for byte as the RFC lays them out. That each is strict is `test_struct.py`'s."""

from __future__ import annotations

import pytest

from bastion.errors import ProtocolError
from bastion.wire import messages as m
from bastion.wire import numbers
from tests.support.declared import MESSAGES


def test_every_message_of_the_connection_protocol_is_declared() -> None:
    assigned = {number for number in numbers.NAMES if numbers.FIRST_CONNECTION_MESSAGE <= number <= 100}
    assert set(MESSAGES) == assigned


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
