"""Login attempts on the gateway process, by hand-made packets: whoever hangs up, guesses at once or writes much."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from bastion.wire.data import boolean, string, uint32
from bastion.wire.kexinit import FRONT
from tests.hostile import memory_gateway as gate
from tests.hostile.jump_peers import OPENSSH, Inner, Outer
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.hostile.test_gateway_rows import password
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import PASSWORD, World, poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

COUNTED = 'bastion_auth_attempts_total{{method="{}",reason="{}"}}'


@pytest.fixture
def world() -> Iterator[World]:
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    users = "".join(
        f'[users.{name}]\nid = "u-{name}"\npassword = "{hashed}"\nkeys = ["{gate.ALICE.public.line()}"]\n'
        'groups = ["ops"]\n'
        for name in ("alice", "mallory")
    )
    made = World(users=users)
    with unbroken(made):
        yield made


def at_userauth(world: World) -> RawSsh:
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    return peer


def question(user: bytes) -> bytes:
    return (
        b"\x32" + string(user) + string(b"ssh-connection") + string(b"keyboard-interactive") + string(b"") * 2
    )


def hang_up(world: World, user: bytes, method: str, secret: str = "wrong") -> None:
    """A guess whose answer nobody waits for."""
    peer = at_userauth(world)
    if method == "password":
        peer.send(password(user, secret))
    else:
        peer.send(question(user))
        peer.read_until(60)
        peer.send(b"\x3d" + uint32(1) + string(secret.encode()))
    peer.wire.close()  # type: ignore[attr-defined]


def reasons(world: World, name: str) -> list[str]:
    return [line["reason"] for line in world.audit("auth") if line["user"].startswith(name)]


def counted(world: World, method: str, *names: str) -> float:
    return sum(world.metric(COUNTED.format(method, name)) for name in names)


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_hanging_up_early_is_booked(world: World, method: str) -> None:
    """Six guesses, each hung up on at once: six lines, six counts, and the seventh is not judged."""
    for guess in range(6):
        hang_up(world, b"alice+root+web1", method)
        poll(lambda guess=guess: len(reasons(world, "alice")) == guess + 1, text="a guess without a line")
    assert set(reasons(world, "alice")) <= {"bad_password", "abandoned"}
    assert counted(world, method, "bad_password", "abandoned") == 6
    hang_up(world, b"alice+root+web1", method, PASSWORD)
    poll(lambda: len(reasons(world, "alice")) == 7)
    assert reasons(world, "alice")[-1] == "throttled"


def test_hanging_up_early_is_booked_inside_a_forward(world: World) -> None:
    """keyboard-interactive on the inner leg, behind a listening socket of the engineer's (`-L`)."""
    outer = Outer(SocketWire.connect(world.port), algorithms=FRONT, version=OPENSSH).log_in()

    def guessed() -> list[str]:
        return [line["reason"] for line in world.audit("auth") if line["user"] == "alice+root+web1"]

    for guess in range(6):
        pipe = outer.dial(port=world.sshd.port, origin=(b"127.0.0.1", 40_000 + guess))
        inner = Inner(pipe, algorithms=FRONT).handshake()
        inner.request_service()
        inner.read_until(6)
        inner.send(question(b"root"))
        inner.read_until(60)
        inner.send(b"\x3d" + uint32(1) + string(b"wrong"))
        pipe.close()
        poll(lambda guess=guess: len(guessed()) == guess + 1, text="a guess without a line")

    assert set(guessed()) <= {"bad_password", "abandoned"}
    outer.wire.close()  # type: ignore[attr-defined]
    hang_up(world, b"alice+root+web1", "password", PASSWORD)
    poll(lambda: guessed()[-1] == "throttled", text="the penalty of the inner leg is not the outer one's")


def test_80_guesses_at_once(world: World) -> None:
    peers = [at_userauth(world) for _ in range(80)]
    for peer in peers:
        peer.send(password(b"mallory+root+web1", "wrong"))
    for peer in peers:
        peer.read_until(51)
        peer.wire.close()  # type: ignore[attr-defined]
    found = reasons(world, "mallory")
    assert (found.count("bad_password"), found.count("throttled"), len(found)) == (6, 74, 80)
    assert world.metric('bastion_penalty_blocks_total{of="account"}') >= 1


def test_60_right_passwords_at_once(world: World) -> None:
    peers = [at_userauth(world) for _ in range(60)]
    for peer in peers:
        peer.send(password(b"mallory", PASSWORD))
    for peer in peers:
        peer.read_until(52)
        peer.wire.close()  # type: ignore[attr-defined]
    assert reasons(world, "mallory") == ["ok"] * 60


def test_long_names_fill_no_log(world: World) -> None:
    """Names of 1,024 control characters, 20 queries a connection: 123 KiB of log a connection before."""
    blob = gate.ALICE.public.blob
    query = string(b"publickey") + boolean(False) + string(b"ssh-ed25519") + string(blob)
    size = (world.folder / "audit.jsonl").stat().st_size
    connections = 30
    for _ in range(connections):
        peer = at_userauth(world)
        name = secrets.choice((b"\x01", b"\x1b", b"\x7f")) * 1024
        peer.send(*[b"\x32" + string(name) + string(b"ssh-connection") + query] * 5)
        for _ in range(5):
            peer.read_until(51)
        peer.send(b"\x32" + string(name) + string(b"ssh-connection") + query)
        with pytest.raises(Closed):
            while peer.read()[0] != 52:
                pass
        peer.wire.close()  # type: ignore[attr-defined]
    grown = (world.folder / "audit.jsonl").stat().st_size - size
    refused = counted(world, "other", "bad_user_name")
    assert refused + world.metric('bastion_connections_refused_total{reason="penalty"}') >= 6
    assert grown < 80 * 1024, "more than a source's share of the log and what runs out of it in a minute"
