"""Framing: any cut of the stream gives the same payloads, stops where it must, and costs what it should."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import packets
from bastion.wire.ciphers import CORRUPT_TEXT, PACKET_LIMIT, DirectionKeys, Sealer
from bastion.wire.packets import (
    BACKLOG_LIMIT,
    BURST_LIMIT,
    PACKETS_PER_KEYS,
    PAYLOAD_LIMIT,
    BurstBuffer,
    PacketReader,
    PacketWriter,
)
from tests.unit.wire.test_ciphers import SUITES, keys_for, reader_for, suites, writer_for

NEWKEYS = b"\x15"
GCM = keys_for("aes256-gcm@openssh.com", "")


def drain(reader: PacketReader, limit_bytes: int = 0) -> list[bytes]:
    """All that can be had without more bytes."""
    payloads = reader.packets(limit_bytes)
    while reader.pending:
        payloads += reader.packets(limit_bytes)
    return payloads


def feed_in_pieces(reader: PacketReader, wire: bytes, cuts: list[int], limit_bytes: int) -> list[bytes]:
    """Feed through one reused buffer, as the transport does, cut at the sizes given (then the rest at once)."""
    payloads: list[bytes] = []
    shared = bytearray(len(wire))
    at = 0
    for size in [*cuts, len(wire)]:
        piece = wire[at : at + size]
        at += len(piece)
        shared[: len(piece)] = piece
        with memoryview(shared) as view, view[: len(piece)] as part:
            reader.feed(part)
            payloads += reader.packets(limit_bytes)
        shared[: len(piece)] = b"\xee" * len(piece)  # the buffer is used again
        while reader.pending:
            payloads += reader.packets(limit_bytes)
    return payloads


payload_lists = st.lists(st.binary(min_size=1, max_size=90).filter(lambda p: p[0] != 21), max_size=8)
cut_lists = st.lists(st.integers(0, 120), max_size=12)


@given(st.sampled_from(SUITES), payload_lists, cut_lists, st.sampled_from([0, 1, 64]))
def test_every_suite_gives_back_every_payload_for_every_cut(
    suite: tuple[str, str], payloads: list[bytes], cuts: list[int], limit_bytes: int
) -> None:
    keys = keys_for(*suite)
    writer, reader = writer_for(keys), reader_for(keys)
    wire = writer.seal(payloads)
    assert feed_in_pieces(reader, wire, cuts, limit_bytes) == payloads
    assert reader.buffered == 0 and not reader.pending
    assert reader.bytes_since_kex == writer.bytes_since_kex == len(wire)
    assert reader.packets_since_kex == writer.packets_since_kex == len(payloads)
    assert reader.sequence == writer.sequence == len(payloads)


@given(st.sampled_from(SUITES), payload_lists, cut_lists, st.sampled_from([1, 64]))
def test_a_read_can_be_taken_in_pieces_out_of_the_callers_buffer(
    suite: tuple[str, str], payloads: list[bytes], cuts: list[int], limit_bytes: int
) -> None:
    keys = keys_for(*suite)
    reader = reader_for(keys)
    wire = writer_for(keys).seal(payloads)
    shared, at, got = bytearray(len(wire)), 0, list[bytes]()
    for size in [*cuts, len(wire)]:
        piece = wire[at : at + size]
        at += len(piece)
        shared[: len(piece)] = piece
        reader.feed(memoryview(shared)[: len(piece)])
        while some := reader.packets(limit_bytes, keep=False):
            assert sum(map(len, some[:-1])) < limit_bytes
            got += some
            if not reader.pending:
                break
        reader.keep()
        shared[: len(piece)] = b"\xee" * len(piece)  # the buffer is used again
    assert got == payloads
    assert reader.buffered == 0 and not reader.pending and reader.sequence == len(payloads)


@given(payload_lists, cut_lists)
def test_the_first_exchange_is_plain(payloads: list[bytes], cuts: list[int]) -> None:
    writer, reader = PacketWriter(), PacketReader()
    wire = writer.seal(payloads)
    assert all(payload in wire for payload in payloads)
    assert feed_in_pieces(reader, wire, cuts, 0) == payloads


BUFFER = BurstBuffer()
"""One for all tests, so that each finds what the others left in it."""

burst_sizes = st.lists(
    st.one_of(st.integers(1, 70), st.sampled_from([32777, 32777, 16393, 8190]), st.integers(1, 70_000)),
    min_size=1,
    max_size=10,
)


@given(st.sampled_from(SUITES), st.lists(burst_sizes, min_size=1, max_size=3), st.integers(0, 255))
def test_a_burst_sealed_in_place_is_the_burst(
    suite: tuple[str, str], bursts: list[list[int]], salt: int
) -> None:
    keys = keys_for(*suite)
    copying, placing, reader = writer_for(keys), writer_for(keys), reader_for(keys)
    for sizes in bursts:
        payloads = [bytes([94]) + bytes([(salt + at) & 255]) * (size - 1) for at, size in enumerate(sizes)]
        wire = placing.seal_burst(payloads, BUFFER)
        assert wire == copying.seal(payloads)
        reader.feed(bytes(wire))
        assert drain(reader) == payloads
    for count in ("sequence", "bytes_since_kex", "packets_since_kex"):
        assert getattr(placing, count) == getattr(copying, count)


def test_a_large_burst_is_a_view_of_the_buffer_and_a_small_one_is_not() -> None:
    writer = writer_for(GCM)
    large = writer.seal_burst([b"\x5e" * 32777] * 8, BUFFER)
    assert isinstance(large, memoryview) and large.obj is BUFFER.wire.obj
    assert isinstance(writer.seal_burst([b"\x5e" * 100], BUFFER), bytes)
    assert isinstance(writer.seal_burst([b"\x5e" * 32777], None), bytes)


def test_a_burst_beyond_the_buffer_is_copied() -> None:
    copying, placing = writer_for(GCM), writer_for(GCM)
    payloads = [bytes([94]) * 200_000] * (BURST_LIMIT // 200_000 + 1)
    wire = placing.seal_burst(payloads, BUFFER)
    assert isinstance(wire, bytes) and wire == copying.seal(payloads)
    longest = [b"\x5e" * PAYLOAD_LIMIT]
    assert placing.seal_burst(longest, BUFFER) == copying.seal(longest)


@pytest.mark.parametrize("payloads", [[b""], [b"\x5e" * 9000, b""], [b"\x5e" * (PAYLOAD_LIMIT + 1)]])
def test_a_burst_holds_no_impossible_payload(payloads: list[bytes]) -> None:
    with pytest.raises(ValueError):
        writer_for(GCM).seal_burst(payloads, BUFFER)


def test_a_burst_counts_its_packets_against_the_keys() -> None:
    writer = writer_for(GCM)
    writer.packets_since_kex = PACKETS_PER_KEYS - 1
    with pytest.raises(ProtocolError):
        writer.seal_burst([b"\x5e" * 9000] * 2, BUFFER)


class SeenSealer:
    """Notes what is given to the cipher."""

    def __init__(self, inner: Sealer) -> None:
        self.inner = inner
        self.block_size = inner.block_size
        self.covers_length = inner.covers_length
        self.seen: list[bytes] = []

    def seal(self, sequence: int, plain: bytes) -> bytes:
        self.seen.append(plain)
        return self.inner.seal(sequence, plain)


@suites
def test_packets_obey_the_padding_rules(cipher: str, mac: str) -> None:
    """RFC 4253 section 6, seen on what is given to the cipher."""
    keys = keys_for(cipher, mac)
    writer = writer_for(keys)
    sealer = writer._sealer = SeenSealer(writer._sealer)
    seen = sealer.seen
    for size in range(1, 70):
        writer.seal([b"\x02" * size])
    for size, plain in enumerate(seen, 1):
        padding = plain[0]
        assert 4 <= padding < 4 + sealer.block_size
        assert (len(plain) + sealer.covers_length) % sealer.block_size == 0
        assert len(plain) + sealer.covers_length >= sealer.block_size
        assert plain[1 : 1 + size] == b"\x02" * size
        assert plain[1 + size :] == bytes(padding), "padding is zeros, never anybody's bytes"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_smallest_plain_packet_has_16_bytes(size: int) -> None:
    assert len(PacketWriter().seal([b"\x02" * size])) == 16


@suites
def test_pad_to_hides_how_long_a_password_is(cipher: str, mac: str) -> None:
    writer = writer_for(keys_for(cipher, mac))
    sizes = {len(writer.seal([b"\x32" * size], pad_to=64)) for size in range(1, 44)}
    assert len(sizes) == 1
    reader = reader_for(keys_for(cipher, mac))
    reader.feed(writer_for(keys_for(cipher, mac)).seal([b"\x32secret"], pad_to=64))
    assert reader.packets() == [b"\x32secret"]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(struct.pack(">IB", 12, 11) + bytes(11), id="empty payload"),
        pytest.param(struct.pack(">IB", 28, 255) + bytes(27), id="padding 255 in 32 bytes"),
        pytest.param(struct.pack(">IB", 28, 28) + bytes(27), id="padding covers its own length"),
        pytest.param(struct.pack(">IB", 12, 3) + bytes(11), id="three bytes of padding"),
        pytest.param(struct.pack(">IB", 4, 4) + bytes(3), id="shorter than 16 bytes"),
        pytest.param(struct.pack(">IB", 13, 4) + bytes(12), id="not a multiple of 8"),
        pytest.param(struct.pack(">I", PACKET_LIMIT + 4), id="longer than the limit"),
        pytest.param(b"\xff\xff\xff\xff", id="4 GiB"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="not SSH at all"),
        pytest.param(b"SSH-2.0-again\r\n", id="a second version line"),
    ],
)
def test_malformed_plain_packets_are_refused_at_once(wire: bytes) -> None:
    """docs/security.md, C16: never swallowed, never waited for."""
    reader = PacketReader()
    reader.feed(wire)
    with pytest.raises(ProtocolError) as caught:
        reader.packets()
    assert (caught.value.text, caught.value.code) == (CORRUPT_TEXT, 2)
    reader.feed(PacketWriter().seal([b"\x02"]))
    with pytest.raises(ProtocolError, match=CORRUPT_TEXT):
        reader.packets()
    assert reader.buffered == 0, "nothing more is kept"


@pytest.mark.parametrize("together", [True, False])
def test_good_packets_before_a_corrupt_one_are_given_first(together: bool) -> None:
    """What happens does not depend on how the network cut the stream."""
    writer, reader = writer_for(GCM), reader_for(GCM)
    good, bad = writer.seal([b"\x01bye", b"\x02"]), bytearray(writer.seal([b"\x03"]))
    bad[-1] ^= 1
    reader.feed(good + bytes(bad) if together else good)
    assert reader.packets() == [b"\x01bye", b"\x02"]
    assert reader.pending is together
    if not together:
        reader.feed(bytes(bad))
    with pytest.raises(ProtocolError, match=CORRUPT_TEXT):
        reader.packets()


def test_nothing_is_opened_between_newkeys_and_the_switch() -> None:
    writer, reader = PacketWriter(), PacketReader()
    wire = writer.seal([b"\x14kexinit", NEWKEYS])
    writer.switch(GCM, reset_sequence=True)
    wire += writer.seal([b"\x05service"])
    reader.feed(wire)
    assert reader.packets() == [b"\x14kexinit", NEWKEYS]
    assert not reader.pending
    more = writer.seal([b"\x32auth"])
    reader.feed(more)
    assert reader.packets() == []
    reader.switch(GCM, reset_sequence=True)
    assert reader.pending
    assert drain(reader) == [b"\x05service", b"\x32auth"]
    assert reader.sequence == 2


def test_newkeys_as_the_last_packet_leaves_nothing_pending() -> None:
    reader = PacketReader()
    reader.feed(PacketWriter().seal([NEWKEYS]))
    assert reader.packets() == [NEWKEYS]
    reader.switch(GCM)
    assert not reader.pending and reader.packets() == []
    assert reader.sequence == 1, "without strict kex the numbers go on"


@pytest.mark.parametrize("strict", [True, False])
@suites
def test_a_rekey_changes_every_suite_in_the_middle_of_a_read(cipher: str, mac: str, strict: bool) -> None:
    old, new = keys_for(cipher, mac), keys_for("aes128-gcm@openssh.com", "")
    writer, reader = writer_for(old), reader_for(old)
    wire = writer.seal([b"\x5e" + bytes(50), NEWKEYS])
    writer.switch(new, reset_sequence=strict)
    assert writer.bytes_since_kex == writer.packets_since_kex == 0
    reader.feed(wire + writer.seal([b"\x5efirst", b"\x5esecond"]))
    assert reader.packets() == [b"\x5e" + bytes(50), NEWKEYS]
    reader.switch(new, reset_sequence=strict)
    assert reader.packets() == [b"\x5efirst", b"\x5esecond"]
    assert reader.sequence == writer.sequence == (2 if strict else 4)
    assert reader.packets_since_kex == writer.packets_since_kex == 2


def test_a_limit_leaves_the_rest_for_the_next_turn() -> None:
    writer, reader = writer_for(GCM), reader_for(GCM)
    payloads = [bytes([90, i]) + bytes(998) for i in range(10)]
    reader.feed(writer.seal(payloads))
    turns = [reader.packets(3000)]
    while reader.pending:
        turns.append(reader.packets(3000))
    assert [len(turn) for turn in turns] == [3, 3, 3, 1]
    assert [payload for turn in turns for payload in turn] == payloads


def test_the_sequence_number_of_a_payload_can_be_told() -> None:
    """UNIMPLEMENTED names it: `sequence - n + i`."""
    reader = reader_for(GCM, 0xFFFFFFFF)
    reader.feed(writer_for(GCM, 0xFFFFFFFF).seal([b"\x05a", b"\x05b", b"\x05c"]))
    count = len(reader.packets())
    assert [(reader.sequence - count + i) & 0xFFFFFFFF for i in range(count)] == [0xFFFFFFFF, 0, 1]


@suites
def test_the_longest_payload_fits_every_suite_and_one_more_does_not(cipher: str, mac: str) -> None:
    keys = keys_for(cipher, mac)
    writer, reader = writer_for(keys), reader_for(keys)
    longest = b"\x5e" * PAYLOAD_LIMIT
    reader.feed(writer.seal([longest]))
    assert reader.packets() == [longest]
    with pytest.raises(ValueError):
        writer.seal([longest + b"\x5e"])


def test_a_payload_that_could_not_be_sealed_again_is_refused() -> None:
    plain = struct.pack(">IB", PACKET_LIMIT - 4, 4) + b"\x02" * (PACKET_LIMIT - 9) + bytes(4)
    reader = PacketReader()
    reader.feed(plain)
    with pytest.raises(ProtocolError, match=CORRUPT_TEXT):
        reader.packets()


def test_an_empty_payload_is_never_sealed() -> None:
    with pytest.raises(ValueError):
        PacketWriter().seal([b""])
    assert PacketWriter().seal([]) == b""


def test_keys_are_not_used_for_more_packets_than_there_are_sequence_numbers() -> None:
    writer, reader = writer_for(GCM), reader_for(GCM)
    writer.packets_since_kex = reader.packets_since_kex = PACKETS_PER_KEYS - 1
    wire = writer.seal([b"\x02"])
    with pytest.raises(ProtocolError, match="without a key exchange"):
        writer.seal([b"\x02"])
    reader.feed(wire)
    assert reader.packets() == [b"\x02"]
    reader.packets_since_kex += 1
    reader.sequence, reader._opener = 0, reader_for(GCM)._opener
    reader.feed(wire)
    reader.packets()
    with pytest.raises(ProtocolError):
        reader.packets()


def test_a_caller_that_does_not_stop_reading_meets_a_limit() -> None:
    reader = PacketReader()
    reader.feed(PacketWriter().seal([NEWKEYS]))
    reader.packets()
    chunk = bytes(512 * 1024)
    for _ in range(BACKLOG_LIMIT // len(chunk)):
        reader.feed(chunk)
        assert reader.packets() == []
    reader.feed(b"x")
    with pytest.raises(ProtocolError, match="wait to be opened"):
        reader.packets()
    with pytest.raises(ProtocolError):
        reader.packets()
    assert reader.buffered == 0


def test_feeding_twice_keeps_the_first() -> None:
    writer, reader = writer_for(GCM), reader_for(GCM)
    wire = writer.seal([b"\x02one", b"\x02two"])
    reader.feed(wire[:30])
    reader.feed(wire[30:])
    assert reader.packets() == [b"\x02one", b"\x02two"]


class CountedOpener:
    """Counts what a real opener is given, and that nothing before the current packet is still kept."""

    def __init__(self, keys: DirectionKeys) -> None:
        self.inner = reader_for(keys)._opener
        self.header_size = self.inner.header_size
        self.measured = 0

    def measure(self, sequence: int, view: memoryview, at: int) -> int:
        self.measured += 1
        return self.inner.measure(sequence, view, at)

    def open(self, sequence: int, view: memoryview, at: int, size: int) -> bytes:
        return self.inner.open(sequence, view, at, size)


@suites
def test_each_length_is_read_once_however_slowly_it_comes(cipher: str, mac: str) -> None:
    """A stateful cipher would be out of step after a second reading."""
    keys = keys_for(cipher, mac)
    reader, opener = reader_for(keys), CountedOpener(keys)
    reader._opener = opener
    wire = writer_for(keys).seal([b"\x02" * 20, b"\x02" * 30])
    payloads = []
    for at in range(len(wire)):
        reader.feed(wire[at : at + 1])
        payloads += reader.packets()
    assert payloads == [b"\x02" * 20, b"\x02" * 30]
    assert opener.measured == 2


def test_only_the_unfinished_packet_is_copied() -> None:
    writer, reader = writer_for(GCM), reader_for(GCM)
    wire = writer.seal([b"\x5e" + bytes(32 * 1024)] * 8)
    reader.feed(memoryview(wire)[:200_000])
    assert len(reader.packets()) == 6
    assert len(reader._kept) == reader.buffered < 32 * 1024 + 64
    reader.feed(memoryview(wire)[200_000:])
    assert len(reader.packets()) == 2
    assert reader.buffered == 0 and len(reader._kept) == 0


def cost_of(size: int, piece: int, limit_bytes: int) -> float:
    """Seconds to take `size` bytes of 16-byte payloads, the best of three."""
    wire = writer_for(GCM).seal([b"\x02" * 16] * (size // 52))
    best = 60.0
    for _ in range(3):
        reader, count = reader_for(GCM), 0
        began = time.process_time()
        for at in range(0, len(wire), piece):
            reader.feed(wire[at : at + piece])
            count += len(drain(reader, limit_bytes))
        best = min(best, time.process_time() - began)
        assert count == size // 52
    return best


@pytest.mark.parametrize("limit_bytes", [0, 1024])
def test_the_cost_of_a_backlog_grows_with_its_size_only(limit_bytes: int) -> None:
    """Eight times the bytes in one feed: about eight times the time; a quadratic reader would take 64 times."""
    small, large = cost_of(64 * 1024, 1 << 20, limit_bytes), cost_of(512 * 1024, 1 << 20, limit_bytes)
    assert large < 24 * small


def test_a_long_packet_in_small_pieces_is_not_quadratic() -> None:
    def cost(size: int) -> float:
        wire = writer_for(GCM).seal([b"\x5e" * size])
        reader = reader_for(GCM)
        began = time.process_time()
        for at in range(0, len(wire), 8):
            reader.feed(wire[at : at + 8])
            reader.packets()
        assert reader.packets_since_kex == 1
        return time.process_time() - began

    small, large = min(cost(25_000) for _ in range(3)), min(cost(200_000) for _ in range(3))
    assert large < 24 * small


def test_limits_have_the_values_that_were_decided() -> None:
    assert PACKET_LIMIT == 262144 and PAYLOAD_LIMIT + 20 == PACKET_LIMIT
    assert packets.BACKLOG_LIMIT == 2 << 20
