"""Which addresses a target may be dialled at."""

import ipaddress

import pytest

from bastion.errors import Refused, UpstreamReason
from bastion.net.local_addresses import OwnPlaces
from bastion.policy.targets import Target
from bastion.upstream.dial import check_address


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
