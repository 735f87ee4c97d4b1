"""Tunnels: a destination is judged as text, then by each address that it resolved to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.restrictions import PermitOpen, Restrictions
from bastion.errors import PolicyReason, Refused, UpstreamReason
from bastion.options import ConfigErrors
from bastion.policy.grant import authorise, matching_rules, not_reachable, reachable
from bastion.policy.route import ToGateway
from bastion.policy.tunnel import TunnelGrant, TunnelRoute, authorise_tunnel
from bastion.wire.key_options import ALL_PERMITS, PERMIT_PORT_FORWARDING

from .world import FULL, NOW, TARGETS, inventory_of, person, policy_of

HERE = ipaddress.ip_address("192.0.2.10")


class Own:
    def has(self, address):
        return address == HERE

    def listens_on(self, address, port):
        return port == 2222 and (address == HERE or address.is_loopback)


OWN = Own()
INVENTORY = inventory_of(
    TARGETS
    + """
[targets.edge2]
host = "10.9.0.1"
port = 2022
kind = "gateway"
"""
)


def rule(places, extra="", name="tunnels"):
    return f"""
[[rule]]
name = "{name}"
groups = ["staff"]
verbs = ["tunnel"]
tunnel = {places}
{extra}
"""


def grant(policy, host, port, who=None, target=None, now=NOW):
    alice, rules = who or person("alice", "staff"), policy_of(policy)
    gateway = target and ToGateway(target, tuple(matching_rules(rules, alice, target, "192.0.2.1", NOW)))
    return authorise_tunnel(rules, INVENTORY, alice, host, port, "192.0.2.1", now, gateway)


def refusal(call, *arguments, **more):
    with pytest.raises(Refused) as caught:
        call(*arguments, **more)
    return caught.value.reason


DB = rule('["db1.internal:5432", "*.apps.internal:8000-8999", "10.20.0.0/16:443"]')


@pytest.mark.parametrize(
    "host, port, address",
    [
        ("db1.internal", 5432, "10.0.0.5"),
        ("DB1.Internal.", 5432, "10.0.0.5"),
        ("x.apps.internal", 8080, "2001:db8::5"),
        ("10.20.1.1", 443, "10.20.1.1"),
        ("::ffff:10.20.1.1", 443, "10.20.1.1"),
        ("0x0a140101", 443, "10.20.1.1"),
    ],
)
def test_a_destination_that_a_rule_lists(host, port, address):
    route = grant(DB, host, port).route(address, OWN)
    assert (route.address, route.port, route.rules) == (address, port, ("tunnels",))
    assert not route.allow_ssh and route.bytes_max is None


@pytest.mark.parametrize(
    "host, port, reason",
    [
        ("db1.internal", 5433, PolicyReason.DESTINATION_NOT_ALLOWED),
        ("db2.internal", 5432, PolicyReason.DESTINATION_NOT_ALLOWED),
        ("apps.internal", 8080, PolicyReason.DESTINATION_NOT_ALLOWED),
        ("10.21.0.1", 443, PolicyReason.DESTINATION_NOT_ALLOWED),
        ("localhost", 443, PolicyReason.DESTINATION_NOT_ALLOWED),
        ("db1.internal\n", 5432, PolicyReason.BAD_DESTINATION),
        ("dbé.internal", 5432, PolicyReason.BAD_DESTINATION),
        ("", 5432, PolicyReason.BAD_DESTINATION),
        ("db1.internal", 0, PolicyReason.BAD_DESTINATION),
        ("db1.internal", 65536 + 5432, PolicyReason.BAD_DESTINATION),
        ("web1.example.com", 22, PolicyReason.NESTED_SSH),
        ("web1", 22, PolicyReason.NESTED_SSH),
        ("10.1.0.2", 22, PolicyReason.NESTED_SSH),
        ("edge", 22, PolicyReason.NESTED_SSH),
    ],
)
def test_a_destination_that_is_not(host, port, reason):
    assert refusal(grant, DB, host, port) is reason


def test_a_name_never_matches_a_network_unless_the_rule_says_so():
    network = '["10.20.0.0/16:443"]'
    assert refusal(grant, rule(network), "app.internal", 443) is PolicyReason.DESTINATION_NOT_ALLOWED
    by_address = grant(rule(network, "tunnel_by_address = true"), "app.internal", 443)
    assert by_address.route("10.20.3.4", OWN).rules == ("tunnels",)
    assert refusal(by_address.route, "10.21.3.4", OWN) is PolicyReason.DESTINATION_NOT_ALLOWED
    # A port that no network has is refused before any name is resolved.
    assert (
        refusal(grant, rule(network, "tunnel_by_address = true"), "app.internal", 80)
        is PolicyReason.DESTINATION_NOT_ALLOWED
    )


def test_a_network_never_lets_a_name_pass_by_looking_like_a_name():
    assert refusal(grant, rule('["*:443"]'), "10.20.1.1", 443) is PolicyReason.DESTINATION_NOT_ALLOWED, (
        "a star stands for letters of a name, not for an address"
    )


@pytest.mark.parametrize(
    "address, why",
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("192.0.2.10", "the gateway itself"),
        ("169.254.169.254", "metadata"),
        ("64:ff9b::127.0.0.1", "loopback"),
    ],
)
def test_a_listed_name_that_leads_to_the_gateway_is_refused(address, why):
    with pytest.raises(Refused, match=why) as caught:
        grant(DB, "db1.internal", 5432).route(address, OWN)
    assert caught.value.reason is UpstreamReason.ADDRESS_REFUSED


def test_a_network_does_not_open_the_gateway_and_one_address_written_down_does():
    wide = grant(rule('["0.0.0.0/0:*"]'), "127.0.0.1", 5432)
    assert refusal(wide.route, "127.0.0.1", OWN) is UpstreamReason.ADDRESS_REFUSED
    word = grant(rule('["127.0.0.1:5432"]'), "127.0.0.1", 5432)
    assert word.route("127.0.0.1", OWN).address == "127.0.0.1"
    # The word is for this port only, even when another entry covers the other.
    both = grant(rule('["127.0.0.1:5432", "db1.internal:9000"]'), "db1.internal", 9000)
    assert refusal(both.route, "127.0.0.1", OWN) is UpstreamReason.ADDRESS_REFUSED


def test_nothing_leads_to_the_gateways_own_ports():
    own = grant(rule('["127.0.0.1:2222"]'), "127.0.0.1", 2222)
    assert refusal(own.route, "127.0.0.1", OWN) is UpstreamReason.ADDRESS_REFUSED


def test_a_name_that_leads_to_the_ssh_server_of_a_target_is_refused():
    harmless = grant(rule('["harmless.internal:22"]'), "harmless.internal", 22)
    assert refusal(harmless.route, "10.1.0.2", OWN) is PolicyReason.NESTED_SSH
    assert harmless.route("10.1.0.3", OWN).port == 22


class Led:
    """Where names lead, as somebody has looked it up."""

    def __init__(self, led, complete=True):
        self.led, self.complete = led, complete

    def names_at(self, address):
        return [name for name, where in self.led.items() if str(address) == where]


def by_name(complete=True):
    found = inventory_of('[targets.tt]\nhost = "t9.test"\n[targets.odd]\nhost = "o.test"\nport = 2022\n')
    return found.with_resolved(Led({"t9.test": "10.77.0.9", "o.test": "10.77.0.8"}, complete))


@pytest.mark.parametrize(
    "host, port, address",
    [
        ("t9b.test", 22, "10.77.0.9"),
        ("10.77.0.9", 22, "10.77.0.9"),
        ("::ffff:10.77.0.9", 22, "10.77.0.9"),
        ("64:ff9b::10.77.0.9", 22, "64:ff9b::10.77.0.9"),
        ("10.77.0.8", 2022, "10.77.0.8"),
        ("o.other.test", 2022, "10.77.0.8"),
    ],
)
def test_the_ssh_server_of_a_target_by_name_is_known_by_its_address(host, port, address):
    wide = rule('["*.test:1-65535", "10.0.0.0/8:1-65535", "[::/0]:1-65535"]', "allow_ssh = true")

    def reach():
        who = person("alice", "staff")
        found = authorise_tunnel(policy_of(wide), by_name(), who, host, port, "192.0.2.1", NOW)
        return found.route(address, OWN)

    assert refusal(reach) is PolicyReason.NESTED_SSH


@pytest.mark.parametrize(
    "ssh, complete, reached", [(True, False, False), (True, True, True), (False, False, True)]
)
def test_before_all_names_were_asked_for_ssh_does_not_pass(ssh, complete, reached):
    wide = rule('["10.0.0.0/8:22"]', f"allow_ssh = {str(ssh).lower()}")
    who = person("alice", "staff")
    found = authorise_tunnel(policy_of(wide), by_name(complete), who, "10.5.0.1", 22, "192.0.2.1", NOW)
    if reached:
        assert found.route("10.5.0.1", OWN)
    else:
        assert refusal(found.route, "10.5.0.1", OWN) is PolicyReason.TARGETS_UNRESOLVED


def test_port_22_must_be_named():
    star = rule('["harmless.internal:*"]')
    assert refusal(grant, star, "harmless.internal", 22) is PolicyReason.DESTINATION_NOT_ALLOWED
    assert grant(star, "harmless.internal", 23)


def test_a_gateway_of_the_inventory_is_tunnelled_to_with_ssh():
    edge = INVENTORY.find("edge2")
    route = grant(FULL, "edge2", 2022, target=edge).route("10.9.0.1", OWN)
    assert route.allow_ssh and route.bytes_max is None and route.rules == ("all",)
    stranger = person("bob", "guests")
    assert refusal(grant, FULL, "edge2", 2022, stranger, edge) is PolicyReason.DESTINATION_NOT_ALLOWED
    nobody = rule('["10.9.0.1:2022"]')
    assert refusal(grant, nobody, "10.9.0.1", 2022) is PolicyReason.NESTED_SSH


def test_the_name_of_a_gateway_means_its_own_port_and_no_other_server_of_its_host():
    edge = INVENTORY.find("edge2")
    found = grant(FULL, "edge2", 22, target=edge)
    assert (found.host, found.port, found.route("10.9.0.1", OWN).port) == ("10.9.0.1", 2022, 2022)


def test_limits_are_the_smallest_and_permissions_add_up():
    text = rule(DB_LIST, 'tunnel_bytes = "1 MiB"\ntunnel_duration = "1h"', "one") + rule(
        DB_LIST, 'tunnel_bytes = "2 MiB"\nallow_ssh = true', "two"
    )
    found = grant(text, "db1.internal", 5432)
    route = found.route("10.0.0.5", OWN)
    assert route.bytes_max == 1 << 20 and route.allow_ssh and route.rules == ("one", "two")
    assert found.ends_at == NOW + 3600


DB_LIST = '["db1.internal:5432"]'


def test_a_tunnel_ends_with_the_default_duration_and_by_rule_with_the_credential():
    assert grant(rule(DB_LIST), "db1.internal", 5432).ends_at == NOW + 12 * 3600
    short = person("alice", "staff", restrictions=Restrictions(valid_before=int(NOW) + 60))
    assert grant(rule(DB_LIST), "db1.internal", 5432, short).ends_at == NOW + 12 * 3600
    ends = rule(DB_LIST, "certificate_expiry = true")
    assert grant(ends, "db1.internal", 5432, short).ends_at == NOW + 60


@pytest.mark.parametrize(
    "restrictions",
    [
        Restrictions(extensions=ALL_PERMITS - {PERMIT_PORT_FORWARDING}),
        Restrictions(permit_open=(PermitOpen((("db9", 5432),)),)),
    ],
)
def test_a_credential_can_forbid_it(restrictions):
    who = person("alice", "staff", restrictions=restrictions)
    assert refusal(grant, DB, "db1.internal", 5432, who) is PolicyReason.CERT_RESTRICTION


def test_an_expired_or_old_login_opens_nothing():
    expired = person("alice", "staff", restrictions=Restrictions(valid_before=int(NOW)))
    assert refusal(grant, DB, "db1.internal", 5432, expired) is PolicyReason.GRANT_ENDED
    assert refusal(grant, DB, "db1.internal", 5432, now=NOW + 86400) is PolicyReason.GRANT_ENDED


def test_a_rule_for_others_or_from_elsewhere_gives_nothing():
    assert refusal(grant, DB, "db1.internal", 5432, person("bob")) is PolicyReason.DESTINATION_NOT_ALLOWED
    office = rule(DB_LIST, 'sources = ["10.0.0.0/8"]')
    assert refusal(grant, office, "db1.internal", 5432) is PolicyReason.DESTINATION_NOT_ALLOWED


def test_only_policy_makes_a_grant_or_a_route():
    with pytest.raises(TypeError):
        TunnelRoute(object(), "10.0.0.5", 22, (), True, None)
    with pytest.raises(TypeError):
        TunnelGrant(object(), "alice", "db1", 22, None, (), (), None, INVENTORY)


def test_a_rule_of_tunnels_alone_needs_neither_targets_nor_logins_and_gives_no_session():
    policy = policy_of(DB)
    alice = person("alice", "staff")
    assert reachable(policy, INVENTORY, alice) == []
    assert refusal(authorise, policy, INVENTORY, alice, "web1", None, "", NOW) is PolicyReason.NO_RULE
    text = not_reachable(policy, INVENTORY, alice, "web1", "192.0.2.1", NOW)
    assert text == (
        'no target "web1" for you; you may reach no target at all;'
        " tunnels: db1.internal:5432, *.apps.internal:8000-8999, 10.20.0.0/16:443"
    )


def test_the_verb_is_no_verb_of_a_session():
    text = FULL.replace('"forward-local"]', '"forward-local", "tunnel"]\ntunnel = ["db1.internal:5432"]')
    made = authorise(policy_of(text), INVENTORY, person("alice", "staff"), "web1", None, "192.0.2.1", NOW)
    assert "tunnel" not in made.granted_by and "forward-local" in made.granted_by
    assert "permit-port-forwarding" in made.permits


@pytest.mark.parametrize(
    "extra, problem",
    [
        ('verbs = ["tunnel"]', "needs the list `tunnel`"),
        (
            'verbs = ["shell"]\ntargets = ["*"]\nlogins = ["a"]\ntunnel = ["a:1"]',
            "no effect without the verb",
        ),
        (
            'verbs = ["shell"]\ntargets = ["*"]\nlogins = ["a"]\ntunnel_bytes = 5',
            "no effect without the verb",
        ),
        ('verbs = ["tunnel"]\ntunnel = ["a:1"]\ntunnel_bytes = 0', "must not be 0"),
        ('verbs = ["shell", "tunnel"]\ntunnel = ["a:1"]\nlogins = ["a"]', "needs targets or labels"),
        ('verbs = ["shell", "tunnel"]\ntunnel = ["a:1"]\ntargets = ["*"]', "needs logins"),
        ('verbs = ["shell", "agent"]\ntargets = ["*"]\nlogins = ["a"]\nopaque = false', "makes agent void"),
    ],
)
def test_a_rule_that_cannot_mean_what_it_says_is_a_fault(extra, problem):
    with pytest.raises(ConfigErrors, match=problem):
        policy_of(f'[[rule]]\nname = "one"\ngroups = ["staff"]\n{extra}\n')


@given(
    host=st.one_of(
        st.text(max_size=40), st.sampled_from(["web1", "10.1.0.2", "edge2", "db1.internal", "::1"])
    ),
    port=st.one_of(st.integers(-1, 70000), st.sampled_from([22, 2022, 2200, 443])),
    address=st.one_of(st.ip_addresses().map(str), st.sampled_from(["10.1.0.2", "10.9.0.1", "127.0.0.1"])),
)
def test_a_route_is_never_the_gateway_or_the_ssh_server_of_a_target(host, port, address):
    wide = rule('["*:1-65535", "0.0.0.0/0:1-65535", "[::/0]:1-65535"]', "tunnel_by_address = true")
    try:
        route = grant(wide, host, port).route(address, OWN)
    except Refused:
        return
    assert not INVENTORY.is_ssh_place(host, port) and not INVENTORY.is_ssh_place(address, port)
    assert not ipaddress.ip_address(route.address).is_loopback
