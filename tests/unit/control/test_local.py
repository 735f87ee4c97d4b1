"""What this process says of itself and ends, on a whole gateway in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed

from bastion.control.glass import Glass, GlassAsked, GlassKept, KeepGlass, Kept, SetGlass
from bastion.control.local import LocalNode, fits
from bastion.control.node import (
    By,
    ControlError,
    Ended,
    Kill,
    LiveAsked,
    Selection,
    SnapshotAsked,
    Status,
    StatusAsked,
)
from bastion.control.orders import KeepLock, KeptLocks, SetLocks
from bastion.errors import ControlReason
from bastion.policy.locks import Lock, LockKind, Party
from bastion.session.present import Kind, Present
from bastion.state.database import Place
from bastion.state.rows import Lock as StateLock
from tests.hostile import memory_gateway as gate
from tests.hostile.memory_gateway import MemoryGateway

ME = By(0, "root")


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    made = MemoryGateway(tmp_path, monkeypatch)
    yield made
    made.close()


def ask(gateway, request):
    got = []
    gateway.program.control.hub.ask(request).addBoth(got.append)
    return got[0]


def kill(gateway, **selection):
    return ask(gateway, Kill(Selection(**selection), "an exercise", ME))


def session(gateway):
    engineer = gateway.connect()
    gate.log_in(engineer)
    target = gateway.target()
    gate.let_in(target)
    engineer.read_until(52)
    return engineer, target


def last_words(peer):
    """The text of the DISCONNECT."""
    return peer.read_until(1).decode("utf-8", "replace")


def audit(gateway, event):
    lines = (Path(gateway.folder) / "audit.jsonl").read_text().splitlines()
    return [found for found in map(json.loads, lines) if found["event"] == event]


def test_nobody_is_here(gateway):
    assert ask(gateway, LiveAsked()).rows == ()
    assert kill(gateway, everything=True).value.reason is ControlReason.NOT_FOUND
    (node,) = ask(gateway, StatusAsked()).nodes
    assert (node.state, node.sessions, node.connections, node.tunnels) == ("running", 0, 0, 0)
    assert node.pid and node.version and node.config.endswith("bastion.toml")


def test_a_session_is_here_from_its_start_to_its_end(gateway):
    engineer = gateway.connect()
    gate.log_in(engineer)
    (opening,) = ask(gateway, LiveAsked()).rows
    assert (opening.kind, opening.user, opening.target) == ("opening", "alice", "web1")
    gate.let_in(gateway.target())
    engineer.read_until(52)
    (row,) = ask(gateway, LiveAsked()).rows
    assert (row.kind, row.user, row.uid, row.target, row.login) == ("session", "alice", "u-1", "web1", "root")
    assert (row.door, row.source, row.id) == ("direct", "198.51.100.4", opening.id)
    engineer.hang_up()
    assert ask(gateway, LiveAsked()).rows == () and len(gateway.gateway.present) == 0


@pytest.mark.parametrize("how", [{"user": "alice"}, {"target": "web1"}, {"everything": True}])
def test_a_killed_session_ends_with_words(gateway, how):
    engineer, target = session(gateway)
    (row,) = ask(gateway, LiveAsked()).rows
    assert kill(gateway, **how) == Ended(1, 0, 0, (row.id,))
    assert target.gone or target.transport.below is None
    gateway.clock.advance(0.3)
    assert "ended by the security team: an exercise (ref " in last_words(engineer)
    (ended,) = audit(gateway, "session_ended")
    assert ended["reason"] == "killed" and "an exercise" in ended["text"]


@pytest.mark.parametrize("how", [{"user": "alice"}, {"target": "web1"}, {"everything": True}])
@pytest.mark.parametrize("step", ["connecting", "key exchange", "target login"])
def test_an_opening_is_ended_too(gateway, how, step):
    engineer = gateway.connect()
    gate.log_in(engineer)
    target = None if step == "connecting" else gateway.target()
    if step == "target login":
        target.handshake()
        target.read_until(5)
    assert kill(gateway, **how).sessions == 1
    assert b"ended by the security team: an exercise (ref " in engineer.read_until(53)
    assert ask(gateway, LiveAsked()).rows == ()
    (refused,) = audit(gateway, "refused")
    assert (refused["what"], refused["reason"], refused["target"]) == ("session", "killed", "web1")
    gateway.wind_down(15)
    assert gateway.left_over().get("live sessions") is None and (target is None or target.gone)


def test_what_is_not_meant_goes_on(gateway):
    session(gateway)
    for selection in (
        {"user": "bob"},
        {"target": "web2"},
        {"id": "x"},
        {"user": "alice", "target": "web2"},
        {},
    ):
        assert kill(gateway, **selection).value.reason is ControlReason.NOT_FOUND
    assert len(gateway.gateway.live) == 1


def present(kind=Kind.SESSION, target="web1", user="alice"):
    return Present("abc", kind, Party(user, "u", "192.0.2.1"), "jump", 1.0, lambda end: None, target)


@pytest.mark.parametrize(
    ("selection", "one", "meant"),
    [
        (Selection(), present(), False),
        (Selection(id="abc"), present(), True),
        (Selection(id="ab"), present(), False),
        (Selection(target="db1"), present(Kind.TUNNEL, "db1:5432"), True),
        (Selection(target="db1:5432"), present(Kind.TUNNEL, "db1:5432"), True),
        (Selection(target="db1"), present(Kind.SESSION, "db1:5432"), False),
        (Selection(target="db1:22"), present(Kind.TUNNEL, "db1:5432"), False),
        (Selection(everything=True), present(), True),
        (Selection(everything=True, user="bob"), present(), False),
    ],
)
def test_what_a_selection_means(selection, one, meant):
    assert fits(selection, one) is meant


def test_meters_are_those_of_now(gateway):
    session(gateway)
    snapshot = ask(gateway, SnapshotAsked()).snapshot
    assert snapshot["sessions_live"]["direct"] == [1]
    assert snapshot["recording_store_free_bytes"][""][0] > 0  # a gauge that is read when somebody looks


def lock(kind, value, until=None):
    return Lock(LockKind(kind), value, "an exercise", "root (uid 0)", 1.0, until)


@pytest.mark.parametrize(
    ("kind", "value", "met"),
    [("user", "alice", 1), ("target", "web1", 1), ("target", "10.1.2.7", 1), ("source", "198.51.100.0/24", 1),
     ("certificate", "KEY", 1), ("user", "bob", 0), ("target", "web2", 0), ("source", "198.51.100.5", 0)],
)  # fmt: skip
def test_a_lock_ends_what_meets_it_in_the_same_turn(gateway, kind, value, met):
    engineer, _ = session(gateway)
    value = gate.ALICE.public.fingerprint() if value == "KEY" else value
    assert ask(gateway, SetLocks((lock(kind, value),))).sessions == met
    assert len(gateway.gateway.live) == 1 - met
    if met:
        gateway.clock.advance(0.3)
        assert "ended by the security team: an exercise (ref " in last_words(engineer)
        assert audit(gateway, "session_ended")[0]["reason"] == "locked"


def test_a_lock_on_a_hop_ends_what_goes_through_it(gateway):
    session(gateway)
    (present,) = (one for one in gateway.gateway.present if one.kind is Kind.SESSION)
    present.via = ("edge1",)
    assert ask(gateway, SetLocks((lock("target", "core2"),))).sessions == 0
    assert ask(gateway, SetLocks((lock("target", "edge1"),))).sessions == 1


def test_a_locked_user_proves_who_he_is_and_reads_why_he_is_not_let_in(gateway):
    ask(gateway, SetLocks((lock("user", "alice"),)))
    engineer = gateway.connect()
    gate.log_in(engineer)
    assert b"locked by the security team: an exercise" in engineer.read_until(53)
    assert engineer.read_until(51)
    (line,) = audit(gateway, "auth")
    assert (line["result"], line["reason"]) == ("refused", "locked")
    ask(gateway, SetLocks(()))
    engineer.send(gate.prove(engineer))
    gate.let_in(gateway.target())
    engineer.read_until(52)


def test_a_locked_source_is_not_even_greeted(gateway):
    ask(gateway, SetLocks((lock("source", "198.51.100.4"),)))
    assert gateway.front.buildProtocol(IPv4Address("TCP", "198.51.100.4", 1)) is None
    assert audit(gateway, "connection_refused")[0]["reason"] == "locked"


def test_a_lock_made_while_the_target_is_dialled(gateway):
    engineer = gateway.connect()
    gate.log_in(engineer)
    assert ask(gateway, SetLocks((lock("target", "web1"),))).sessions == 1
    assert b"ended by the security team: an exercise" in engineer.read_until(53)
    assert len(gateway.gateway.live) == 0 and audit(gateway, "session_started") == []
    assert audit(gateway, "refused")[0]["reason"] == "locked"


def test_locks_are_kept_in_the_store(gateway, monkeypatch):
    kept = []
    state = gateway.gateway.state
    monkeypatch.setattr(state, "add_lock", lambda row: kept.append(row))
    monkeypatch.setattr(
        state,
        "remove_lock",
        lambda *place: kept.remove(next(r for r in kept if r.value == place[1] and r.made_at == place[2])),
    )
    rows = [
        StateLock("user", "alice", "x", "root", 1.0, 5.0),
        StateLock("weather", "rain", "x", "b", 1.0, None),
    ]
    monkeypatch.setattr(state, "load_locks", lambda: succeed(rows))
    assert ask(gateway, KeptLocks()).locks == (Lock(LockKind.USER, "alice", "x", "root", 1.0, 5.0),)
    ask(gateway, KeepLock(lock("user", "bob")))
    assert [(row.kind, row.value) for row in kept] == [("user", "bob")]
    ask(gateway, KeepLock(lock("user", "bob"), gone=True))
    assert kept == []
    monkeypatch.setattr(state, "load_locks", lambda: fail(OSError("down")))
    assert ask(gateway, KeptLocks()).value.reason is ControlReason.FAILED


def test_rooms_above_add_what_they_answer(gateway):
    node = LocalNode(gateway.gateway, "one")
    node.answers(StatusAsked, lambda request, stream: succeed(Status(())))
    assert node.ask(StatusAsked()).result == Status(())
    node._table.clear()
    got = []
    answer: Deferred = node.ask(StatusAsked())
    answer.addErrback(lambda failure: got.append(failure.value))
    assert isinstance(got[0], ControlError) and got[0].reason is ControlReason.UNKNOWN_COMMAND


def test_break_glass_accounts_are_open_as_long_as_was_said(gateway):
    clock, inner = gateway.gateway.clock, gateway.gateway
    assert ask(gateway, GlassAsked()) == Glass() and inner.broken_by == ""
    opened = Glass(clock.time() + 3600, "INC-7", "root (uid 0)")
    assert ask(gateway, SetGlass(opened)) == ask(gateway, GlassAsked()) == opened
    assert inner.broken_by == "command"
    assert ask(gateway, SetGlass(Glass())) == Glass() and inner.broken_by == ""


def test_what_was_said_of_break_glass_accounts_is_kept(gateway, monkeypatch, tmp_path):
    state, noted = gateway.gateway.state, []
    monkeypatch.setattr(state, "note", lambda changes, soon: noted.extend(changes))
    monkeypatch.setattr(state, "place", Place(tmp_path))
    monkeypatch.setattr(state, "ask", lambda question: fail(OSError("away")))
    assert ask(gateway, GlassKept()) == Kept(Glass())
    said = Kept(Glass(3600.0, "INC-7", "root (uid 0)"), 5.0)
    assert ask(gateway, KeepGlass(said)) == ask(gateway, GlassKept()) == said, "with the store away"
    (change,) = noted
    assert (change.table, change.values["until"], change.values["node"]) == (
        "break_glass",
        3600.0,
        state.writer.node,
    )
    closed = Kept(Glass(opened_by="root (uid 0)"), 6.0)
    assert ask(gateway, KeepGlass(closed)) == ask(gateway, GlassKept()) == closed


def test_processes_that_answer_together_have_one_glass():
    opened = Glass(5.0, "INC-7", "root")
    assert GlassAsked.merged([opened, opened]) == opened
    assert SetGlass.merged([Glass(), Glass(down=True)]) == Glass(down=True)
