"""Another account of the engineer's machine at a port that the engineer forwards: nobody's process gets no session.

The process really runs as nobody, who can read none of the engineer's files. Meanwhile the engineer's own -J and -W
go through without a prompt.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bastion.wire.kexinit import FRONT
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.support.doors import missing
from tests.support.jump import JumpWorld, connect_from, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.world import poll

NEEDED = missing("setpriv") or ("" if os.geteuid() == 0 else "only root can be somebody else")
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(NEEDED), reason=NEEDED or "there")]

AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
PROOFS = ("nothing", "a password", "a key")
# On its own, because nobody cannot read this source tree everywhere. RFC 1928: no authentication, connect, by name.
THROUGH_SOCKS = """
import os, select, socket, sys
proxy, host, port = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
sock = socket.create_connection(("127.0.0.1", proxy))
sock.sendall(b"\\5\\1\\0")
assert sock.recv(2) == b"\\5\\0"
sock.sendall(b"\\5\\1\\0\\3" + bytes([len(host)]) + host + port.to_bytes(2, "big"))
assert sock.recv(10)[1] == 0
while True:
    for ready in select.select([0, sock], [], [])[0]:
        piece = os.read(0, 65536) if ready == 0 else sock.recv(65536)
        if not piece:
            sys.exit()
        sock.sendall(piece) if ready == 0 else os.write(1, piece)
"""


@pytest.fixture(scope="module")
def key() -> Iterator[Path]:
    """A key of nobody's own, where nobody can reach it: a temporary folder of pytest is its user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="bastion-nobody-"))
    try:
        shutil.chown(folder, "nobody", "nogroup")
        made = folder / "key"
        subprocess.run(
            [*AS_NOBODY, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True
        )
        yield made
    finally:
        shutil.rmtree(folder)


@contextmanager
def local_forward(world: JumpWorld) -> Iterator[list[str]]:
    """`ssh -L PORT:web1:22`; the options with which a local ssh goes there."""
    with world.forwarding() as port:
        yield ["-p", str(port)]


@contextmanager
def socks(world: JumpWorld) -> Iterator[list[str]]:
    """`ssh -D PORT`, asked for web1."""
    port = free_port()
    with world.jumping(to="bastion", options=["-N", "-D", f"{LOOPBACK}:{port}"]):
        poll(lambda: listens(port), text="ssh -D does not listen")
        script = world.folder / "socks.py"
        script.write_text(THROUGH_SOCKS)
        yield ["-o", f"ProxyCommand=python3 {script} {port} web1 {world.sshd.port}"]


def as_nobody(
    world: JumpWorld, way: Sequence[str], key: Path, proof: str
) -> subprocess.CompletedProcess[bytes]:
    """nobody tries to be root on web1, with what it has."""
    options = {
        "nothing": ["-o", "BatchMode=yes", "-o", "PubkeyAuthentication=no"],
        "a password": ["-o", "NumberOfPasswordPrompts=1", "-o", "PubkeyAuthentication=no"],
        "a key": ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", str(key)],
    }[proof]
    command = [
        *AS_NOBODY, "ssh", "-F", "none", "-o", f"UserKnownHostsFile={world.folder}/client_known_hosts",
        "-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlias=web1", "-o", "CheckHostIP=no",
        "-o", "IdentityAgent=none", *options, *way, f"root@{LOOPBACK}", "echo stolen",
    ]  # fmt: skip
    environment = world.environment("a guess" if proof == "a password" else None)
    return subprocess.run(command, input=b"", capture_output=True, timeout=60, env=environment)


@pytest.mark.parametrize("proof", PROOFS)
@pytest.mark.parametrize("open_way", [local_forward, socks], ids=["-L", "-D"])
def test_a_process_of_nobody_gets_no_session(
    world: JumpWorld,
    key: Path,
    open_way: Callable[[JumpWorld], AbstractContextManager[list[str]]],
    proof: str,
) -> None:
    started, jumps = len(world.audit("session_started")), len(world.audit("jump"))
    with open_way(world) as way:
        done = as_nobody(world, way, key, proof)
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Permission denied (publickey,keyboard-interactive)" in done.stderr, done.stderr
    assert len(world.audit("session_started")) == started
    assert [line["stdio"] for line in world.audit("jump")[jumps:]] == [0]  # it did reach the door


def test_the_port_that_marks_stdio_is_no_proof_either(world: JumpWorld) -> None:
    """By hand: a client that calls itself OpenSSH asks for `none` from 127.0.0.1 port 65535."""
    with world.forwarding() as port, connect_from(port, 65535) as sock:
        peer = RawSsh(SocketWire(sock), version=b"SSH-2.0-OpenSSH_9.2", algorithms=FRONT).handshake()
        peer.request_service()
        peer.read_until(6)
        peer.request_login(b"root")
        assert b"publickey,keyboard-interactive" in peer.read_until(51)
    assert world.audit("jump")[-1]["originator_port"] == 65535


@pytest.mark.parametrize("own", ["-J", "-W"])
def test_the_engineers_own_way_needs_no_prompt_meanwhile(world: JumpWorld, own: str) -> None:
    """Beside a listening ssh, on a connection of its own."""
    config = world.jump_config()
    way = ["-J", "bastion"] if own == "-J" else ["-o", f"ProxyCommand=ssh -F {config} -W %h:%p bastion"]
    with world.forwarding():
        done = world.jump("echo mine", config=config, options=["-v", *way])
    assert done.stdout == b"mine\n", done.stderr
    assert b'(via proxy) using "none"' in done.stderr
