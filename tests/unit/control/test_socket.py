"""The control socket with a real socket file and hostile clients; names are looked up when the test says so."""

from __future__ import annotations

import errno
import os
import socket
import stat
from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from bastion.control import frames
from bastion.control.asking import By, ControlError, Ended, Node
from bastion.control.node import Kill, Selection
from bastion.control.peer import LOOK_UP, Caller, Peer
from bastion.control.roles import Role
from bastion.control.socket import (
    AGAIN,
    CLIENTS,
    CLIENTS_EACH,
    FOR_PEOPLE,
    MODE,
    OURS,
    REFUSALS,
    Acceptor,
    ControlSocket,
    SocketInUse,
    open_socket,
)
from bastion.errors import ControlReason
from bastion.observe.meters import CONTROL_CLIENTS, CONTROL_REFUSALS, CONTROL_REQUESTS, Meters

ME = os.geteuid()


class Wire:
    """A client's connection as the gateway's side sees it: a real pair, so that the kernel says who is there."""

    def __init__(self):
        self.socket, self.far = socket.socketpair()
        self.sent, self.paused, self.gone, self.producer = b"", False, False, None

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def write(self, data):
        self.sent += data

    def abortConnection(self):
        self.gone = True
        self.socket.close()
        self.far.close()


class Desk(Node):
    name = "gateway"

    def __init__(self):
        self.asked, self.pending = [], None

    def ask(self, request, stream=None):
        self.asked.append((request, stream))
        return succeed(Ended(1)) if self.pending is None else self.pending


class Door:
    def __init__(self):
        self.clock, self.meters, self.desk, self.lines, self.named = Clock(), Meters(), Desk(), [], []
        self.socket = ControlSocket(
            self.clock,
            self.desk,
            self.meters,
            self.lines.append,
            {},
            lambda work, then: self.named.append((work, then)),
        )
        self.wires = []

    def connect(self, *roles, known=True):
        wire = Wire()
        self.wires.append(wire)
        client = self.socket.buildProtocol(None)
        if client is None:
            return None, wire
        client.makeConnection(wire)
        if known and self.named:
            self.named.pop()[1](Caller(By(ME, "sec"), frozenset(roles)))
        return client, wire

    def close(self):
        self.socket.close()
        for wire in self.wires:
            wire.socket.close()
            wire.far.close()
        assert self.clock.getDelayedCalls() == []

    def counted(self, command, result):
        if result == "ok":
            return self.meters.value(CONTROL_REQUESTS, command, "ok")
        assert self.meters.value(CONTROL_REQUESTS, command, "refused") == self.meters.value(
            CONTROL_REFUSALS, result
        )
        return self.meters.value(CONTROL_REFUSALS, result)


@pytest.fixture
def door():
    made = Door()
    yield made
    made.close()


def question(command="kill", number=1, **args):
    if command == "kill" and not args:
        args = {"selection": {"user": "alice"}, "reason": "x"}
    return frames.encode({"id": number, "command": command, "args": args})


def answers(wire):
    return frames.FrameReader().feed(wire.sent)


def test_nothing_is_read_before_it_is_known_who_is_there(door):
    client, wire = door.connect(known=False)
    assert wire.paused
    door.named.pop()[1](Caller(By(ME, "sec"), frozenset((Role.RESPONDER,))))
    assert not wire.paused
    client.dataReceived(question())
    ((request, stream),) = door.desk.asked
    assert request == Kill(Selection(user="alice"), "x", By(ME, "sec")) and stream is None
    assert answers(wire)[0]["result"]["sessions"] == 1 and door.counted("kill", "ok") == 1


def test_what_a_client_says_of_itself_counts_for_nothing(door):
    client, _ = door.connect(Role.ADMIN)
    client.dataReceived(question(selection={"user": "alice"}, reason="x", by={"uid": 0, "name": "root"}))
    assert door.desk.asked[0][0].by == By(ME, "sec")


def claimed(person):
    return question(selection={"user": "alice"}, reason="x", by={"uid": 0, "name": "root", "person": person})


def test_whom_an_account_speaks_for_is_believed_where_it_may_speak(door):
    client, wire = door.connect(known=False)
    door.named.pop()[1](Caller(By(ME, "console"), frozenset((Role.RESPONDER,)), speaks=True))
    client.dataReceived(claimed("ada"))
    assert door.desk.asked[0][0].by == By(ME, "console", "ada")
    other, wire = door.connect(Role.ADMIN)
    other.dataReceived(claimed("ada"))
    assert len(door.desk.asked) == 1 and "may not ask for ada" in answers(wire)[0]["error"]["text"]
    assert (door.lines[-1].reason, door.lines[-1].who) == (ControlReason.NO_ROLE, "sec")


