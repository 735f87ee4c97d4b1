"""The doors of the gateway, each as what a stock tool needs to go through it.

A test that takes a `door` works through every door. OpenSSH's programs, and everything that starts them, get an
ssh_config in which the target is called web1; other tools get the address, the user name and the keys. In both
there is one engineer, alice, who logs in with her key.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.support.client import Client
from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.processes import is_alive
from tests.support.recorded import Watch
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

DOORS = ("direct", "jump")
TARGET = "web1"
LOGIN = "root"

# Everything that a tool of this suite may need; what is refused has tests of its own.
EVERYTHING = """
[[rule]]
name = "everything"
groups = ["ops"]
targets = ["web*", "node*", "eager*"]
logins = ["root"]
verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local", "forward-remote", "streamlocal"]
sftp_content = true
[[rule]]
name = "little"
groups = ["ops"]
targets = ["strict*"]
logins = ["root"]
verbs = ["exec"]
"""
# Input too, so that uploads can be compared; in full, because whole files are.
KEEP_ALL = 'mode = "full"\ninput = true'
# More names of the same machine, for tools that go to many.
FLEET = tuple(f"node{number}" for number in range(1, 6))
VIA = 'via = ["edge1", "core2"]\n'
HOP = f'hop_login = "{LOGIN}"\nhop_egress = ["{LOOPBACK}"]\n'
BEHIND = "CONFORMANCE_HOPS"
"""In the environment: everything is done behind two hops (tests/interop/test_hops_conformance.py)."""
STRICT = "strict"  # the same machine once more, where alice may run commands and nothing else


def shared_world(algorithms: str = "default", **options: Any) -> World:
    """A world, not started, with what both doors need: alice may do everything, and everything is kept."""
    if sshd_missing():
        pytest.skip(sshd_missing())
    # The target accepts every variable, so that what does not arrive was refused by the gateway.
    sshd = ("AcceptEnv *", "RekeyLimit 16M")
    behind = VIA if os.environ.get(BEHIND) else ""
    options["targets"] = behind + options.get("targets", "")
    made = JumpWorld(policy=EVERYTHING, recording=KEEP_ALL, sshd_options=sshd, **options)
    text = made.config.read_text()
    made.config.write_text(text.replace("[listen]\n", f'[listen]\nalgorithms = "{algorithms}"\n'))
    for name in (*FLEET, STRICT):
        made.add_target(name, LOOPBACK, made.sshd.port, made.sshd.host_public if behind else "", behind)
    if behind:
        add_hops(made, "edge1", "core2")
        made.pin(TARGET, made.sshd.port, made.sshd.host_public)
    return made


def add_hops(world: World, *names: str) -> None:
    """Machines that lead on, for a `via` that names them all: all here comes from loopback."""
    for name in names:
        world.add_sshd(name, more=HOP)


class Door:
    """The direct door: one way from alice to root on web1."""

    name = "direct"

    def __init__(self, world: World, host: str = TARGET, fleet: Sequence[str] = FLEET) -> None:
        self.world = world
        self.host = host
        self.fleet = fleet
        self.known_hosts = world.folder / f"known_hosts_{self.name}"
        self.known_hosts.write_text("\n".join(self._known()) + "\n")
        self.config = self.config_for(world.folder / f"ssh_config_{self.name}")

    # -- OpenSSH -----------------------------------------------------------------------------------------

    def config_for(self, path: Path, *more: str) -> Path:
        """An ssh_config for this door, with `more` lines that win over ours."""
        lines = [*more]
        for host in dict.fromkeys((TARGET, self.host, STRICT, *self.fleet)):
            lines += [f"Host {host}", *self._way_to(host)]
        lines += [
            "Host *",
            f"UserKnownHostsFile {self.known_hosts}",
            "GlobalKnownHostsFile none",
            "StrictHostKeyChecking yes",
            f"IdentityFile {self.key}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            "BatchMode yes",
            "ConnectTimeout 20",
            "LogLevel ERROR",
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    def _way_to(self, host: str) -> list[str]:
        return [f"HostName {LOOPBACK}", f"Port {self.world.port}", f"User alice+{LOGIN}+{host}"]

    def _known(self) -> list[str]:
        return [f"[{LOOPBACK}]:{self.world.port} {self.host_key}"]

    def command(self, tool: str, *arguments: str) -> list[str]:
        """`ssh`, `scp` or `sftp` with this door's configuration."""
        return [tool, "-F", str(self.config), *arguments]

    @property
    def rsh(self) -> str:
        """What rsync and git take as their remote shell."""
        return f"ssh -F {self.config}"

    def ssh(
        self, *arguments: str, options: Sequence[str] = (), stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ssh to its end: `options`, then the target, then `arguments`."""
        return self.run(self.command("ssh", *options, self.host, *arguments), stdin, timeout)

    def client(self, *arguments: str, options: Sequence[str] = ()) -> Client:
        """An ssh that keeps running. Close it."""
        return Client(self.command("ssh", *options, self.host, *arguments), self.environment())

    def open(self, *arguments: str, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """An ssh with three pipes, for what is too large to collect."""
        pipe = subprocess.PIPE
        command = self.command("ssh", *options, self.host, *arguments)
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment())

    @contextmanager
    def running(self, *options: str, host: str = "", ready: Callable[[], object]) -> Iterator[Client]:
        """An ssh without a command (`-N` and forwards), from when `ready` is true."""
        command = self.command("ssh", "-N", "-o", "ExitOnForwardFailure=yes", *options, host or self.host)
        with Client(command, self.environment()) as client:
            poll(lambda: ready() or not client.running, text=f"not ready: {client.err!r}")
            assert client.running, client.err
            yield client

    @contextmanager
    def master(self, *options: str) -> Iterator[list[str]]:
        """A connection that others share: the options that make an ssh use it. Closed at the end."""
        # ssh adds 17 characters while it makes the socket, and the address of one is 108 at most.
        socket = self.world.folder / f"m-{self.name}"
        shared = ["-o", f"ControlPath={socket}"]
        start = self.command(
            "ssh", *shared, "-M", "-N", "-f", "-o", "ControlPersist=yes", *options, self.host
        )
        done = subprocess.run(start, stdin=subprocess.DEVNULL, env=self.environment(), timeout=60)
        assert done.returncode == 0
        try:
            yield [*shared, "-o", "ControlMaster=no"]
        finally:
            stop = self.command("ssh", *shared, "-O", "exit", self.host)
            subprocess.run(stop, capture_output=True, env=self.environment(), timeout=60)

    # -- other tools -------------------------------------------------------------------------------------

    @property
    def key(self) -> Path:
        return self.world.keys / "alice"

    @property
    def user(self) -> str:
        """The user name of the direct door."""
        return f"alice+{LOGIN}+{self.host}"

    @property
    def address(self) -> str:
        return LOOPBACK

    @property
    def port(self) -> int:
        return self.world.port

    @property
    def host_key(self) -> str:
        """`type base64` of the key that the tool meets."""
        return " ".join((self.world.keys / "gateway_host.pub").read_text().split()[:2])

    @asynccontextmanager
    async def asyncssh(self, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A connection of asyncssh, which drops a peer that overruns a window."""
        async with asyncssh.connect(
            self.address, self.port, username=self.user, **self._asyncssh_options(), **options
        ) as connection:
            yield connection

    def _asyncssh_options(self) -> dict[str, Any]:
        known = asyncssh.import_known_hosts(f"[{self.address}]:{self.port} {self.host_key}\n")
        return {"known_hosts": known, "client_keys": [str(self.key)], "agent_path": None, "config": None}

    # -- both --------------------------------------------------------------------------------------------

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """os.environ without an agent and without anybody's own locale, which tools would send on."""
        kept = {k: v for k, v in self.world.environment(None).items() if not k.startswith("LC_")}
        return {**kept, **(more or {})}

    def run(
        self,
        command: Sequence[str],
        stdin: bytes = b"",
        timeout: float = 60,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a tool to its end, with what it printed."""
        return subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout, env=self.environment(environment),
            cwd=folder,
        )  # fmt: skip

    @staticmethod
    def wait_until_gone(pid: int, timeout: float = 10.0) -> None:
        """Return when this process of the target has ended."""
        poll(lambda: not is_alive(pid), timeout, f"process {pid} still runs")

    def watch(self) -> Watch:
        """The sessions that begin from now on, and their recordings."""
        return Watch(self.world, self.name)


class JumpDoor(Door):
    """`ssh -J bastion web1`: the target's own name, port and login; other tools bring a jump of their own."""

    name = "jump"

    def _way_to(self, host: str) -> list[str]:
        if host != TARGET:
            return [f"Port {self.port}", f"User {LOGIN}", "ProxyJump bastion"]
        bastion = [f"HostName {LOOPBACK}", f"Port {self.world.port}", "User alice"]
        return [f"Port {self.port}", f"User {LOGIN}", "ProxyJump bastion", "Host bastion", *bastion]

    def _known(self) -> list[str]:
        names = ",".join(f"{name},[{name}]:{self.port}" for name in (TARGET, STRICT, *self.fleet))
        authority = (self.world.keys / "front_host_ca.pub").read_text().strip()
        return [*super()._known(), f"@cert-authority {names} {authority}"]

    @property
    def user(self) -> str:
        return LOGIN

    @property
    def address(self) -> str:
        return TARGET

    @property
    def port(self) -> int:
        return self.world.sshd.port

    @property
    def proxy_command(self) -> list[str]:
        """A command whose input and output are a connection to web1."""
        return ["ssh", "-F", str(self.config), "-W", f"{TARGET}:{self.port}", "bastion"]

    @asynccontextmanager
    async def asyncssh(self, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        gateway = Door(self.world)
        async with (
            asyncssh.connect(
                LOOPBACK, self.world.port, username="alice", **gateway._asyncssh_options()
            ) as outer,
            asyncssh.connect(
                self.address,
                self.port,
                username=self.user,
                tunnel=outer,
                **self._asyncssh_options(),
                **options,
            ) as connection,
        ):
            yield connection


def opened_doors(world: World) -> dict[str, Door]:
    """Every door of a started world."""
    made: list[Door] = [Door(world), JumpDoor(world)]
    return {door.name: door for door in made}


def missing(*programs: str) -> str:
    """Why a test of these programs cannot run here, or ""."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [program for program in programs if shutil.which(program, path=path) is None]
    return f"not installed: {', '.join(absent)} (see .ci/packages)" if absent else ""
