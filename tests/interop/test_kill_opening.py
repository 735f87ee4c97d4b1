"""Kill and lock while the target is still being reached, with a stock ssh: it ends at once and with words."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from bastion.control.node import Kill, Selection
from bastion.control.orders import AddLock, RemoveLock
from bastion.policy.locks import LockKind
from tests.support.killing import KillWorld, ended_in
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.talkers import Deaf, Stranger
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["*"]
logins = ["root"]
verbs = ["shell", "exec"]
[[rule]]
name = "deaf"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{deaf}", "127.0.0.1:{{echo}}"]
"""
DIAL = 60.0
"""Seconds of `dial_timeout`: what ends sooner was ended."""

STEPS = ("connecting", "version", "key-exchange")


class Unanswered(KillWorld):
    """Targets that stop at a step of the way, each under the name of the step."""

    def __init__(self, workers: int) -> None:
        self.talkers = {
            "connecting": Deaf(),
            "version": Stranger(),
            "key-exchange": Stranger(b"SSH-2.0-OpenSSH_9.2\r\n"),
        }
        self.deaf = Deaf()
        super().__init__(
            policy=POLICY.format(deaf=self.deaf.port), workers=workers, limits=f'dial_timeout = "{DIAL:g}s"'
        )
        for name, talker in self.talkers.items():
            self.add_target(name, LOOPBACK, talker.port)

    def close(self) -> None:
        super().close()
        for talker in (*self.talkers.values(), self.deaf):
            talker.close()

    def ssh_to(self, step: str, door: str) -> list[str]:
        if door == "direct":
            return self.ssh_command("true", user=f"alice+root+{step}")
        lines = [f"Host {step}", f"Port {self.talkers[step].port}", "StrictHostKeyChecking no"]
        config = self.jump_config(*lines, name="to_step")
        return ["ssh", "-F", str(config), "-J", "bastion", f"root@{step}", "true"]


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def world(request: pytest.FixtureRequest) -> Iterator[Unanswered]:
    with contextlib.closing(Unanswered(request.param)) as made:
        made.start()
        yield made


@contextlib.contextmanager
def started(world: Unanswered, command: list[str], kind: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh, once the gateway lists what it wants as being opened."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=world.environment(),
    ) as process:  # fmt: skip
        try:
            poll(lambda: any(row.kind == kind for row in world.rows()), 20, f"no {kind} is listed")
            yield process
        finally:
            process.kill()


def refusals(world: Unanswered, after: int, what: str) -> list[tuple[str, str]]:
    lines = [line for line in world.new_audit("refused", after) if line["what"] == what]
    return [(line["reason"], line["text"]) for line in lines]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("door", ["direct", "jump"])
@pytest.mark.parametrize("by", ["target", "user"])
def test_a_kill_ends_a_session_whose_target_does_not_answer(
    world: Unanswered, by: str, door: str, step: str
) -> None:
    before = len(world.audit("refused"))
    selection = Selection(target=step) if by == "target" else Selection(user="alice")
    with started(world, world.ssh_to(step, door), "opening") as process:
        took, ended = ended_in(world, [process], Kill(selection, "an exercise"))
        said = process.communicate()[1]
    assert took < DIAL / 3 and ended.sessions == 1
    assert b"bastion: ended by the security team: an exercise (ref " in said
    assert refusals(world, before, "session") == [("killed", "ended by the security team: an exercise")]


@pytest.mark.parametrize("door", ["direct", "jump"])
def test_a_lock_of_the_target_does_too(world: Unanswered, door: str) -> None:
    before = len(world.audit("refused"))
    with started(world, world.ssh_to("connecting", door), "opening") as process:
        try:
            took, ended = ended_in(world, [process], AddLock(LockKind.TARGET, "connecting", "broken into"))
        finally:
            world.order(RemoveLock("connecting"))
        said = process.communicate()[1]
    assert took < DIAL / 3 and ended.sessions == 1
    assert b"bastion: ended by the security team: broken into (ref " in said
    assert refusals(world, before, "session") == [("locked", "ended by the security team: broken into")]


@pytest.mark.parametrize("by", ["target", "user", "lock"])
def test_a_tunnel_that_is_not_connected_yet(world: Unanswered, by: str) -> None:
    before = len(world.audit("refused"))
    where = f"{LOOPBACK}:{world.deaf.port}"
    order = {
        "target": Kill(Selection(target=where), "an exercise"),
        "user": Kill(Selection(user="alice"), "an exercise"),
        "lock": AddLock(LockKind.TARGET, LOOPBACK, "an exercise"),
    }[by]
    command = ["ssh", "-F", str(world.jump_config()), "-W", where, "bastion"]
    with started(world, command, "tunnel") as process:
        try:
            took, ended = ended_in(world, [process], order)
        finally:
            if by == "lock":
                world.order(RemoveLock(LOOPBACK))
        said = process.communicate()[1]
    assert took < DIAL / 3 and ended.tunnels == 1
    assert b"ended by the security team: an exercise (ref " in said
    reason = "locked" if by == "lock" else "killed"
    assert refusals(world, before, "tunnel") == [(reason, "ended by the security team: an exercise")]
