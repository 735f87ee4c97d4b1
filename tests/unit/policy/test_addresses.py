"""Addresses are judged after resolution: by what they are, and by what they carry inside."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.policy.addresses import Barred, barred, inner_addresses, literal_network


class Own:
    """A gateway at 192.0.2.10 and 2001:db8::10 that listens on port 2222 of both and on 127.0.0.1:9722."""

    addresses = frozenset(map(ipaddress.ip_address, ("192.0.2.10", "2001:db8::10")))

    def has(self, address):
        return address in self.addresses

    def listens_on(self, address, port):
        return (port == 2222 and (self.has(address) or address.is_loopback)) or (
            port == 9722 and str(address) == "127.0.0.1"
        )


OWN = Own()


@pytest.mark.parametrize(
    "text, why",
    [
        ("127.0.0.1", Barred.LOOPBACK),
        ("127.255.0.3", Barred.LOOPBACK),
        ("::1", Barred.LOOPBACK),
        ("0.0.0.0", Barred.UNSPECIFIED),
        ("0.1.2.3", Barred.UNSPECIFIED),
        ("::", Barred.UNSPECIFIED),
        ("169.254.169.254", Barred.METADATA),
        ("169.254.170.2", Barred.METADATA),
        ("100.100.100.200", Barred.METADATA),
        ("168.63.129.16", Barred.METADATA),
        ("fd00:ec2::254", Barred.METADATA),
        ("169.254.1.1", Barred.LINK_LOCAL),
        ("fe80::1", Barred.LINK_LOCAL),
        ("fe80::1%eth0", Barred.LINK_LOCAL),
        ("fe80::5efe:a00:1", Barred.LINK_LOCAL),
        ("ff02::5efe:a00:1", Barred.MULTICAST),
        ("224.0.0.1", Barred.MULTICAST),
        ("ff02::1", Barred.MULTICAST),
        ("255.255.255.255", Barred.MULTICAST),
        ("240.0.0.1", Barred.RESERVED),
        ("192.0.2.10", Barred.OWN),
        ("2001:db8::10", Barred.OWN),
        ("web1", Barred.MALFORMED),
        ("", Barred.MALFORMED),
    ],
)
def test_what_nobody_is_connected_to(text, why):
    assert barred(text, 22, OWN) is why


@pytest.mark.parametrize("text", ["10.0.0.5", "192.168.1.1", "198.51.100.7", "2001:db8::5", "fd12::1"])
def test_machines_are_connected_to(text):
    assert barred(text, 22, OWN) is None


@pytest.mark.parametrize(
    "form",
    [
        "::ffff:{0}",  # mapped, what a resolver with AI_V4MAPPED gives
        "::{0}",  # compatible
        "64:ff9b::{0}",  # NAT64
        "64:ff9b:1::{0}",  # NAT64 for local use
        "fe81::5efe:{0}",  # ISATAP with another prefix would do as well
    ],
)
@pytest.mark.parametrize("inner", ["127.0.0.1", "169.254.169.254", "192.0.2.10", "224.0.0.1", "0.0.0.1"])
def test_an_address_inside_an_address_counts(form, inner):
    text = form.format(inner)
    if form.startswith("::{") and inner.startswith("0."):
        text = "::0.2.0.1"  # ::1 itself is no embedding
    assert barred(text, 22, OWN) is not None


@pytest.mark.parametrize("text", ["::ffff:10.0.0.5", "64:ff9b::10.0.0.5", "2002:a00:5::1"])
def test_an_embedded_machine_is_connected_to(text):
    assert barred(text, 22, OWN) is None


@pytest.mark.parametrize("text", ["2002:7f00:1::1", "2002:a9fe:a9fe::1"])
def test_6to4_is_judged_by_its_inner_address(text):
    assert barred(text, 22, OWN) in (Barred.LOOPBACK, Barred.METADATA)


def test_teredo_is_judged_by_both_inner_addresses():
    assert [str(one) for one in inner_addresses(ipaddress.ip_address("2001:0:a9fe:a9fe::f5ff:fffa"))][1:] == [
        "169.254.169.254",
        "10.0.0.5",
    ]
    assert barred("2001:0:a9fe:a9fe::f5ff:fffa", 22, OWN) is Barred.METADATA


def test_what_the_operator_wrote_down_is_allowed():
    loopback = (ipaddress.ip_network("127.0.0.0/8"),)
    assert barred("127.0.0.1", 22, OWN, loopback) is None
    assert barred("::ffff:127.0.0.1", 22, OWN, loopback) is None
    assert barred("169.254.169.254", 22, OWN, loopback) is Barred.METADATA
    assert barred("192.0.2.10", 22, OWN, (ipaddress.ip_network("192.0.2.10"),)) is None


@pytest.mark.parametrize(
    "text, port",
    [("127.0.0.1", 2222), ("192.0.2.10", 2222), ("127.0.0.1", 9722), ("64:ff9b::192.0.2.10", 2222)],
)
def test_the_gateways_own_ports_are_refused_whatever_is_allowed(text, port):
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert barred(text, port, OWN, everything) is Barred.LISTENER


def test_a_literal_address_is_a_network_of_one():
    assert literal_network("127.0.0.1") == (ipaddress.ip_network("127.0.0.1/32"),)
    assert literal_network("0x7f000001") == (ipaddress.ip_network("127.0.0.1/32"),)
    assert literal_network("localhost") == ()


@given(st.one_of(st.ip_addresses(), st.ip_addresses(v=6)))
def test_every_address_gets_an_answer_and_an_embedding_never_says_more(address):
    answer = barred(str(address), 22, OWN)
    if address.version == 4:
        for form in ("::ffff:{}", "64:ff9b::{}"):
            assert barred(form.format(address), 22, OWN) == answer


@given(st.text())
def test_text_that_is_no_address_is_refused(text):
    assert barred(text, 22, OWN) is None or isinstance(barred(text, 22, OWN), Barred)
