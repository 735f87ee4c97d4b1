"""A target that is written by name is not tunnelled to by its address, though a rule lets SSH pass to that address."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.jump import JumpWorld, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import Sshd, sshd_missing
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


class ByName(JumpWorld):
    """`tt` is `localhost`, a name that everybody's resolver knows; the rule opens what it leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = Sshd(self.folder / "hidden", user_ca=self.keys / "upstream_ca.pub").start()

    def prepare(self, listed: bool) -> None:
        rule = f"""
[[rule]]
name = "ssh-to-a-network"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["{LOOPBACK}:{self.hidden.port}"]
allow_ssh = true
"""
        self.policy_file.write_text(self.policy_file.read_text() + rule)
        if listed:
            table = f'\n[targets.tt]\nhost = "localhost"\nport = {self.hidden.port}\n'
            self.targets_file.write_text(self.targets_file.read_text() + table)


@pytest.fixture(params=[True, False], ids=["in the inventory", "not in it"])
def world(request: pytest.FixtureRequest) -> Iterator[tuple[ByName, bool]]:
    made = ByName()
    try:
        made.prepare(request.param)
        made.start()
        yield made, request.param
    finally:
        made.close()
        made.hidden.stop()


def banner(world: ByName) -> bytes:
    port = free_port()
    with world.jumping(
        to="bastion", options=["-N", "-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{world.hidden.port}"]
    ):
        poll(lambda: listens(port), text="ssh -L does not listen")
        with socket.create_connection((LOOPBACK, port), timeout=20) as connection, suppress(ConnectionError):
            connection.sendall(b"SSH-2.0-client\r\n")
            return connection.recv(8)
    return b""


def test_only_what_is_no_target(world: tuple[ByName, bool]) -> None:
    made, listed = world
    if not listed:
        assert banner(made) == b"SSH-2.0-"
        return

    def refused_as_a_target() -> bool:
        assert banner(made) == b""  # also before the name was looked up
        return bool(made.audit("refused")[-1]["reason"] in ("nested_ssh", "unknown_target", "no_rule"))

    poll(refused_as_a_target, text="the address was not recognised")
    assert subprocess.run(
        [*("ssh", "-F", str(made.jump_config())), "-J", "bastion", "root@web1", "echo in"],
        capture_output=True, timeout=60, env=made.environment(),
    ).stdout == b"in\n"  # fmt: skip
