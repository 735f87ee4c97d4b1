"""A whole world on loopback: slapd or embedded users, OpenSSH's sshd as target, the gateway as its own process.

Everything a test trusts is made by ssh-keygen; the gateway is the real `bastion serve` on a real configuration
file, so that what a test sees is what an operator gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.net import LOOPBACK
from tests.support.sshd import Sshd, keygen, make_key, sign_key

START_TIMEOUT = 30.0
PASSWORD = "correct horse"
# argon2id of PASSWORD at the smallest cost, so that tests do not pay for hashing.
_COMMON_SSH = (
    "-F", "none",
    "-o", "StrictHostKeyChecking=yes",
    "-o", "IdentityAgent=none",
    "-o", "NumberOfPasswordPrompts=1",
    "-o", "ConnectTimeout=20",
)  # fmt: skip
DEFAULT_POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["*"]
logins = ["root", "deploy"]
verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local"]
"""


def poll(what: Any, timeout: float = 10.0, text: str = "it never happened") -> Any:
    """The first true result of calling `what`, asked every 20 ms; AssertionError after `timeout`."""
    give_up_at, pause = time.monotonic() + timeout, threading.Event()
    while True:
        result = what()
        if result:
            return result
        assert time.monotonic() < give_up_at, text
        pause.wait(0.02)


