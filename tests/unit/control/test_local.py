"""What this process says of itself and ends, on a whole gateway in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed

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
from bastion.errors import ControlReason
from bastion.session.present import Kind, Party, Present
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
    assert (opening.kind, opening.user, opening.target) == ("connection", "alice", "")
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


def test_an_opening_is_ended_too(gateway):
    engineer = gateway.connect()
    gate.log_in(engineer)
    assert kill(gateway, user="alice").connections == 1
    assert "ended by the security team" in last_words(engineer)
    gateway.wind_down(15)
    assert gateway.left_over().get("live sessions") is None


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


def test_rooms_above_add_what_they_answer(gateway):
    node = LocalNode(gateway.gateway, "one")
    node.answers(StatusAsked, lambda request, stream: succeed(Status(())))
    assert node.ask(StatusAsked()).result == Status(())
    node._table.clear()
    got = []
    answer: Deferred = node.ask(StatusAsked())
    answer.addErrback(lambda failure: got.append(failure.value))
    assert isinstance(got[0], ControlError) and got[0].reason is ControlReason.UNKNOWN_COMMAND
