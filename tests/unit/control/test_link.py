"""Two Links back to back, with a clock of our own: answers, deadlines, credit, and every way in which one can end."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from bastion.control import frames
from bastion.control.link import Limits, Link
from bastion.control.node import (
    WINDOW,
    By,
    ControlError,
    Ended,
    Kill,
    Live,
    LiveAsked,
    LiveRow,
    Selection,
    Stream,
)
from bastion.control.orders import SetLocks
from bastion.errors import ControlReason
from bastion.policy.locks import MAX_KEY_ID, MAX_LOCKS, MAX_REASON, Lock, LockKind
from tests.support.reactor import logged_failures

KILL = Kill(Selection(user="alice"), "why", By(0, "root"))


class Wire:
    """The transport of one end: bytes go to the other, unless it reads nothing."""

    def __init__(self):
        self.far = None
        self.held = None  # bytes for a peer that does not read
        self.gone = False
        self.producer = None

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def write(self, data):
        if self.held is not None:
            self.held += data
            self.producer.pauseProducing()
        elif not self.gone:
            self.far.dataReceived(data)

    def abortConnection(self):
        if not self.gone:
            self.gone = self.far.transport.gone = True
            self.far.connectionLost()
            self.far.transport.far.connectionLost()


class Pair:
    def __init__(self, limits=None):
        self.clock = Clock()
        self.questions, self.refused, self.cancelled = [], [], []
        self.asker = Link(self.clock, "far")
        self.server = Link(self.clock, "near", self.serve, limits or Limits())
        self.server.on_refused = self.refused.append
        self.wires = Wire(), Wire()
        self.wires[0].far, self.wires[1].far = self.server, self.asker
        self.asker.makeConnection(self.wires[0])
        self.server.makeConnection(self.wires[1])

    def serve(self, command, request, stream):
        answer = Deferred(lambda _: self.cancelled.append(request))
        self.questions.append((command, request, stream, answer))
        return answer

    def ask(self, request=KILL, stream=None):
        got = []
        answer = self.asker.ask(request, stream)
        answer.addBoth(got.append)
        return got, answer

    def send(self, frame):
        self.server.dataReceived(frames.encode(frame))


def test_a_question_and_its_answer():
    pair = Pair()
    got, _ = pair.ask()
    command, request, _, answer = pair.questions[0]
    assert (command, request) == ("kill", KILL)
    answer.callback(Ended(1, 2, 3, ("x",)))
    assert got == [Ended(1, 2, 3, ("x",))]
    assert pair.clock.getDelayedCalls() == []


def test_answers_come_back_in_any_order():
    pair = Pair()
    first, _ = pair.ask()
    second, _ = pair.ask()
    pair.questions[1][3].callback(Ended(2))
    pair.questions[0][3].callback(Ended(1))
    assert (first, second) == ([Ended(1)], [Ended(2)])


@pytest.mark.slow
def test_an_answer_of_many_megabytes():
    pair = Pair()
    got, _ = pair.ask(LiveAsked())
    rows = tuple(
        LiveRow(f"s{n}", "session", "alice", "u" * 99, "192.0.2.1", "jump", float(n)) for n in range(20_000)
    )
    pair.questions[0][3].callback(Live(rows))
    assert got == [Live(rows)]


@pytest.mark.slow
def test_as_many_locks_as_there_may_be_are_one_question():
    pair = Pair()
    value, reason = "\N{GRINNING FACE}" * (MAX_KEY_ID - 5), "\N{GRINNING FACE}" * MAX_REASON
    locks = tuple(
        Lock(LockKind.CERTIFICATE, f"{number:05}{value}", reason, "somebody (uid 4294967294)", 1e9, 1.5e9)
        for number in range(MAX_LOCKS)
    )
    pair.ask(SetLocks(locks))
    ((command, request, _, _),) = pair.questions
    assert command == "set_locks" and request.locks == locks


def test_a_question_that_cannot_be_sent_leaves_nothing_behind():
    pair = Pair()
    with pytest.raises(ValueError):
        pair.ask(Kill(Selection(user="\ud800"), "why"))
    assert pair.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (ControlError(ControlReason.NOT_FOUND, "nobody"), ControlReason.NOT_FOUND, "nobody"),
        (RuntimeError("secret"), ControlReason.FAILED, "the gateway failed, the operator's log says how"),
    ],
)
def test_errors(error, reason, text):
    pair = Pair()
    got, _ = pair.ask()
    with logged_failures() as logged:
        pair.questions[0][3].errback(error)
    assert len(logged) == isinstance(error, RuntimeError)
    assert (got[0].value.reason, got[0].value.text) == (reason, text)


def test_a_deadline_and_an_answer_after_it():
    pair = Pair()
    got, _ = pair.ask()
    pair.clock.advance(10.1)
    assert got[0].value.reason is ControlReason.TIMEOUT and "far did not answer in 10 s" in got[0].value.text
    assert len(pair.cancelled) == 1  # the far end has heard of it
    pair.asker.dataReceived(frames.encode({"id": 1, "result": {}}))
    assert len(got) == 1 and not pair.asker.lost


def test_cancelling_stops_the_far_end():
    pair = Pair()
    got, answer = pair.ask()
    answer.cancel()
    assert len(pair.cancelled) == 1 and len(got) == 1 and pair.clock.getDelayedCalls() == []


def test_a_lost_link_fails_what_is_pending_and_cancels_what_is_served():
    pair = Pair()
    lost = []
    pair.asker.on_lost = lost.append
    got, _ = pair.ask()
    pair.server.drop()
    assert (
        got[0].value.reason is ControlReason.LINK_LOST and len(pair.cancelled) == 1 and lost == [pair.asker]
    )
    later, _ = pair.ask()
    assert later[0].value.reason is ControlReason.LINK_LOST
    assert pair.asker.lost and pair.server.lost and pair.clock.getDelayedCalls() == []


def test_events_are_bounded_by_what_has_been_taken():
    pair = Pair()
    events = []
    stream = Stream(lambda event, size: events.append(event))
    got, _ = pair.ask(stream=stream)
    far = pair.questions[0][2]
    sent = 0
    while far.offer({"n": sent}, 4096):
        sent += 1
    assert sent == WINDOW // 4096 == len(events)
    stream.grant(8192)  # the credit reaches whoever sends
    assert far.credit == 8192 and far.offer({"n": sent}, 4096)
    assert [event["n"] for event in events] == list(range(sent + 1))
    pair.questions[0][3].callback(Ended(1))
    assert got == [Ended(1)]
    stream.grant(4096)  # nobody is asked any more
    assert far.credit == 4096


def test_both_ends_can_ask():
    pair = Pair()
    pair.asker._serve = lambda command, request, stream: succeed(Ended(7))
    got = []
    pair.server.ask(KILL).addBoth(got.append)
    assert got == [Ended(7)]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"id": 1, "command": "nothing"}, ControlReason.UNKNOWN_COMMAND),
        ({"id": 1, "command": ["kill"]}, ControlReason.UNKNOWN_COMMAND),
        ({"id": 1, "command": "kill"}, ControlReason.MALFORMED),
        ({"id": 1, "command": "kill", "args": []}, ControlReason.MALFORMED),
        (
            {"id": 1, "command": "live", "args": {"selection": {"user": "a", "label": "b"}}},
            ControlReason.MALFORMED,
        ),
    ],
)
def test_a_question_that_is_none_is_refused_and_the_link_lives(frame, reason):
    pair = Pair()
    pair.send(frame)
    assert [error.reason for error in pair.refused] == [reason] and pair.questions == []
    assert not pair.server.lost


@pytest.mark.parametrize(
    "frame",
    [
        {"command": "live"},
        {"id": 1},
        {"id": 1, "what": 2},
        {"id": "1", "command": "live"},
    ],
)
def test_a_frame_that_is_none_ends_the_link(frame):
    pair = Pair()
    pair.send(frame)
    assert pair.server.lost and [error.reason for error in pair.refused] == [ControlReason.MALFORMED]


@pytest.mark.parametrize("credit", [0, -1, "x", True, WINDOW + 1, None])
def test_credit_out_of_range(credit):
    pair = Pair()
    pair.ask()
    pair.send({"id": 1, "credit": credit})
    assert pair.server.lost


def test_an_id_in_use_and_too_many_questions():
    pair = Pair(Limits(questions=2))
    for number in (1, 1, 2, 3):
        pair.send({"id": number, "command": "status"})
    assert [error.reason for error in pair.refused] == [ControlReason.MALFORMED, ControlReason.TOO_MANY]
    assert len(pair.questions) == 2 and not pair.server.lost


def test_half_a_frame_and_then_nothing():
    pair = Pair(Limits(half=5.0))
    whole = frames.encode({"id": 1, "command": "status"})
    pair.server.dataReceived(whole[:3])
    for byte in whole[3:8]:  # a byte now and then does not help
        pair.clock.advance(0.9)
        pair.server.dataReceived(bytes([byte]))
    pair.clock.advance(0.9)
    assert pair.server.lost and [error.reason for error in pair.refused] == [ControlReason.SLOW]


def test_a_frame_in_pieces_that_come_in_time():
    pair = Pair(Limits(half=5.0))
    data = frames.encode({"id": 1, "command": "status"}) + frames.encode({"id": 2, "command": "status"})
    half = len(data) // 2
    pair.server.dataReceived(data[: half + 3])
    pair.clock.advance(4.0)
    pair.server.dataReceived(data[half + 3 :])
    pair.clock.advance(4.0)
    assert not pair.server.lost and len(pair.questions) == 2


def test_who_asks_nothing_is_idle():
    pair = Pair(Limits(idle=60.0))
    pair.clock.advance(59.0)
    pair.send({"id": 1, "command": "status"})
    pair.clock.advance(1000.0)  # a question is being answered
    assert not pair.server.lost
    pair.questions[0][3].callback(Ended())
    pair.clock.advance(59.0)
    assert not pair.server.lost
    pair.clock.advance(1.0)
    assert pair.server.lost and pair.refused == []


def test_who_does_not_read_is_dropped_by_bytes_or_by_time():
    pair = Pair(Limits(output=10_000))
    pair.wires[1].held = b""
    for number in range(1, 300):
        if not pair.server.lost:
            pair.send({"id": number, "command": "nothing"})
    assert pair.server.lost and pair.refused[-1].reason is ControlReason.SLOW
    assert len(pair.wires[1].held) <= 10_000
    pair = Pair(Limits(stall=30.0))
    pair.wires[1].held = b""
    pair.send({"id": 1, "command": "nothing"})
    pair.clock.advance(30.0)
    assert pair.server.lost


def test_who_reads_again_in_time_stays():
    pair = Pair(Limits(stall=30.0))
    pair.wires[1].held = b""
    pair.send({"id": 1, "command": "nothing"})
    pair.clock.advance(29.0)
    pair.wires[1].held = None
    pair.server.resumeProducing()
    pair.clock.advance(60.0)
    assert not pair.server.lost


@pytest.mark.parametrize(
    "frame",
    [
        {"id": 1, "event": 3},
        {"id": 1, "event": {}},
        {"id": 1, "part": 3},
        {"id": 1, "part": ""},
    ],
)
def test_answers_that_are_none_end_the_askers_end(frame):
    pair = Pair()
    got, _ = pair.ask()
    pair.asker.dataReceived(frames.encode(frame))
    assert pair.asker.lost and got[0].value.reason is ControlReason.LINK_LOST


def test_an_answer_of_another_kind():
    pair = Pair()
    got, _ = pair.ask()
    pair.questions[0][3].callback(Live(()))
    assert got == [Ended()]  # whatever it says more is of a newer process
    got, _ = pair.ask(LiveAsked())
    pair.questions[1][3].callback(Ended())
    assert got[0].value.reason is ControlReason.FAILED and "rows" in got[0].value.text


@pytest.mark.parametrize("error", [None, "x", {}, {"reason": "never heard of", "text": 3}])
def test_errors_that_cannot_be_read(error):
    pair = Pair()
    got, _ = pair.ask()
    pair.asker.dataReceived(frames.encode({"id": 1, "error": error}))
    assert got[0].value.reason is ControlReason.FAILED
