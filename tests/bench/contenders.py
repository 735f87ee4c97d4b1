"""The things that are measured against each other. All lead to an sshd of the same configuration.

A contender can be reached with `command` (OpenSSH's client, the same options for all) and says what it has cost
so far. `fresh` starts it again, so that memory is measured on a process that has done nothing else.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyrage

from tests.bench import other_gateways
from tests.bench.process_cost import cpu_with_waited, descendants, own_cpu, pss
from tests.support.net import LOOPBACK
from tests.support.sshd import make_key
from tests.support.world import World

CIPHERS = {"default": "", "gcm": "Ciphers aes256-gcm@openssh.com"}
"""The client's settings for both hops: OpenSSH's own list, and AES-GCM."""

CLIENT = """
Host *
  IdentityFile {key}
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  UpdateHostKeys no
  LogLevel ERROR
  {keystrokes}
  {cipher}
Host target
  HostName 127.0.0.1
  HostKeyAlias target-of-{name}
  Port {port}
  User {user}
  {jump}
Host jump
  HostName 127.0.0.1
  HostKeyAlias jump-of-{name}
  Port {jump_port}
  User {jump_user}
"""


class Measured(Protocol):
    """The processes between client and target."""

    def cpu(self) -> float:
        """CPU seconds so far, of everything."""
        ...

    def pss(self) -> int:
        """Bytes now."""
        ...

    def stop(self) -> None: ...


class OneProcess:
    """A child of ours that is all there is to measure."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def cpu(self) -> float:
        return own_cpu(self._process.pid)

    def pss(self) -> int:
        return pss((self._process.pid,))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class JumpHost:
    """`tests.bench.jump_host`: an sshd and all it forks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("cost\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def cpu(self) -> float:
        return float(self._ask()["cpu"])

    def pss(self) -> int:
        return int(self._ask()["pss"])

    def stop(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class GatewayProcess:
    """A `World`'s gateway, with its workers."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _all(self) -> list[int]:
        return [self._world.pid, *(descendants(self._world.pid) if self._world.workers > 1 else ())]

    def cpu(self) -> float:
        return sum(map(own_cpu, self._all()))

    def pss(self) -> int:
        return pss(self._all())

    def stop(self) -> None:
        self._world.kill(signal.SIGTERM if self._world.workers > 1 else signal.SIGKILL)


