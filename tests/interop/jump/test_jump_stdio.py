"""Which ssh is let in without a second proof: every way to jump, and every way of another process to look like one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bastion.wire.kexinit import FRONT
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.support.jump import JumpWorld, connect_from, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import Sshd
from tests.support.world import poll

pytestmark = pytest.mark.interop

NONE = b'(via proxy) using "none"'
PROVED = b'(via proxy) using "publickey"'


def by(world: JumpWorld, way: str, config: Path) -> list[str]:
    hop, forward = f"ssh -F {config}", "-o ClearAllForwardings=no -o ExitOnForwardFailure=no"
    return {
        "-J": ["-J", "bastion"],
        "-W": ["-o", f"ProxyCommand={hop} -W %h:%p bastion"],
        "-W and -L": [
            "-o",
            f"ProxyCommand={hop} -W %h:%p {forward} -L {free_port()}:web1:22 bastion",
        ],
        "-W and -R": ["-o", f"ProxyCommand={hop} -W %h:%p {forward} -R 1:web1:22 bastion"],
    }[way]


@pytest.mark.parametrize("way", ["-J", "-W", "-W and -L", "-W and -R"])
def test_the_client_s_own_standard_input_needs_no_second_proof(world: JumpWorld, way: str) -> None:
    config = world.jump_config()
    done = world.jump("echo in", config=config, options=["-v", *by(world, way, config)])
    assert done.stdout == b"in\n" and NONE in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (("ControlMaster auto", "ControlPersist no"), PROVED),
        (("ControlMaster auto", "ControlPersist 1"), PROVED),
        (("ControlMaster yes", "ControlPersist no"), PROVED),
        (("ControlMaster no",), NONE),  # and nobody is there to share with
    ],
    ids=["auto", "auto and persist", "yes", "no"],
)
def test_a_shared_first_hop_proves_itself_with_the_key(
    world: JumpWorld, tmp_path: Path, lines: tuple[str, ...], word: bytes
) -> None:
    """One that would share says so by what it does not say, also before anybody has shared it."""
    config = world.jump_config("Host bastion", f"ControlPath {tmp_path}/m", *lines, name="shares")
    done = world.jump("echo in", config=config, options=["-v", "-J", "bastion"])
    assert done.stdout == b"in\n" and word in done.stderr, done.stderr


def test_a_second_hop_that_is_shared_is_the_engineer_s_own(world: JumpWorld, tmp_path: Path) -> None:
    """Sharing of the session inside is another connection's matter."""
    config = world.jump_config(
        "Host web1", f"ControlPath {tmp_path}/m", "ControlMaster auto", name="inner-shares"
    )
    done = world.jump("echo in", config=config, options=["-v", "-J", "bastion"])
    assert done.stdout == b"in\n" and NONE in done.stderr, done.stderr


# -- others -----------------------------------------------------------------------------------------------------


@contextmanager
def freed(world: JumpWorld, tmp_path: Path, way: str) -> Iterator[int]:
    """A master whose listener with channel number 0 was taken back, and another that leads to web1: its port."""
    first, second, path = free_port(), free_port(), tmp_path / "m"
    config = world.jump_config("Host bastion", f"ControlPath {path}", name="master")
    asked = ["-D", str(first)] if way == "-D" else ["-L", f"{LOOPBACK}:{first}:db:1"]
    later = ["-L", f"{LOOPBACK}:{second}:web1:{world.sshd.port}"]
    with world.jumping(to="bastion", options=["-M", "-N", *asked, *(later if way != "-O" else [])],
                       config=config):  # fmt: skip
        poll(lambda: path.exists() and listens(first), text="the master does not listen")
        control = ["ssh", "-F", str(config), "-O"]
        subprocess.run([*control, "cancel", *asked, "bastion"], check=True, timeout=60)
        if way == "-O":
            subprocess.run([*control, "forward", *later, "bastion"], check=True, timeout=60)
        poll(lambda: listens(second), text="the second listener is not there")
        yield second


@pytest.mark.parametrize("way", ["-L", "-D", "-O"])
def test_a_process_that_gets_channel_0_of_a_master_is_asked(
    world: JumpWorld, tmp_path: Path, way: str
) -> None:
    """It comes from port 65535, first and as number 0, as the client's own standard input would."""
    before = len(world.audit("session_started"))
    with freed(world, tmp_path, way) as port, connect_from(port, 65535) as sock:
        peer = RawSsh(SocketWire(sock), version=b"SSH-2.0-OpenSSH_9.2", algorithms=FRONT).handshake()
        peer.request_service()
        peer.read_until(6)
        peer.request_login(b"root")
        assert b"publickey,keyboard-interactive" in peer.read_until(51)
    assert world.audit("jump")[-1]["originator_port"] == 65535
    assert len(world.audit("session_started")) == before


def test_a_chain_of_hops_is_the_engineer_s_own(world: JumpWorld, tmp_path: Path) -> None:
    """`-J first,bastion`: the connection to the gateway comes out of another jump host, a plain sshd."""
    alice = (world.keys / "alice.pub").read_text()
    with Sshd(tmp_path / "first", authorized_keys=alice) as first:
        known = tmp_path / "known"
        known.write_text((world.folder / "client_known_hosts").read_text() + first.known_hosts_line)
        config = world.jump_config(
            f"UserKnownHostsFile {known}",
            *("Host first", f"HostName {LOOPBACK}", f"Port {first.port}", "User root"),
            name="chain",
        )
        done = world.jump("echo in", config=config, options=["-v", "-J", "first,bastion"])
    assert done.stdout == b"in\n" and NONE in done.stderr, done.stderr
