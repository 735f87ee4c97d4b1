"""Keys in an agent that are constrained to hops (`ssh-add -h`): they sign for a host key that they know, and no other.

On the second hop an agent signs only what names the host key it is for: `publickey-hostbound-v00@openssh.com`
(OpenSSH PROTOCOL 3.1, PROTOCOL.agent). Both doors and the SSH inside a channel announce it and take it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

import pytest

from tests.support.jump import POLICY, JumpWorld
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

BOUND = b"publickey-hostbound-v00@openssh.com"


class Hops:
    """alice's key in an agent, allowed to the gateway, from there to the gateway again, and to web1 through it."""

    def __init__(self) -> None:
        self.world = JumpWorld(policy=POLICY.replace('"shell"', '"agent", "shell"', 1))
        self.world.start()
        self.known = self.world.folder / "known_hops"
        authority = (self.world.keys / "front_host_ca.pub").read_text()
        self.known.write_text(
            f"gw {(self.world.keys / 'gateway_host.pub').read_text()}@cert-authority web1 {authority}"
        )
        self.socket = self.world.folder / "agent"
        self.agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(self.socket)], stdout=subprocess.DEVNULL)
        poll(self.socket.exists, text="no agent")
        self.environment = {**self.world.environment(), "SSH_AUTH_SOCK": str(self.socket)}

    def close(self) -> None:
        self.agent.terminate()
        self.agent.wait(10)
        self.world.close()

    def allow(self, *hops: str) -> None:
        """The agent's only key, constrained to these hops."""
        subprocess.run(["ssh-add", "-q", "-D"], env=self.environment, check=True, capture_output=True)
        add = ["ssh-add", "-q", "-H", str(self.known)]
        for hop in hops:
            add += ["-h", hop]
        subprocess.run([*add, str(self.world.keys / "alice")], env=self.environment, check=True, timeout=30)

    def command(self, host: str, port: int, user: str, *options: str) -> list[str]:
        return [
            "ssh", "-F", "none", "-o", f"UserKnownHostsFile={self.known}", "-o", "GlobalKnownHostsFile=none",
            "-o", "StrictHostKeyChecking=yes", "-o", f"HostKeyAlias={host}", "-o", "BatchMode=yes",
            "-o", "ConnectTimeout=20", *options, "-p", str(port), f"{user}@{LOOPBACK}",
        ]  # fmt: skip

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, capture_output=True, timeout=60, env=self.environment, check=False)


@pytest.fixture(scope="module")
def hops() -> Iterator[Hops]:
    made = Hops()
    try:
        yield made
    finally:
        made.close()


def test_to_the_gateway(hops: Hops) -> None:
    hops.allow("gw")
    done = hops.run([*hops.command("gw", hops.world.port, "alice+root+web1", "-vvv"), "echo once"])
    assert done.stdout == b"once\n", done.stderr
    assert BOUND in done.stderr


def test_from_a_session_to_the_gateway_again(hops: Hops) -> None:
    """What an agent refuses to sign for the method `publickey`."""
    direct = hops.command("gw", hops.world.port, "alice+root+web1", "-A")
    again = " ".join(hops.command("gw", hops.world.port, "alice+root+web1")) + " echo twice"
    hops.allow("gw", "gw>gw")
    done = hops.run([*direct, again])
    assert done.stdout == b"twice\n", done.stderr
    hops.allow("gw")
    done = hops.run([*direct, again])
    assert done.stdout == b"" and b"Permission denied" in done.stderr, "a hop that is not allowed"


def test_on_the_inner_leg(hops: Hops) -> None:
    """Behind a forwarded port the same key is asked for again, for the certificate of the stand-in."""
    hops.allow("gw", "web1")
    config = hops.world.jump_config(
        f"IdentityAgent {hops.socket}",
        f"IdentityFile {hops.world.keys / 'alice.pub'}",
        name="agent_config",
    )
    with hops.world.forwarding(config=config) as port:
        done = hops.run([*hops.command("web1", port, "root", "-vvv"), "echo inside"])
        assert done.stdout == b"inside\n", done.stderr
        assert BOUND in done.stderr
        hops.allow("gw")
        done = hops.run([*hops.command("web1", port, "root"), "echo inside"])
        assert done.stdout == b"", "a host that is not allowed"
