"""Ports: free, taken by somebody who is named, reserved, or on no address of this machine."""

import os
import socket
import sys

import pytest

from bastion.doctor.findings import Level
from bastion.doctor.ports import examine_ports, holders_of
from tests.support.net import LOOPBACK, free_port

pytestmark = pytest.mark.slow
LISTEN = 'addresses = ["0.0.0.0:2222", "[::1]:2222"]'


def found(look, address, user=""):
    return next(iter(examine_ports(look((LISTEN, f'addresses = ["{address}"]'), user=user))))


def test_a_free_port(look):
    finding = found(look, f"{LOOPBACK}:{free_port()}")
    assert finding.level is Level.OK and finding.text == "is free"


def test_a_taken_port_is_told_with_who_has_it(look):
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        finding = found(look, f"{LOOPBACK}:{port}")
        (holder,) = holders_of(port)
    assert finding.level is Level.FAIL and f"pid {os.getpid()}" in finding.text
    assert holder.pid == os.getpid() and finding.type == f"ss -ltnp 'sport = :{port}'"
    assert os.path.basename(sys.executable) in " ".join(holder.command) or "pytest" in " ".join(
        holder.command
    )


def test_a_low_port_needs_a_right(look):
    finding = found(look, f"{LOOPBACK}:7", "nobody")
    assert finding.level is Level.FAIL and "CAP_NET_BIND_SERVICE" in finding.text


@pytest.mark.parametrize("address", ["192.0.2.77:2222", "no-such-host.invalid:2222"])
def test_an_address_of_another_machine(look, address):
    finding = found(look, address)
    assert finding.level is Level.FAIL and "no address of this machine" in finding.text
