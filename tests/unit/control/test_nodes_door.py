"""Where other gateways connect to: who is listed and proves it asks what gateways ask, and nobody else anything."""

from __future__ import annotations

import os
import socket
import struct

import orjson
import pytest
from twisted.internet.protocol import ClientFactory

from bastion.clock import SystemClock
from bastion.control.asking import By, ControlError
from bastion.control.link import Link
from bastion.control.node import Selection, SnapshotAsked, StatusAsked
from bastion.control.nodes_door import LIMITS, LINES, LINKS_EACH, QUESTIONS, RATE, UNKNOWN
from bastion.control.orders import AddLock, SetLocks
from bastion.control.there import LiveThere, LocksThere
from bastion.errors import ControlReason
from bastion.net.mutual_tls import HANDSHAKE, MutualTls, TlsFiles, context_of
from bastion.observe.families.nodes import NODE_REFUSALS
from bastion.policy.locks import LockKind
from tests.support.fleet import Company
from tests.support.node_certificates import NodesCA


class Caller(ClientFactory):
    """Somebody with a certificate, who speaks as the far end of a link; without one: in TCP alone."""

    def __init__(self, company, files=None):
        self.net, self.files, self.lost = company.net, files, False
        self.link = Link(company.net, "door") if files is not None else None
        self.connector = company.net.connectTCP("gw1", 1, self, 5.0)
        company.net.advance(0)

    def buildProtocol(self, addr):
        if self.files is None:
            return _Silent()
        context = context_of(self.files, server=False)
        return MutualTls(self.net, SystemClock(), context, False, lambda proved: self.link, lambda *_: None)

    def clientConnectionFailed(self, connector, reason):
        self.lost = True

    def clientConnectionLost(self, connector, reason):
        self.lost = True

    def ask(self, request):
        got = []
        self.link.ask(request).addBoth(got.append)
        self.net.advance(0)
        return got[0]

    def say(self, data):
        self.link.transport.write(data)
        self.net.advance(0)


class _Silent:
    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        pass

    def connectionLost(self, reason):
        pass


@pytest.fixture
def company(tmp_path):
    made = Company(tmp_path)
    yield made
    made.net.run(HANDSHAKE + 1)
    for end in list(made.net.ends):
        end.abortConnection()
    made.close()


def files(company, name, **more):
    certificate, key = company.ca.node(f"fresh-{name}", more.pop("names", [name]), **more)
    return TlsFiles(certificate, key, company.ca.certificate)


def refused(company, reason):
    gateway = company.gateways[0]
    return gateway.meters.value(NODE_REFUSALS, reason), [
        line["text"] for line in gateway.events("node_refused") if line["reason"] == reason
    ]


def test_a_gateway_asks(company):
    caller = Caller(company, files(company, "gw2"))
    live = caller.ask(LiveThere(By(0, "root"), Selection(everything=True)))
    assert live.rows == () and refused(company, "stranger") == (0, [])


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["gw3"], "gw3"),
        ([], "none"),
        (["gw1"], "gw1"),
        (["gw1", "gw2"], "gw1, gw2"),
        (["GW2"], "GW2"),
        (["*.example.com", "gw2.example.com"], "*.example.com"),
    ],
)
def test_who_is_not_one_that_is_listed_is_nobody(company, names, shown):
    caller = Caller(company, files(company, "x", names=names))
    assert caller.lost
    count, (text,) = refused(company, "stranger")
    assert count == 1 and f"has the names: {shown}" in text


def test_who_has_a_certificate_of_another_ca_is_nobody(company, tmp_path):
    (tmp_path / "other").mkdir()
    certificate, key = NodesCA(tmp_path / "other").node("gw2")
    caller = Caller(company, TlsFiles(certificate, key, company.ca.certificate))
    assert caller.lost and refused(company, "stranger")[0] == 1


@pytest.mark.parametrize(
    "request_",
    [
        SetLocks(()),
        StatusAsked(),
        SnapshotAsked(),
        AddLock(LockKind.USER, "alice", "x", None, By(0, "root")),
    ],
    ids=lambda one: one.command,
)
def test_a_gateway_is_not_answered_what_processes_or_people_ask(company, request_):
    error = Caller(company, files(company, "gw2")).ask(request_).value
    assert isinstance(error, ControlError) and error.reason is ControlReason.UNKNOWN_COMMAND
    assert refused(company, "unknown_command")[0] == 1


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", LIMITS.frame + 1),
        struct.pack(">I", 0xFFFFFFFF),
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 5) + b"hello",
    ],
)
def test_garbage_of_a_gateway_ends_its_connection(company, data):
    caller = Caller(company, files(company, "gw2"))
    caller.say(data)
    assert caller.lost and refused(company, "malformed")[0] == 1
    assert company.gateways[0].process.known()


