"""What the pictures show: an office at work for two minutes, and what goes wrong in it.

Two workers, slapd, a target with sshd. Twelve engineers type, run commands, copy files and forward ports through both
doors; some mistype passwords, ask for what no rule gives, and dial what is not there. In the middle the directory is
away for a while, one worker is killed, and a reload is refused; a verification of all recordings ends it. A target
shows another key than it should, which the gateway's own detections find.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.pictures.panels import DASHBOARDS, Dashboard, answered
from tests.support.client import Client
from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK, free_port
from tests.support.prometheus import Prometheus
from tests.support.slapd import Slapd, group, person
from tests.support.web import Web
from tests.support.world import PASSWORD, poll

SECONDS: Final = 120.0
ENGINEERS: Final = 12
POLICY: Final = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["*"]
logins = ["root"]
verbs = ["shell", "pty", "exec", "sftp", "env"]
sftp = {{ download = ["/**"], upload = ["/tmp/**"], list = ["/**"] }}
[[rule]]
name = "tunnels"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{web}", "127.0.0.1:{nothing}"]
"""


class Office:
    """The world, and the acts of who is in it. `close` it."""

    def __init__(self) -> None:
        self.web, self.nothing = Web(DASHBOARDS[0].parent), free_port()
        policy = POLICY.format(web=self.web.port, nothing=self.nothing)
        self.world = JumpWorld(policy=policy, workers=2, config="[detections]\nrun = true\n")
        key = (self.world.keys / "alice.pub").read_text().strip()
        names = [f"u{number}" for number in range(ENGINEERS)]
        people = [person(name, f"sshPublicKey: {key}", password=PASSWORD) for name in names]
        self.slapd = Slapd([*people, group("ops", *names)])
        self.slapd.start()
        self.world.use_slapd(self.slapd, users="[users]\n")
        self.world.add_target("gone", LOOPBACK, self.nothing)
        another = " ".join((self.world.keys / "bob.pub").read_text().split()[:2])
        self.world.add_sshd("swapped", known=another)
        self.world.start()

    def close(self) -> None:
        self.web.close()
        self.world.close()
        self.slapd.close()

    # -- acts ------------------------------------------------------------------------------------------------------

    def command(
        self, number: int, *remote: str, target: str = "web1", key: str | None = "alice"
    ) -> list[str]:
        """Even engineers come by the direct door, odd ones by the jump door."""
        if number % 2 == 0 or key is None or target != "web1":
            return self.world.ssh_command(*remote, user=f"u{number}+root+{target}", key=key)
        config = self.world.jump_config(f"Host bastion\nUser u{number}", name=f"config{number}")
        return ["ssh", "-F", str(config), "-J", "bastion", "root@web1", *remote]

    def run(self, command: list[str], password: str | None = None, stdin: bytes = b"") -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, input=stdin, capture_output=True, timeout=60, env=self.world.environment(password)
            )

    def logs_in(self, turn: int) -> None:
        self.run(self.command(turn % ENGINEERS, "ls -l /etc"))

    def types_a_password(self, turn: int) -> None:
        right = turn % 3 > 0
        self.run(self.command(turn % ENGINEERS, "true", key=None), PASSWORD if right else "mistyped")

    def copies(self, turn: int) -> None:
        batch = (
            b"get /etc/services /dev/null\nput /etc/hosts /tmp/hosts.copy\nput /etc/hosts /etc/hosts.copy\n"
        )
        where = ["-P", str(self.world.port), "-b", "-", f"u{turn % ENGINEERS}+root+web1@{LOOPBACK}"]
        self.run(["sftp", *self.world.ssh_options(), *where], stdin=batch)

    def downloads(self, turn: int) -> None:
        self.run(self.command(0, f"head -c {16 << 20} /dev/urandom"))

    def asks_for_too_much(self, turn: int) -> None:
        options = ["-o", "ExitOnForwardFailure=no", "-A", "-R", "0:127.0.0.1:1"]
        user = f"u{turn % ENGINEERS}+root+web1"
        self.run(self.world.ssh_command("true", user=user, options=options))
        self.run(self.world.ssh_command("true", user=f"u{turn % ENGINEERS}+nobody+web1"))

    def tunnels(self, turn: int) -> None:
        port = (self.web.port, self.web.port, self.nothing, 1)[turn % 4]
        user = f"u{turn % ENGINEERS}"
        options = ("-W", f"{LOOPBACK}:{port}")
        self.run(self.world.ssh_command(user=user, options=options), stdin=b"GET / HTTP/1.0\r\n\r\n")

    def dials_in_vain(self, turn: int) -> None:
        for target in ("gone", "swapped"):
            self.run(self.command(turn % ENGINEERS, "true", target=target))

    def knocks(self, turn: int) -> None:
        self.run(["ssh-keyscan", "-T", "2", "-t", "ed25519", "-p", str(self.world.port), LOOPBACK])

    ACTS: Final = (
        ("logs_in", 0.6), ("types_a_password", 1.2), ("copies", 3.0), ("downloads", 5.0),
        ("asks_for_too_much", 4.0), ("tunnels", 2.0), ("dials_in_vain", 5.0), ("knocks", 3.0),
    )  # fmt: skip
    """Who does what, and how many seconds apart."""

    def shells(self, stack: contextlib.ExitStack) -> list[Client]:
        return [
            stack.enter_context(Client(self.command(number, "cat"), self.world.environment()))
            for number in range(ENGINEERS)
        ]

    # -- what goes wrong -------------------------------------------------------------------------------------------

    def trouble(self, over: threading.Event, seconds: float) -> None:
        """At thirds of the time: the directory is away, a worker dies, a reload is refused."""
        world = self.world
        if over.wait(seconds * 0.35):
            return
        self.slapd.stop()
        if over.wait(seconds * 0.12):
            return
        self.slapd.start()
        if over.wait(seconds * 0.1):
            return
        os.kill(world.worker_pids[0], signal.SIGKILL)
        if over.wait(seconds * 0.1):
            return
        policy = world.policy_file.read_text()
        world.policy_file.write_text(policy + "\nnonsense = [\n")
        world.bastion("reload", "--config", str(world.config))
        world.policy_file.write_text(policy)
        world.bastion("reload", "--config", str(world.config))
        world.bastion("verify", "--config", str(world.config), "--all", timeout=180)


