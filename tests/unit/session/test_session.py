"""One session between two legs: what is forwarded when, how it ends, and who hears of it.

With `audit.required`, a line that cannot be written ends it like a recorder that cannot write.
"""

import json
import os
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.errors import EndReason, PolicyReason, RecorderFailed, RecorderReason
from bastion.observe.audit import AuditLog
from bastion.observe.events import About
from bastion.observe.families.recordings import RECORDER_FAILURES, RECORDINGS_LIVE
from bastion.observe.meters import Meters
from bastion.policy.verdict import Verdict
from bastion.recording.format import Header
from bastion.recording.store import Store
from bastion.relay.relay import Actions, Relay, RelayLimits
from bastion.session.allowance import Allowance, Written
from bastion.session.ending import End
from bastion.session.session import PARTING, Session
from bastion.session.tap import SessionTap
from bastion.session.watch import WatchLimits
from bastion.sides import Side
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.wire.messages import ChannelOpen, Data, GlobalRequest, RequestFailure
from bastion.wire.numbers import Disconnect
from tests.support.conns import MemoryConn

SESSION = "k3v2m5q7p2r4t6wa"
OPEN = ChannelOpen("session", 0, 1 << 20, 32768).encode()


class Anything:
    """A decider that allows all."""

    sftp = None

    def open(self, *_):
        return Verdict(True, PolicyReason.ALLOWED, "all", "")

    request = global_request = open


class Bench:
    """A session between two legs, recorded and audited in `folder`."""

    def __init__(self, folder, required, allowance=None):
        self.meters, clock = Meters(), FixedClock()
        self.audit = AuditLog(str(folder / "audit"), clock, self.meters, required)
        self.store = Store(folder / "recordings", disk_floor_bytes=0, clock=clock)
        header = Header(SESSION, "alice", "u-1", "web1", "root", clock.time())
        recorder, writer = self.store.start(header)
        self.tap = SessionTap(
            recorder, writer, self.audit, self.meters, About(SESSION, SESSION[:6]), allowance=allowance
        )
        self.client, self.target, self.ends, self.clock = MemoryConn(), MemoryConn(), [], Clock()
        relay = Relay(Anything(), self.tap, RelayLimits())
        self.session = Session(
            SESSION,
            "direct",
            self.client,
            self.target,
            relay,
            self.tap,
            self.clock,
            WatchLimits(),
            lambda _, end: self.ends.append(end),
        )
        self.closes = []
        self.session.start(self.closes.append)

    def break_log(self):
        os.close(self.audit._fd)
        self.audit._fd = os.open("/dev/full", os.O_WRONLY)

    def close(self):
        self.store.close()
        self.audit.close()


@pytest.fixture
def make(tmp_path):
    made = []

    def one(required, allowance=None):
        made.append(Bench(tmp_path, required, allowance))
        return made[-1]

    yield one
    for bench in made:
        bench.close()


def test_the_session_ends_and_nothing_of_the_burst_is_forwarded(make):
    bench = make(required=True)
    bench.break_log()
    bench.client.receiver([OPEN])
    assert [end.reason for end in bench.ends] == [EndReason.RECORDER_FAILED]
    assert bench.target.sent == [] and bench.target.goodbyes == ["the session has ended"]
    assert bench.client.goodbyes == []  # a moment for what stands before it to be shown
    bench.clock.advance(PARTING)
    assert bench.client.goodbyes == [
        "bastion: the session cannot be recorded: the audit log cannot be written"
    ]
    assert bench.meters.value(RECORDER_FAILURES, RecorderReason.AUDIT_FAILED) == 1
    assert bench.meters.value(RECORDINGS_LIVE) == 0


def test_a_recording_as_large_as_it_may_be_ends_its_session_once_what_it_holds_is_forwarded(make):
    written = Written()
    bench = make(required=True, allowance=Allowance(written, "alice", 10, 0))
    bench.client.receiver([OPEN])
    assert len(bench.target.sent) == 1 and [end.reason for end in bench.ends] == [EndReason.RECORDING_LIMIT]
    bench.clock.advance(PARTING)
    line = "bastion: the session has ended: its recording has reached the limit of 10 bytes"
    assert bench.client.goodbyes == [line] and written.of("alice") == 0
    with open(bench.audit.path, encoding="utf-8") as file:
        assert json.loads(file.readlines()[-1])["reason"] == "recording_limit"


def test_an_end_is_never_stopped_by_its_own_line(make):
    bench = make(required=True)
    bench.break_log()
    bench.session.end(End(EndReason.KILLED, "ended by the security team"))
    bench.clock.advance(PARTING)
    assert len(bench.ends) == 1 and bench.target.goodbyes and bench.client.goodbyes


def test_without_that_rule_the_session_goes_on(make):
    bench = make(required=False)
    bench.break_log()
    bench.client.receiver([OPEN])
    assert bench.ends == [] and len(bench.target.sent) == 1


def test_a_line_that_must_be_there_breaks_the_tap_not_the_transport(make):
    bench = make(required=True)
    bench.break_log()
    with pytest.raises(RecorderFailed) as failed:
        Relay(Anything(), bench.tap, RelayLimits()).receive(Side.CLIENT, OPEN, Actions())
    assert failed.value.reason is RecorderReason.AUDIT_FAILED


