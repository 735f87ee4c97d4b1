"""With `audit.required`, a line that cannot be written ends the session like a recorder that cannot write."""

import json
import os

import pytest
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.errors import EndReason, PolicyReason, RecorderFailed, RecorderReason
from bastion.observe.audit import AuditLog
from bastion.observe.meters import RECORDER_FAILURES, RECORDINGS_LIVE, Meters
from bastion.policy.verdict import Verdict
from bastion.recording.format import Header
from bastion.recording.store import Store
from bastion.relay.relay import Actions, Relay, RelayLimits
from bastion.session.ending import End
from bastion.session.session import PARTING, Session
from bastion.session.tap import SessionTap
from bastion.session.watch import WatchLimits
from bastion.sides import Side
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.wire.messages import ChannelOpen
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

    def __init__(self, folder, required):
        self.meters, clock = Meters(), FixedClock()
        self.audit = AuditLog(str(folder / "audit"), clock, self.meters, required)
        self.store = Store(folder / "recordings", disk_floor_bytes=0, clock=clock)
        header = Header(SESSION, "alice", "u-1", "web1", "root", clock.time())
        recorder, writer = self.store.start(header)
        self.tap = SessionTap(recorder, writer, self.audit, self.meters, SESSION)
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
        self.session.start(lambda _: None)

    def break_log(self):
        os.close(self.audit._fd)
        self.audit._fd = os.open("/dev/full", os.O_WRONLY)

    def close(self):
        self.store.close()
        self.audit.close()


@pytest.fixture
def make(tmp_path):
    made = []

    def one(required):
        made.append(Bench(tmp_path, required))
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
