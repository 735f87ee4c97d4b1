"""Windows and packet sizes: end to end, never overrun, never overflowed."""

from __future__ import annotations

import pytest

from bastion.errors import PolicyReason
from bastion.relay.events import ChannelRefused
from bastion.relay.limits import MAX_PACKET, MIN_PACKET
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import Playbook, Recorded, adjusts, confirms, opens, sends, sends_stderr
from tests.unit.relay.conftest import MakePlaybook

TUNNEL = r.TcpipOpen("db", 5432, "127.0.0.1", 40000).encode()


def tunnel(book: Playbook, window: int, target_window: int, max_packet: int = 32768) -> None:
    """A direct-tcpip channel 0-0: no reserve, so windows are what the sides say."""
    asked = opens("direct-tcpip", 0, window, max_packet, TUNNEL)
    book.client(asked).to_target(asked)
    book.target(confirms(0, 0, target_window, max_packet)).to_client(
        confirms(0, 0, target_window, max_packet)
    )
    book.untold()


def test_the_window_may_be_used_to_the_last_byte(playbook: MakePlaybook) -> None:
    book = playbook()
    tunnel(book, 100, 10)
    book.client(sends(0, b"x" * 10)).to_target(sends(0, b"x" * 10))
    book.target(sends(0, b"y" * 60), sends_stderr(0, b"z" * 40))
    book.to_client(sends(0, b"y" * 60), sends_stderr(0, b"z" * 40))
    book.done()


@pytest.mark.parametrize("line", [sends(0, b"x"), sends_stderr(0, b"x")])
def test_one_byte_beyond_the_window_is_an_error(playbook: MakePlaybook, line: m.Message) -> None:
    book = playbook()
    tunnel(book, 10, 10)
    book.target(sends(0, b"y" * 10)).to_client(sends(0, b"y" * 10))
    book.target_breaks(line, "overruns the window").done()


def test_the_client_is_held_to_the_window_of_the_target(playbook: MakePlaybook) -> None:
    book = playbook()
    tunnel(book, 100, 10)
    book.client_breaks(sends(0, b"x" * 11), "overruns the window").done()


def test_an_adjust_opens_the_window_by_exactly_its_size(playbook: MakePlaybook) -> None:
    book = playbook()
    tunnel(book, 10, 0)
    book.target(adjusts(0, 5)).to_client(adjusts(0, 5))
    book.client(sends(0, b"12345")).to_target(sends(0, b"12345"))
    book.client_breaks(sends(0, b"6"), "overruns the window").done()


def test_data_of_no_bytes_needs_no_window(playbook: MakePlaybook) -> None:
    book = playbook()
    tunnel(book, 0, 0)
    book.client(sends(0, b"")).to_target(sends(0, b"")).told(Recorded(1, Side.CLIENT, 0, b""))
    book.done()


def test_a_message_beyond_the_maximum_packet_size(playbook: MakePlaybook) -> None:
    book = playbook()
    tunnel(book, 2000, 2000, max_packet=600)
    book.target(sends(0, b"x" * 600)).to_client(sends(0, b"x" * 600))
    book.target_breaks(sends(0, b"x" * 601), "longer than the maximum packet").done()


def test_the_maximum_packet_size_is_clamped_both_ways(playbook: MakePlaybook) -> None:
    book = playbook()
    huge = 0xFFFFFFFF
    book.client(opens("direct-tcpip", 0, huge, huge, TUNNEL))
    book.to_target(opens("direct-tcpip", 0, huge, MAX_PACKET, TUNNEL))
    book.target(confirms(0, 0, huge, huge)).to_client(confirms(0, 0, huge, MAX_PACKET))
    book.client(sends(0, bytes(MAX_PACKET))).to_target(sends(0, bytes(MAX_PACKET)))
    book.client_breaks(sends(0, bytes(MAX_PACKET + 1)), "longer than the maximum packet").done()


