"""What a line of the trace says of a message, and that it depends on nothing that the message says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from bastion.transport.settings import TransportSettings
from bastion.transport.trace import TracedReader, TracedWriter, described, packets_of
from bastion.transport.transport import client_transport
from bastion.wire import messages as m
from bastion.wire.data import byte, string, uint32
from bastion.wire.kexinit import TARGET
from bastion.wire.packets import BurstBuffer, PacketReader, PacketWriter


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (m.Data(7, b"x" * 100).encode(), "CHANNEL_DATA 109 channel 7"),
        (m.ChannelOpen("session", 3, 1 << 20, 1 << 15, b"").encode(), "CHANNEL_OPEN 24 channel 3"),
        (m.Close(0).encode(), "CHANNEL_CLOSE 5 channel 0"),
        (m.GlobalRequest("keepalive@openssh.com", True, b"").encode(), "GLOBAL_REQUEST 27"),
        (byte(50) + string("alice") + string("ssh-connection") + string("password"), "USERAUTH_REQUEST"),
        (byte(61) + uint32(1) + string("correct horse"), "USERAUTH_61"),
        (byte(30) + string(bytes(32)), "KEX_30 37"),
        (b"\xc8", "number 200 1"),
        (b"\x5e\0\0", "CHANNEL_DATA 3"),
        (b"\x5a\xff\xff\xff\xff", "CHANNEL_OPEN 5"),
        (b"", "number 0 0"),
    ],
)
def test_a_line(payload: bytes, line: str) -> None:
    assert described(payload) == line


@given(st.binary(min_size=9, max_size=80), st.binary(min_size=75, max_size=75))
def test_a_line_depends_on_number_size_and_channel_only(payload: bytes, other: bytes) -> None:
    if payload[0] != 90:  # the channel number of an open stands behind its kind
        assert described(payload) == described(payload[:5] + other[: len(payload) - 5])


@given(st.binary(max_size=200), st.integers(0, 255))
def test_the_size_of_what_may_hold_a_password_is_left_out(payload: bytes, end: int) -> None:
    for number in (50, 61):
        assert described(byte(number) + payload) == described(byte(number) + payload[:end])


@pytest.mark.parametrize(("asked", "name"), [(False, "id front"), (True, "")])
def test_a_connection_that_is_not_traced_has_the_plain_reader_and_writer(asked: bool, name: str) -> None:
    """So there is nothing in the way of a message that a trace could cost, not even a test."""
    settings = TransportSettings(TARGET, trace=asked)
    assert list(map(type, packets_of(settings, name))) == [PacketReader, PacketWriter]
    transport = client_transport(settings, Clock(), lambda blob: None, name)
    assert (type(transport._reader), type(transport._output.writer)) == (PacketReader, PacketWriter)


def test_a_traced_one_moves_the_same_bytes_and_tells_each_message_once() -> None:
    reader, writer = packets_of(TransportSettings(TARGET, trace=True), "id target")
    assert (type(reader), type(writer)) == (TracedReader, TracedWriter)
    payloads = [m.Data(0, bytes(20_000)).encode(), m.Data(1, b"x").encode(), m.Eof(1).encode()]
    lines: list[str] = []

    def hear(event: LogEvent) -> None:
        lines.append(f"{event['name']} {event['message']}")

    globalLogPublisher.addObserver(hear)
    try:
        sealed = bytes(writer.seal_burst(payloads, BurstBuffer()))
        reader.feed(sealed)
        assert reader.packets() == payloads
    finally:
        globalLogPublisher.removeObserver(hear)
    assert sealed == PacketWriter().seal(payloads)
    told = ["CHANNEL_DATA 20009 channel 0", "CHANNEL_DATA 10 channel 1", "CHANNEL_EOF 5 channel 1"]
    assert lines == [f"id target {one}" for one in told * 2]
