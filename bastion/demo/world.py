"""`bastion demo`: a small world on loopback - people, keys, a target, the gateway - to try everything on (L4).

It lives in one folder that is made new and goes away at the end; Ctrl-C, a closed terminal or a kill of this
process leave no process behind. Nothing listens anywhere but on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import select
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from bastion.cli.output import fail
from bastion.clock import SystemClock
from bastion.demo import files
from bastion.demo.files import DEAD_TARGET, GATEWAY, TARGET, Passwords, Ports
from bastion.demo.target import LOGIN, LOOPBACK, MARK
from bastion.install.authorities import make_password

LOCK: Final = ".bastion-demo"  # marks a folder as ours, and is locked while a demo runs in it
READY_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 8.0  # the gateway gives its connections 3 s to take their last words
LOG_TAIL: Final = 20
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_READY_LINE: Final = 64 * 1024
PR_SET_PDEATHSIG: Final = 1


class Stopped(Exception):
    """Somebody asked the demo to end."""


class Child:
    """One process of the demo: says a ready line, logs to a file, and dies with us."""

    def __init__(self, name: str, command: Sequence[str], log: Path, mark: str) -> None:
        self.name, self.log = name, log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, MARK: mark, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is for us; we end the children in order
                preexec_fn=_die_with_parent,
            )

    def wait_until_ready(self) -> dict[str, Any]:
        """The JSON of the ready line; ends the demo with the child's last words when none comes."""
        assert self.process.stdout is not None
        stdout = self.process.stdout.fileno()
        said = b""
        deadline = SystemClock().monotonic() + READY_TIMEOUT
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while len(said) < MAX_READY_LINE:
                left = deadline - SystemClock().monotonic()
                if left <= 0 or not selector.select(left):
                    fail(
                        f"the {self.name} was not ready within {READY_TIMEOUT:.0f} s\n{self.last_words()}", 3
                    )
                block = os.read(stdout, 4096)
                if not block:
                    break
                said += block
                for line in said.split(b"\n")[:-1]:
                    if line.startswith(b"{") and (told := json.loads(line)).get("event") == "ready":
                        return dict(told)
        return fail(f"the {self.name} did not start\n{self.last_words()}", 3)

    def last_words(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])
        return ""

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _die_with_parent() -> None:
    """In the child: SIGTERM when the demo dies without having stopped us (Linux; elsewhere nothing)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@click.command()
@click.option("--dir", "directory", default="demo", show_default=True, help="The folder to live in.")
@click.option("--port", default=2222, show_default=True, help="For ssh; a free one when it is taken.")
@click.option("--metrics-port", default=9722, show_default=True, help="Likewise.")
@click.option("--console-port", default=9743, show_default=True, help="Likewise.")
@click.option("--keep", is_flag=True, help="Leave the folder at the end.")
def demo(directory: str, port: int, metrics_port: int, console_port: int, keep: bool) -> None:
    """Run a small world on loopback: people, keys, a target, the gateway, the review console.

    It prints commands to paste in another terminal. Ctrl-C ends it.

    \b
    Exit codes: 0 ended when asked to, 2 the folder is not ours to use, 3 something did not start or died.
    """
    folder = Path(directory).resolve()
    mark = secrets.token_hex(8)
    for number in SIGNALS:
        signal.signal(number, _stop)
    children: list[Child] = []
    with prepared(folder, keep):
        try:
            _run(folder, (port, metrics_port, console_port), mark, children)
        except Stopped:
            click.echo("\nending the demo")
        finally:
            _ignore_signals()
            for child in reversed(children):
                child.stop()
            sweep(mark)
    if keep:
        click.echo(f"left behind as asked: {folder}")


def _stop(number: int, frame: FrameType | None) -> None:
    """Once is enough: Ctrl-C comes from the terminal and from make, and nothing may cut off what follows."""
    _ignore_signals()
    raise Stopped


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _run(folder: Path, wanted: tuple[int, int, int], mark: str, children: list[Child]) -> None:
    click.echo(f"building a world in {folder}")
    files.write_keys(folder, SystemClock().time())
    files.write_target_home(folder)
    passwords = Passwords(*(make_password(files.PASSWORD_GROUPS) for _ in range(3)))
    python = [sys.executable, "-m"]
    target = Child(
        "target", [*python, "bastion.demo.target", "--folder", str(folder)], folder / "target.log", mark
    )
    children.append(target)
    target_port = int(target.wait_until_ready()["port"])
    port, metrics_port, console_port = map(free_port, wanted)
    ports = Ports(port, metrics_port, target_port, free_port(0), console_port)
    files.write_world(folder, ports, passwords)
    config = str(folder / "bastion.toml")
    gateway = Child(
        "gateway", [*python, "bastion", "serve", "--config", config], folder / "gateway.log", mark
    )
    children.append(gateway)
    gateway.wait_until_ready()
    console = Child(
        "console", [*python, "bastion", "console", "--config", config], folder / "console.log", mark
    )
    children.append(console)
    console.wait_until_ready()
    click.echo(welcome(folder, ports, passwords, gateway.process.pid))
    _watch(children)


def _watch(children: Sequence[Child]) -> None:
    """Until a child ends, which none does by itself."""
    with selectors.DefaultSelector() as selector:
        descriptors = {os.pidfd_open(child.process.pid): child for child in children}
        try:
            for descriptor in descriptors:
                selector.register(descriptor, selectors.EVENT_READ)
            ended = descriptors[selector.select()[0][0].fd]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
    fail(f"the {ended.name} ended by itself\n{ended.last_words()}", 3)


@contextlib.contextmanager
def prepared(folder: Path, keep: bool) -> Iterator[None]:
    """An empty folder of ours, locked while we run; removed at the end unless `keep`.

    A folder with somebody else's files in it is never touched.
    """
    lock = folder / LOCK
    if folder.exists() and any(folder.iterdir()) and not lock.exists():
        fail(f"{folder} holds other files; choose another folder with --dir")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fail(f"a demo runs in {folder} already; end it, or choose another folder with --dir")
        _empty(folder)
        try:
            yield
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


def _empty(folder: Path) -> None:
    """Remove what an earlier demo left (with --keep, or killed)."""
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def free_port(wanted: int) -> int:
    """`wanted` when nobody has it, otherwise one that was free a moment ago."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return fail("no port is free on 127.0.0.1", 3)


