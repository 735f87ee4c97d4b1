"""Implementations other than OpenSSH, both ways: asyncssh and paramiko with the post-quantum exchange, libssh2."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import asyncssh
import paramiko
import pytest

from bastion.transport.settings import HostKey, TransportSettings
from bastion.wire.data import byte, string
from bastion.wire.kexinit import COMPAT, FRONT, TARGET
from bastion.wire.keys import PrivateKey
from tests.interop.transport_peers import Client, serving
from tests.support.reactor import run

pytestmark = pytest.mark.interop

KEY = PrivateKey.generate_ed25519()
FRONT_SETTINGS = TransportSettings(FRONT, (HostKey(KEY),))
PQ = "mlkem768x25519-sha256"


# -- clients -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kex", FRONT.kex)
def test_asyncssh_client(kex: str) -> None:
    async def connect(port: int) -> tuple[str, bytes]:
        async with asyncssh.connect(
            "127.0.0.1",
            port,
            username="alice",
            known_hosts=asyncssh.import_known_hosts(f"[127.0.0.1]:{port} {KEY.public.line()}\n"),
            client_keys=None,
            kex_algs=[kex],
            config=None,
        ) as connection:
            cipher = connection.get_extra_info("send_cipher")
            done = await connection.run("300000", encoding=None)
            return cipher, done.stdout

    with serving(FRONT_SETTINGS, accept=True) as server:
        cipher, out = asyncio.run(asyncio.wait_for(connect(server.port), 30))
    assert "gcm" in cipher and out == bytes(300000)


@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"])
def test_asyncssh_client_with_rekeys(cipher: str) -> None:
    data = bytes(range(256)) * 8192

    async def connect(port: int) -> bytes:
        async with asyncssh.connect(
            "127.0.0.1",
            port,
            username="alice",
            known_hosts=None,
            client_keys=None,
            encryption_algs=[cipher],
            rekey_bytes="300K",  # it counts what it sends
            config=None,
        ) as connection:
            done = await connection.run("echo", input=data, encoding=None)
            return done.stdout

    with serving(FRONT_SETTINGS, accept=True) as server:
        out = asyncio.run(asyncio.wait_for(connect(server.port), 60))
        kex_count = server.transports[0].keys.count
    assert out == data and kex_count > 4


def paramiko_transport(port: int) -> paramiko.Transport:
    transport = paramiko.Transport(socket.create_connection(("127.0.0.1", port), 10))
    transport.start_client(timeout=20)
    return transport


@pytest.mark.parametrize("kex", ["", "curve25519-sha256@libssh.org", "diffie-hellman-group16-sha512"])
def test_paramiko_client(kex: str) -> None:
    with serving(FRONT_SETTINGS, accept=True) as server:
        transport = paramiko.Transport(socket.create_connection(("127.0.0.1", server.port), 10))
        if kex:
            transport.get_security_options().kex = [kex]
        try:
            transport.start_client(timeout=20)
            assert transport.get_remote_server_key().asbytes() == KEY.public.blob
            transport.auth_none("alice")
            transport.renegotiate_keys()
            channel = transport.open_session()
            channel.exec_command("100000")
            got = b""
            while piece := channel.recv(65536):
                got += piece
            kex_count = server.transports[0].keys.count
        finally:
            transport.close()
    assert got == bytes(100000) and kex_count == 2


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_libssh2_client() -> None:
    shown = subprocess.run(["curl", "-V"], capture_output=True, text=True, timeout=60).stdout
    if "sftp" not in shown:
        pytest.skip("this curl is built without libssh2")
    with serving(TransportSettings(COMPAT, (HostKey(KEY),))) as server:
        done = subprocess.run(
            ["curl", "-k", "-v", "-m", "10", "-u", "alice:x", f"sftp://127.0.0.1:{server.port}/"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        secured = server.transports[0].keys.count
    assert secured == 1, done.stderr  # the login itself is refused


# -- servers -------------------------------------------------------------------------------------------------


def handshake(port: int, algorithms: Any) -> Client:
    """A client of ours whose service request was accepted."""
    clients: list[Client] = []

    def begin() -> Any:
        clients.append(Client(port, TransportSettings(algorithms)))
        return clients[0].ready

    def ask() -> Any:
        clients[0].transport.send_any(byte(5) + string(b"ssh-userauth"))
        return clients[0].expect(6)

    try:
        run(begin)
        run(ask)
    finally:
        run(clients[0].stop)
    return clients[0]


@contextmanager
def asyncssh_server(kex: str) -> Iterator[int]:
    """An asyncssh server in a thread of its own."""
    loop = asyncio.new_event_loop()
    port: list[int] = []
    listening, finish = threading.Event(), asyncio.Event()

    async def serve() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], kex_algs=[kex])
        port.append(server.sockets[0].getsockname()[1])
        listening.set()
        await finish.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert listening.wait(10)
        yield port[0]
    finally:
        loop.call_soon_threadsafe(finish.set)
        thread.join(10)
        loop.close()


@pytest.mark.parametrize("kex", TARGET.kex)
def test_asyncssh_server(kex: str) -> None:
    with asyncssh_server(kex) as port:
        client = handshake(port, replace(TARGET, host_keys=("ssh-ed25519",)))
    assert client.transport.keys.count == 1
    assert b"AsyncSSH" in client.transport.keys.peer_version


@pytest.mark.parametrize("kex", [PQ, "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"])
def test_paramiko_server(kex: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            sock, _ = listening.accept()
            transport = paramiko.Transport(sock)
            transport.add_server_key(paramiko.RSAKey.generate(2048))
            transport.start_server(server=paramiko.ServerInterface())
            transport.join(20)

        thread = threading.Thread(target=serve)
        thread.start()
        client = handshake(listening.getsockname()[1], replace(TARGET, kex=(kex,)))
        thread.join(20)
    assert client.transport.keys.count == 1
    assert b"paramiko" in client.transport.keys.peer_version
