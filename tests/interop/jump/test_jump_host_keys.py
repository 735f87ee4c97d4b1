"""The face that the gateway shows inside: certificates for the inventory's names, and the plain key beside them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.sshd import keygen

pytestmark = pytest.mark.interop


def known_hosts(world: JumpWorld, *lines: str) -> Path:
    gateway = (world.keys / "gateway_host.pub").read_text()
    path = world.folder / "kh-test"
    path.write_text(f"[{LOOPBACK}]:{world.port} {gateway}" + "\n".join(lines))
    return path


def jump(
    world: JumpWorld, known: Path, *options: str, to: str = "root@web1"
) -> subprocess.CompletedProcess[bytes]:
    config = world.jump_config("Host *", f"UserKnownHostsFile {known}", name="hosts")
    return world.jump("echo in", options=["-v", *options, "-J", "bastion"], to=to, config=config)


def authority(world: JumpWorld) -> str:
    return (world.keys / "front_host_ca.pub").read_text().strip()


@pytest.mark.parametrize("name", ["web1", "www"])
def test_one_authority_line_is_enough_for_strict_checking(world: JumpWorld, name: str) -> None:
    done = jump(
        world, known_hosts(world, f"@cert-authority *web1*,*www* {authority(world)}"), to=f"root@{name}"
    )
    assert done.stdout == b"in\n", done.stderr
    assert b"matches the ED25519-CERT host certificate" in done.stderr


def test_the_plain_key_is_enough_too(world: JumpWorld) -> None:
    gateway = (world.keys / "gateway_host.pub").read_text().strip()
    done = jump(world, known_hosts(world, f"[web1]:{world.sshd.port} {gateway}"))
    assert done.stdout == b"in\n", done.stderr


def test_without_either_strict_checking_refuses(world: JumpWorld) -> None:
    done = jump(world, known_hosts(world))
    assert done.returncode == 255
    assert b"you have requested strict checking" in done.stderr


def test_a_certificate_names_the_inventory_and_nothing_that_was_typed(world: JumpWorld) -> None:
    """127.1 leads to web1; the certificate says 127.0.0.1, because the inventory does."""
    known = known_hosts(world, f"@cert-authority * {authority(world)}")
    proxy = f"ProxyCommand=ssh -F {world.jump_config()} -W 127.1:%p bastion"
    config = world.jump_config("Host *", f"UserKnownHostsFile {known}", name="hosts")
    done = world.jump("true", options=["-v", "-o", proxy, "-p", str(world.sshd.port)], to="root@127.1.example",
                      config=config)  # fmt: skip
    assert done.returncode == 255
    assert b"name is not a listed principal" in done.stderr


def test_the_certificate(world: JumpWorld) -> None:
    scan = subprocess.run(
        ["ssh", "-F", str(world.jump_config()), "-J", "bastion", "-o", "LogLevel=DEBUG3", "root@web1", "true"],
        capture_output=True, timeout=60, env=world.environment(),
    ).stderr.decode()  # fmt: skip
    (line,) = [line for line in scan.splitlines() if "Server host certificate:" in line]
    assert 'ID "bastion for web1"' in line
    assert keygen("-l", "-f", str(world.keys / "front_host_ca.pub")).split()[1] in line


def test_the_key_stays_the_same_when_keys_are_made_anew(world: JumpWorld) -> None:
    done = world.jump("head -c 3000000 /dev/zero", options=["-J", "bastion", "-o", "RekeyLimit=500K"])
    assert len(done.stdout) == 3_000_000, done.stderr
