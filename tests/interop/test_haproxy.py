"""A real HAProxy with the sample configuration, two gateways behind it, and OpenSSH in front, through both doors."""

from __future__ import annotations

import copy
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.haproxy import Balancer, haproxy_missing, put_behind_balancer
from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import poll

ENGINEER = "127.0.0.7"  # HAProxy itself comes from 127.0.0.1
POLICY = f"""
[[rule]]
name = "from-here"
groups = ["ops"]
targets = ["web1"]
logins = ["root"]
verbs = ["shell", "pty", "exec"]
sources = ["{ENGINEER}"]
"""

pytestmark = [
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing()),
    pytest.mark.skipif(bool(haproxy_missing()), reason=haproxy_missing() or "available"),
]


class Cluster:
    """Two gateways that share keys and files, the balancer, and what an engineer sees of all that: `front`."""

    def __init__(self) -> None:
        first = JumpWorld(policy=POLICY, limits='drain_timeout = "60s"')
        self.nodes = [first, self._second(first)]
        for node in self.nodes:
            put_behind_balancer(node)
        self._balancer: Balancer[JumpWorld] | None = None

    @property
    def front(self) -> JumpWorld:
        assert self._balancer is not None
        return self._balancer.front

    def _second(self, first: JumpWorld) -> JumpWorld:
        made = copy.copy(first)
        made.folder = first.folder / "second"
        made.folder.mkdir()
        for name in ("bastion.toml", "users.toml", "policy.toml", "targets.toml", "known_hosts"):
            shutil.copy2(first.folder / name, made.folder)
        shutil.copytree(first.keys, made.folder / "keys")
        made.config, made.log = made.folder / "bastion.toml", made.folder / "gateway.log"
        made.recordings = made.folder / "recordings"
        made.recordings.mkdir(mode=0o700)
        made.config.write_text(made.config.read_text().replace(str(first.recordings), str(made.recordings)))
        return made

    def start(self) -> Cluster:
        for node in self.nodes:
            node.start()
        # One of each version.
        self._balancer = Balancer(self.nodes, ("send-proxy-v2", "send-proxy")).start()
        for node in self.nodes:  # a second look means that the first was answered
            poll(lambda node=node: node.metric('bastion_proxy_headers_total{result="local"}') >= 2)  # type: ignore[misc]
        return self

    def close(self) -> None:
        if self._balancer is not None:
            self._balancer.close()
        first, second = self.nodes
        second.kill()
        first.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        yield made.start()
    finally:
        made.close()


def doors_of(node: JumpWorld) -> set[str]:
    """By which doors sessions of that gateway began."""
    return {line["door"] for line in node.audit("session_started")}


def test_both_doors_of_both_gateways_see_the_engineers_address(cluster: Cluster) -> None:
    front = cluster.front
    config = front.jump_config(f"BindAddress {ENGINEER}")
    tries: dict[str, Callable[[], subprocess.CompletedProcess[bytes]]] = {
        "direct": lambda: front.ssh("echo here", options=("-b", ENGINEER)),
        "jump": lambda: front.jump("echo here", config=config),
    }
    for door, go in tries.items():
        for _ in range(6):  # two are enough where each goes to the other gateway
            done = go()
            assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr
            if all(door in doors_of(node) for node in cluster.nodes):
                break
    for node in cluster.nodes:
        assert doors_of(node) == {"direct", "jump"}
        assert {line["source"] for line in node.audit("session_started")} == {ENGINEER}
        assert {line["source"] for line in node.audit("auth")} == {ENGINEER}
        assert {one["source_address"] for one in node.sessions()} == {ENGINEER}
        assert node.metric('bastion_proxy_headers_total{result="ok"}') >= 2


def test_an_engineer_from_elsewhere_meets_the_rule_that_says_from_where(cluster: Cluster) -> None:
    done = cluster.front.ssh("true", options=("-b", "127.0.0.8"))
    assert done.returncode == 255 and b"bastion:" in done.stderr
    refused = [line for node in cluster.nodes for line in node.audit("refused")]
    assert [line["source"] for line in refused] == ["127.0.0.8"]


def test_health_checks_are_counted_and_fill_no_log(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    counted = 'bastion_proxy_headers_total{result="local"}'
    before, lines = node.metric(counted), len(node.audit())
    poll(lambda: node.metric(counted) >= before + 2, text="no health check came")
    assert len(node.audit()) == lines
    assert node.metric('bastion_handshakes_total{at="front",result="silent"}') == 0
    assert node.metric('bastion_handshakes_total{at="front",result="failed"}') == 0


def test_who_goes_round_the_balancer_gets_no_byte(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    seen = len(node.audit("proxy_header"))
    with node.moves('bastion_proxy_headers_total{result="not_listed"}'):
        with socket.create_connection((LOOPBACK, node.port), 10, ("127.0.0.9", 0)) as sock:
            try:
                assert sock.recv(100) == b""
            except ConnectionResetError:
                pass
        (line,) = node.new_audit("proxy_header", seen)
    assert (line["source"], line["reason"]) == ("127.0.0.9", "not_listed")


def test_who_drains_is_sent_nobody_new_and_keeps_who_is_there(cluster: Cluster) -> None:
    """The last: one gateway is gone afterwards."""
    front = cluster.front
    client = front.client("read line; echo got $line", options=("-b", ENGINEER))
    try:
        (node,) = poll(lambda: [one for one in cluster.nodes if one.metric("bastion_sessions_live")])
        (other,) = [one for one in cluster.nodes if one is not node]
        process = node._process
        assert process is not None
        process.terminate()
        turned = node.metric('bastion_connections_refused_total{reason="draining"}')

        def sent_away() -> bool:
            """Every login of three in a row works: none of them was sent to the one that drains."""
            return all(front.ssh("true", options=("-b", ENGINEER)).returncode == 0 for _ in range(3))

        poll(sent_away, text="the balancer goes on to use a gateway that drains")
        assert node.metric("bastion_draining") == 1 and other.metric("bastion_draining") == 0
        assert node.metric('bastion_connections_refused_total{reason="draining"}') - turned < 20
        client.send(b"on\n")
        client.expect(b"got on")
        assert client.wait() == 0
        assert process.wait(20) == 0
    finally:
        client.close()
