"""A tunnel as a conversation: a client on a real outer channel, a far side that the test plays, and a clock."""

import tomllib
from types import SimpleNamespace

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.auth.budget import Budget
from bastion.auth.identity import Identity
from bastion.auth.restrictions import Restrictions
from bastion.clock import FixedClock
from bastion.doors.door import Asked
from bastion.doors.tunnel import LINGER, TunnelDoor
from bastion.endpoint.channel import OuterChannel
from bastion.errors import EndReason, PolicyReason, Refused, TunnelReason, UpstreamReason
from bastion.net import connect as reach
from bastion.observe.audit import AuditFailed
from bastion.observe.events import Facts
from bastion.observe.meters import BYTES, CHANNELS_LIVE, TUNNEL_DIALS, TUNNELS_ENDED, Meters
from bastion.options import Source
from bastion.policy.grant import matching_rules
from bastion.policy.route import ToGateway, ToTunnel
from bastion.policy.rules import parse_policy
from bastion.policy.targets import parse_targets
from bastion.session.ending import End
from bastion.session.present import Presence
from bastion.wire import messages as m
from bastion.wire.forwards import TcpipOpen
from bastion.wire.numbers import OpenFailure
from tests.support.outer import Link
from tests.support.state import closed_store

NOW = 1_800_000_000.0
WINDOW = 64 * 1024
RULES = """
[[rule]]
name = "database"
groups = ["staff"]
verbs = ["tunnel"]
tunnel = ["db1.internal:5432"]
"""


class Far:
    """The TCP connection to the far side."""

    def __init__(self):
        self.got, self.calls, self.producer, self.queued, self.paused = b"", [], None, 0, False

    def write(self, data):
        self.got += data

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def loseConnection(self):
        self.calls.append("close")

    def loseWriteConnection(self):
        self.calls.append("eof")

    def abortConnection(self):
        self.calls.append("abort")

    def disconnect(self):
        self.calls.append("disconnect")


class Own:
    def has(self, address):
        return False

    def listens_on(self, address, port):
        return False