class World:
    """Folder, keys, users, one sshd called web1, and a gateway. Call `start`, then `ssh`; `close` removes all."""

    def __init__(
        self,
        *,
        directory: str = "",
        policy: str = DEFAULT_POLICY,
        targets: str = "",
        config: str = "",
        recordings: Path | None = None,
        sshd_options: Sequence[str] = (),
        recording: str = "",
        limits: str = "",
        users: str = "",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-world-"))
        self.folder.chmod(0o755)
        self.keys = self.folder / "keys"
        self.keys.mkdir()
        for name in ("login_ca", "upstream_ca", "target_host_ca", "gateway_host", "alice", "bob"):
            make_key(self.keys / name)
        self.recordings = recordings or self.folder / "recordings"
        self._parts = (directory, policy, targets, config, recording, limits, users)
        self.sshd = Sshd(
            self.folder / "web1", user_ca=self.keys / "upstream_ca.pub", options=sshd_options
        ).start()
        self.port = 0
        self.metrics_port = 0
        self.log = self.folder / "gateway.log"
        self._process: subprocess.Popen[str] | None = None
        self._write_files()

    # -- files -------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        directory, policy, targets, config, recording, limits, users = self._parts
        self.users = self.folder / "users.toml"
        self.users.write_text(users or self._default_users())
        self.users.chmod(0o600)
        (self.folder / "policy.toml").write_text(policy)
        (self.folder / "targets.toml").write_text(
            f'[targets.web1]\nhost = "{LOOPBACK}"\nport = {self.sshd.port}\nlabels = {{ env = "prod" }}\n{targets}'
        )
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text(self.sshd.known_hosts_line)
        self.config = self.folder / "bastion.toml"
        self.config.write_text(
            f"""
[listen]
addresses = ["{LOOPBACK}:0"]
[host_keys]
files = ["keys/gateway_host"]
[login_ca]
files = ["keys/login_ca.pub"]
[upstream_ca]
key = "keys/upstream_ca"
egress = ["{LOOPBACK}"]
[directory]
{directory or 'embedded = "users.toml"'}
[targets]
file = "targets.toml"
known_hosts = "known_hosts"
[policy]
file = "policy.toml"
[recording]
directory = "{self.recordings}"
disk_floor = "1MiB"
{recording}
[metrics]
listen = "{LOOPBACK}:0"
[audit]
file = "audit.jsonl"
[limits]
{limits}
{config}
"""
        )

    def _default_users(self) -> str:
        from argon2 import PasswordHasher

        hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        alice = (self.keys / "alice.pub").read_text().strip()
        return (
            f'[users.alice]\nid = "u-alice"\npassword = "{hashed}"\nkeys = ["{alice}"]\ngroups = ["ops"]\n'
            f'[users.carol]\nid = "u-carol"\npassword = "{hashed}"\nkeys = []\ngroups = ["guests"]\n'
        )

    # -- the gateway -------------------------------------------------------------------------------------

    def start(self, *command: str, environment: dict[str, str] | None = None) -> World:
        """Start the gateway and wait for its ready line."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", "bastion", "serve", "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the gateway did not start:\n{self.log.read_text()}"
        ready = json.loads(line)
        self.port = int(ready["ssh"][0].rpartition(":")[2])
        self.metrics_port = int(ready["metrics"].rpartition(":")[2])
        (self.folder / "client_known_hosts").write_text(
            f"[{LOOPBACK}]:{self.port} " + (self.keys / "gateway_host.pub").read_text()
        )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the gateway with a signal and wait for it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)
        assert process.stdout is not None
        process.stdout.close()

    def reload(self) -> None:
        """SIGHUP, and wait until the audit log says what came of it."""
        before = len(self.audit("reload"))
        os.kill(self.pid, signal.SIGHUP)
        poll(lambda: len(self.audit("reload")) > before, text="no reload in the audit log")

    def close(self) -> None:
        """Stop everything and remove the folder."""
        self.kill(signal.SIGTERM)
        self.sshd.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> World:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the engineer ------------------------------------------------------------------------------------

    def certify(self, name: str = "alice", principals: Sequence[str] = ("alice",), *more: str, ca: str = "login_ca",
                validity: str = "-5m:+1h") -> Path:  # fmt: skip
        """A certificate for the key `name`, at `name`-cert.pub; the private key stays beside it."""
        public = self.keys / f"{name}.pub"
        return sign_key(self.keys / ca, public, f"{name}-laptop", principals, *more, validity=validity)

    def ssh_options(self, key: str | None = "alice", *more: str) -> list[str]:
        """Options for ssh, scp and sftp (with -P or -p added by `ssh`/`sftp`)."""
        options = [*_COMMON_SSH, "-o", f"UserKnownHostsFile={self.folder}/client_known_hosts"]
        if key is None:
            options += ["-o", "PubkeyAuthentication=no"]
        else:
            options += ["-o", "IdentitiesOnly=yes", "-i", str(self.keys / key), "-o", "BatchMode=yes"]
        return [*options, *more]

    def ssh_command(self, *arguments: str, user: str = "alice+root+web1", key: str | None = "alice",
                    options: Sequence[str] = ()) -> list[str]:  # fmt: skip
        """The ssh command line of the direct door."""
        where = ["-p", str(self.port), f"{user}@{LOOPBACK}"]
        return ["ssh", *self.ssh_options(key), *options, *where, *arguments]

    def ssh(self, *arguments: str, user: str = "alice+root+web1", key: str | None = "alice",
            options: Sequence[str] = (), password: str | None = None, stdin: bytes = b"", timeout: float = 60
            ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        """Run ssh through the direct door to its end."""
        command = self.ssh_command(*arguments, user=user, key=key, options=options)
        return subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout, env=self.environment(password)
        )

    def environment(self, password: str | None = None) -> dict[str, str]:
        """os.environ without an agent; with `password` for SSH_ASKPASS."""
        environment = {k: v for k, v in os.environ.items() if k not in ("SSH_AUTH_SOCK", "DISPLAY")}
        if password is not None:
            ask = self.folder / "askpass"
            if not ask.exists():
                ask.write_text('#!/bin/sh\nprintf "%s\\n" "$TEST_PASSWORD"\n')
                ask.chmod(0o755)
            environment |= {
                "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "TEST_PASSWORD": password
            }  # fmt: skip
        return environment

    # -- what is left of it ------------------------------------------------------------------------------

    def audit(self, event: str = "") -> list[dict[str, Any]]:
        """The audit lines so far, those of one event or all."""
        file = self.folder / "audit.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines]
        return [line for line in found if not event or line["event"] == event]

    def bastion(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run a `bastion` command."""
        return subprocess.run(
            [sys.executable, "-m", "bastion", *arguments], capture_output=True, timeout=timeout
        )

    def sessions(self) -> list[dict[str, Any]]:
        """What `bastion sessions --json` lists, oldest first."""
        done = self.bastion("sessions", "--recordings", str(self.recordings), "--json")
        assert done.returncode == 0, done.stderr
        listed = json.loads(done.stdout)
        found = listed["sessions"] if isinstance(listed, dict) else listed
        return sorted(found, key=lambda one: one["started_at"])

    def last_session(self, timeout: float = 10.0) -> str:
        """The id of the newest session, once it has ended in the recordings."""

        def ended() -> str:
            found = self.sessions()
            return found[-1]["id"] if found and found[-1]["state"] != "live" else ""

        return str(poll(ended, timeout, "no session ended"))

    def recorded(self, session: str, stream: str = "stdout", channel: int = 1) -> bytes:
        """The exact bytes of one stream of a recording."""
        done = self.bastion(
            "export", session, "--recordings", str(self.recordings), "--format", "raw",
            "--channel", str(channel), "--stream", stream,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def metric(self, line_start: str) -> float:
        """The value of the metric line that begins so, 0 when there is none."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.metrics_port}/metrics", timeout=10) as page:
            for line in page.read().decode().splitlines():
                if line.startswith(line_start):
                    return float(line.rpartition(" ")[2])
        return 0.0

    def memory(self) -> int:
        """Resident bytes of the gateway."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


@contextlib.contextmanager
def running(**options: Any) -> Iterator[World]:
    """A started world for a `with`, closed even when it does not start."""
    world = World(**options)
    try:
        yield world.start()
    finally:
        world.close()


__all__ = ["PASSWORD", "World", "keygen", "poll", "running"]
