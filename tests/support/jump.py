"""A world with the jump door set up: a front host CA, and an ssh_config in which the gateway is called bastion."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.client import Client
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import make_key
from tests.support.world import World, poll

CONFIG = '[front_host_ca]\nkey = "keys/front_host_ca"\n'
POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1"]
logins = ["root", "deploy"]
verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local"]
"""


class JumpWorld(World):
    """`ssh`-like calls go through `ssh -J bastion`; web1 has the alias www."""

    def __init__(self, *, policy: str = POLICY, targets: str = "", config: str = "", **more: Any) -> None:
        self._made = count()
        super().__init__(
            policy=policy, targets=f'aliases = ["www"]\n{targets}', config=CONFIG + config, **more
        )
        make_key(self.keys / "front_host_ca")

    def start(self, *command: str, **options: Any) -> World:
        super().start(*command, **options)
        authority = (self.keys / "front_host_ca.pub").read_text()
        port = self.sshd.port
        names = ",".join(f"{name},[{name}]:{port}" for name in ("web1", "www", LOOPBACK))
        with (self.folder / "client_known_hosts").open("a") as known:
            known.write(f"@cert-authority {names} {authority}")
        return self

    def jump_config(self, *more: str, name: str = "jump_config", key: str | None = "alice") -> Path:
        """An ssh_config; `more` lines come first and win."""
        proof = (
            ["PubkeyAuthentication no"]
            if key is None
            else [f"IdentityFile {self.keys / key}", "IdentitiesOnly yes", "BatchMode yes"]
        )
        lines = [
            *more,
            "Host bastion",
            f"HostName {LOOPBACK}",
            f"Port {self.port}",
            "User alice",
            "Host web1 www",
            f"Port {self.sshd.port}",
            "Host *",
            f"UserKnownHostsFile {self.folder}/client_known_hosts",
            "GlobalKnownHostsFile none",
            "StrictHostKeyChecking yes",
            "IdentityAgent none",
            "NumberOfPasswordPrompts 1",
            "ConnectTimeout 20",
            *proof,
        ]
        path = self.folder / name
        made = path.with_name(f"{name}.{next(self._made)}")
        made.write_text("\n".join(lines) + "\n")
        made.replace(path)  # whole at any time: a client that was started before may read it only now
        return path

    def jump(
        self,
        *arguments: str,
        to: str = "root@web1",
        config: Path | None = None,
        options: Sequence[str] = ("-J", "bastion"),
        password: str | None = None,
        stdin: bytes = b"",
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `ssh -J bastion root@web1 ...` to its end."""
        command = ["ssh", "-F", str(config or self.jump_config()), *options, to, *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout, env=self.environment(password)
        )

    def jumping(self, *arguments: str, to: str = "root@web1", options: Sequence[str] = ("-J", "bastion"),
                config: Path | None = None) -> Client:  # fmt: skip
        """An ssh that keeps running. Close it."""
        return Client(
            ["ssh", "-F", str(config or self.jump_config()), *options, to, *arguments], self.environment()
        )

    @contextmanager
    def forwarding(self, *options: str, config: Path | None = None) -> Iterator[int]:
        """`ssh -N -L PORT:web1:22 bastion`: the local port. Anybody on this machine could use it."""
        port = free_port()
        flags = [
            *options,
            "-o",
            "ExitOnForwardFailure=yes",
            "-N",
            "-L",
            f"{LOOPBACK}:{port}:web1:{self.sshd.port}",
        ]
        client = self.jumping(to="bastion", options=flags, config=config)
        try:
            poll(lambda: listens(port), text="ssh -L does not listen")
            yield port
        finally:
            client.close()


def listens(port: int) -> bool:
    """Whether somebody listens on 127.0.0.1, from the kernel's table: a connection would open a channel."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text()


def connect_from(port: int, source_port: int) -> socket.socket:
    """A connection to a local port from a port of our choice, as a local process may make it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, source_port))
    sock.connect((LOOPBACK, port))
    return sock
