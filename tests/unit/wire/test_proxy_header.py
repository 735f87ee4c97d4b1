"""PROXY headers: each table of the document, each fault, and what no bytes may do."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import HeaderResult
from bastion.wire.proxy_header import (
    LINE_MOST,
    LONGEST,
    SIGNATURE,
    Header,
    HeaderFault,
    HeaderReader,
    crc32c,
)
from tests.support.proxy_headers import binary, checked, record

ENGINEER, GATEWAY = "198.51.100.4", "192.0.2.10"


def read(data: bytes) -> tuple[Header, bytes]:
    """The header, and what is behind it."""
    reader = HeaderReader()
    taken = reader.feed(data)
    assert reader.header is not None and reader.held == taken
    return reader.header, data[taken:]


def fault(data: bytes) -> HeaderResult:
    with pytest.raises(HeaderFault) as caught:
        HeaderReader().feed(data)
    return caught.value.reason


# -- version 1 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("TCP4 198.51.100.4 192.0.2.10 56324 22", Header(1, ENGINEER, 56324, GATEWAY, 22)),
        ("TCP6 2001:db8::4 2001:db8::10 1 65535", Header(1, "2001:db8::4", 1, "2001:db8::10", 65535)),
        ("TCP6 2001:DB8:0:0:0:0:0:4 ::1 0 22", Header(1, "2001:db8::4", 0, "::1", 22)),
        ("TCP6 ::ffff:198.51.100.4 ::ffff:192.0.2.10 1 2", Header(1, ENGINEER, 1, GATEWAY, 2)),
        ("UNKNOWN", Header(1)),
        ("UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", Header(1)),
    ],
)
def test_a_line(line: str, header: Header) -> None:
    assert read(f"PROXY {line}\r\nSSH-2.0-x\r\n".encode()) == (header, b"SSH-2.0-x\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 198.51.100.4 192.0.2.10 56324 22\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 56324 22\r\r\n",
        b"PROXY UNKNOWN \r \r\n",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 198.51.100.4 192.0.2.10 56324 22\r\n",
        b"PROXY tcp4 198.51.100.4 192.0.2.10 56324 22\r\n",
        b"PROXY UDP4 198.51.100.4 192.0.2.10 56324 22\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY  TCP4 198.51.100.4 192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 56324 22 \r\n",
        b"PROXY TCP4 198.51.100.4  192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 56324\r\n",
        b"PROXY TCP4 2001:db8::4 2001:db8::10 56324 22\r\n",
        b"PROXY TCP6 198.51.100.4 192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 198.51.100.004 192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 198.51.100 192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 3325256708 192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 web1 192.0.2.10 56324 22\r\n",
        b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
        b"PROXY TCP4 0.0.0.0 192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 224.0.0.1 192.0.2.10 56324 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 65536 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 022 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 -1 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 +1 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10 1_0 22\r\n",
        b"PROXY TCP4 198.51.100.4 192.0.2.10  22\r\n",
        "PROXY TCP4 198.51.100.4 192.0.2.10 \u0663 22\r\n".encode(),
    ],
)
def test_a_line_that_is_not_quite_one(line: bytes) -> None:
    assert fault(line) is HeaderResult.MALFORMED


def test_the_longest_line_is_107_bytes() -> None:
    full = "2fff" + 7 * ":ffff"
    line = f"PROXY TCP6 {full} {full} 65535 65535\r\n"
    assert read(line.encode())[0].source_port == 65535
    longest = b"PROXY UNKNOWN ".ljust(LINE_MOST - 2, b"x") + b"\r\n"
    assert read(longest + b"S") == (Header(1), b"S")
    assert fault(longest[:-2] + b"x\r\n") is HeaderResult.TOO_LONG


def test_a_line_without_an_end_holds_no_more_than_107_bytes() -> None:
    reader = HeaderReader()
    with pytest.raises(HeaderFault) as caught:
        reader.feed(b"PROXY UNKNOWN " + bytes(1 << 20))
    assert caught.value.reason is HeaderResult.TOO_LONG and reader.held == LINE_MOST


# -- version 2 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (binary(ENGINEER, GATEWAY, 56324, 22), Header(2, ENGINEER, 56324, GATEWAY, 22)),
        (binary("2001:db8::4", "2001:db8::10", 1, 2), Header(2, "2001:db8::4", 1, "2001:db8::10", 2)),
        (binary("::ffff:198.51.100.4", "::ffff:192.0.2.10", 1, 2), Header(2, ENGINEER, 1, GATEWAY, 2)),
        (SIGNATURE + b"\x20\x00\0\0", Header(2)),
        (SIGNATURE + b"\x20\x11\0\x0c" + bytes(12), Header(2)),
        (SIGNATURE + b"\x20\x31\0\x05junk!", Header(2)),
        (SIGNATURE + b"\x21\x00\0\0", Header(2)),
        (SIGNATURE + b"\x21\x00\0\x03abc", Header(2)),
        (SIGNATURE + b"\x21\x10\0\0", Header(2)),
    ],
)
def test_a_binary_header(data: bytes, header: Header) -> None:
    assert read(data + b"SSH-2.0-x\r\n") == (header, b"SSH-2.0-x\r\n")


ADDRESSES = ipaddress.ip_address(ENGINEER).packed + ipaddress.ip_address(GATEWAY).packed + b"\x10\0\0\x16"


def headed(first: int, second: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([first, second]) + struct.pack("!H", len(body)) + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (headed(0x11, 0x11, ADDRESSES), HeaderResult.MALFORMED),  # version 1
        (headed(0x31, 0x11, ADDRESSES), HeaderResult.MALFORMED),
        (headed(0x22, 0x11, ADDRESSES), HeaderResult.MALFORMED),  # a command that there is not
        (headed(0x2F, 0x11, ADDRESSES), HeaderResult.MALFORMED),
        (headed(0x21, 0x41, ADDRESSES), HeaderResult.MALFORMED),
        (headed(0x21, 0x13, ADDRESSES), HeaderResult.MALFORMED),
        (headed(0x21, 0x12, ADDRESSES), HeaderResult.NOT_TCP),
        (headed(0x21, 0x22, bytes(36)), HeaderResult.NOT_TCP),
        (headed(0x21, 0x31, bytes(216)), HeaderResult.NOT_TCP),
        (headed(0x21, 0x32, bytes(216)), HeaderResult.NOT_TCP),
        (headed(0x21, 0x30, b""), HeaderResult.NOT_TCP),
        (headed(0x21, 0x11, ADDRESSES[:11]), HeaderResult.MALFORMED),
        (headed(0x21, 0x21, ADDRESSES), HeaderResult.MALFORMED),
        (headed(0x21, 0x11, bytes(12)), HeaderResult.MALFORMED),  # from 0.0.0.0
        (headed(0x21, 0x11, ADDRESSES + b"\x04"), HeaderResult.MALFORMED),
        (headed(0x21, 0x11, ADDRESSES + b"\x04\0\x02x"), HeaderResult.MALFORMED),
        (headed(0x21, 0x11, ADDRESSES + record(4, b"xx") + b"\0"), HeaderResult.MALFORMED),
        (headed(0x21, 0x11, ADDRESSES + record(3, b"abc")), HeaderResult.MALFORMED),
        (headed(0x21, 0x11, ADDRESSES + record(3, bytes(4))), HeaderResult.CHECKSUM),
        (headed(0x21, 0x11, ADDRESSES + record(3, bytes(4)) * 2), HeaderResult.MALFORMED),
        (SIGNATURE + b"\x21\x11\xff\xff", HeaderResult.TOO_LONG),
        (SIGNATURE + b"\x20\x00" + struct.pack("!H", LONGEST - 15), HeaderResult.TOO_LONG),
    ],
)
def test_a_binary_header_that_is_not_quite_one(data: bytes, reason: HeaderResult) -> None:
    assert fault(data) is reason


def test_a_length_is_judged_before_what_it_counts_is_kept() -> None:
    reader = HeaderReader()
    with pytest.raises(HeaderFault):
        reader.feed(SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535))
    assert reader.held == 16
    assert read(headed(0x21, 0x11, ADDRESSES + record(4, bytes(LONGEST - 16 - 12 - 3))) + b"x")[1] == b"x"


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the polynomial
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 appendix B.4


def test_a_right_checksum_is_taken_and_every_changed_bit_is_noticed() -> None:
    plain, first = binary(ENGINEER, GATEWAY, 56324, 22), record(5, b"an id")
    good = checked(plain, first, record(0x20, b"\1\0\0\0\0"))
    assert read(good)[0] == Header(2, ENGINEER, 56324, GATEWAY, 22)
    kind = len(plain + first)  # of the checksum's record: as another one it says nothing
    for place in {*range(16, len(good))} - {kind}:
        for bit in range(8):
            changed = bytearray(good)
            changed[place] ^= 1 << bit
            with pytest.raises(HeaderFault):
                HeaderReader().feed(bytes(changed))


# -- both --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0", b"PROXYTCP4", b"PRO\r\n", b"\r\n\r\nQUIT", b"\r\r"]
)
def test_what_is_no_header_is_known_at_its_first_wrong_byte(data: bytes) -> None:
    assert fault(data) is HeaderResult.MISSING


def test_two_headers_are_one_and_what_somebody_says() -> None:
    line = b"PROXY TCP4 198.51.100.4 192.0.2.10 56324 22\r\n"
    assert read(line * 2)[1] == line
    one = binary(ENGINEER, GATEWAY, 1, 2)
    assert read(one + line)[1] == line


ADDRESS4 = st.ip_addresses(v=4).filter(lambda one: not (one.is_unspecified or one.is_multicast))
ADDRESS6 = st.ip_addresses(v=6).filter(
    lambda one: not (one.is_unspecified or one.is_multicast or getattr(one, "ipv4_mapped", None))
)
PAIRS = st.one_of(st.tuples(ADDRESS4, ADDRESS4), st.tuples(ADDRESS6, ADDRESS6))
PORTS = st.integers(0, 65535)
RECORDS = st.lists(st.tuples(st.integers(4, 255), st.binary(max_size=60)), max_size=6)


@given(PAIRS, PORTS, PORTS, RECORDS, st.binary(max_size=40), st.lists(st.integers(1, 40), max_size=30))
def test_what_was_written_is_read_in_any_pieces(
    ends: tuple[ipaddress.IPv4Address, ipaddress.IPv4Address],
    source_port: int,
    destination_port: int,
    records: list[tuple[int, bytes]],
    behind: bytes,
    cuts: list[int],
) -> None:
    source, destination = map(str, ends)
    line = f"PROXY TCP{ends[0].version} {source} {destination} {source_port} {destination_port}\r\n".encode()
    plain = binary(source, destination, source_port, destination_port)
    for version, data in (
        (1, line),
        (2, binary(source, destination, source_port, destination_port, *(record(*one) for one in records))),
        (2, checked(plain, *(record(*one) for one in records))),
    ):
        reader, left, rest = HeaderReader(), data + behind, b""
        for size in [*cuts, len(left)]:
            piece, left = left[:size], left[size:]
            rest += piece[reader.feed(memoryview(piece)) :]
        assert reader.header == Header(version, source, source_port, destination, destination_port)
        assert rest == behind


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: SIGNATURE + data),
                 st.binary(max_size=120).map(lambda data: b"PROXY " + data)))  # fmt: skip
def test_whatever_comes_is_a_header_a_fault_or_not_whole(data: bytes) -> None:
    whole, bytewise = HeaderReader(), HeaderReader()
    ends = []
    for reader, size in ((whole, len(data) or 1), (bytewise, 1)):
        taken = 0
        try:
            for at in range(0, len(data), size):
                taken += reader.feed(data[at : at + size])
            ends.append((reader.header, taken))
        except HeaderFault as found:
            ends.append((found.reason, found.text))
        assert reader.held <= LONGEST
    assert ends[0] == ends[1]