def test_a_question_of_odd_types_is_refused(company):
    caller = Caller(company, files(company, "gw2"))
    for args in ({"by": 1}, {"by": {"uid": "0", "name": "root"}}, {"seen": 5}, {"seen": "x" * 5000}):
        body = orjson.dumps({"id": 1, "command": "node_locks", "args": args})
        caller.say(struct.pack(">I", len(body)) + body)
    assert refused(company, "malformed")[0] == 4 and not caller.lost


def test_a_gateway_that_asks_without_end_is_answered_so_often(company):
    caller = Caller(company, files(company, "gw2"))
    answers = [
        caller.ask(LiveThere(By(0, "root"), Selection(everything=True)))
        for _ in range(2 * round(QUESTIONS) + 10)
    ]
    refused_ = [one for one in answers if not hasattr(one, "rows")]
    assert len(refused_) >= 5 and refused_[-1].value.reason is ControlReason.TOO_MANY and not caller.lost
    company.net.run(1.0)
    assert caller.ask(LiveThere(By(0, "root"), Selection(everything=True))).rows == ()


def test_half_a_frame_and_silence_end_it(company):
    caller = Caller(company, files(company, "gw2"))
    caller.say(struct.pack(">I", 100) + b"{")
    company.net.run(LIMITS.half + 0.5)
    assert caller.lost and refused(company, "slow")[0] == 1
    silent = Caller(company, files(company, "gw2"))
    company.net.run(LIMITS.idle + 0.5)
    assert silent.lost


def test_a_gateway_has_two_connections_and_the_newest_counts(company):
    before = [link for _, link in company.gateways[0].door._links]
    assert len(before) == 1
    callers = [Caller(company, files(company, "gw2")) for _ in range(3)]
    assert len(company.gateways[0].door._links) == LINKS_EACH and before[0].lost
    assert [caller.lost for caller in callers] == [True, False, False]
    assert callers[-1].ask(LocksThere()).mark


# -- strangers ---------------------------------------------------------------------------------------------------------


def test_strangers_that_say_nothing_keep_no_gateway_out(company):
    strangers = [Caller(company) for _ in range(UNKNOWN + 5)]
    assert len(company.gateways[0].door._unknown) == UNKNOWN
    assert [one.lost for one in strangers[:6]] == [True] * 5 + [False]
    caller = Caller(company, files(company, "gw2"))
    assert caller.ask(LocksThere()).mark
    company.net.run(HANDSHAKE + 0.5)
    assert all(one.lost for one in strangers) and company.gateways[0].door._unknown == {}


def test_more_of_them_than_may_come_in_a_second_cost_nothing(company):
    count = round(RATE) + 20
    callers = [Caller(company) for _ in range(count)]
    assert [one.lost for one in callers[-5:]] == [True] * 5
    counted, lines = refused(company, "too_many")
    assert counted >= 20 and len(lines) <= LINES
    company.net.run(1.0)
    assert not Caller(company).lost, "a second later there is room"


def test_the_log_is_not_theirs_to_fill(company):
    for _ in range(5 * LINES):
        Caller(company, files(company, "x", names=["gw9"]))
    company.net.run(1.0)
    lines = company.gateways[0].events("node_refused")
    assert refused(company, "stranger")[0] >= 40 and len(lines) <= LINES + 1


# -- listening ---------------------------------------------------------------------------------------------------------


class Adopting:
    """The part of a reactor that takes a socket over."""

    def __init__(self):
        self.places = []

    def adoptStreamPort(self, descriptor, family, factory):
        with socket.socket(fileno=os.dup(descriptor)) as made:
            self.places.append(made.getsockname())
        return self

    def stopListening(self):
        self.places.append("closed")


def test_two_processes_of_a_gateway_may_listen_at_once_and_it_listens_once(company, monkeypatch):
    one, two = (gateway.door for gateway in company.gateways)
    adopting = Adopting()
    monkeypatch.setattr(one, "_reactor", adopting)
    one.listen("127.0.0.1", 0)
    one.listen("127.0.0.1", 0)
    assert len(adopting.places) == 1
    with pytest.raises(OSError):
        two.listen("192.0.2.1", 1)
    monkeypatch.undo()