class World:
    """One engineer, one policy, one channel. `place` is what the client asked for."""

    def __init__(
        self, monkeypatch, rules=RULES, place=("db1.internal", 5432), restrictions=None, window=WINDOW
    ):
        self.reactor = Clock()
        self.reactor.nameResolver = self
        self.receivers, self.factories, self.lines = [], [], []
        self.fail_audit = False
        monkeypatch.setattr(reach, "connect", self._connect)
        self.identity = Identity(
            "alice", "u1", frozenset(["staff"]), "test", ("publickey",), None, "192.0.2.1",
            restrictions or Restrictions(), NOW,
        )  # fmt: skip
        self.state = closed_store()
        self.locked = None
        self.gateway = SimpleNamespace(
            present=Presence(),
            check_locks_of_tunnel=self._check_locks,
            reactor=self.reactor,
            clock=FixedClock(NOW),
            meters=Meters(),
            draining=False,
            closing=False,
            budget=Budget(FixedClock(NOW)),
            state=self.state,
        )
        self.services = SimpleNamespace(
            policy=parse_policy(tomllib.loads(rules), Source("p")),
            inventory=parse_targets(
                tomllib.loads('[targets.web1]\nhost = "10.0.0.1"\n'
                              '[targets.edge]\nhost = "10.0.0.9"\nkind = "gateway"\n'), Source("t")
            ),
            dialler=SimpleNamespace(own=Own(), timeout=20.0),
        )  # fmt: skip
        self.ref, self.id = "abcdef", "abcdefghijklmnop"
        self.link = Link()
        self.channel = OuterChannel(self.link, "direct-tcpip", 3, 7, window, 32768, WINDOW)
        self.link.channel = self.channel
        self.place = TcpipOpen(*place, "127.0.0.1", 50000)
        self.far = Far()
        self.protocol = None

    def _connect(self, reactor, address, port, factory, timeout):
        self.factories.append((address, port, factory))
        return self.far

    def resolveHostName(self, receiver, host):
        self.receivers.append((host, receiver))

    # Outer
    def unreachable(self, host, port):
        return Refused(PolicyReason.UNKNOWN_TARGET, "no such target for you")

    def note(self, event):
        self.lines.append((event.event, {key: value for key, value in event.fields().items() if value != ""}))

    def emit(self, event):
        if self.fail_audit:
            raise AuditFailed("the log is full")
        self.note(event)

    # the conversation
    def _check_locks(self, identity, host, address=""):
        if self.locked in (identity.name, host, address):
            raise Refused(PolicyReason.LOCKED, "locked by the security team: why")

    def open(self, target=None):
        way = ToTunnel()
        if target is not None:
            source = self.identity.source_address
            way = ToGateway(
                target, tuple(matching_rules(self.services.policy, self.identity, target, source, NOW))
            )
        self.door = TunnelDoor()
        self.door.open(self, self.channel, Asked(self.place, way, False, Facts()))
        return self

    def resolve(self, *addresses):
        host, receiver = self.receivers.pop(0)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 0))
        receiver.resolutionComplete()
        return host

    def connect(self):
        """Open, resolve to 10.0.0.5, and let the far side answer."""
        self.open()
        self.resolve("10.0.0.5")
        self.protocol = self.factories[-1][2].buildProtocol(None)
        self.protocol.makeConnection(self.far)
        return self

    def client(self, data):
        if self.channel.take_data(m.Data(3, data).encode()):
            self.channel.deliver()

    def server(self, data):
        self.protocol.dataReceived(memoryview(data))

    @property
    def said(self):
        return [type(message).__name__ for message in self.link.sent]

    @property
    def to_client(self):
        return b"".join(message.data for message in self.link.sent if isinstance(message, m.Data))

    def closed(self):
        """The one line about the end, and what it counted."""
        lines = [fields for event, fields in self.lines if event == "tunnel_closed"]
        assert len(lines) == 1
        assert self.gateway.meters.value(CHANNELS_LIVE, "tunnel") == 0
        assert self.gateway.meters.value(TUNNELS_ENDED, lines[0]["reason"]) == 1
        return lines[0]


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_a_tunnel_from_open_to_close(world):
    world.connect()
    assert world.factories[0][:2] == ("10.0.0.5", 5432)
    assert world.said == ["ChannelOpenConfirmation"]
    assert world.lines == [
        ("tunnel_opened", {"tunnel": 3, "host": "db1.internal", "port": 5432, "address": "10.0.0.5",
                           "rules": "database"})
    ]  # fmt: skip
    assert world.gateway.meters.value(CHANNELS_LIVE, "tunnel") == 1
    assert world.gateway.meters.value(TUNNEL_DIALS, UpstreamReason.OK) == 1
    world.client(b"select 1")
    world.server(b"one row")
    assert world.far.got == b"select 1" and world.to_client == b"one row"
    world.reactor.advance(2.5)
    world.channel.take_eof()
    assert world.far.calls == ["eof"]
    world.server(b" more")
    world.protocol.readConnectionLost()
    assert world.far.calls == ["eof", "close"]
    assert world.to_client == b"one row more" and world.said[-2:] == ["Eof", "Close"]
    line = world.closed()
    assert (line["reason"], line["bytes_in"], line["bytes_out"], line["seconds"], line["ssh"]) == (
        TunnelReason.FAR_CLOSED, 8, 12, 2.5, False,
    )  # fmt: skip
    meters = world.gateway.meters
    assert (
        meters.value(BYTES, "tunnel", "to_target") == 8 and meters.value(BYTES, "tunnel", "to_client") == 12
    )
    assert not world.reactor.getDelayedCalls()


def test_the_client_hears_of_success_only_once_the_far_side_is_there(world):
    world.open()
    assert world.said == []
    world.resolve("10.0.0.5")
    assert world.said == []


def test_the_far_side_may_end_first_and_the_client_goes_on_sending(world):
    world.connect()
    world.server(b"bye")
    world.protocol.readConnectionLost()
    assert world.said == ["ChannelOpenConfirmation", "Data", "Eof"]
    world.client(b"thanks")
    assert world.far.got == b"thanks"
    world.channel.take_eof()
    assert world.closed()["reason"] == TunnelReason.CLIENT_CLOSED


