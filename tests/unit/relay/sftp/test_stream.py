"""Cutting an sftp direction into packets: the same packets however the bytes come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.relay.sftp.stream import HEAD_LIMIT, PACKET_LIMIT, PacketStream
from bastion.wire import sftp
from tests.support.examples import examples


class Heads:
    """A sink with heads of 9 bytes, or of 13 for type 6, or of everything for type 7."""

    def __init__(self):
        self.heard = []
        self.bodies = b""

    def measure(self, data, at, there, total, kind):
        if kind == 7:
            return min(total, HEAD_LIMIT)
        return 9 if kind != 6 or total < 13 else 13

    def head(self, data, at, size, total, kind):
        assert len(data) >= at + size
        self.heard.append((kind, bytes(data[at : at + size]), total))

    def body(self, data):
        assert len(data)
        self.bodies += bytes(data)


PACKETS = st.lists(
    st.tuples(st.sampled_from([5, 6, 7, 101]), st.binary(max_size=40)), min_size=1, max_size=6
).map(lambda pairs: [sftp.packet(kind, 1, body) for kind, body in pairs])


def pieces(raw, cuts):
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [raw[start:end] for start, end in pairwise(edges)]


@given(PACKETS, st.lists(st.integers(0, 1000), max_size=20), st.booleans())
def test_the_same_packets_however_they_come(packets, cuts, views):
    raw = b"".join(packets)
    whole, cut = Heads(), Heads()
    PacketStream(whole).feed(raw)
    stream = PacketStream(cut)
    ends = {sum(map(len, packets[:count])) for count in range(len(packets) + 1)}
    fed = 0
    for piece in pieces(raw, cuts):
        stream.feed(memoryview(piece) if views else piece)
        inside = [end - fed for end in ends if fed <= end <= fed + len(piece)]
        assert stream.boundary == max(inside, default=-1)
        fed += len(piece)
        assert stream.between == (fed in ends)
        assert len(stream.held) < HEAD_LIMIT
    assert stream.between
    assert (cut.heard, cut.bodies) == (whole.heard, whole.bodies)
    assert [kind for kind, _, _ in cut.heard] == [packet[4] for packet in packets]
    assert sum(len(head) for _, head, _ in cut.heard) + len(cut.bodies) == len(raw)


@examples(20)
@given(PACKETS)
def test_one_byte_at_a_time(packets):
    raw, sink = b"".join(packets), Heads()
    stream = PacketStream(sink)
    for at in range(len(raw)):
        stream.feed(raw[at : at + 1])
    assert len(sink.heard) == len(packets)


@pytest.mark.parametrize("length", [0, 4, PACKET_LIMIT - 3, 0xFFFFFFFF])
def test_lengths_that_cannot_be(length):
    raw = length.to_bytes(4, "big") + bytes(5)
    with pytest.raises(ProtocolError, match="impossible length"):
        PacketStream(Heads()).feed(raw)
    stream = PacketStream(Heads())
    stream.feed(raw[:8])
    with pytest.raises(ProtocolError, match="impossible length"):
        stream.feed(raw[8:])


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=10))
def test_garbage_is_a_protocol_error_or_passes(raw, cuts):
    stream = PacketStream(Heads())
    try:
        for piece in pieces(raw, cuts):
            stream.feed(piece)
    except ProtocolError:
        pass


def test_a_long_head_is_kept_up_to_the_limit_only():
    sink = Heads()
    stream = PacketStream(sink)
    raw = sftp.packet(7, 1, bytes(3 * HEAD_LIMIT))
    for at in range(0, len(raw), 1000):
        stream.feed(raw[at : at + 1000])
        assert len(stream.held) < HEAD_LIMIT
    assert len(sink.heard[0][1]) == HEAD_LIMIT and len(sink.bodies) == len(raw) - HEAD_LIMIT