class AnyProcess:
    """A process that somebody else has started, with all below it; CPU and memory are 0 when it is not named."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def _all(self) -> list[int]:
        return [self._pid, *descendants(self._pid)] if self._pid else []

    def cpu(self) -> float:
        return sum(map(cpu_with_waited, self._all()))

    def pss(self) -> int:
        return pss(self._all())

    def stop(self) -> None: ...


class Nothing:
    """Direct: there is nothing between."""

    def cpu(self) -> float:
        return 0.0

    def pss(self) -> int:
        return 0

    def stop(self) -> None: ...


@dataclass
class Contender:
    """`port`, `user` and `jump_port` (0 without one) are where a client goes; `configs` are ssh_config files."""

    name: str
    port: int
    user: str
    jump_port: int
    measured: Measured
    folder: Path
    key: Path
    world: World | None = None
    jump_user: str = "root"
    recordings: Path | None = None
    configs: dict[str, Path] = field(default_factory=dict)

    def write_configs(self, keystrokes: str) -> None:
        for cipher, line in CIPHERS.items():
            path = self.folder / f"{self.name}-{cipher}.config"
            path.write_text(
                CLIENT.format(
                    key=self.key,
                    folder=self.folder,
                    name=self.name,
                    port=self.port,
                    user=self.user,
                    jump="ProxyJump jump" if self.jump_port else "",
                    jump_port=self.jump_port or 22,
                    jump_user=self.jump_user,
                    cipher=line,
                    keystrokes=keystrokes,
                )
            )
            self.configs[cipher] = path

    def command(self, cipher: str, *arguments: str) -> list[str]:
        """The ssh command line; `arguments` hold the host alias `target` and what is to be run there."""
        return ["ssh", "-F", str(self.configs[cipher]), *arguments]

    @property
    def where(self) -> dict[str, Any]:
        """The same for `idle_clients`."""
        jump = {"jump": self.jump_port, "jump_user": self.jump_user}
        return {"port": self.port, "user": self.user, "key": str(self.key), **jump}

    def drop_recordings(self) -> None:
        """Keep the disk from filling, and its writes from disturbing whoever is measured next."""
        if self.world is not None:
            for path in self.world.recordings.rglob("*.rec"):
                path.unlink()
        if self.recordings is not None:
            for path in self.recordings.iterdir():
                path.unlink()


@dataclass
class Foreign(Contender):
    """Another gateway that its owner has set up: `template` is the ssh command that leads through it."""

    template: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str, folder: Path) -> Foreign:
        """`NAME[:PID]=COMMAND`: `{}` in the command is where options of ssh go, else behind its first word.

        Raises ValueError. PID is the gateway's process, whose CPU and that of all below it is measured.
        """
        head, equals, command = text.partition("=")
        name, colon, pid = head.partition(":")
        template = shlex.split(command)
        if not (name and equals and template) or (colon and not pid.isdecimal()):
            raise ValueError(f"{text!r}: write NAME=COMMAND or NAME:PID=COMMAND, for example "
                             "'piper:1234=ssh -p 2222 {} me@127.0.0.1'")  # fmt: skip
        if "{}" not in template:
            template.insert(1, "{}")
        measured = AnyProcess(int(pid) if pid else 0)
        return cls(name, 0, "", 0, measured, folder, folder, template=template)

    def command(self, cipher: str, *arguments: str) -> list[str]:
        """As a contender's; what is to be run stands at the end."""
        at = arguments.index("target")
        options = ["-o", CIPHERS[cipher].replace(" ", "=", 1)] if CIPHERS[cipher] else []
        options += arguments[:at]
        words = [part for word in self.template for part in (options if word == "{}" else [word])]
        return [*words, *arguments[at + 1 :]]


MODES = {
    "off": 'mode = "off"',
    "default": "",
    "full": 'mode = "full"\ninput = true',
    "encrypted": 'recipients = "{recipients}"',
    "encrypted-full": 'mode = "full"\ninput = true\nrecipients = "{recipients}"',
}
"""Recording modes: full keeps what engineers send, too; the encrypted ones are default and full for a recipient."""

NAMES = ("direct", "tcp-proxy", "ssh-J", "asyncssh", *(f"gateway-{mode}" for mode in MODES), "gateway-jump")
"""`gateway-jump` is the jump door in the default recording mode; the others are the direct door."""