def sweep(mark: str) -> None:
    """End what sessions on the target left running: every process of ours that carries the mark."""
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                _kill(int(entry))


def _kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], STOP_TIMEOUT)
    finally:
        os.close(descriptor)


def welcome(folder: Path, ports: Ports, passwords: Passwords, pid: int) -> str:
    """What is there, and what to paste. `pid` is the gateway's."""
    program = Path(sys.executable).parent / "bastion"
    bastion = shlex.quote(str(program)) if program.exists() else f"{shlex.quote(sys.executable)} -m bastion"
    place = {name: shlex.quote(str(folder / name)) for name in ("ssh_config", "bastion.toml", "hello.txt")}
    ssh_config, config = place["ssh_config"], place["bastion.toml"]
    return f"""
The demo is up in {folder}. Ctrl-C ends it and removes the folder.

  gateway  {LOOPBACK}:{ports.ssh}, pid {pid}     metrics  http://{LOOPBACK}:{ports.metrics}/metrics
  people   alice: certificate, or password {passwords.alice}
           bob:   password {passwords.bob}
  console  http://{LOOPBACK}:{ports.console}: sign in as dana, password {passwords.dana}
  target   {TARGET}, login {LOGIN}: a real shell, running as you

Paste in another terminal:

# log in with alice's certificate, as through any jump host
ssh -F {ssh_config} -J {GATEWAY} {LOGIN}@{TARGET}

# the same for clients without -J: who, as whom and where stand in the user name
ssh -F {ssh_config} alice+{LOGIN}+{TARGET}@{GATEWAY}

# log in with bob's password, {passwords.bob}
ssh -F {ssh_config} -o PubkeyAuthentication=no bob+{LOGIN}+{TARGET}@{GATEWAY}

# copy a file there (ssh_config says ProxyJump for {TARGET}), and look at it
scp -F {ssh_config} {place["hello.txt"]} {TARGET}:
ssh -F {ssh_config} {TARGET} cat hello.txt

{orders(bastion, config, ssh_config, ports.ssh)}
{afterwards(bastion, config)}
# see the metrics move
curl -s http://{LOOPBACK}:{ports.metrics}/metrics | grep '^bastion_sessions'

# a target that is down: an error that says what to do, and a reference for the operator
ssh -F {ssh_config} alice+{LOGIN}+{DEAD_TARGET}@{GATEWAY}
{bastion} explain --config {config} THE_REFERENCE

# why may alice go where?
{bastion} why --config {config} alice {TARGET} {LOGIN}
"""


def afterwards(bastion: str, config: str) -> str:
    """How to look at what was recorded."""
    newest = 'import json,sys; print(json.load(sys.stdin)[0]["session_id"])'
    return f"""\
# see the sessions
{bastion} sessions --config {config}

# replay the newest one (or name one from the list)
{bastion} replay --config {config} --idle-limit 1 \\
    "$({bastion} sessions --config {config} --json | python3 -c '{newest}')"

# read them into the index that Search in the console asks, and `bastion search`
{bastion} index --config {config}
"""


def orders(bastion: str, config: str, ssh_config: str, port: int) -> str:
    """The lobby, and how to see who is here, watch and end it: the command and the files as a shell reads them."""
    newest = 'import json,sys; print(json.load(sys.stdin)["live"][-1]["id"])'
    return f"""\
# what alice may reach; with this in your shell the lines that the gateway prints work as they are
ssh() {{ command ssh -F {ssh_config} "$@"; }}
ssh alice@{LOOPBACK} -p {port}

# who is here now: run it while a session is open in another terminal
{bastion} live --config {config}

# watch the newest of them as it happens (q ends it)
{bastion} watch --config {config} --reason "trying it out" \\
    "$({bastion} live --config {config} --json | python3 -c '{newest}')"

# end whatever alice has open
{bastion} kill --config {config} --user alice --reason "trying it out"

# how the gateway is
{bastion} status --config {config}
"""
