"""Heads of packets: what of them is looked at, what they are told as, and that garbage is a fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import PolicyReason, ProtocolError
from bastion.policy.verdict import Verdict
from bastion.relay.sftp.audit import Conversation
from bastion.relay.sftp.packets import AnswerSink, RequestSink
from bastion.relay.sftp.stream import HEAD_LIMIT, PacketStream
from bastion.wire import sftp
from bastion.wire.data import string, uint32, uint64
from bastion.wire.sftp import packet
from tests.support import sftp_words as w

NO = Verdict(False, PolicyReason.VERB_NOT_ALLOWED, "rule", "no")


class Bench:
    """A conversation with both of its streams; `told` are the events."""

    def __init__(self, judge=None):
        self.told = []
        self.conversation = Conversation(1, self.told.append, hashing=True)
        self.requests = RequestSink(self.conversation, judge)
        self.client = PacketStream(self.requests)
        self.target = PacketStream(AnswerSink(self.conversation))
        self.client.feed(w.INIT)
        self.target.feed(w.VERSION)

    def opened(self, flags=sftp.FXF_READ):
        self.client.feed(w.opens(1, b"/f", flags))
        self.target.feed(w.handle(1))
        return self.conversation.files[b"h"]


class Judge:
    """Refuses transfers and requests as told, and keeps what it was asked about."""

    def __init__(self, refuses=False, instead=None):
        self.refuses, self.instead, self.asked = refuses, instead, []

    def transfer(self, file, writing):
        self.asked.append((file and file.path, writing))
        return NO if self.refuses else None

    def request(self, request):
        self.asked.append((request.name, request.paths, request.whole))
        return (NO, None) if self.refuses else (None, self.instead)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_data_passes_under_its_handle_however_it_is_cut(step):
    bench = Bench()
    file = bench.opened()
    bench.client.feed(w.reads(2, 0, 5))
    answer = w.data(2, b"hello")
    for at in range(0, len(answer), step):
        bench.target.feed(answer[at : at + step])
    assert file.bytes_read == 5
    assert bench.client.between and bench.target.between


def test_of_a_write_only_the_head_is_held():
    bench = Bench()
    file = bench.opened(sftp.FXF_WRITE)
    write = w.writes(2, 0, bytes(100_000))
    for at in range(0, len(write), 10):
        bench.client.feed(write[at : at + 10])
        assert len(bench.client.held) <= 64
    bench.target.feed(w.status(2))
    assert file.bytes_written == 100_000


def test_a_head_that_is_too_long_to_keep_is_named_and_not_read():
    judge = Judge()
    bench = Bench(judge)
    bench.client.feed(w.renames(1, b"/a", b"/" + b"x" * HEAD_LIMIT))
    assert judge.asked == [("rename", (), False)]


@pytest.mark.parametrize("writing", [False, True])
def test_who_judges_is_asked_under_which_handle(writing):
    judge = Judge()
    bench = Bench(judge)
    bench.opened(sftp.FXF_READ | sftp.FXF_WRITE)
    judge.asked.clear()
    judge.refuses = True
    bench.client.feed(w.writes(2, 0, b"x") if writing else w.reads(2, 0, 1))
    assert judge.asked == [(b"/f", writing)]
    assert (bench.requests.verdict, bench.requests.number) == (NO, 2)
    assert bench.requests.name == ("write" if writing else "read")
    bench.client.feed(w.reads(2, 0, 1, b"unknown"))
    assert judge.asked[-1] == (None, False), "the id of a refused request is free again"


def test_a_refusal_is_of_the_packet_at_hand_only():
    judge = Judge(refuses=True)
    bench = Bench(judge)
    bench.client.feed(w.opens(1, b"/f"))
    assert (bench.requests.verdict, bench.requests.paths) == (NO, (b"/f",))
    judge.refuses, judge.instead = False, b"instead"
    bench.client.feed(w.opens(2, b"/g"))
    assert (bench.requests.verdict, bench.requests.instead) == (None, b"instead")


def test_a_judge_has_no_version_above_3_asked_for():
    bench = Bench.__new__(Bench)
    bench.conversation = Conversation(1, lambda event: None, hashing=True)
    sink = RequestSink(bench.conversation, Judge())
    PacketStream(sink).feed(packet(sftp.INIT, 6, b"more"))
    assert sink.instead == packet(sftp.INIT, 3, b"more")


@pytest.mark.parametrize(
    ("side", "raw", "why"),
    [
        ("client", packet(sftp.WRITE, 2, string(b"h") + uint64(0) + uint32(9) + b"x"), "length that is not its own"),
        ("client", packet(sftp.WRITE, 2, uint32(1 << 20)), "a write is malformed"),
        ("client", packet(sftp.READ, 2, b""), "a read is malformed"),
        ("client", packet(sftp.READ, 2, string(b"h" * 5) + uint64(0)), "a read is malformed"),
        ("client", w.opens(1, b"/f") + w.opens(1, b"/g"), "is in use"),
        ("target", packet(sftp.DATA, 2, uint32(9) + b"x"), "length that is not its own"),
        ("target", packet(sftp.HANDLE, 2, string(b"h" * 300)), "a handle is longer than allowed"),
        ("target", packet(sftp.ATTRS, 2, b""), "attributes are truncated"),
        ("target", packet(77, 2, b""), "of an unknown type"),
        ("target", packet(sftp.READ, 2, b""), "of an unknown type"),
    ],
)  # fmt: skip
def test_what_is_not_what_it_promises_is_a_fault(side, raw, why):
    bench = Bench()
    with pytest.raises(ProtocolError, match=why):
        getattr(bench, side).feed(raw)


@given(st.sampled_from(["client", "target"]), st.integers(0, 255), st.binary(max_size=60))
def test_garbage_raises_nothing_but_protocol_errors(side, kind, body):
    bench = Bench()
    bench.opened()
    try:
        getattr(bench, side).feed(packet(kind, 7, body))
    except ProtocolError:
        pass
