"""Clients of every family through the gateway's direct door, with new keys every 5 MB on both legs.

Each takes a file down and brings one up, and both checksums are right. The gateway begins key exchanges by its own
limit on both legs, the target's sshd by its RekeyLimit, and the clients that can by theirs. `make test` moves
12 MB, `make soak` 300.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

SIZES = [12 * 10**6, pytest.param(300 * 10**6, marks=pytest.mark.soak)]
USER = "alice+root+web1"
REKEY = 5 * 10**6
TIMEOUT = 600


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed (see .ci/packages)")


class Peers:
    """A world whose gateway and target change keys often, and the keys of alice in every format."""

    def __init__(self, profile: str) -> None:
        self.world = world = World(
            limits=f"rekey_bytes = {REKEY}\npenalties = {{ free = 1000 }}",
            sshd_options=("RekeyLimit 5M", "LogLevel DEBUG1"),
        )
        config = world.config.read_text()
        config = config.replace("[listen]\n", f'[listen]\nalgorithms = "{profile}"\n')
        world.config.write_text(config)
        self.folder = world.folder / "files"
        self.folder.mkdir()
        self.key = world.keys / "alice"

    def start(self) -> Peers:
        self.world.start()
        return self

    def file(self, size: int) -> tuple[Path, str]:
        """A file to be taken down, and its checksum."""
        path = self.folder / f"down-{size}"
        if not path.exists():
            path.write_bytes(os.urandom(1 << 20) * (size // (1 << 20) + 1))
            os.truncate(path, size)
        return path, checksum(path)

    def rekeys(self) -> int:
        """Key exchanges of the target's sshd so far, the first ones included."""
        return self.world.sshd.log.read_text().count("SSH2_MSG_NEWKEYS received")


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run(command: list[str], *, stdin: Path | None = None, stdout: Path | None = None, password: bool = False,
        peers: Peers) -> None:  # fmt: skip
    """Run a client; its words are shown when it fails."""
    with open(stdin or os.devnull, "rb") as source, open(stdout or os.devnull, "wb") as sink:
        environment = peers.world.environment(PASSWORD if password else None) | {"HOME": str(peers.folder)}
        done = subprocess.run(
            command, stdin=source, stdout=sink, stderr=subprocess.PIPE, timeout=TIMEOUT, env=environment
        )
    assert done.returncode == 0, (command, done.stderr[-2000:])


# -- the clients: each takes `down` to `copy`, and brings `copy` up to `back` ----------------------------------

Client = Callable[[Peers, Path, Path, Path], None]


def openssh(peers: Peers, down: Path, copy: Path, back: Path) -> None:
    ssh = peers.world.ssh_command(options=("-o", "RekeyLimit=5M"))
    run([*ssh, f"cat {down}"], stdout=copy, peers=peers)
    run([*ssh, f"cat > {back}"], stdin=copy, peers=peers)


def openssh_scp(peers: Peers, down: Path, copy: Path, back: Path) -> None:
    scp = ["scp", "-P", str(peers.world.port), *peers.world.ssh_options(), "-o", "RekeyLimit=5M"]
    run([*scp, f"{USER}@{LOOPBACK}:{down}", str(copy)], peers=peers)
    run([*scp, "-O", str(copy), f"{USER}@{LOOPBACK}:{back}"], peers=peers)


def dropbear(peers: Peers, down: Path, copy: Path, back: Path) -> None:
    key = peers.folder / "alice.dropbear"
    if not key.exists():
        run(["dropbearconvert", "openssh", "dropbear", str(peers.key), str(key)], peers=peers)
    # -y -y: it would look into the invoking user's own known_hosts, whatever HOME says
    client = ["dbclient", "-T", "-y", "-y", "-i", str(key), "-p", str(peers.world.port), f"{USER}@{LOOPBACK}"]
    run([*client, f"cat {down}"], stdout=copy, peers=peers)
    run([*client, f"cat > {back}"], stdin=copy, peers=peers)


def putty_options(peers: Peers) -> list[str]:
    key = peers.folder / "alice.ppk"
    if not key.exists():
        run(["puttygen", str(peers.key), "-O", "private", "-o", str(key)], peers=peers)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(peers.world.keys / "gateway_host.pub")],
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout.split()[1]
    return ["-batch", "-noagent", "-i", str(key), "-P", str(peers.world.port), "-hostkey", shown]