def test_a_refusal_names_whom_it_was_asked_for(door):
    client, _ = door.connect(known=False)
    door.named.pop()[1](Caller(By(ME, "console"), frozenset((Role.RESPONDER,)), speaks=True))
    waiting = []
    for asked in (claimed("ada"), question(number=2)):
        door.desk.pending = Deferred()
        waiting.append(door.desk.pending)
        client.dataReceived(asked)
    for one in waiting:
        one.errback(ControlError(ControlReason.BY_POLICY, "no"))
    assert [(line.who, line.person) for line in door.lines] == [("console", "ada"), ("console", "")]


def test_names_that_do_not_come_in_time_give_no_more_than_the_kernel_says(door):
    client, wire = door.connect(known=False)
    door.clock.advance(LOOK_UP)
    assert not wire.paused
    client.dataReceived(question())
    assert door.desk.asked[0][0].by == By(ME, f"uid {ME}")  # the gateway's own account
    door.named.pop()[1](Caller(By(7, "late"), frozenset()))
    client.dataReceived(question(number=2))
    assert door.desk.asked[1][0].by == By(ME, f"uid {ME}")


def test_a_name_look_up_that_fails(door):
    client, _ = door.connect(known=False)
    door.named.pop()[1](None)
    client.dataReceived(question())
    assert len(door.desk.asked) == 1


@pytest.mark.parametrize("roles", [(), (Role.AUDITOR,), (Role.APPROVER,), (Role.AUDITOR, Role.APPROVER)])
def test_without_a_role_nothing_happens_and_it_is_told(door, roles):
    client, wire = door.connect(*roles)
    client.dataReceived(question())
    assert door.desk.asked == [] and answers(wire)[0]["error"]["reason"] == "no_role"
    (line,) = door.lines
    assert line.fields() == {
        "reason": "no_role",
        "text": f"sec has {', '.join(sorted(roles)) or 'no role'}, which may not kill",
        "command": "kill",
        "who": "sec",
        "who_uid": ME,
        "person": "",
    }
    assert door.counted("kill", ControlReason.NO_ROLE) == 1


@pytest.mark.parametrize(
    ("data", "reason", "command", "lives"),
    [
        (question("set_locks", locks=[]), "no_role", "set_locks", True),
        (question("reboot"), "unknown_command", "other", True),
        (question("kill", selection=1), "malformed", "other", True),
        (b"GET / HTTP/1.0\r\n\r\n", "malformed", "other", False),
        (b"\0" * 100, "malformed", "other", False),
        (os.urandom(16) * 65536, "malformed", "other", False),
        (frames.LENGTH.pack(FOR_PEOPLE.frame + 1), "malformed", "other", False),
        (frames.LENGTH.pack(5) + b"[1,2]", "malformed", "other", False),
        (frames.encode({"id": 1, "result": 3, "x": "y"}) * 3, "", "", True),  # nobody was asked
    ],
)
def test_hostile_clients(door, data, reason, command, lives):
    client, wire = door.connect(Role.ADMIN)
    client.dataReceived(question())  # a command before it is not blamed for it
    client.dataReceived(data)
    assert wire.gone is not lives and len(door.desk.asked) == 1
    assert [line.fields()["reason"] for line in door.lines] == [reason] * bool(reason)
    if reason:
        assert door.counted(command, reason) == 1


def test_half_a_frame_and_silence(door):
    client, wire = door.connect(Role.ADMIN)
    client.dataReceived(question()[:9])
    door.clock.advance(FOR_PEOPLE.half)
    assert wire.gone and door.lines[0].fields()["reason"] == "slow"
    _, wire = door.connect(Role.ADMIN)
    door.clock.advance(FOR_PEOPLE.idle)
    assert wire.gone and len(door.lines) == 1  # who says nothing is no news


def test_an_answer_that_nobody_reads(door):
    client, wire = door.connect(Role.ADMIN)
    wire.producer.pauseProducing()
    for number in range(3):
        client.dataReceived(question(number=number))
    door.clock.advance(FOR_PEOPLE.stall)
    assert wire.gone and door.lines[0].fields()["reason"] == "slow"


def test_clients_are_bounded_and_go(door):
    some = [door.connect(Role.ADMIN) for _ in range(CLIENTS_EACH)]
    assert door.meters.value(CONTROL_CLIENTS) == CLIENTS_EACH
    _, wire = door.connect(Role.ADMIN)
    assert wire.gone and door.lines[0].fields()["reason"] == "too_many"
    for client, wire in some:
        client.connectionLost()
        wire.abortConnection()
    assert door.meters.value(CONTROL_CLIENTS) == 0
    client, wire = door.connect(Role.ADMIN)
    assert not wire.gone
    door.socket.clients += [SimpleNamespace(_uid=1, drop=lambda: None)] * (CLIENTS - 1)
    assert door.connect(Role.ADMIN)[0] is None
    door.socket.clients[:] = [client]