def test_a_maximum_packet_size_of_0_in_an_open(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client_breaks(opens("session", 0, max_packet=0), "maximum packet size of 0").done()


def test_a_maximum_packet_size_of_0_in_a_confirmation(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(opens("session", 0, 0)).to_target(opens("session", 0, 0))
    book.target_breaks(confirms(0, 0, max_packet=0), "maximum packet size of 0").done()


@pytest.mark.parametrize(("kind", "body"), [("session", b""), ("direct-tcpip", TUNNEL)])
def test_an_open_with_packets_too_small_to_serve(playbook: MakePlaybook, kind: str, body: bytes) -> None:
    """With messages of one byte a recording was 17 times as long as what it held."""
    book = playbook()
    text = f"maximum packet size is below {MIN_PACKET} bytes"
    book.client(opens(kind, 0, 1000, MIN_PACKET - 1, body)).to_client(m.ChannelOpenFailure(0, 4, text))
    (refused,) = book.tap.heard
    assert isinstance(refused, ChannelRefused) and refused.reason is PolicyReason.CHANNEL_LIMIT
    book.client(opens(kind, 0, 0, MIN_PACKET, body)).to_target(opens(kind, 0, 0, MIN_PACKET, body)).done()


def test_a_confirmation_with_packets_too_small_to_serve(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(opens("session", 0, 0)).to_target(opens("session", 0, 0))
    book.target_breaks(confirms(0, 0, max_packet=MIN_PACKET - 1), "size of 511, which is below 512").done()


def test_a_window_of_all_32_bits_can_be_neither_exceeded_nor_wrapped(playbook: MakePlaybook) -> None:
    book = playbook()
    tunnel(book, 0xFFFFFFFF, 0xFFFFFFFF)
    book.client(sends(0, b"x" * 9)).to_target(sends(0, b"x" * 9))
    book.target(adjusts(0, 9)).to_client(adjusts(0, 9))
    book.target_breaks(adjusts(0, 1), "overflows the window").done()


def test_an_overflow_by_the_client_counts_the_reserve_too(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(window=0xFFFFFFFF)
    book.client_breaks(adjusts(0, 1), "overflows the window").done()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"\x5e\x00\x00\x00\x00\x00\x00\x00", "truncated"),
        (b"\x5f\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00", "truncated"),
        (sends(0, b"abc").encode()[:-1], "not its own"),
        (sends(0, b"abc").encode() + b"x", "not its own"),
        (sends_stderr(0, b"abc").encode()[:-1], "not its own"),
        (b"\x5e\x00\x00\x00\x00\xff\xff\xff\xff", "not its own"),
        (adjusts(0, 3).encode() + b"x", "wrong size"),
        (adjusts(0, 3).encode()[:-1], "wrong size"),
        (b"\x5d", "wrong size"),
        (m.Eof(0).encode() + b"x", "trailing"),
        (m.Close(0).encode()[:-1], "truncated"),
    ],
)
def test_lengths_must_be_their_own(playbook: MakePlaybook, line: bytes, text: str) -> None:
    for side in "client", "target":
        book = playbook()
        book.session()
        (book.client_breaks if side == "client" else book.target_breaks)(line, text).done()


def test_extended_data_of_an_unassigned_type_is_dropped_and_the_window_given_back(
    playbook: MakePlaybook,
) -> None:
    book = playbook()
    tunnel(book, 10, 10)
    strange = m.ExtendedData(0, 2, b"0123456789")
    for _ in range(5):
        book.target(strange).to_target(adjusts(0, 10))
    book.client(m.ExtendedData(0, 0, b"012")).to_client(adjusts(0, 3))
    book.told()
    assert book.relay.swallowed == (3, 50)
    book.target(sends(0, b"0123456789")).to_client(sends(0, b"0123456789"))
    book.target_breaks(strange, "overruns").done()


def test_swallowed_bytes_are_not_given_back_after_the_close_went_out(playbook: MakePlaybook) -> None:
    book = playbook()
    tunnel(book, 10, 10)
    book.client(m.Close(0)).to_target(m.Close(0))
    book.target(m.ExtendedData(0, 2, b"abc")).silence()
    book.done()


def test_a_channel_counts_its_bytes_by_direction(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = book.session()
    book.client(sends(0, b"abc")).to_target(sends(0, b"abc"))
    book.target(sends(0, b"12"), sends_stderr(0, b"3456")).to_client(
        sends(0, b"12"), sends_stderr(0, b"3456")
    )
    assert channel.bytes == [3, 6]
    book.done()


def test_large_data_reaches_the_tap_whole(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    data = bytes(range(256)) * 128
    book.client(sends(0, data)).to_target(sends(0, data)).told(Recorded(1, Side.CLIENT, 0, data))
    book.target(sends_stderr(0, data)).to_client(sends_stderr(0, data)).told(
        Recorded(1, Side.TARGET, 1, data)
    )
    book.done()
