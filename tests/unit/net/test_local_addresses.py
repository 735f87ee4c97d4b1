"""The machine's own addresses, asked of the kernel, and the gateway's own ports."""

import ipaddress
import socket

import pytest

from bastion.net.local_addresses import OwnPlaces


def address(text):
    return ipaddress.ip_address(text)


@pytest.fixture
def interface():
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no route")
        return probe.getsockname()[0]


def test_an_address_of_an_interface_is_ours(interface):
    assert OwnPlaces().has(address(interface))
    assert OwnPlaces().has(address("127.0.0.1"))


@pytest.mark.parametrize("text", ["192.0.2.77", "2001:db8::77", "255.255.255.255", "224.0.0.1"])
def test_an_address_of_somebody_else_is_not(text):
    assert not OwnPlaces().has(address(text))


def test_a_port_on_one_address_is_a_listener_there_only():
    own = OwnPlaces()
    own.listening("127.0.0.1", 2222)
    assert own.listens_on(address("127.0.0.1"), 2222)
    assert not own.listens_on(address("127.0.0.2"), 2222)
    assert not own.listens_on(address("127.0.0.1"), 2223)


@pytest.mark.parametrize("anywhere", ["", "0.0.0.0", "::"])
def test_a_port_on_all_addresses_is_a_listener_on_each_of_ours(anywhere, interface):
    own = OwnPlaces()
    own.listening(anywhere, 2222)
    for text in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", interface):
        assert own.listens_on(address(text), 2222)
    assert not own.listens_on(address("192.0.2.77"), 2222)
