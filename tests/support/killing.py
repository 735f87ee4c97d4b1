"""What a kill has to end, with a stock ssh: a shell, a busy transfer, a tunnel, a ControlMaster, a jump with sessions.

`running(world, kind)` starts one and waits until the gateway lists it; `ended_in` measures from the order until every
ssh has exited and the gateway lists nothing more.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from bastion.cli.control_client import ControlClient
from bastion.control.asking import Ended, Request
from bastion.control.node import LiveAsked, LiveRow
from tests.support.jump import JumpWorld, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.talkers import Echo
from tests.support.world import poll

POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1"]
logins = ["root"]
verbs = ["shell", "pty", "exec"]
[[rule]]
name = "echo"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{echo}"]
"""
GIGABYTE = "head -c 1073741824 /dev/zero"
MASTER_SESSIONS = 10
JUMP_SESSIONS = 5
KINDS = ("shell", "transfer", "tunnel", "master", "jump")
ROWS = {"shell": 1, "transfer": 1, "tunnel": 2, "master": 1, "jump": 1 + JUMP_SESSIONS}
"""What the gateway lists of each: sessions, tunnels and outer connections."""


class KillWorld(JumpWorld):
    """With something to tunnel to, and orders to the gateway."""

    def __init__(self, policy: str = POLICY, **more: Any) -> None:
        """`{echo}` in the policy is the port of what can be tunnelled to."""
        self.echo = Echo()
        super().__init__(policy=policy.format(echo=self.echo.port), **more)

    def close(self) -> None:
        super().close()
        self.echo.close()

    def order(self, request: Request[Any]) -> Any:
        """What the gateway answers."""
        with ControlClient(self.config) as client:
            return client.ask(request)

    def rows(self) -> tuple[LiveRow, ...]:
        found: tuple[LiveRow, ...] = self.order(LiveAsked()).rows
        return found

    def settled(self) -> tuple[LiveRow, ...]:
        """The same, and nothing while some session is still being opened."""
        rows = self.rows()
        return (
            ()
            if any(row.kind == "opening" or (row.kind, row.door) == ("connection", "direct") for row in rows)
            else rows
        )


@contextlib.contextmanager
def running(world: KillWorld, kind: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The ssh processes of one kind, once the gateway lists all of it, and nothing that was there before."""
    poll(lambda: not world.rows(), text="somebody is still there")
    with contextlib.ExitStack() as stack:
        started: list[subprocess.Popen[bytes]] = []

        def start(*command: str, **options: Any) -> subprocess.Popen[bytes]:
            made = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=options.get("stdout", subprocess.DEVNULL),
                stderr=subprocess.PIPE,
                env=world.environment(),
            )
            stack.callback(_end, made)
            started.append(made)
            return made

        _START[kind](world, start, stack)
        poll(lambda: len(world.settled()) == ROWS[kind], 20, f"the gateway does not list the {kind}")
        if kind == "transfer":
            poll(lambda: any(row.bytes_out > 1 << 20 for row in world.rows()), 20, "nothing is transferred")
        yield started


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _shell(world: KillWorld, start: Any, _: contextlib.ExitStack) -> None:
    start(*world.ssh_command("-tt", user="alice+root+web1"))


def _transfer(world: KillWorld, start: Any, _: contextlib.ExitStack) -> None:
    start(*world.ssh_command(GIGABYTE, user="alice+root+web1"))


def _tunnel(world: KillWorld, start: Any, stack: contextlib.ExitStack) -> None:
    port = free_port()
    forward = f"{LOOPBACK}:{port}:{LOOPBACK}:{world.echo.port}"
    start("ssh", "-F", str(world.jump_config()), "-N", "-L", forward, "bastion")
    poll(lambda: listens(port), 20, "ssh -L does not listen")
    inside = stack.enter_context(socket.create_connection((LOOPBACK, port)))
    inside.sendall(b"ping")
    assert inside.recv(4) == b"ping"


def _master(world: KillWorld, start: Any, stack: contextlib.ExitStack) -> None:
    path = world.folder / "m.sock"
    stack.callback(path.unlink, missing_ok=True)
    user = "alice+root+web1"
    start(*world.ssh_command("-M", "-S", str(path), "sleep 600", user=user))
    poll(path.exists, 20, "no ControlMaster")
    for _ in range(MASTER_SESSIONS - 1):
        start(*world.ssh_command("-S", str(path), "sleep 600", user=user))
    poll(lambda: [row.channels for row in world.rows()] == [MASTER_SESSIONS], 20, "not all sessions run")


def _jump(world: KillWorld, start: Any, stack: contextlib.ExitStack) -> None:
    path = world.folder / "j.sock"
    stack.callback(path.unlink, missing_ok=True)
    shared = world.jump_config(f"Match host bastion,{LOOPBACK}", f"ControlPath {path}")
    start("ssh", "-F", str(shared), "-M", "-N", "bastion")
    poll(path.exists, 20, "no ControlMaster")
    for _ in range(JUMP_SESSIONS):
        start("ssh", "-F", str(shared), "-J", "bastion", "root@web1", "sleep 600")


_START = {"shell": _shell, "transfer": _transfer, "tunnel": _tunnel, "master": _master, "jump": _jump}


def ended_in(
    world: KillWorld, processes: list[subprocess.Popen[bytes]], order: Request[Ended]
) -> tuple[float, Ended]:
    """Seconds from the order until nothing of it is left, and what the gateway says it has ended."""
    with ControlClient(world.config) as client:
        began = time.monotonic()
        ended: Ended = client.ask(order)
        for process in processes:
            process.wait(timeout=20)
        took = time.monotonic() - began
        rows = client.ask(LiveAsked()).rows
    poll(lambda: not rows or not world.rows(), 20, "something is left")
    return took, ended