def plink(peers: Peers, down: Path, copy: Path, back: Path) -> None:
    client = ["plink", *putty_options(peers), "-no-antispoof", f"{USER}@{LOOPBACK}"]
    run([*client, f"cat {down}"], stdout=copy, peers=peers)
    run([*client, f"cat > {back}"], stdin=copy, peers=peers)


def pscp(peers: Peers, down: Path, copy: Path, back: Path) -> None:
    client = ["pscp", "-q", "-sftp", *putty_options(peers)]
    run([*client, f"{USER}@{LOOPBACK}:{down}", str(copy)], peers=peers)
    run([*client, str(copy), f"{USER}@{LOOPBACK}:{back}"], peers=peers)


def paramiko_sftp(peers: Peers, down: Path, copy: Path, back: Path) -> None:
    transport = paramiko.Transport(socket.create_connection((LOOPBACK, peers.world.port), 10))
    transport.packetizer.REKEY_BYTES = REKEY
    try:
        transport.start_client(timeout=20)
        transport.auth_publickey(USER, paramiko.Ed25519Key.from_private_key_file(str(peers.key)))
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        sftp.get(str(down), str(copy))
        sftp.put(str(copy), str(back))
    finally:
        transport.close()


def asyncssh_both(peers: Peers, down: Path, copy: Path, back: Path) -> None:
    async def move() -> None:
        async with asyncssh.connect(
            LOOPBACK,
            peers.world.port,
            username=USER,
            known_hosts=str(peers.world.folder / "client_known_hosts"),
            client_keys=[str(peers.key)],
            rekey_bytes=REKEY,
            config=None,
        ) as connection:
            await connection.run(f"cat {down}", stdout=str(copy), encoding=None, check=True)
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(copy), str(back))

    asyncio.run(asyncio.wait_for(move(), TIMEOUT))


def curl(scheme: str) -> Client:
    def move(peers: Peers, down: Path, copy: Path, back: Path) -> None:
        # libssh2 1.10 has no AEAD cipher and no ETM: it needs the profile `compat`.
        where = f"{scheme}://{LOOPBACK}:{peers.world.port}"
        client = [
            "curl",
            "-sS",
            "-k",
            "-u",
            f"{USER}:",
            "--key",
            str(peers.key),
            "--pubkey",
            f"{peers.key}.pub",
        ]
        run([*client, f"{where}{down}", "-o", str(copy)], peers=peers)
        run([*client, "-T", str(copy), f"{where}{back}"], peers=peers)

    return move


FAMILIES = [
    pytest.param(openssh, id="openssh-ssh"),
    pytest.param(openssh_scp, id="openssh-scp"),
    pytest.param(dropbear, id="dropbear", marks=needs("dbclient", "dropbearconvert")),
    pytest.param(plink, id="putty-plink", marks=needs("plink", "puttygen")),
    pytest.param(pscp, id="putty-pscp", marks=needs("pscp", "puttygen")),
    pytest.param(paramiko_sftp, id="paramiko"),
    pytest.param(asyncssh_both, id="asyncssh"),
]
LIBSSH2 = [pytest.param(curl(name), id=f"libssh2-{name}", marks=needs("curl")) for name in ("sftp", "scp")]


@pytest.fixture(scope="module")
def default() -> Iterator[Peers]:
    peers = Peers("default")
    try:
        yield peers.start()
    finally:
        peers.world.close()


@pytest.fixture(scope="module")
def compat() -> Iterator[Peers]:
    peers = Peers("compat")
    try:
        yield peers.start()
    finally:
        peers.world.close()


def check(peers: Peers, client: Client, size: int) -> None:
    """Down and up again, unchanged, with new keys on the way."""
    down, expected = peers.file(size)
    copy, back = peers.folder / "copy", peers.folder / "back"
    before = peers.rekeys()
    client(peers, down, copy, back)
    assert checksum(copy) == expected
    assert checksum(back) == expected
    assert peers.rekeys() - before >= 2 * (size // REKEY) - 1
    copy.unlink()
    back.unlink()
    log = peers.world.log.read_text()
    assert "Traceback" not in log and "Unhandled" not in log, log[-3000:]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("client", FAMILIES)
def test_transfers_with_rekeys(default: Peers, client: Client, size: int) -> None:
    check(default, client, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("client", LIBSSH2)
def test_transfers_with_libssh2(compat: Peers, client: Client, size: int) -> None:
    shown = subprocess.run(["curl", "-V"], capture_output=True, text=True, timeout=60).stdout
    if not re.search(r"\bsftp\b", shown):
        pytest.skip("this curl is built without libssh2")
    check(compat, client, size)