def test_a_destination_that_no_rule_lists_reads_like_one_that_does_not_exist(monkeypatch):
    world = World(monkeypatch, place=("db2.internal", 5432))
    with pytest.raises(Refused, match="no such target for you") as caught:
        world.open()
    assert caught.value.reason is PolicyReason.DESTINATION_NOT_ALLOWED
    assert not world.receivers, "nothing was resolved"


@pytest.mark.parametrize("host", ["db1.internal\n", "", "dbé"])
def test_a_host_that_is_none_is_refused(monkeypatch, host):
    world = World(monkeypatch, place=(host, 5432))
    with pytest.raises(Refused) as caught:
        world.open()
    assert caught.value.reason is PolicyReason.BAD_DESTINATION


def test_a_name_that_leads_to_the_gateway_is_refused_and_not_connected_to(world):
    world.open()
    world.resolve("127.0.0.1", "169.254.169.254")
    assert not world.factories
    (failure,) = world.link.sent
    assert failure.code == OpenFailure.ADMINISTRATIVELY_PROHIBITED
    assert failure.text == "db1.internal:5432: db1.internal is 127.0.0.1, the gateway's loopback (ref abcdef)"
    assert world.lines[0][0] == "refused"
    assert (
        world.lines[0][1]["what"] == "tunnel"
        and world.lines[0][1]["reason"] == UpstreamReason.ADDRESS_REFUSED
    )
    assert world.gateway.meters.value(TUNNEL_DIALS, UpstreamReason.ADDRESS_REFUSED) == 1
    assert not world.reactor.getDelayedCalls() and world.link.gone


def test_a_name_that_leads_to_a_target_reads_like_one_that_does_not_exist(monkeypatch):
    rules = RULES.replace("db1.internal:5432", "db1.internal:22")
    world = World(monkeypatch, rules, ("db1.internal", 22)).open()
    world.resolve("10.0.0.1")
    assert not world.factories
    assert world.link.sent[0].text == "no such target for you (ref abcdef)"
    assert world.lines[0][1]["reason"] == PolicyReason.NESTED_SSH


