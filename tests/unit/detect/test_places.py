"""Networks of addresses, and distances."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from bastion.detect.places import Spot, kilometres, locate_by


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("203.0.113.10", "203.0.113.0/24"),
        ("::ffff:203.0.113.10", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", ""),
        ("unix", ""),
        ("203.0.113.10:22", ""),
        ("999.1.1.1", ""),
    ],
)
def test_addresses_have_networks(source, network):
    assert locate_by(24, ())(source).network == network


def test_our_own_networks_are_no_places():
    def lookup(source):
        return "AS64500", Spot(1, 2, 3)

    locate = locate_by(24, (ip_network("192.0.2.0/25"), ip_network("2001:db8::/32")), lookup)
    ours, other = locate("192.0.2.7"), locate("192.0.2.200")
    assert (ours.network, ours.spot, ours.trusted) == ("192.0.2.0/25", None, True)
    assert (other.network, other.spot, other.trusted) == ("AS64500", Spot(1, 2, 3), False)
    assert locate("2001:db8:9::1").trusted


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [
        (Spot(52.5, 13.4, 0), Spot(37.8, -122.4, 0), 9100),  # Berlin, San Francisco
        (Spot(-33.9, 151.2, 0), Spot(52.5, 13.4, 0), 16100),  # Sydney
        (Spot(0, 179.5, 0), Spot(0, -179.5, 0), 111),
        (Spot(90, 0, 0), Spot(-90, 0, 0), 20015),
        (Spot(5, 5, 0), Spot(5, 5, 0), 0),
    ],
)
def test_distances(one, other, far):
    assert kilometres(one, other) == pytest.approx(far, rel=0.01)
    assert kilometres(other, one) == pytest.approx(far, rel=0.01)


def test_what_a_place_may_be_wrong_by_is_no_distance():
    assert kilometres(Spot(52.5, 13.4, 300), Spot(53.6, 10.0, 300)) == 0