def again(over: threading.Event, act: Callable[[int], None], every: float) -> threading.Thread:
    """`act(0)`, `act(1)`, ... in a thread, until it is over."""

    def work() -> None:
        turn = 0
        while not over.wait(every):
            act(turn)
            turn += 1

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def play(office: Office, seconds: float) -> None:
    """All of it."""
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        shells = office.shells(stack)
        threads = [again(over, getattr(office, name), every) for name, every in office.ACTS]
        threads.append(threading.Thread(target=office.trouble, args=(over, seconds)))
        threads[-1].start()
        until = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < until:
            turn += 1
            shell = shells[turn % ENGINEERS]
            if shell.running:
                with contextlib.suppress(AssertionError, OSError):
                    shell.echo(b"line %d of what is typed" % turn, 5)
            over.wait(0.1)
        over.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def _watched(office: Office) -> Iterator[Prometheus]:
    with tempfile.TemporaryDirectory(prefix="bastion-pictures-") as folder:
        prometheus = Prometheus(Path(folder), office.world.metrics_port)
        try:
            poll(lambda: prometheus.value('up{job="bastion"}') == 1, 30, "the gateway was never scraped")
            yield prometheus
        finally:
            prometheus.stop()


def seen(seconds: float = SECONDS) -> list[Dashboard]:
    """The dashboards at the end of it."""
    office = Office()
    try:
        with _watched(office) as prometheus:
            began = time.time()  # noqa: TID251  (Prometheus asks by the calendar)
            play(office, seconds)
            return [answered(path, prometheus.range, began, began + seconds) for path in DASHBOARDS]
    finally:
        office.close()