def test_a_far_side_that_refuses(world):
    world.open()
    world.resolve("10.0.0.5")
    world.factories[0][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    (failure,) = world.link.sent
    assert failure.code == OpenFailure.CONNECT_FAILED
    assert failure.text == "db1.internal:5432: connection refused (ref abcdef)"
    assert world.gateway.meters.value(TUNNEL_DIALS, UpstreamReason.CONNECTION_REFUSED) == 1


@pytest.mark.parametrize("resolved", [False, True])
def test_a_far_side_that_never_answers(world, resolved):
    world.open()
    if resolved:
        world.resolve("10.0.0.5")
    world.reactor.advance(19.9)
    assert world.said == []
    world.reactor.advance(0.2)
    assert world.link.sent[0].code == OpenFailure.CONNECT_FAILED
    assert not world.reactor.getDelayedCalls()
    if resolved:
        assert world.far.calls == ["disconnect"]


def test_a_client_that_goes_while_we_dial(world):
    world.open()
    world.resolve("10.0.0.5")
    world.channel.lose(Failure(ConnectionLost()))
    assert world.far.calls == ["disconnect"] and not world.reactor.getDelayedCalls()
    assert world.factories[0][2].buildProtocol(None) is None
    assert world.lines == []


def test_no_audit_line_no_tunnel(world):
    world.fail_audit = True
    world.connect()
    assert world.said == ["ChannelOpenFailure"] and "audit log" in world.link.sent[0].text
    assert "abort" in world.far.calls
    assert world.gateway.meters.value(CHANNELS_LIVE, "tunnel") == 0


def test_the_end_of_the_outer_connection_ends_the_tunnel(world):
    world.connect()
    world.channel.lose(Failure(ConnectionLost()))
    assert world.far.calls == ["close"]
    assert world.closed()["reason"] == TunnelReason.CLIENT_CLOSED


@pytest.mark.parametrize(
    ("end", "reason"), [("killed", TunnelReason.KILLED), ("locked", TunnelReason.LOCKED)]
)
@pytest.mark.parametrize("way", ["by itself", "with its connection"])
def test_somebody_ends_it_at_once(world, end, reason, way):
    world.connect()
    world.client(b"abc")
    ending = End(EndReason(end), "ended by the security team: x")
    (present,) = world.gateway.present
    assert (present.kind, present.target, present.counts()) == ("tunnel", "db1.internal:5432", (1, 3, 0))
    if way == "by itself":
        present.end(ending)
    else:
        world.door.shut_down(ending)
    assert "abort" in world.far.calls and world.said[-1] == "Close"
    assert world.closed()["reason"] == reason and len(world.gateway.present) == 0
    world.door.shut_down(ending)


@pytest.mark.parametrize("locked", ["alice", "db1.internal"])
def test_a_lock_refuses_it_before_anything_is_dialled(world, locked):
    world.locked = locked
    with pytest.raises(Refused, match="locked by the security team: why"):
        world.open()
    assert world.receivers == []


@pytest.mark.parametrize("locked", ["alice", "10.0.0.5"])
def test_a_lock_that_was_made_meanwhile_refuses_it_in_the_turn_that_opens(world, locked):
    world.open()
    world.resolve("10.0.0.5")
    world.locked = locked
    world.factories[-1][2].buildProtocol(None).makeConnection(world.far)
    (failure,) = world.link.sent
    assert "locked by the security team: why" in failure.text and world.far.calls == ["abort"]
    assert len(world.gateway.present) == 0 and [event for event, _ in world.lines] == ["refused"]


def test_a_shut_down_of_the_gateway_leaves_it_to_the_connection(world):
    world.connect()
    world.door.shut_down(End(EndReason.SHUTDOWN, "closing down"))
    assert world.far.calls == []


@pytest.mark.parametrize("step", ["looking up", "connecting"])
@pytest.mark.parametrize("way", ["by itself", "with its connection"])
@pytest.mark.parametrize("reason", [EndReason.KILLED, EndReason.LOCKED])
def test_one_that_is_still_reaching_out_is_ended_with_words(world, reason, way, step):
    world.open()
    if step == "connecting":
        world.resolve("10.0.0.5")
    (present,) = world.gateway.present
    assert (present.kind, present.target, present.address) == ("tunnel", "db1.internal:5432", "")
    ending = End(reason, "ended by the security team: x")
    (present.end if way == "by itself" else world.door.shut_down)(ending)
    world.reactor.advance(100)
    assert len(world.gateway.present) == 0 and len(world.factories) == (step == "connecting")
    assert world.said == ["ChannelOpenFailure"] and "security team: x" in world.link.sent[0].text
    ((event, fields),) = world.lines
    assert (event, fields["reason"], fields["text"]) == ("refused", str(reason), ending.text)


def test_a_far_side_that_takes_nothing_does_not_linger_for_ever(world):
    world.connect()
    world.far.queued = 5
    world.channel.take_close()
    assert world.far.calls == ["close"]
    world.reactor.advance(LINGER)
    assert world.far.calls == ["close", "abort"]


def test_a_far_side_that_is_gone_closes_the_channel(world):
    world.connect()
    world.server(b"oops")
    world.protocol.connectionLost(Failure(ConnectionDone()))
    assert world.to_client == b"oops" and world.said[-2:] == ["Eof", "Close"]
    assert world.closed()["reason"] == TunnelReason.FAR_CLOSED


# -- back-pressure -----------------------------------------------------------------------------------------


def test_a_client_without_window_pauses_the_far_side(monkeypatch):
    world = World(monkeypatch, window=10)
    world.connect()
    world.server(b"0123456789")
    assert not world.far.paused
    world.server(b"abc")
    assert world.far.paused and world.to_client == b"0123456789"
    world.channel.take_adjust(100)
    world.channel.pump(1 << 20)
    assert not world.far.paused and world.to_client == b"0123456789abc"


def test_a_far_side_that_takes_nothing_withholds_the_clients_credit(world):
    world.connect()
    world.far.producer.pauseProducing()
    world.client(bytes(32 * 1024))
    assert world.far.got == b"" and "WindowAdjust" not in world.said
    world.far.producer.resumeProducing()
    assert len(world.far.got) == 32 * 1024 and "WindowAdjust" in world.said


# -- limits ------------------------------------------------------------------------------------------------


def test_a_tunnel_ends_at_its_number_of_bytes(monkeypatch):
    world = World(monkeypatch, RULES + "tunnel_bytes = 10\n")
    world.connect()
    world.client(b"12345")
    world.server(b"12345")
    assert world.said[-1] == "Data"
    world.client(b"6")
    assert world.far.got == b"12345" and world.far.calls == ["abort"] and world.said[-1] == "Close"
    assert world.closed()["reason"] == TunnelReason.BYTES


def test_a_tunnel_ends_at_its_time(monkeypatch):
    world = World(monkeypatch, RULES + 'tunnel_duration = "1m"\n')
    world.connect()
    world.reactor.advance(59)
    assert world.channel.open
    world.reactor.advance(1.5)
    assert world.far.calls == ["abort"] and world.said[-1] == "Close"
    assert world.closed()["reason"] == TunnelReason.DURATION


def test_a_tunnel_ends_with_the_credential_when_the_rule_says_so(monkeypatch):
    world = World(
        monkeypatch,
        RULES + "certificate_expiry = true\n",
        restrictions=Restrictions(valid_before=int(NOW) + 30),
    )
    world.connect()
    world.reactor.advance(31)
    assert world.closed()["reason"] == TunnelReason.GRANT_ENDED


# -- SSH inside --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaker", ["client", "server"])
def test_ssh_is_refused_and_nothing_of_it_passes(world, speaker):
    world.connect()
    for piece in (b"S", b"SH", b"-2.0-OpenSSH_9.2\r\n"):
        getattr(world, speaker)(piece)
    assert world.far.got == b"" and world.to_client == b""
    assert world.far.calls == ["abort"] and world.said[-1] == "Close"
    assert world.closed()["reason"] == TunnelReason.NESTED_SSH


def test_ssh_behind_a_greeting_is_refused(world):
    world.connect()
    world.server(b"welcome\r\n")
    world.client(b"SSH-2.0-x\r\n")
    assert world.far.got == b"" and world.closed()["reason"] == TunnelReason.NESTED_SSH


def test_ssh_passes_and_is_noted_where_a_rule_lets_it(monkeypatch):
    world = World(monkeypatch, RULES + "allow_ssh = true\n")
    world.connect()
    world.client(b"SS")
    world.server(b"S")
    world.server(b"SH-2.0-there\r\n")
    world.client(b"H-2.0-here\r\n")
    world.server(b"more")
    assert world.far.got == b"SSH-2.0-here\r\n" and world.to_client == b"SSH-2.0-there\r\nmore"
    assert [event for event, _ in world.lines] == ["tunnel_opened", "tunnel_ssh"]
    world.channel.take_close()
    assert world.closed()["ssh"] is True


def test_a_gateway_of_the_inventory_is_tunnelled_to_as_it_is(monkeypatch):
    rules = '[[rule]]\nname = "all"\ngroups = ["staff"]\ntargets = ["*"]\nlogins = ["deploy"]\nverbs = ["shell"]\n'
    world = World(monkeypatch, rules, ("edge", 22))
    world.open(world.services.inventory.find("edge"))
    assert world.factories[0][:2] == ("10.0.0.9", 22)  # a numeric address needs no resolver
    world.protocol = world.factories[0][2].buildProtocol(None)
    world.protocol.makeConnection(world.far)
    world.client(b"SSH-2.0-here\r\n")
    assert world.far.got == b"SSH-2.0-here\r\n"


def test_so_short_a_stream_is_no_ssh(world):
    world.connect()
    world.client(b"SS")
    assert world.far.got == b""
    world.channel.take_eof()
    assert world.far.got == b"SS" and world.far.calls == ["eof"]


def test_one_letter_of_an_answer_passes_at_once(world):
    world.connect()
    world.client(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
    world.server(b"S")
    assert world.to_client == b"S"
