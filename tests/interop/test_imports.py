"""Nothing is imported once the gateway is ready: a keystroke waits for no file, and an upgrade replaces them all."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.world import poll

IMPORTED = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


@pytest.fixture(params=[1, 2])
def world(request: pytest.FixtureRequest) -> Iterator[JumpWorld]:
    made = JumpWorld(workers=request.param)
    try:
        # Python then writes a line to standard error for each module.
        made.start(environment={"PYTHONPROFILEIMPORTTIME": "1"})
        yield made
    finally:
        made.close()


def imported(world: JumpWorld) -> list[str]:
    return IMPORTED.findall(world.log.read_text())


def test_nothing_is_imported_late(world: JumpWorld) -> None:
    early = imported(world)
    assert "bastion.app" in early and "bastion.relay.relay" in early
    user = "alice"
    assert world.ssh("echo hi").stdout == b"hi\n"
    assert world.ask("alice+root+web1", "wrong").returncode == 255
    assert world.ask("alice+root+web1", "correct horse").returncode == 0
    assert world.ask("alice+root+web1", "correct horse", "keyboard-interactive").returncode == 0
    assert world.ssh("true", user="nobody+root+web1").returncode == 255
    assert world.ssh("true", user="alice+root+web9").returncode == 255
    assert world.ssh(user=user).returncode in (0, 255)  # the lobby
    assert world.ssh("id", options=("-o", "Ciphers=chacha20-poly1305@openssh.com")).returncode == 0
    listed = subprocess.run(
        ["sftp", *world.ssh_options(), "-P", str(world.port), "-b", "-", f"alice+root+web1@{LOOPBACK}"],
        input=b"ls -l /etc/hostname\nget /etc/hostname /dev/null\n",
        capture_output=True,
        timeout=60,
        env=world.environment(),
    )
    assert listed.returncode == 0, listed.stderr
    config = world.jump_config()
    jumped = subprocess.run(
        ["ssh", "-F", str(config), "-J", "bastion", "root@web1", "echo inner"],
        capture_output=True,
        timeout=60,
        env=world.environment(),
    )
    assert jumped.stdout == b"inner\n", jumped.stderr
    with world.client("cat", options=("-tt",)) as client:
        client.echo(b"line")
        world.metrics()
        world.health()
        world.reload()
        world.config.write_text(world.config.read_text() + "[nonsense]\n")
        world.reload()
        client.echo(b"again")
    world.certify()
    assert world.ssh("true").returncode == 0
    poll(lambda: world.metric("bastion_connections_live") == 0)
    assert imported(world)[len(early) :] == []
