"""A client of ours against OpenSSH's sshd: every algorithm both know, host keys, key exchanges, ends."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bastion.errors import Refused, UpstreamReason
from bastion.transport.settings import ClosedBy, TransportSettings
from bastion.wire.certificates import Certificate
from bastion.wire.data import Reader, boolean, byte, string, uint32
from bastion.wire.kexinit import TARGET
from bastion.wire.keys import PrivateKey
from bastion.wire.userauth import signed_data
from tests.interop.transport_peers import Client
from tests.support.reactor import run
from tests.support.sshd import Sshd, make_key, sshd_missing

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

USER = PrivateKey.generate_ed25519()


def known_to_sshd(kind: str) -> set[str]:
    done = subprocess.run(["ssh", "-Q", kind], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    ca = make_key(folder / "host_ca")
    more = []
    for kind, bits in (("rsa", 3072), ("ecdsa", 256)):
        make_key(folder / f"more_{kind}", kind, bits=bits)
        more.append(f"HostKey {folder}/more_{kind}")
    every_kex = ",".join(sorted(set(TARGET.kex) & known_to_sshd("kex")))
    server = Sshd(
        folder,
        host_ca=ca,
        authorized_keys=USER.public.line() + "\n",
        options=[
            *more,
            f"KexAlgorithms {every_kex}",
            f"Ciphers {','.join(TARGET.ciphers)}",
            "LogLevel DEBUG1",
        ],
    )
    with server:
        yield server


def connect(sshd: Sshd, algorithms: Any = TARGET, check: Any = None, **settings: Any) -> Client:
    """A client whose first key exchange is done."""
    clients: list[Client] = []

    def begin() -> Any:
        clients.append(Client(sshd.port, TransportSettings(algorithms, **settings), check))
        return clients[0].ready

    try:
        run(begin)
    except ConnectionError:
        run(clients[0].stop)
        raise
    return clients[0]


def log_in(client: Client, sshd: Sshd) -> None:
    """Service, then one signed request; the answer is SUCCESS."""
    transport = client.transport

    def ask() -> Any:
        transport.send_any(byte(5) + string(b"ssh-userauth"))
        return client.expect(6)

    def prove() -> Any:
        blob = USER.public.blob
        data = signed_data(transport.keys.session_id, sshd.login, "ssh-connection", "ssh-ed25519", blob)
        transport.send_any(
            byte(50)
            + string(sshd.login)
            + string(b"ssh-connection")
            + string(b"publickey")
            + boolean(True)
            + string(b"ssh-ed25519")
            + string(blob)
            + string(USER.sign(data))
        )
        return client.expect(52)

    run(ask)
    run(prove)


def test_the_handshake_with_defaults(sshd: Sshd) -> None:
    blobs: list[bytes] = []
    client = connect(sshd, check=blobs.append)
    transport = client.transport
    run(client.stop)
    assert transport.keys.agreed.strict
    assert b"OpenSSH" in transport.keys.peer_version
    assert len(blobs) == 1


def test_a_login_in_one_shot_reads_server_sig_algs(sshd: Sshd) -> None:
    client = connect(sshd)
    log_in(client, sshd)
    transport = client.transport
    algorithms = transport.keys.peer_signature_algorithms
    run(client.stop)
    assert algorithms is not None and "rsa-sha2-512" in algorithms


@pytest.mark.parametrize("name", TARGET.kex)
def test_key_exchange_method(sshd: Sshd, name: str) -> None:
    if name not in known_to_sshd("kex"):
        pytest.skip("this OpenSSH does not know it")
    client = connect(sshd, replace(TARGET, kex=(name,)))
    log_in(client, sshd)
    run(client.stop)
    assert client.transport.keys.count == 1


@pytest.mark.parametrize("name", TARGET.ciphers)
def test_cipher(sshd: Sshd, name: str) -> None:
    client = connect(sshd, replace(TARGET, ciphers=(name,)))
    log_in(client, sshd)
    run(client.stop)
    sshd.wait_for_log(rf"kex: client->server cipher: {re.escape(name)} MAC")


@pytest.mark.parametrize("name", TARGET.macs)
def test_mac(sshd: Sshd, name: str) -> None:
    client = connect(sshd, replace(TARGET, ciphers=("aes128-ctr",), macs=(name,)))
    log_in(client, sshd)
    run(client.stop)
    sshd.wait_for_log(rf"kex: server->client cipher: aes128-ctr MAC: {re.escape(name)}")


@pytest.mark.parametrize("name", ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256"])
def test_plain_host_key(sshd: Sshd, name: str) -> None:
    client = connect(sshd, replace(TARGET, host_keys=(name,)))
    blob = client.transport.keys.host_key_blob
    run(client.stop)
    declared = Reader(blob).text()
    assert declared == ("ssh-rsa" if name.startswith("rsa-") else name)
    if name == "ssh-ed25519":
        assert base64.b64encode(blob).decode() == sshd.host_public.split()[1]


def test_host_certificate(sshd: Sshd) -> None:
    client = connect(sshd, replace(TARGET, host_keys=("ssh-ed25519-cert-v01@openssh.com",)))
    run(client.stop)
    certificate = Certificate.parse(client.transport.keys.host_key_blob)
    assert certificate.principals == ("127.0.0.1",)
    assert base64.b64encode(certificate.key.blob).decode() == sshd.host_public.split()[1]


def test_a_refused_host_key_ends_it_before_the_login(sshd: Sshd) -> None:
    def refuse(blob: bytes) -> None:
        raise Refused(UpstreamReason.HOST_KEY_UNKNOWN, "the host key is not known")

    with pytest.raises(ConnectionError, match="host_key_unknown"):
        connect(sshd, check=refuse)
    sshd.wait_for_log("the host key is not known")  # it was told why


def test_nothing_in_common_is_told_apart(sshd: Sshd) -> None:
    with pytest.raises(ConnectionError, match="kex_failed"):
        connect(sshd, replace(TARGET, kex=("diffie-hellman-group14-sha1",)))


def test_something_that_is_no_ssh(tmp_path: Path) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            sock, _ = listening.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n" * 2000)
                # Read to the end: closing with unread input resets the connection, which may overtake the text.
                while sock.recv(4096):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        client: list[Client] = []

        def begin() -> Any:
            client.append(Client(listening.getsockname()[1], TransportSettings(TARGET)))
            return client[0].ready

        with pytest.raises(ConnectionError, match="not_ssh"):
            run(begin)
        thread.join()


def test_an_exec_with_key_exchanges_from_both_sides(sshd: Sshd) -> None:
    """16 MiB from sshd; we begin an exchange every MiB, windows are refilled by hand, all bytes arrive."""
    client = connect(sshd, rekey_bytes=1 << 20)
    log_in(client, sshd)
    transport = client.transport
    size = 16 << 20

    def open_channel() -> Any:
        transport.send_any(byte(90) + string(b"session") + uint32(0) + uint32(64 << 20) + uint32(32768))
        return client.expect(91)

    def execute() -> Any:
        command = f"head -c {size} /dev/zero".encode()
        body = Reader(confirmation, 5)
        transport.send_any(
            byte(98) + uint32(body.uint32()) + string(b"exec") + boolean(False) + string(command)
        )
        return client.expect(97)

    confirmation = run(open_channel)
    run(execute)
    count = transport.keys.count
    run(client.stop)
    received = sum(len(Reader(payload, 5).string()) for payload in client.payloads if payload[0] == 94)
    assert received == size
    assert count > 4


def test_sshd_killed_under_us_is_a_close(sshd: Sshd) -> None:
    client = connect(sshd)

    def ask() -> Any:
        client.transport.send_any(byte(5) + string(b"no-such-service"))
        return client.over

    reason = run(ask)
    assert reason.by is ClosedBy.PEER and reason.code != 0 and reason.text
