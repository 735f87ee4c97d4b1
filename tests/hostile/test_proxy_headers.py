"""Headers of load balancers on real sockets, before a gateway of two workers: nothing of a bad one is answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.hostile.rawssh import TIMEOUT, RawSsh, SocketWire
from tests.support.net import LOOPBACK
from tests.support.proxy_headers import LOCAL, binary, line
from tests.support.world import World, poll

BALANCER, STRANGER, ENGINEER = "127.0.0.3", "127.0.0.9", "198.51.100.77"
LISTEN = f'proxy_protocol = {{ "{LOOPBACK}:0" = ["{BALANCER}"] }}\n'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(workers=2)
    made.config.write_text(made.config.read_text().replace("[listen]\n", f"[listen]\n{LISTEN}"))
    with made:
        yield made


def answered(world: World, data: bytes, source: str = BALANCER) -> bytes:
    """All that comes back until the gateway closes."""
    wire, told = SocketWire.connect(world.port, source=source), b""
    try:
        wire.send(data)
        while piece := wire.receive():
            told += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    finally:
        wire.close()
    return told


@pytest.mark.parametrize(
    ("data", "reason", "source"),
    [
        (b"", "late", BALANCER),
        (b"PROXY TCP4 198.51.100.77 192.0.2.1 1", "late", BALANCER),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "missing", BALANCER),
        (b"PROXY TCP4 198.51.100.77 192.0.2.1 1 2" + bytes(80), "too_long", BALANCER),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + bytes(65535), "too_long", BALANCER),
        (line(ENGINEER), "not_listed", STRANGER),
        (b"", "not_listed", STRANGER),
    ],
)
def test_nothing_of_a_bad_header_is_answered(world: World, data: bytes, reason: str, source: str) -> None:
    seen = len(world.audit("proxy_header"))
    assert answered(world, data, source) == b""
    (found,) = world.new_audit("proxy_header", seen)
    assert (found["source"], found["reason"]) == (source, reason)


@pytest.mark.parametrize("header", [line(ENGINEER), binary(ENGINEER, "192.0.2.10", 40000, 22)])
def test_a_header_byte_by_byte_with_the_version_behind_it_is_a_whole_handshake(
    world: World, header: bytes
) -> None:
    wire = SocketWire.connect(world.port, source=BALANCER)
    try:
        for at in range(len(header)):
            wire.send(header[at : at + 1])
        peer = RawSsh(wire)
        peer.handshake()
        peer.request_service()
        peer.read_until(6)
    finally:
        wire.close()
    assert world.metric('bastion_handshakes_total{at="front",result="ok"}') >= 1


def test_a_second_header_is_no_ssh_of_that_address(world: World) -> None:
    with world.moves('bastion_handshakes_total{at="front",result="no_version"}'):
        answered(world, line(ENGINEER) * 2)
        poll(lambda: world.metric("bastion_connections_live") == 0)


def test_a_health_check_ends_by_itself_and_is_no_line(world: World) -> None:
    before = len(world.audit())
    with socket.create_connection((LOOPBACK, world.port), TIMEOUT, (BALANCER, 0)) as probe:
        probe.sendall(LOCAL)
        assert probe.recv(1024).startswith(b"SSH-2.0-")
        told = b""
        while piece := probe.recv(1024):
            told += piece
        assert b"took too long" in told
    assert len(world.audit()) == before
