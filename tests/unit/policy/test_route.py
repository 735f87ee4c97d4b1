"""Where `host:port` leads: to a session, to a gateway, into a tunnel, or nowhere."""

from ipaddress import ip_address

import pytest

from bastion.errors import PolicyReason
from bastion.policy.addresses import inner_addresses
from bastion.policy.route import Nowhere, ToGateway, ToSession, ToTunnel, route, unreachable

from .world import NOW, inventory_of, person, policy_of

TARGETS = """
[targets.web1]
host = "10.0.0.1"
aliases = ["www"]
[targets.web2]
host = "10.0.0.2"
[targets.db1]
host = "db1.example.com"
port = 2200
[targets.edge]
host = "10.0.0.9"
kind = "gateway"
[targets.odd]
host = "10.0.0.1"
[targets.beside]
host = "10.0.0.2"
"""
RULES = """
[[rule]]
name = "web"
groups = ["ops"]
targets = ["web1", "db1", "edge", "beside"]
logins = ["deploy"]
verbs = ["shell"]
[[rule]]
name = "office"
groups = ["ops"]
targets = ["edge"]
logins = ["deploy"]
verbs = ["shell"]
sources = ["10.0.0.0/8"]
"""
INVENTORY = inventory_of(TARGETS)
POLICY = policy_of(RULES)
ALICE = person("alice", "ops")


def led(host, port=22, source="192.0.2.1", who=ALICE):
    return route(POLICY, INVENTORY, who, host, port, source, NOW)


def refused(host, port=22, who=ALICE):
    return unreachable(POLICY, INVENTORY, who, host, port, "192.0.2.1", NOW)


@pytest.mark.parametrize(
    "host", ["web1", "WEB1.", "www", "10.0.0.1", "::ffff:10.0.0.1", "0x0a000001", "167772161"]
)
def test_a_target_in_every_spelling_is_a_session(host):
    assert led(host) == ToSession(INVENTORY.find("web1"))


@pytest.mark.parametrize("port", [22, 2200])
def test_a_name_means_its_target_at_its_own_port_and_at_22(port):
    assert led("db1", port) == ToSession(INVENTORY.find("db1"))


def test_of_targets_at_one_address_the_first_that_may_be_reached_counts():
    assert led("10.0.0.2") == ToSession(INVENTORY.find("beside"))


@pytest.mark.parametrize(("source", "rules"), [("192.0.2.1", ["web"]), ("10.1.2.3", ["web", "office"])])
def test_a_gateway_comes_with_the_rules_that_lead_there(source, rules):
    found = led("edge", source=source)
    assert isinstance(found, ToGateway)
    assert found.target is INVENTORY.find("edge")
    assert [rule.name for rule in found.rules] == rules


@pytest.mark.parametrize("host", ["web2", "WEB2.", "odd"])
def test_a_target_that_is_not_ones_own_leads_nowhere(host):
    assert led(host) == Nowhere()


@pytest.mark.parametrize("host", ["web1", "10.0.0.2", "64:ff9b::a00:1"])
def test_no_spelling_of_a_targets_port_is_a_tunnel_for_a_stranger(host):
    assert led(host, who=person("bob")) == Nowhere()


def test_an_address_that_a_targets_name_leads_to_is_no_tunnel():
    class Known:
        complete = True

        def names_at(self, address):
            return ["db1.example.com"] if str(address) == "10.7.7.7" else []

    known = INVENTORY.with_resolved(Known())
    assert route(POLICY, known, ALICE, "10.7.7.7", 2200, "192.0.2.1", NOW) == Nowhere()
    assert route(POLICY, INVENTORY, ALICE, "10.7.7.7", 2200, "192.0.2.1", NOW) == ToTunnel()


def test_an_address_that_carries_a_targets_is_none_either():
    carrying = "64:ff9b::a00:1"
    assert "10.0.0.1" in map(str, inner_addresses(ip_address(carrying)))
    assert led(carrying) == Nowhere()


@pytest.mark.parametrize("port", [0, -1, 65536, 4_294_967_295])
def test_what_is_no_port_leads_nowhere(port):
    assert led("db9", port) == led("web1", port) == Nowhere()


@pytest.mark.parametrize(("host", "port"), [("db9", 5432), ("web1", 8080), ("10.0.0.1", 2200), ("a\nb", 1)])
def test_everything_else_is_for_the_rules_about_tunnels(host, port):
    assert led(host, port) == ToTunnel()


def test_what_exists_is_refused_in_the_words_of_what_does_not():
    known, unknown = refused("web2"), refused("web9")
    assert known.text.replace("web2", "web9") == unknown.text
    assert (known.reason, unknown.reason) == (PolicyReason.NO_RULE, PolicyReason.UNKNOWN_TARGET)


def test_the_right_port_is_told_for_ones_own_target_only():
    assert refused("db1", 2222).text == "db1 is reached at port 2200: ssh -J bastion -p 2200 db1"
    assert refused("edge", 2222).text == "edge is reached at port 22: ssh -J bastion -p 22 edge"
    assert "is reached at port" not in refused("web2", 2222).text
    assert "is reached at port" not in refused("db1", 2222, person("bob")).text


def test_of_machines_with_one_address_in_several_networks_only_a_name_says_which():
    inventory = inventory_of(
        '[targets.gate]\nhost = "gate"\nhop_login = "jump"\n'
        '[targets.far]\nhost = "192.168.1.1"\nvia = "gate"\n'
        '[targets.near]\nhost = "192.168.1.1"\n'
        '[targets.alone]\nhost = "192.168.1.2"\nvia = "gate"\n'
    )
    rule = (
        '[[rule]]\nname = "all"\ngroups = ["ops"]\ntargets = ["*"]\nlogins = ["deploy"]\nverbs = ["shell"]\n'
    )

    def led(host):
        return route(policy_of(rule), inventory, ALICE, host, 22, "192.0.2.1", NOW)

    assert led("192.168.1.1") == Nowhere()
    for name in ("far", "near"):
        assert led(name) == ToSession(inventory.find(name))
    assert led("192.168.1.2") == ToSession(inventory.find("alone"))
    assert inventory.is_ssh_place("192.168.1.1", 22), "it is no tunnel, and no forward through a session"
