"""A whole world on loopback: slapd or embedded users, OpenSSH's sshd as target, the gateway as its own process.

Everything a test trusts is made by ssh-keygen; the gateway is the real `bastion serve` on a real configuration
file, so that what a test sees is what an operator gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.audit_lines import wrong_lines
from tests.support.client import Client
from tests.support.commands import HERE, run_here
from tests.support.net import LOOPBACK
from tests.support.slapd import GROUPS, PEOPLE, READER, READER_PASSWORD, Slapd
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


def poll(what: Any, timeout: float = 20.0, text: str = "it never happened") -> Any:
    """The first true result of calling `what`, asked every 20 ms; AssertionError after `timeout`."""
    give_up_at, pause = time.monotonic() + timeout, threading.Event()
    while True:
        result = what()
        if result:
            return result
        assert time.monotonic() < give_up_at, text
        pause.wait(0.02)


DEVMODE_FAULTS = ("ResourceWarning", "RuntimeWarning", "never awaited", "Unhandled error in Deferred")
"""What a gateway in development mode says of something unclosed, or of an error that nobody waits for."""


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
        audit: str = "",
        slapd: Slapd | None = None,
        slapd_url: str = "",
        ldap: str = "",
        workers: int = 1,
    ) -> None:
        """The texts are lines of their sections of bastion.toml, except `targets`, `policy` and `users`: files.

        With `slapd` the directory is LDAP (asked through `slapd_url` when given, `ldap` adds options), behind
        the embedded accounts of `users`.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-world-"))
        self.folder.chmod(0o755)
        self.keys = self.folder / "keys"
        self.keys.mkdir()
        for name in ("login_ca", "upstream_ca", "target_host_ca", "gateway_host", "alice", "bob"):
            make_key(self.keys / name)
        self.recordings = recordings or self.folder / "recordings"
        self.recordings.mkdir(mode=0o700, exist_ok=True)
        if slapd is not None:
            directory = self._ldap_section(slapd_url or slapd.url, ldap)
        self._login_cas = ["login_ca"]
        self._more_sshds: list[Sshd] = []
        self._parts = (directory, policy, targets, config, recording, limits, users, audit)
        self.sshd = Sshd(
            self.folder / "web1", user_ca=self.keys / "upstream_ca.pub", options=sshd_options
        ).start()
        self.workers = workers
        self.port = 0
        self.metrics_port = 0
        self.program: tuple[str, ...] = (sys.executable, "-m", "bastion")
        self.serve_options: tuple[str, ...] = ()  # of `bastion serve`, beside --config
        self.log = self.folder / "gateway.log"
        self._process: subprocess.Popen[str] | None = None
        self._write_files()

    # -- files -------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        directory, policy, targets, config, recording, limits, users, audit = self._parts
        self.users = self.folder / "users.toml"
        self.users.write_text(users or self._default_users())
        self.users.chmod(0o600)
        self.policy_file = self.folder / "policy.toml"
        self.policy_file.write_text(policy)
        self.targets_file = self.folder / "targets.toml"
        self.targets_file.write_text(
            f'[targets.web1]\nhost = "{LOOPBACK}"\nport = {self.sshd.port}\nlabels = {{ env = "prod" }}\n{targets}'
        )
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text(self.sshd.known_hosts_line)
        self.config = self.folder / "bastion.toml"
        self.config.write_text(
            f"""
[listen]
addresses = ["{LOOPBACK}:0"]
[process]
workers = {self.workers}
[host_keys]
files = ["keys/gateway_host"]
[login_ca]
files = {json.dumps([f"keys/{name}.pub" for name in self._login_cas])}
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
{"" if "disk_floor" in recording else 'disk_floor = "1MiB"'}
{recording}
[metrics]
listen = "{LOOPBACK}:0"
[audit]
file = "audit.jsonl"
{audit}
[limits]
{"" if "drain_timeout" in limits else 'drain_timeout = "off"'}
{limits}
{config}
"""
        )

    def _ldap_section(self, url: str, more: str) -> str:
        secret = self.folder / "ldap.secret"
        secret.write_text(READER_PASSWORD + "\n")
        secret.chmod(0o600)
        return f"""embedded = "users.toml"
[directory.ldap]
servers = ["{url}"]
allow_plaintext = true
user_base = "{PEOPLE}"
bind_dn = "{READER}"
bind_password_file = "{secret}"
group_base = "{GROUPS}"
{more}"""

    def use_slapd(self, slapd: Slapd, url: str = "", ldap: str = "", users: str = "") -> None:
        """The directory is this slapd (before `start`), for tests whose entries need the world's keys."""
        _, *others = self._parts
        others[-2] = users or others[-2]
        self._parts = (self._ldap_section(url or slapd.url, ldap), *others)
        self._write_files()

    def add_login_ca(self, name: str) -> None:
        """Trust one more CA of `keys` for engineers' certificates (before `start`)."""
        self._login_cas.append(name)
        self._write_files()

    def add_target(self, name: str, host: str, port: int, known: str = "", more: str = "") -> None:
        """One more target in the inventory (before `start`, or `reload` afterwards).

        `known`: `type base64` of the host key to pin under that address, or the name of what is behind a hop; "" pins
        none.
        """
        with self.targets_file.open("a") as file:
            file.write(f'\n[targets.{name}]\nhost = "{host}"\nport = {port}\n{more}\n')
        if known:
            self.pin(name if "via = " in more else host, port, known)

    def pin(self, name: str, port: int, known: str) -> None:
        """Add a line to known_hosts."""
        with self.known_hosts.open("a") as file:
            file.write(f"[{name}]:{port} {known}\n")

    def add_sshd(self, name: str, *, known: str | None = None, more: str = "", **options: Any) -> Sshd:
        """One more sshd as target `name`, stopped by `close`. `options` are Sshd's, `more` lines of its table.

        `known`: the host key to pin; not given, its own; "" pins none.
        """
        options.setdefault("user_ca", self.keys / "upstream_ca.pub")
        made = Sshd(self.folder / name, **options).start()
        self._more_sshds.append(made)
        self.add_target(name, LOOPBACK, made.port, made.host_public if known is None else known, more)
        return made

    def _default_users(self) -> str:
        from argon2 import PasswordHasher

        hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        alice = (self.keys / "alice.pub").read_text().strip()
        return (
            f'[users.alice]\nid = "u-alice"\npassword = "{hashed}"\nkeys = ["{alice}"]\ngroups = ["ops"]\n'
            f'[users.carol]\nid = "u-carol"\npassword = "{hashed}"\nkeys = []\ngroups = ["guests"]\n'
        )

    # -- the gateway -------------------------------------------------------------------------------------

    def start(
        self, *command: str, environment: dict[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> World:
        """Start the gateway and wait for its ready line. One that a failed test left running is ended first."""
        self.kill()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *command,
                    *self.program,
                    "serve",
                    "--config",
                    str(self.config),
                    *self.serve_options,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **(environment or {})},
                pass_fds=pass_fds,
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
    def running(self) -> bool:
        """It was started, and not killed."""
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def worker_pids(self) -> list[int]:
        """The workers' processes, the oldest first; none in a gateway of one process."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.pid), "-f", "--", "--worker"], capture_output=True, text=True
        )
        return sorted(map(int, found.stdout.split()))

    @property
    def pids(self) -> list[int]:
        """Every process of the gateway."""
        return [self.pid, *(self.worker_pids if self.workers > 1 else ())]

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
        """Stop everything and remove the folder. The audit log must be one whole chain; in Python's development mode
        warnings are failures."""
        self.kill(signal.SIGTERM)
        for sshd in (self.sshd, *self._more_sshds):
            sshd.stop()
        said = self.log.read_text().splitlines() if self.log.exists() else []
        wrong = wrong_lines(self.folder / "audit.jsonl")
        shutil.rmtree(self.folder, ignore_errors=True)
        if os.environ.get("PYTHONDEVMODE"):
            leaks = [line for line in said if any(word in line for word in DEVMODE_FAULTS)]
            assert not leaks, "\n".join(leaks[:20])
        assert not wrong, "\n".join(wrong[:20])

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

    def client(self, *arguments: str, user: str = "alice+root+web1", key: str | None = "alice",
               options: Sequence[str] = (), password: str | None = None) -> Client:  # fmt: skip
        """An ssh that keeps running, to talk to while other things happen. Close it."""
        command = self.ssh_command(*arguments, user=user, key=key, options=options)
        return Client(command, self.environment(password))

    def hesitating(self, user: str = "alice+root+web1", method: str = "password") -> Client:
        """An ssh whose engineer sits in front of the password prompt and never answers. Close it."""
        asked, ask = self.folder / "asked", self.folder / "hesitating-askpass"
        asked.unlink(missing_ok=True)
        ask.write_text(f"#!/bin/sh\ntouch {asked}\nexec sleep 60\n")
        ask.chmod(0o755)
        environment = self.environment("") | {"SSH_ASKPASS": str(ask)}
        options = ("-o", f"PreferredAuthentications={method}")
        client = Client(self.ssh_command("true", user=user, key=None, options=options), environment)
        try:
            poll(asked.exists, text="nobody was asked for a password")
        except AssertionError:
            client.close()
            raise
        return client

    def ask(self, user: str, secret: str, method: str = "password", *arguments: str,
            timeout: float = 60) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        """Run ssh (`true` unless told otherwise) with one try of one method that asks for a secret."""
        options = ("-o", f"PreferredAuthentications={method}")
        command = arguments or ("true",)
        return self.ssh(*command, user=user, key=None, options=options, password=secret, timeout=timeout)

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
        """The audit lines so far, those of one event or all; of one that is being written a part may be there."""
        file = self.folder / "audit.jsonl"
        whole = file.read_text().rpartition("\n")[0] if file.exists() else ""
        found = [json.loads(line) for line in whole.splitlines()]
        return [line for line in found if not event or line["event"] == event]

    def bastion(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run a `bastion` command, in this process where that makes no difference; `timeout` is for the others."""
        if arguments[0] in HERE:
            return run_here(*arguments)
        return subprocess.run(
            [sys.executable, "-m", "bastion", *arguments], capture_output=True, timeout=timeout
        )

    def sessions(self) -> list[dict[str, Any]]:
        """What `bastion sessions --json` lists, oldest first."""
        if not self.recordings.exists():
            return []
        done = self.bastion("sessions", "--recordings", str(self.recordings), "--json")
        assert done.returncode in (0, 1), done.stderr  # 1: there are none
        listed = json.loads(done.stdout)
        found = listed["sessions"] if isinstance(listed, dict) else listed
        return sorted(found, key=lambda one: one["started_at"])

    def last_session(self, timeout: float = 10.0) -> str:
        """The id of the newest session, once it has ended in the recordings."""

        def ended() -> str:
            found = self.sessions()
            return found[-1]["session_id"] if found and found[-1]["state"] != "live" else ""

        return str(poll(ended, timeout, "no session ended"))

    def recorded(self, session: str, stream: str = "stdout", channel: int = 1, *more: str) -> bytes:
        """The exact bytes of one stream of a recording. `more`: options of `bastion export`."""
        done = self.bastion(
            "export", session, "--recordings", str(self.recordings), "--format", "raw",
            "--channel", str(channel), "--stream", stream, "--unmasked", *more,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def metric(self, line_start: str) -> float:
        """The value of the metric line that begins so, 0 when there is none."""
        for name, value in self.metrics().items():
            if name.startswith(line_start):
                return value
        return 0.0

    def health(self) -> tuple[int, list[str]]:
        """The status and the lines of /readyz."""
        return self.page("/readyz")

    def page(self, path: str) -> tuple[int, list[str]]:
        """The status and the lines of a page beside the metrics."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.metrics_port}{path}", timeout=30) as page:
                return page.status, page.read().decode().splitlines()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().splitlines()

    def metrics(self) -> dict[str, float]:
        """Every sample of the metrics page: `name{labels}` -> value."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.metrics_port}/metrics", timeout=30) as page:
            lines = page.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def new_audit(self, event: str = "", after: int = 0, count: int = 1) -> list[dict[str, Any]]:
        """The audit lines of one event from number `after` on, once there are at least `count`."""

        def enough() -> list[dict[str, Any]]:
            lines = self.audit(event)[after:]
            return lines if len(lines) >= count else []

        return list(poll(enough, text=f"no {count} new {event} in the audit log"))

    def ended(self, session: str) -> dict[str, Any]:
        """The audit line of a session's end. It comes when the gateway has seen the end, after the client's exit."""

        def lines() -> list[dict[str, Any]]:
            return [line for line in self.audit("session_ended") if line["session"] == session]

        (line,) = poll(lines, text=f"session {session} has not ended")
        return dict(line)

    def quiet(self) -> None:
        """Return when nobody is connected: whoever left before has ended in the audit log and in the metrics too."""
        poll(lambda: self.metric("bastion_connections_live") == 0, 20.0, "somebody stays connected")

    @contextlib.contextmanager
    def moves(self, *names: str) -> Iterator[None]:
        """Within this, each of these counters (whole `name{labels}`) rises by exactly one."""
        before = self.metrics()
        assert before.keys() >= set(names), f"no such metric among {names}"
        yield
        after = self.metrics()
        moved = {name: after[name] - before[name] for name in names}
        assert set(moved.values()) == {1.0}, moved

    @contextlib.contextmanager
    def refuses(self, method: str, reason: str) -> Iterator[None]:
        """Within this, one login attempt is refused: one audit line says so, one counter moves."""
        seen = len(self.audit("auth"))
        with self.moves(f'bastion_auth_attempts_total{{method="{method}",reason="{reason}"}}'):
            yield
        lines = self.new_audit("auth", seen)
        refused = [line for line in lines if (line["method"], line["reason"]) == (method, reason)]
        assert len(refused) == 1 and refused[0]["result"] == "refused", lines
        assert all(line["result"] == "refused" for line in lines), lines

    def explain(self, reference: str) -> str:
        """What `bastion explain REF` tells."""
        done = self.bastion("explain", reference, "--config", str(self.config))
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def memory(self) -> int:
        """Resident bytes of the gateway, of its workers too."""
        return sum(map(_resident, self.pids))


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


REFUSAL = re.compile(rb"(?:^|:\d+: )bastion: (?P<text>.*) \(ref (?P<ref>[a-z2-7]{6})\)\r?$", re.MULTILINE)


def refusal(done: subprocess.CompletedProcess[bytes]) -> tuple[str, str]:
    """(text, reference) of the one line with which an ssh was turned away; exit code 255, nothing on stdout.

    It stands there exactly once: behind OpenSSH's own words for a DISCONNECT, or, when it is long, as a banner.
    """
    assert done.returncode == 255 and done.stdout == b"", done
    lines = REFUSAL.findall(done.stderr)
    assert len(lines) == 1, done.stderr.decode()
    text, reference = lines[0]
    return text.decode(), reference.decode()


@contextlib.contextmanager
def running(**options: Any) -> Iterator[World]:
    """A started world for a `with`, closed even when it does not start."""
    world = World(**options)
    try:
        yield world.start()
    finally:
        world.close()


__all__ = ["PASSWORD", "World", "keygen", "poll", "refusal", "running"]