def test_with_a_good_log_the_lines_are_there(make):
    bench = make(required=True)
    bench.client.receiver([OPEN])
    with open(bench.audit.path, encoding="utf-8") as file:
        assert [json.loads(line)["event"] for line in file] == ["channel_opened"]


def test_no_timer_is_left_of_a_session_that_ends_while_a_burst_with_a_gap_is_forwarded(make, monkeypatch):
    bench = make(required=False)
    monkeypatch.setattr(SessionTap, "commit", lambda tap: True)  # a gap of the rate rule is open
    bench.target.send = lambda payloads: bench.target.on_closed(CloseReason(ClosedBy.US))
    bench.client.receiver([OPEN])
    assert len(bench.ends) == 1
    bench.clock.advance(PARTING / 2)
    assert [timer.func for timer in bench.clock.getDelayedCalls()] == [bench.client.disconnect]


# -- what crosses ---------------------------------------------------------------------------------------------------


def test_a_burst_is_written_and_then_forwarded(make):
    bench = make(required=False)
    assert bench.client.other is bench.target and bench.target.other is bench.client
    written = []
    commit = bench.tap.commit
    bench.target.send = lambda payloads: written.append(list(payloads))
    bench.session._tap = SimpleNamespace(commit=lambda: (written.append("commit"), commit())[1])
    bench.client.receiver([OPEN])
    assert written[0] == "commit" and len(written) == 2
    (forwarded,) = written[1]
    assert ChannelOpen.parse(forwarded).kind == "session"
    assert bench.session.heard == [1, 0]


def test_what_came_before_a_broken_message_still_crosses(make):
    bench = make(required=False)
    bench.client.receiver([OPEN, Data(99, b"x").encode()])
    assert [ChannelOpen.parse(payload).kind for payload in bench.target.sent] == ["session"]
    assert [end.reason for end in bench.ends] == [EndReason.CLIENT_ERROR]
    assert len(bench.client.goodbyes) == 1, "at once: that leg is the reason"


def test_a_target_that_breaks_the_protocol_is_told_so(make):
    bench = make(required=False)
    bench.target.receiver([Data(99, b"x").encode()])
    (end,) = bench.ends
    assert end.reason is EndReason.TARGET_ERROR and end.text.startswith("the target broke the protocol: ")
    assert bench.target.goodbyes == [end.text.removeprefix("the target broke the protocol: ")]


def test_a_leg_is_not_read_while_the_other_takes_nothing(make):
    bench = make(required=False)
    assert bench.session.is_read(Side.CLIENT) and bench.session.is_read(Side.TARGET)
    bench.target.blocked = True
    assert not bench.session.is_read(Side.CLIENT) and bench.session.is_read(Side.TARGET)


def test_a_question_of_ours_is_answered_to_us(make):
    bench = make(required=False)
    bench.session.ask_alive(Side.TARGET)
    assert bench.target.sent == [GlobalRequest("keepalive@openssh.com", True).encode()]
    bench.target.receiver([RequestFailure().encode()])
    assert bench.client.sent == [] and bench.ends == []


# -- how it ends ------------------------------------------------------------------------------------------------------


def test_it_ends_once_and_says_so_to_everybody(make):
    bench = make(required=False)
    bench.session.end(
        End(EndReason.KILLED, "ended by the security team", Disconnect.BY_APPLICATION, "k3v2m5")
    )
    bench.session.end(End(EndReason.IDLE, "no data"))
    assert [end.reason for end in bench.ends] == [EndReason.KILLED]
    assert bench.target.goodbyes == ["the session has ended"] and bench.client.goodbyes == []
    bench.client.receiver([OPEN])
    bench.clock.advance(PARTING)
    assert bench.client.goodbyes == ["bastion: ended by the security team (ref k3v2m5)"]
    assert bench.target.sent == [] and bench.target.receiver is None
    assert bench.clock.getDelayedCalls() == []


def test_the_engineer_s_close_is_heard_by_the_session_and_by_whoever_began_it(make):
    bench = make(required=False)
    why = CloseReason(ClosedBy.PEER, 11, "disconnected by user")
    bench.client.on_closed(why)
    assert [end.reason for end in bench.ends] == [EndReason.CLIENT_CLOSED] and bench.closes == [why]


def test_after_another_end_the_engineer_s_close_is_still_heard(make):
    bench = make(required=False)
    bench.session.end(End(EndReason.KILLED, "over"))
    why = CloseReason(ClosedBy.US, 11, "bastion: over")
    bench.client.on_closed(why)
    assert bench.closes == [why] and len(bench.ends) == 1
    assert bench.target.on_closed is None


def test_a_target_that_hangs_up(make):
    bench = make(required=False)
    bench.target.on_closed(CloseReason(ClosedBy.NETWORK))
    bench.clock.advance(PARTING)
    assert [end.reason for end in bench.ends] == [EndReason.TARGET_CLOSED]
    assert bench.client.goodbyes == ["bastion: the target closed the connection"]


def test_a_disk_that_refuses_to_sync_ends_a_silent_session(make):
    bench = make(required=False)
    bench.session.recording_refused()
    assert bench.ends == []
    bench.tap._writer = SimpleNamespace(
        failure=RecorderFailed(RecorderReason.WRITE_FAILED, "no"),
        close=lambda blocks, link: None,
        written=0,
        ended=False,
    )
    bench.session.recording_refused()
    assert [end.reason for end in bench.ends] == [EndReason.RECORDER_FAILED]
