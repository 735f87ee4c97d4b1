"""Reaching a target: which addresses may be dialled, every step timed, every refusal with its own words."""

import ipaddress
import tomllib
from contextlib import suppress
from dataclasses import replace

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.ca.known_hosts import KnownHosts
from bastion.clock import FixedClock
from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.net import connect
from bastion.net.local_addresses import OwnPlaces
from bastion.options import Source
from bastion.policy.grant import probe_grant
from bastion.policy.targets import Target, parse_targets
from bastion.upstream.dial import Dialler, check_address
from bastion.userauth.client import KeyCredential
from bastion.userauth.password import PasswordCredential
from bastion.wire.data import byte, string, uint32
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import (
    MSG_DISCONNECT,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from bastion.wire.userauth import UserauthBanner, UserauthFailure, UserauthRequest
from tests.hostile.rawssh import Closed, MemoryWire, RawSsh
from tests.unit.transport.parts import FAST, client_settings


def target(host, *networks, port=22):
    return Target(
        name="web1", host=host, port=port, allow_addresses=tuple(map(ipaddress.ip_network, networks))
    )


OWN = OwnPlaces()
OWN.listening("127.0.0.1", 2222)


def refused(wanted, address):
    with pytest.raises(Refused) as caught:
        check_address(wanted, address, OWN)
    assert caught.value.reason is UpstreamReason.ADDRESS_REFUSED
    return caught.value.text


def test_a_name_never_leads_to_the_gateway_itself():
    text = refused(target("web1.example.com"), "127.0.0.1")
    assert text == (
        "web1.example.com is 127.0.0.1, the gateway's loopback; if that is right, say so in its allow_addresses"
    )


def test_a_literal_address_is_the_operators_word_for_that_address_only():
    check_address(target("127.0.0.1"), "127.0.0.1", OWN)
    check_address(target("0x7f.1"), "127.0.0.1", OWN)
    refused(target("127.0.0.1"), "127.0.0.2")


def test_an_address_that_an_inventory_gave_is_nobodys_word():
    """Where the gateway itself is, is known only when it is dialled."""
    own = OwnPlaces()
    own.has = lambda address: str(address) == "10.0.0.1"
    check_address(target("10.0.0.1"), "10.0.0.1", own)
    for address in ("127.0.0.1", "10.0.0.1"):
        given = replace(target(address), inventory="cmdb")
        with pytest.raises(Refused) as caught:
            check_address(given, address, own)
        assert caught.value.reason is UpstreamReason.ADDRESS_REFUSED
        check_address(replace(given, allow_addresses=(ipaddress.ip_network(address),)), address, own)
    check_address(replace(target("10.0.0.2"), inventory="cmdb"), "10.0.0.2", own)


def test_a_target_may_name_networks_for_its_name():
    check_address(target("localhost", "127.0.0.0/8", "::1/128"), "127.0.0.1", OWN)
    refused(target("localhost", "::1/128"), "127.0.0.1")


def test_nothing_makes_the_gateway_dial_its_own_port():
    assert (
        refused(target("127.0.0.1", port=2222), "127.0.0.1")
        == "127.0.0.1 is 127.0.0.1, the gateway's own port"
    )
    refused(target("localhost", "127.0.0.0/8", port=2222), "127.0.0.1")


def test_a_machine_is_dialled():
    check_address(target("web1.example.com"), "10.0.0.5", OWN)


# -- the whole way ----------------------------------------------------------------------------------------------

KNOWN, OTHER, CLIENT = (PrivateKey.generate_ed25519() for _ in range(3))
INVENTORY = parse_targets(tomllib.loads('[targets.web1]\nhost = "10.0.0.7"\n'), Source("t"))
SECOND = 1.0


class World:
    """One dial to web1, whose TCP connection and whole side the test plays. `heard` is what the observer heard."""

    def __init__(self, monkeypatch, credential=None):
        self.reactor = Clock()
        self.connecting, self.given_up = [], 0
        monkeypatch.setattr(connect, "connect", self._connect)
        self.heard, self.facts, self.outcome = [], None, []
        self.credential = credential or KeyCredential(CLIENT, CLIENT.public, ("ssh-ed25519",))
        known_hosts = KnownHosts.parse(f"10.0.0.7 {KNOWN.public.line()}\n")
        self.dialler = Dialler(
            self.reactor, known_hosts, client_settings(login_grace=0.0), FixedClock(), 20.0
        )
        grant = probe_grant(INVENTORY, "web1", "root", 0.0, "id")
        self.dial = Deferred.fromCoroutine(self.dialler.dial(grant, self._login, self))
        self.dial.addBoth(self.outcome.append)

    def _connect(self, reactor, address, port, factory, timeout):
        self.connecting.append(factory)
        return self

    def disconnect(self):
        self.given_up += 1

    def _login(self):
        if isinstance(self.credential, Refused):
            raise self.credential
        return self.credential

    # DialObserver
    def phase(self, name, seconds):
        self.heard.append(f"{name} {seconds:g}")

    def host_key(self, outcome, fingerprint):
        self.heard.append(str(outcome))

    def banner(self, text, missing):
        self.heard.append(text)

    def connected(self, facts):
        self.facts = facts

    # the target
    def answer(self, host_key=KNOWN, **raw):
        """The target takes the connection; nothing said yet."""
        self.reactor.advance(SECOND)
        self.transport = self.connecting.pop().buildProtocol(None)
        raw.setdefault("algorithms", replace(FAST, host_keys=("ssh-ed25519",)))
        self.peer = RawSsh(MemoryWire(self.transport), server=True, host_key=host_key, **raw)
        return self.peer

    def secure(self):
        peer = self.answer()
        self.reactor.advance(SECOND)
        peer.handshake()
        return peer

    def ask_for_login(self):
        peer = self.secure()
        peer.read_until(MSG_SERVICE_REQUEST)
        peer.send(byte(MSG_SERVICE_ACCEPT) + string(b"ssh-userauth"))
        return peer, UserauthRequest.parse(peer.read_until(MSG_USERAUTH_REQUEST))

    @property
    def refusal(self):
        (failure,) = self.outcome
        failure.trap(Refused)
        assert not self.reactor.getDelayedCalls() or self.transport.closed, "a timer was left"
        return failure.value.reason, failure.value.text


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_nothing_is_dialled_without_a_grant(world):
    refused = Deferred.fromCoroutine(world.dialler.dial("a grant", world._login, world))
    caught = []
    refused.addErrback(caught.append)
    assert caught[0].check(TypeError)


def test_every_step_is_timed_and_the_transport_is_there_in_the_turn_of_the_success(world):
    peer, request = world.ask_for_login()
    assert (request.user, request.method) == ("root", "publickey")
    assert world.outcome == []
    world.reactor.advance(SECOND)
    peer.send(byte(MSG_USERAUTH_SUCCESS))
    assert world.outcome == [world.transport] and not world.transport.closed
    assert world.heard == ["resolve 0", "connect 1", "kex 1", "pinned_ok", "host_key 0", "login 1"]
    assert (world.facts.login_method, world.facts.credential) == ("publickey", "key_file")
    assert world.transport.on_closed is world.transport.on_secure is world.transport.service is None
    world.reactor.advance(60)
    assert not world.transport.closed


@pytest.mark.parametrize(
    "step, reason, text",
    [
        ("connect", UpstreamReason.CONNECT_TIMEOUT, "web1: no answer within 20 s (step: connect)"),
        ("kex", UpstreamReason.TIMEOUT, "web1: not ready within 20 s (step: kex)"),
        ("login", UpstreamReason.TIMEOUT, "web1: not ready within 20 s (step: login)"),
    ],
)
def test_the_step_that_takes_too_long_is_named(world, step, reason, text):
    if step == "kex":
        world.answer()
    elif step == "login":
        world.ask_for_login()
    world.reactor.advance(20 - world.reactor.seconds() - 0.1)
    assert world.outcome == []
    world.reactor.advance(0.1)
    assert world.refusal == (reason, text)
    assert world.given_up == (1 if step == "connect" else 0)
    if step != "connect":
        assert world.transport.closed


@pytest.mark.parametrize("step", ["connect", "kex", "login"])
def test_a_dial_that_nobody_wants_any_more_closes_what_it_opened(world, step):
    if step == "kex":
        world.answer()
    elif step == "login":
        world.ask_for_login()
    world.dial.cancel()
    assert world.outcome[0].check(CancelledError)
    if step == "connect":
        assert world.given_up == 1 and world.connecting[0].buildProtocol(None) is None
        assert world.reactor.getDelayedCalls() == []
    else:
        assert world.transport.closed and world.facts is None


def test_a_host_key_that_is_not_the_known_one(world):
    peer = world.answer(OTHER)
    with suppress(Closed):
        peer.handshake()
    reason, text = world.refusal
    assert reason is UpstreamReason.HOST_KEY_CHANGED
    assert text.startswith("web1: the host key has changed: known ") and text.count("web1: ") == 1
    assert "changed" in world.heard and not any(line.startswith("host_key") for line in world.heard)


def test_what_is_no_ssh(world):
    peer = world.answer()
    peer.wire.transport.connectionLost(Failure(ConnectionDone()))
    assert world.refusal == (UpstreamReason.NOT_SSH, "web1: it does not speak SSH")


def test_a_target_that_has_nothing_in_common(world):
    peer = world.answer(algorithms=replace(FAST, host_keys=("ssh-ed25519",), ciphers=("none-of-ours",)))
    with suppress(Closed, ProtocolError):
        peer.handshake()
    reason, text = world.refusal
    assert reason is UpstreamReason.KEX_FAILED and "no common cipher" in text


def test_a_target_that_hangs_up_in_the_key_exchange(world):
    peer = world.answer()
    peer.send_version()
    peer.wire.transport.connectionLost(Failure(ConnectionLost()))
    reason, text = world.refusal
    assert reason is UpstreamReason.KEX_FAILED and text.startswith("web1: the key exchange failed")


def test_a_target_that_hangs_up_at_the_login_is_quoted(world):
    peer, _ = world.ask_for_login()
    peer.send(byte(MSG_DISCONNECT) + uint32(2) + string(b"too many\x1b[2J") + string(b""))
    assert world.refusal == (
        UpstreamReason.LOGIN_REFUSED,
        'web1: it closed the connection at the login: "too many\\x1b[2J"',
    )


def test_a_login_that_is_refused(world):
    peer, _ = world.ask_for_login()
    peer.send(UserauthFailure(("password",), False).encode())
    reason, text = world.refusal
    assert (reason, text) == (
        UpstreamReason.LOGIN_REFUSED,
        "web1: login root was refused with the gateway's key",
    )
    assert world.transport.closed


def test_a_credential_that_cannot_be_made(monkeypatch):
    world = World(monkeypatch, Refused(UpstreamReason.LOGIN_REFUSED, "web1: no upstream CA"))
    with suppress(Closed):
        world.secure()
    assert world.refusal == (UpstreamReason.LOGIN_REFUSED, "web1: no upstream CA")
    assert world.transport.closed


def test_while_a_person_thinks_the_time_stands_still(monkeypatch):
    asked = []

    def fetch(attempt):
        asked.append(Deferred())
        return asked[-1]

    world = World(monkeypatch, PasswordCredential(fetch, "asked", 3, by_person=True))
    peer, request = world.ask_for_login()
    assert request.method == "none"
    peer.send(UserauthFailure(("password",), False).encode())
    world.reactor.advance(500)
    assert world.outcome == [] and len(asked) == 1
    asked[0].callback(b"secret")
    world.reactor.advance(17.9)
    assert world.outcome == []
    world.reactor.advance(0.1)
    assert world.refusal == (UpstreamReason.TIMEOUT, "web1: not ready within 20 s (step: login)")


@pytest.mark.parametrize("leaves", ["the engineer", "the target"])
def test_who_leaves_while_a_person_thinks_withdraws_the_question(monkeypatch, leaves):
    withdrawn = []
    world = World(monkeypatch, PasswordCredential(lambda _: Deferred(withdrawn.append), "asked", 3, True))
    peer, _ = world.ask_for_login()
    peer.send(UserauthFailure(("password",), False).encode())
    if leaves == "the engineer":
        world.dial.cancel()
        assert world.outcome[0].check(CancelledError) and world.transport.closed
    else:
        peer.wire.transport.connectionLost(Failure(ConnectionLost()))
        assert world.refusal[0] is UpstreamReason.LOGIN_REFUSED
    assert len(withdrawn) == 1
    world.reactor.advance(60)
    assert world.reactor.getDelayedCalls() == []


def test_a_target_s_banner_is_handed_on(world):
    peer, _ = world.ask_for_login()
    peer.send(UserauthBanner(b"keep out\n").encode())
    assert world.heard[-1] == "keep out\n"
