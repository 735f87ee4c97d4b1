"""Tunnels with a stock ssh: -L, -D and -W on the outer connection to what is no SSH target."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.jump import JumpWorld, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import sshd_missing
from tests.support.talkers import Echo, exchange, listening, socks, talk
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
LIMIT = 200_000
POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1"]
logins = ["root"]
verbs = ["shell", "exec", "forward-local", "forward-remote"]
[[rule]]
name = "echo"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{echo}"]
[[rule]]
name = "small"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{small}"]
tunnel_bytes = {limit}
[[rule]]
name = "short"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{short}"]
tunnel_duration = "2s"
[[rule]]
name = "with-ssh"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{ssh}", "127.0.0.1:{dead}"]
allow_ssh = true
[[rule]]
name = "wide"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["*:1-65535", "0.0.0.0/0:1-65535"]
tunnel_by_address = true
sources = ["127.0.0.2"]
"""


class TunnelWorld(JumpWorld):
    """Echo servers beside the gateway, one for each rule."""

    def __init__(self) -> None:
        self.echo, self.small, self.short, self.ssh = Echo(), Echo(), Echo(), Echo(b"SSH-2.0-elsewhere\r\n")
        self.dead = free_port()
        super().__init__(
            policy=POLICY.format(
                echo=self.echo.port,
                small=self.small.port,
                short=self.short.port,
                ssh=self.ssh.port,
                dead=self.dead,
                limit=LIMIT,
            )
        )

    def close(self) -> None:
        super().close()
        for server in (self.echo, self.small, self.short, self.ssh):
            server.close()

    @contextlib.contextmanager
    def local(self, destination: str) -> Iterator[int]:
        """`ssh -N -L`: the local port."""
        with self._listening("-L", f"{LOOPBACK}:{{port}}:{destination}") as port:
            yield port

    @contextlib.contextmanager
    def dynamic(self) -> Iterator[int]:
        with self._listening("-D", f"{LOOPBACK}:{{port}}") as port:
            yield port

    @contextlib.contextmanager
    def _listening(self, option: str, value: str) -> Iterator[int]:
        port = free_port()
        flags = ("-o", "ExitOnForwardFailure=yes", "-N", option, value.format(port=port))
        with self.jumping(to="bastion", options=flags) as client:
            poll(lambda: listens(port), text=f"ssh {option} does not listen: {client.err.decode()}")
            yield port

    def through(self, destination: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """`ssh -W`."""
        return self.jump(to="bastion", options=("-W", destination), stdin=data)

    def closed(self, after: int) -> dict[str, object]:
        lines = self.new_audit("tunnel_closed", after)
        assert len(lines) == 1
        return lines[0]


@pytest.fixture(scope="module")
def world() -> Iterator[TunnelWorld]:
    made = TunnelWorld()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def nobody_is_left(world: TunnelWorld) -> None:
    """The tunnels of a test that is over have ended in the audit log before the lines of the next are counted."""
    world.quiet()


def test_bytes_go_through_a_local_forward_and_are_counted(world: TunnelWorld) -> None:
    seen, data = len(world.audit("tunnel_closed")), bytes(range(256)) * 4096
    before = world.metrics()
    with world.local(f"{LOOPBACK}:{world.echo.port}") as port:
        assert talk(port, data) == data
        line = world.closed(seen)
    opened = world.audit("tunnel_opened")[-1]
    assert (opened["user"], opened["address"], opened["port"], opened["rules"]) == (
        "alice", LOOPBACK, world.echo.port, "echo",
    )  # fmt: skip
    assert (line["bytes_in"], line["bytes_out"], line["ssh"]) == (len(data), len(data), False)
    assert line["reason"] in ("client_closed", "far_closed")
    after = world.metrics()
    for direction in ("to_target", "to_client"):
        name = f'bastion_channel_bytes_total{{direction="{direction}",kind="tunnel"}}'
        assert after[name] - before[name] == len(data)
    assert world.metric('bastion_channels_live{kind="tunnel"}') == 0
    assert world.sessions() == [], "a tunnel is no session"


def test_stdio_forwarding(world: TunnelWorld) -> None:
    done = world.through(f"{LOOPBACK}:{world.echo.port}", b"hello")
    assert (done.returncode, done.stdout) == (0, b"hello")


def test_a_socks_proxy_with_curl_like_names(world: TunnelWorld) -> None:
    with world.dynamic() as port:
        with socks(port, LOOPBACK, world.echo.port) as connection:
            assert connection.recv(10)[1] == 0
            assert exchange(connection, b"over socks") == b"over socks"
        with socks(port, "db1.internal", 5432) as connection:
            assert connection.recv(10)[1:2] != b"\0", "refused, and the proxy lives on"
        with socks(port, LOOPBACK, world.echo.port) as connection:
            assert connection.recv(10)[1] == 0 and exchange(connection, b"again") == b"again"


def test_many_at_once_and_one_stalled_does_not_stop_the_others(world: TunnelWorld) -> None:
    with world.local(f"{LOOPBACK}:{world.echo.port}") as port, contextlib.ExitStack() as stack:
        stalled = stack.enter_context(socket.create_connection((LOOPBACK, port)))
        stalled.setblocking(False)
        sent = 0
        # The echo comes back and nobody reads it: every window on the way fills, and then sending stops.
        while sent < 64 << 20 and select.select([], [stalled], [], 1.0)[1]:
            sent += stalled.send(bytes(65536))
        memory = world.memory()
        assert 0 < sent < 64 << 20, "back-pressure reaches the sender"
        for _ in range(5):
            assert talk(port, b"still quick") == b"still quick"
        assert memory < 300 << 20


@pytest.mark.parametrize(
    "destination, text",
    [
        ("db1.internal:5432", 'no target "db1.internal" for you'),
        ("127.0.0.1:1", "no target"),
        ("localhost:{echo}", "no target"),
        ("169.254.169.254:80", "no target"),
        ("web1:5432", "web1 is reached at port"),
    ],
)
def test_what_no_rule_lists_is_refused_with_words_that_help(
    world: TunnelWorld, destination: str, text: str
) -> None:
    before = world.echo.accepted
    seen = len(world.audit("refused"))
    done = world.through(destination.format(echo=world.echo.port))
    assert done.returncode != 0 and text in done.stderr.decode(), done.stderr
    line = world.new_audit("refused", seen)[-1]
    assert line["what"] == "channel" and line["ref"] in done.stderr.decode()
    assert world.echo.accepted == before


def test_the_odd_spellings_of_an_address_that_is_listed_are_that_address(world: TunnelWorld) -> None:
    for spelling in ("127.1", "0x7f000001", "2130706433"):
        done = world.through(f"{spelling}:{world.echo.port}", b"odd")
        assert done.stdout == b"odd", done.stderr


def test_a_far_side_that_is_not_there(world: TunnelWorld) -> None:
    done = world.through(f"{LOOPBACK}:{world.dead}")
    assert f"{LOOPBACK}:{world.dead}: connection refused (ref " in done.stderr.decode()
    assert world.metric('bastion_tunnel_dials_total{reason="connection_refused"}') >= 1


def test_ssh_in_a_tunnel_is_refused_whoever_begins(world: TunnelWorld) -> None:
    seen = len(world.audit("tunnel_closed"))
    with world.local(f"{LOOPBACK}:{world.echo.port}") as port:
        assert talk(port, b"SSH-2.0-OpenSSH_9.2\r\n") == b""
        assert world.closed(seen)["reason"] == "nested_ssh"
        assert talk(port, b"SSH") == b"SSH", "so short a stream is no SSH"
    assert b"SSH-" not in world.echo.got


def test_ssh_in_a_tunnel_that_allows_it_is_noted(world: TunnelWorld) -> None:
    seen = len(world.audit("tunnel_ssh"))
    done = world.through(f"{LOOPBACK}:{world.ssh.port}", b"SSH-2.0-here\r\n")
    assert done.stdout == b"SSH-2.0-elsewhere\r\nSSH-2.0-here\r\n"
    assert world.new_audit("tunnel_ssh", seen)[0]["rules"] == "with-ssh"


def test_a_tunnel_ends_at_its_number_of_bytes(world: TunnelWorld) -> None:
    seen = len(world.audit("tunnel_closed"))
    with (
        world.local(f"{LOOPBACK}:{world.small.port}") as port,
        world.moves('bastion_tunnels_ended_total{reason="bytes"}'),
    ):
        assert len(talk(port, bytes(LIMIT))) < LIMIT
        line = world.closed(seen)
    assert line["reason"] == "bytes"
    assert int(str(line["bytes_in"])) + int(str(line["bytes_out"])) <= LIMIT


def test_a_tunnel_ends_at_its_time(world: TunnelWorld) -> None:
    seen = len(world.audit("tunnel_closed"))
    with world.local(f"{LOOPBACK}:{world.short.port}") as port:
        with socket.create_connection((LOOPBACK, port), timeout=20) as connection:
            connection.sendall(b"are you there")
            assert connection.recv(100) == b"are you there"
            began = time.monotonic()
            assert connection.recv(100) == b""
            assert time.monotonic() - began < 10
        assert world.closed(seen)["reason"] == "duration"
        assert talk(port, b"the next one") == b"the next one"


def test_a_tunnel_dies_with_the_outer_connection(world: TunnelWorld) -> None:
    seen = len(world.audit("tunnel_closed"))
    with world.local(f"{LOOPBACK}:{world.echo.port}") as port:
        connection = socket.create_connection((LOOPBACK, port), timeout=20)
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    connection.close()
    assert world.closed(seen)["reason"] == "client_closed"
    poll(lambda: world.metric('bastion_channels_live{kind="tunnel"}') == 0, text="a tunnel stays")


def test_nothing_is_bound_on_the_gateway(world: TunnelWorld) -> None:
    """By -R and -D, on the outer connection and in a session: what listens is the client or the target."""
    before = listening(world.pid)
    assert len(before) == 3, "the SSH door, the metrics page and the control socket"
    remote, inside, proxy = free_port(), free_port(), free_port()
    outer = ("-N", "-R", f"{remote}:{LOOPBACK}:{world.echo.port}", "-R", "/tmp/bastion-never:127.0.0.1:1")
    session = ("-J", "bastion", "-R", f"{inside}:{LOOPBACK}:{world.echo.port}", "-D", f"{LOOPBACK}:{proxy}")
    with (
        world.dynamic() as port,
        world.jumping(to="bastion", options=outer) as client,
        world.local(f"{LOOPBACK}:{world.echo.port}") as local,
        world.jumping("cat", options=session) as jumped,
    ):
        poll(lambda: b"forwarding failed" in client.err, text="-R on the outer connection was not refused")
        jumped.echo(b"up")
        assert talk(inside, b"back") == b"back"
        for number in (port, proxy):
            with socks(number, LOOPBACK, world.echo.port) as connection:
                assert connection.recv(10)[1] == 0 and talk(local, b"x") == b"x"
                assert listening(world.pid) == before
        assert not listens(remote)