def test_the_last_places_are_for_who_runs_the_gateway(door, monkeypatch):
    door.socket.clients += [SimpleNamespace(_uid=1, drop=lambda: None)] * (CLIENTS - OURS)
    peers = [Peer(1, 7, 7, frozenset()), Peer(1, ME, 0, frozenset())]
    monkeypatch.setattr("bastion.control.socket.peer_of", lambda _: peers.pop(0))
    _, stranger = door.connect(Role.RESPONDER)
    _, ours = door.connect(Role.ADMIN)
    assert stranger.gone and not ours.gone and door.lines[0].fields()["who_uid"] == 7
    door.socket.clients[:] = [client for client in door.socket.clients if client._uid != 1]


def test_nothing_is_ordered_of_a_gateway_that_was_handed_over(door):
    client, wire = door.connect(Role.ADMIN)
    door.socket.retired = True
    client.dataReceived(question())
    (answer,) = answers(wire)
    assert answer["error"]["reason"] == "link_lost" and door.desk.asked == []


def test_refusals_fill_no_log(door):
    client, _ = door.connect(Role.AUDITOR)
    for number in range(100):
        client.dataReceived(question(number=number))
    assert len(door.lines) == REFUSALS and door.counted("kill", ControlReason.NO_ROLE) == 100
    door.clock.advance(2.0)
    for number in range(5):
        client.dataReceived(question(number=number))
    assert len(door.lines) == REFUSALS + 2


def test_who_leaves_is_answered_no_more(door):
    client, wire = door.connect(Role.ADMIN)
    cancelled = []
    door.desk.pending = Deferred(cancelled.append)
    client.dataReceived(question())
    client.connectionLost()
    assert len(cancelled) == 1 and wire.sent == b""


# -- the file --------------------------------------------------------------------------------------------------


def test_the_file_is_for_its_owner_and_groups(tmp_path):
    place = tmp_path / "run" / "control.sock"
    opened = open_socket(place, [1, 4, 4])
    with opened.socket:
        found = place.stat()
        assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == MODE
        if not opened.fault:
            assert os.getxattr(place, "system.posix_acl_access")[:4] == b"\2\0\0\0"
        with pytest.raises(SocketInUse):
            open_socket(place)
    again = open_socket(place)  # the one before is dead
    opened.remove()  # and its file is not the one that is there now
    assert place.exists()
    again.remove()
    assert not place.exists()
    again.remove()
    again.socket.close()


def test_what_is_no_socket_is_not_taken_away(tmp_path):
    place = tmp_path / "control.sock"
    place.write_text("mine")
    with pytest.raises(OSError, match="something else"):
        open_socket(place)
    assert place.read_text() == "mine"


def test_a_file_system_without_access_lists(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", none)
    opened = open_socket(tmp_path / "s", [4])
    assert "not those of the roles" in opened.fault
    opened.socket.close()


def test_accepting(tmp_path):
    opened = open_socket(tmp_path / "s")
    readers, adopted = [], []

    class Reactor:
        addReader = readers.append
        removeReader = readers.remove

        @staticmethod
        def adoptStreamConnection(fd, family, door):
            adopted.append((os.readlink(f"/proc/self/fd/{fd}"), family, door))

    acceptor = Acceptor(Reactor, opened.socket, "door")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        acceptor.doRead()
        acceptor.doRead()
    assert len(adopted) == 1 and adopted[0][1:] == (socket.AF_UNIX, "door")
    assert readers == [acceptor] and acceptor.fileno() >= 0 and acceptor.logPrefix()
    acceptor.connectionLost()
    acceptor.stop()
    assert readers == [] and opened.socket.fileno() >= 0  # which may be handed on
    opened.socket.close()


def test_without_a_descriptor_it_waits_and_goes_on(tmp_path):
    opened = open_socket(tmp_path / "s")
    clock, readers, adopted, faults = Clock(), [], [], [OSError(errno.EMFILE, "x"), OSError(errno.EBADF, "x")]

    class Reactor:
        addReader, removeReader, callLater = readers.append, readers.remove, clock.callLater

        @staticmethod
        def adoptStreamConnection(fd, family, door):
            if faults:
                raise faults.pop(0)
            adopted.append(fd)

    acceptor = Acceptor(Reactor, opened.socket, "door")
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for client in clients:
        client.connect(str(tmp_path / "s"))
    acceptor.doRead()
    assert readers == []  # there is nobody to look at again and again
    clock.advance(AGAIN)
    assert readers == [acceptor]
    acceptor.doRead()  # what befell one is not the others'
    acceptor.doRead()
    assert len(adopted) == 1 and readers == [acceptor]
    acceptor._rest()
    readers.append(acceptor)
    acceptor.stop()
    assert clock.getDelayedCalls() == [] and readers == []
    for one in (*clients, opened.socket):
        one.close()
