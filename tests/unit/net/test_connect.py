"""From a name to a connection: what was resolved is judged, and what was judged is what is connected to."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError, NoRouteError, TimeoutError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.errors import Refused, UpstreamReason
from bastion.net import connect as module
from bastion.net.connect import MAX_ADDRESSES, reach


class Resolver:
    def __init__(self):
        self.asked = []
        self.receivers = []

    def resolveHostName(self, receiver, host):
        self.asked.append(host)
        self.receivers.append(receiver)

    def answer(self, *addresses):
        receiver = self.receivers.pop(0)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 0))
        receiver.resolutionComplete()


class Connector:
    def __init__(self, address, factory):
        self.address, self.factory, self.closed = address, factory, False

    def disconnect(self):
        self.closed = True


class World(Clock):
    """A reach to db1:5432 with everything around it played by the test."""

    def __init__(self, monkeypatch, barred=()):
        super().__init__()
        self.nameResolver = Resolver()
        self.connectors, self.failed, self.built = [], [], []
        monkeypatch.setattr(module, "connect", self._connect)
        self.barred, self.cancelled = barred, False
        self.reached = []
        self.reach = Deferred.fromCoroutine(
            reach(self, "db1", 5432, judge=self._judge, build=self._build, timeout=20.0)
        )
        self.reach.addCallbacks(self.reached.append, self._failed)

    def _failed(self, failure):
        if failure.check(Refused):
            self.failed.append((failure.value.reason, failure.value.text))
        else:
            failure.trap(CancelledError)
            self.cancelled = True

    def _connect(self, reactor, address, port, factory, timeout):
        assert port == 5432
        self.connectors.append(Connector(address, factory))
        return self.connectors[-1]

    def _judge(self, address):
        if address in self.barred:
            raise Refused(UpstreamReason.ADDRESS_REFUSED, f"db1 is {address}")

    def _build(self, address):
        self.built.append(address)
        return Protocol()

    def breaks(self, error):
        connector = self.connectors[-1]
        connector.factory.clientConnectionFailed(connector, Failure(error))


def test_the_address_that_was_judged_is_connected_to_and_the_name_asked_once(monkeypatch):
    world = World(monkeypatch)
    world.nameResolver.answer("10.0.0.5")
    assert [one.address for one in world.connectors] == ["10.0.0.5"]
    protocol = world.connectors[0].factory.buildProtocol(None)
    assert world.reached == [protocol] and protocol is not None
    assert world.built == ["10.0.0.5"] and world.nameResolver.asked == ["db1"]


def test_a_barred_address_among_others_is_never_tried(monkeypatch):
    world = World(monkeypatch, barred=("127.0.0.1",))
    world.nameResolver.answer("127.0.0.1", "10.0.0.5")
    world.breaks(ConnectionRefusedError())
    assert [one.address for one in world.connectors] == ["10.0.0.5"]
    assert world.failed == [(UpstreamReason.CONNECTION_REFUSED, "connection refused")]


def test_only_barred_addresses_are_a_refusal_and_nothing_is_connected_to(monkeypatch):
    world = World(monkeypatch, barred=("127.0.0.1", "127.0.0.2"))
    world.nameResolver.answer("127.0.0.1", "127.0.0.2")
    assert world.failed == [(UpstreamReason.ADDRESS_REFUSED, "db1 is 127.0.0.1")]
    assert not world.connectors


def test_a_name_that_does_not_resolve(monkeypatch):
    world = World(monkeypatch)
    world.nameResolver.answer()
    assert world.failed == [(UpstreamReason.NAME_NOT_FOUND, "the name db1 does not resolve")]


@pytest.mark.parametrize(
    "error, reason",
    [
        (ConnectionRefusedError(), UpstreamReason.CONNECTION_REFUSED),
        (TimeoutError(), UpstreamReason.CONNECT_TIMEOUT),
        (NoRouteError(), UpstreamReason.UNREACHABLE),
    ],
)
def test_the_next_address_is_tried_and_the_last_reason_told(monkeypatch, error, reason):
    world = World(monkeypatch)
    world.nameResolver.answer("10.0.0.5", "10.0.0.6")
    world.breaks(TimeoutError())
    assert not world.failed
    world.breaks(error)
    assert [one.address for one in world.connectors] == ["10.0.0.5", "10.0.0.6"]
    assert [reason for reason, _ in world.failed] == [reason]


def test_no_more_than_so_many_addresses_are_tried(monkeypatch):
    world = World(monkeypatch)
    world.nameResolver.answer(*(f"10.0.0.{number}" for number in range(1, 100)))
    while not world.failed:
        world.breaks(TimeoutError())
    assert len(world.connectors) == MAX_ADDRESSES


@pytest.mark.parametrize("after_resolving", [False, True])
def test_a_stop_ends_it_in_silence(monkeypatch, after_resolving):
    world = World(monkeypatch)
    if after_resolving:
        world.nameResolver.answer("10.0.0.5")
    world.reach.cancel()
    assert world.cancelled
    if after_resolving:
        assert world.connectors[0].closed
        assert world.connectors[0].factory.buildProtocol(None) is None
    else:
        world.nameResolver.answer("10.0.0.5")
        assert not world.connectors
    assert not world.failed and not world.built
