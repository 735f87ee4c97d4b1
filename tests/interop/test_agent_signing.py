"""The gateway's CAs behind an ssh-agent: the real one, one that hangs, and a token behind it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import Agent
from tests.support.jump import JumpWorld
from tests.support.sshd import keygen, make_key
from tests.support.world import poll, refusal

pytestmark = pytest.mark.interop

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


class AgentWorld(JumpWorld):
    """Upstream CA and front host CA are in an agent; the files have their public halves only."""

    def __init__(self) -> None:
        super().__init__()
        allowed = f"{SOFTHSM.parent.resolve()}/*,{SOFTHSM.resolve()}"
        self.agent = Agent(self.folder / "agent.sock", "-P", allowed).start()
        for name in ("upstream_ca", "front_host_ca"):
            self.agent.add("-q", self.keys / name)
            (self.keys / name).unlink()
            shutil.copy(self.keys / f"{name}.pub", self.keys / name)
        text = self.config.read_text()
        for name in ("upstream_ca", "front_host_ca"):
            text = text.replace(f'key = "keys/{name}"', f'key = "keys/{name}"\nagent = "agent.sock"')
        self.config.write_text(text)

    def close(self) -> None:
        self.agent.stop()
        super().close()

    def signed(self, use: str, ended: str) -> float:
        return self.metric(f'bastion_agent_signatures_total{{ended="{ended}",use="{use}"}}') or self.metric(
            f'bastion_agent_signatures_total{{use="{use}",ended="{ended}"}}'
        )

    def part(self) -> str:
        """How /readyz says the agents are."""
        return next(line for line in self.health()[1] if line.startswith("agents "))


@pytest.fixture
def world() -> Iterator[AgentWorld]:
    made = AgentWorld()
    try:
        made.start()
        yield made
    finally:
        made.close()


def works(world: AgentWorld) -> None:
    assert world.ssh("echo in").stdout == b"in\n"
    done = world.jump("echo in", options=["-v", "-J", "bastion"])
    assert done.stdout == b"in\n" and b"ED25519-CERT host certificate" in done.stderr, done.stderr


def test_sessions_begin_with_signatures_of_an_agent(world: AgentWorld) -> None:
    works(world)
    assert world.signed("upstream_ca", "ok") == 2 and world.signed("front_host_ca", "ok") == 1
    works(world)
    assert world.signed("front_host_ca", "ok") == 1  # the certificate is kept
    assert poll(lambda: world.part() == "agents ok")
    done = world.bastion("target", "test", "web1", "root", "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    shown = world.bastion("target-config", "--config", str(world.config)).stdout.decode()
    assert (world.keys / "upstream_ca.pub").read_text().split()[1] in shown


def test_an_agent_that_hangs_holds_nobody_but_those_who_need_it(world: AgentWorld) -> None:
    """A session that runs answers every key meanwhile; whoever begins one hears why within the time of a signature."""
    with world.client("cat") as running:
        running.echo(b"before")
        world.agent.hang()
        with world.client("true") as waiting:
            slowest, until = 0.0, time.monotonic() + 4
            while time.monotonic() < until and waiting.running:
                slowest = max(slowest, running.echo(b"x%d" % time.monotonic_ns()))
            assert waiting.running and slowest < 3.0, slowest
            began = time.monotonic()
            waiting.wait(15)
            assert time.monotonic() - began < 10
            assert b"bastion: web1: the gateway's signing key cannot be used now (timeout)" in waiting.err
        assert str(world.agent.path).encode() not in waiting.err
        assert world.signed("upstream_ca", "timeout") == 1
        poll(lambda: world.part().startswith("agents refusing: upstream_ca: the agent at "))
        assert world.health()[0] == 503
        world.agent.go_on()
        poll(lambda: world.part() == "agents ok", 30)
        works(world)
        running.echo(b"after")


def test_what_an_agent_cannot_do_is_said_in_words(world: AgentWorld) -> None:
    works(world)
    world.agent.add("-q", "-D")
    text, reference = refusal(world.ssh("true"))
    assert text == "web1: the gateway's signing key cannot be used now (key_missing)"
    assert "credential_failed" in world.explain(reference)
    done = world.jump("true")  # its host certificate is still there; what the target wants is not
    assert b"signing key cannot be used now (key_missing)" in done.stderr
    world.agent.stop()
    text, _ = refusal(world.ssh("true"))
    assert text.endswith("(gone)")
    poll(lambda: "cannot be asked" in world.part())


def test_without_its_agent_a_jump_is_refused_by_name(world: AgentWorld) -> None:
    """No host certificate was made yet, so no channel is opened; a tunnel of nobody's waits for it."""
    world.agent.stop()
    done = world.jump("true")
    assert done.returncode == 255 and b"signing key cannot be used now (gone)" in done.stderr, done.stderr


def test_a_key_in_an_agent_is_rotated_there(world: AgentWorld) -> None:
    make_key(world.folder / "new_ca")
    public = (world.folder / "new_ca.pub").read_text().split()[1]
    config = ["--config", str(world.config)]
    rotate = ["keys", "rotate", *config, "upstream_ca", "--public", str(world.folder / "new_ca.pub")]
    refused = world.bastion(*rotate)
    assert refused.returncode == 2 and b"does not hold SHA256:" in refused.stderr
    world.agent.add("-q", world.folder / "new_ca")
    done = world.bastion(*rotate, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["public"].split()[1] == public
    world.reload()
    works(world)
    trusted = world.keys / "upstream_ca.pub"
    trusted.write_text(trusted.read_text() + (world.folder / "new_ca.pub").read_text())
    for step in (["rotate", "--switch"], ["retire"]):
        done = world.bastion("keys", step[0], *config, "upstream_ca", *step[1:])
        assert done.returncode == 0, done.stderr
        world.reload()
        works(world)
    assert (world.keys / "upstream_ca").read_text().split()[1] == public
    assert world.bastion("check", *config).returncode == 0


@pytest.mark.skipif(not SOFTHSM.exists(), reason="softhsm2 is not installed")
def test_a_token_behind_the_agent(world: AgentWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PKCS#11 through ssh-agent: the private key never leaves the token."""
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nlog.level = ERROR\n")
    keygen("-q", "-t", "ecdsa", "-b", "256", "-m", "PKCS8", "-N", "", "-f", str(tmp_path / "ca.pem"))
    for words in (
        ["--init-token", "--free", "--label", "bastion", "--pin", "1234", "--so-pin", "1234"],
        [
            "--import",
            f"{tmp_path}/ca.pem",
            "--token",
            "bastion",
            "--label",
            "ca",
            "--id",
            "01",
            "--pin",
            "1234",
        ],
    ):
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True, timeout=30)
    world.agent.stop()
    world.agent.start()  # with the token's configuration in its environment
    world.agent.add("-s", SOFTHSM.resolve(), secret="1234")
    listed = subprocess.run(
        ["ssh-add", "-L"],
        env={**os.environ, "SSH_AUTH_SOCK": str(world.agent.path)},
        capture_output=True,
        timeout=30,
    ).stdout.decode()
    (line,) = [line for line in listed.splitlines() if line.startswith("ecdsa-sha2-nistp256")]
    for name in ("upstream_ca", "upstream_ca.pub"):
        (world.keys / name).write_text(line + "\n")
    world.reload()
    assert world.ssh("echo in").stdout == b"in\n"
    assert world.signed("upstream_ca", "ok") == 1