class Arena:
    """Starts the target's sshd and any contender in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._worlds: list[World] = []
        self._base = self._world("default")  # whose sshd is everybody's target but the gateways'
        self.key = self._base.keys / "alice"
        self._base.sshd.authorize(self.key.with_suffix(".pub"))
        self._known = folder / "known_hosts"
        self._known.touch()
        self._relay_key = make_key(folder / "relay_host")
        self._keystrokes = "ObscureKeystrokeTiming no" if _obscures(folder) else ""

    def _world(self, mode: str, workers: int = 1) -> World:
        recipients = self.folder / "recipients.txt"
        if not recipients.exists():
            recipients.write_text(f"{pyrage.x25519.Identity.generate().to_public()}\n")
        recording = MODES[mode].format(recipients=recipients)
        world = World(recording=recording, limits="startups_per_source = 1000", workers=workers)
        self._worlds.append(world)
        return world

    @contextmanager
    def running(self, name: str) -> Iterator[Contender]:
        """A contender, started again."""
        contender = self.start(name)
        try:
            yield contender
        finally:
            contender.measured.stop()

    def start(self, name: str) -> Contender:
        """Start one of `NAMES` or `OTHERS`; a gateway of several workers is `gateway-default@2`."""
        target = self._base.sshd
        host_key, jump_port, user, world = target.host_public, 0, "root", None
        recordings: Path | None = None
        measured: Measured
        if name == "direct":
            port, measured = target.port, Nothing()
        elif name == "tcp-proxy":
            process, line = self._launch("tests.bench.tcp_proxy", str(target.port))
            port, measured = int(line), OneProcess(process)
        elif name == "asyncssh":
            process, line = self._launch(
                "tests.bench.asyncssh_relay", str(target.port), str(self.key), str(self._relay_key)
            )
            host_key, user = " ".join(self._relay_key.with_suffix(".pub").read_text().split()[:2]), "alice"
            port, measured = int(line), OneProcess(process)
        elif name == "ssh-J":
            jump_port, measured, known = self._jump_host(self._jump_folder())
            port = target.port
            self._know(f"jump-of-{name}", known)
        elif name == "forced-command":
            folder = self._jump_folder()
            line = other_gateways.forced_command(folder, self.key, target.port, target.host_public)
            port, measured, host_key = self._jump_host(folder, line)
            recordings = folder / "recordings"
        elif name == "go-relay":
            process, line = self._launched(
                other_gateways.go_relay_command(
                    self.folder, self.key, self._relay_key, target.port, target.host_public
                )
            )
            host_key = " ".join(self._relay_key.with_suffix(".pub").read_text().split()[:2])
            port, measured, recordings = int(line), OneProcess(process), self.folder / "go-relay"
        else:
            kind, _, workers = name.removeprefix("gateway-").partition("@")
            jumps = kind == "jump"
            world = self._world("default" if jumps else kind, int(workers or 1))
            world.start()
            public = (world.keys / "gateway_host.pub").read_text()
            host_key, user = " ".join(public.split()[:2]), "root" if jumps else "alice+root+web1"
            port, jump_port = (world.sshd.port, world.port) if jumps else (world.port, 0)
            measured = GatewayProcess(world)
            if jumps:
                self._know(f"jump-of-{name}", host_key)
        self._know(f"target-of-{name}", host_key)
        key = self.key if world is None else world.keys / "alice"
        jump_user = "root" if world is None else "alice"
        contender = Contender(
            name, port, user, jump_port, measured, self.folder, key, world, jump_user, recordings
        )
        contender.write_configs(self._keystrokes)
        return contender

    def _know(self, alias: str, public: str) -> None:
        lines = [line for line in self._known.read_text().splitlines() if line.split(" ")[0] != alias]
        self._known.write_text("\n".join([*lines, f"{alias} {public.strip()}"]) + "\n")

    def _jump_folder(self) -> Path:
        folder = self.folder / f"jump-{len(list(self.folder.glob('jump-*')))}"
        folder.mkdir()
        (folder / "client.pub").write_text(self.key.with_suffix(".pub").read_text())
        return folder

    def _jump_host(self, folder: Path, *options: str) -> tuple[int, JumpHost, str]:
        """An sshd with these lines in its configuration: its port, what it costs, its host key."""
        process, line = self._launch("tests.bench.jump_host", str(folder), *options)
        ready = json.loads(line)
        return int(ready["port"]), JumpHost(process), ready["known_host"].split(" ", 1)[1].strip()

    def _launch(self, module: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        """Start one of our scripts; the process and the line that says where it listens."""
        return self._launched([sys.executable, "-m", module, *arguments])

    def _launched(self, command: list[str]) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{shlex.join(command)} did not start")
        return process, line

    def close(self) -> None:
        for world in self._worlds:
            world.close()


def _obscures(folder: Path) -> bool:
    """Whether this client (OpenSSH 9.5 and later) delays keystrokes to a 20 ms grid unless told not to."""
    probe = folder / "probe.config"
    probe.write_text("ObscureKeystrokeTiming no\n")
    done = subprocess.run(["ssh", "-F", str(probe), "-G", LOOPBACK], capture_output=True, timeout=10)
    return done.returncode == 0
