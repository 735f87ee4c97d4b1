"""Two gateways in a row: the first carries the second one's SSH as it is, the second one records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK

pytestmark = pytest.mark.interop

RULES = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1", "edge"]
logins = ["root"]
verbs = ["exec"]
[[rule]]
name = "guests"
groups = ["guests"]
targets = ["web1"]
logins = ["root"]
verbs = ["exec"]
"""


@pytest.fixture(scope="module")
def edge() -> Iterator[JumpWorld]:
    """The second gateway; its web1 is the one to reach."""
    made = JumpWorld()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def chain(edge: JumpWorld) -> Iterator[JumpWorld]:
    """The first gateway, which knows the second; alice's key is the same on both."""
    targets = f'[targets.edge]\nhost = "{LOOPBACK}"\nport = {edge.port}\nkind = "gateway"\n'
    made = JumpWorld(policy=RULES, targets=targets)
    alice = (made.keys / "alice.pub").read_text().strip()
    edge.users.write_text(
        edge.users.read_text().replace((edge.keys / "alice.pub").read_text().strip(), alice)
    )
    edge.reload()
    try:
        made.start()
        yield made
    finally:
        made.close()


def config(chain: JumpWorld, edge: JumpWorld) -> Path:
    known = chain.folder / "client_known_hosts"
    authority = (edge.keys / "front_host_ca.pub").read_text()
    with known.open("a") as file:
        file.write(f"[edge]:{edge.port} " + (edge.keys / "gateway_host.pub").read_text())
        file.write(f"@cert-authority [web1]:{edge.sshd.port} {authority}")
    return chain.jump_config(
        "Host edge", f"Port {edge.port}", "User alice", "Host web1", f"Port {edge.sshd.port}", name="chain"
    )


def test_through_two_gateways(chain: JumpWorld, edge: JumpWorld) -> None:
    done = chain.jump("echo far", options=["-J", "bastion,edge"], config=config(chain, edge))
    assert done.stdout == b"far\n", done.stderr
    assert edge.recorded(edge.last_session()) == b"far\n"
    assert chain.audit("session_started") == []
    (tunnel,) = chain.new_audit("tunnel_closed")
    assert (tunnel["host"], tunnel["port"]) == (LOOPBACK, edge.port)
    assert tunnel["bytes_out"] > 1000


def test_the_lobby_of_the_second_gateway(chain: JumpWorld, edge: JumpWorld) -> None:
    done = chain.jump("targets", options=["-J", "bastion"], to="edge", config=config(chain, edge))
    assert b"web1" in done.stdout, done.stderr


def test_a_gateway_is_never_logged_in_to(chain: JumpWorld) -> None:
    done = chain.ssh("true", user="alice+root+edge")
    assert done.returncode == 255
    assert b"edge is a gateway of its own: reach it with ssh -J" in done.stderr
