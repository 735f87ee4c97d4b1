"""Another gateway as it is reached: dialled again, believed only as who it is, and bounded in what it says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bastion.control.asking import ControlError
from bastion.control.codec import MAX_TEXT
from bastion.control.obeying import Obeying
from bastion.control.peers import GONE_AFTER, LIMITS, MARK, MISSES, PAUSE_LONGEST
from bastion.control.there import SOON, LocksHeld, LocksThere
from bastion.errors import ControlReason
from bastion.net.mutual_tls import NodeTls, TlsFiles
from bastion.policy.locks import Lock, LockKind
from tests.support.fleet import Company


@pytest.fixture
def company(tmp_path):
    made = Company(tmp_path)
    yield made
    made.close()


def peer_of(company):
    return company.gateways[0].peers[0]


def show(company, names):
    """gw2 is started again with a certificate of these names."""
    certificate, key = company.ca.node("odd", names)
    door = company.gateways[1].door
    door._tls = NodeTls(TlsFiles(certificate, key, company.ca.certificate), str)
    for _, link in list(door._links):
        link.drop()


def asked(peer, request):
    got = []
    peer.ask(request).addBoth(got.append)
    return got


def test_it_is_there_and_answers(company):
    peer = peer_of(company)
    assert peer.here and company.net.seconds() - peer.heard_at <= 1.1
    got = asked(peer, LocksThere())
    company.net.advance(0)
    assert got[0].mark == company.gateways[1].desk.keeper.list.mark


def test_one_that_is_gone_is_dialled_again_with_growing_pauses_and_found_again(company):
    peer, net = peer_of(company), company.net
    tries = []
    connect = net.connectTCP
    net.connectTCP = lambda host, *rest, **more: (
        tries.append(net.seconds()) if host == "gw2" else None,
        connect(host, *rest, **more),
    )[1]
    net.pull("gw2")
    net.run(GONE_AFTER + 1.2)
    assert not peer.here
    error = asked(peer, LocksThere())[0].value
    assert (
        isinstance(error, ControlError)
        and error.reason is ControlReason.TIMEOUT
        and "gw2 is not there" in error.text
    )
    net.run(30.0)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[0] < 1.0 and max(pauses) <= PAUSE_LONGEST + 0.2 and len(tries) < 15
    assert sorted(pauses) == pauses or pauses[-1] >= PAUSE_LONGEST - 0.2
    net.cut.clear()
    net.run(PAUSE_LONGEST + 1.0)
    assert peer.here


def test_a_blip_is_not_a_gateway_that_is_missing(company):
    peer, net = peer_of(company), company.net
    net.pull("gw2")
    net.cut.clear()
    net.run(2.0)
    assert peer.here and [line["state"] for line in company.gateways[0].events("node_state")] == ["connected"]


def test_one_that_hangs_is_missing_and_dialled_again(company):
    peer, net = peer_of(company), company.net
    before = len(net.ends)
    net.frozen.add("gw2")
    net.run(MISSES * (SOON + 1.5))
    assert not peer.here and len(net.ends) > before
    (line,) = [line for line in company.gateways[0].events("node_state") if line["state"] == "missing"]
    assert "did not answer" in line["why"]
    net.frozen.clear()
    net.run(PAUSE_LONGEST + 7.0)
    assert peer.here


@pytest.mark.parametrize("names", [["gw3"], ["gw1"], ["gw1", "gw2"], []])
def test_one_that_is_not_who_it_should_be_is_asked_nothing(company, names):
    peer, net = peer_of(company), company.net
    show(company, names)
    seen = company.gateways[1].desk.keeper.list.mark
    net.run(GONE_AFTER + 2.0)
    assert not peer.here and "is not that of gw2 alone" in asked(peer, LocksThere())[0].value.text
    assert seen and company.gateways[0].process.known(), "the store is enough"


def test_what_it_says_is_bounded(company, monkeypatch):
    peer, net = peer_of(company), company.net
    many = tuple(Lock(LockKind.TARGET, f"t{n}", "x" * 200, "y" * 200, 1.0) for n in range(100_000))
    assert LIMITS.result < 100_000 * 450
    asked_for = []
    monkeypatch.setattr(
        Obeying, "_locks", lambda self, node, seen: (asked_for.append(seen), LocksHeld("m", many))[1]
    )
    net.run(3.0)
    assert asked_for and len(company.gateways[0].desk.keeper.list) == 0
    net.run(GONE_AFTER + 1.0)
    assert not peer.here


@pytest.mark.parametrize("length", [MARK, MARK + 1, MAX_TEXT + 1])
def test_a_mark_that_is_long_is_not_said_again(company, monkeypatch, length):
    seen = []
    held = LocksHeld("m" * length, ())
    monkeypatch.setattr(Obeying, "_locks", lambda self, node, seen_: (seen.append(seen_), held)[1])
    company.net.run(3.0)
    assert seen[-1] == (held.mark if length == MARK else "") and peer_of(company).here


def test_it_orders_nothing(company):
    """The end that dials serves nothing: the gateway that was dialled cannot ask along the same connection."""
    ((_, link),) = company.gateways[1].door._links
    got = []
    link.ask(LocksThere()).addBoth(got.append)
    company.net.advance(0)
    assert got[0].value.reason is ControlReason.UNKNOWN_COMMAND


def test_it_stops(company):
    peer = peer_of(company)
    peer.stop()
    peer.stop()
    company.net.run(10.0)
    assert company.net.seconds() - peer.heard_at > 9.0
    assert isinstance(asked(peer, LocksThere())[0].value, ControlError)
