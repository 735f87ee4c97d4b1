"""Every message number in every state of both legs of the direct door, against the table in docs/security.md.

Each number is sent as a well-formed message where the protocol gives it a form, so that only its time decides.
What the table does not list must disconnect the leg it came on with a protocol error, end the other leg too, and
leave neither a trace in the operator's log nor anything else. The jump door: `test_state_matrix_jump.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bastion.transport.settings import ClosedBy
from bastion.wire.data import string, uint32
from bastion.wire.kex import Agreed
from bastion.wire.numbers import Disconnect
from tests.hostile import memory_gateway as gate
from tests.hostile.memory_gateway import MemoryGateway, Peer, shared_gateway
from tests.hostile.rawssh import Closed, debug, ignore
from tests.support.reactor import logged_failures

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
LOGIN = string(gate.USER) + string(b"ssh-connection")
BODIES: dict[int, bytes] = {
    1: uint32(11) + string(b"bye") + string(b""),
    2: ignore()[1:],
    3: uint32(0),
    4: debug()[1:],
    5: string(b"ssh-userauth"),
    6: string(b"ssh-userauth"),
    7: uint32(0),
    21: b"",
    50: LOGIN + string(b"none"),
    51: string(b"publickey") + b"\0",
    52: b"",
    53: string(b"hello") + string(b""),
    60: uint32(0) * 2 + uint32(0) + uint32(0),
    61: uint32(1) + string(b"secret"),
    80: string(b"keepalive@openssh.com") + b"\1",
    81: b"",
    82: b"",
    90: string(b"session") + uint32(5) + uint32(1 << 20) + uint32(32768),
    91: uint32(5) + uint32(5) + uint32(1 << 20) + uint32(32768),
    92: uint32(5) + uint32(1) + string(b"no") + string(b""),
    192: string(b"ping"),
    193: string(b"ping"),
}
ON_CHANNEL: dict[int, bytes] = {
    93: uint32(1),
    94: string(b"hello"),
    95: uint32(1) + string(b"hello"),
    96: b"",
    97: b"",
    98: string(b"signal") + b"\0" + string(b"INT"),
    99: b"",
    100: b"",
}
CLIENT_CHANNEL, TARGET_CHANNEL, NO_CHANNEL = 0, 7, 99


@dataclass
class Scene:
    """Two legs in some state; `attacker` is the one that speaks next."""

    attacker: Peer
    channel: int = NO_CHANNEL
    question: bytes = b""  # the gateway's message 30, for an attacker that is a target

    def message(self, number: int) -> bytes:
        peer = self.attacker
        if number == 20:
            peer.ours = peer.make_kexinit().encode()
            return peer.ours
        if number == 30 and not peer.server and peer._method is not None:
            return bytes(peer._method.start())
        if number == 31 and self.question:
            return reply(peer, self.question)
        if number in ON_CHANNEL:
            return bytes([number]) + uint32(self.channel) + ON_CHANNEL[number]
        return bytes([number]) + BODIES.get(number, b"\0\0\0\0")


def reply(peer: Peer, question: bytes) -> bytes:
    """A target's proof of its host key for the exchange that runs."""
    outcome = peer._method.receive(question)
    assert isinstance(outcome, Agreed) and peer.agreed is not None
    peer._agree(outcome.transcript, outcome.shared)
    return outcome.reply(peer.host_key_blob, gate.TARGET_KEY.sign(peer.hash, peer.agreed.host_key))


# -- how each state is reached ---------------------------------------------------------------------------------


def hello(peer: Peer) -> Peer:
    peer.send_version()
    peer.read_version()
    return peer


def offered(peer: Peer) -> Peer:
    hello(peer)
    peer.send_kexinit()
    peer.read_kexinit()
    peer.settle()
    return peer


def agreed(peer: Peer) -> Peer:
    offered(peer)
    if not peer.server:
        peer.send_method()
    peer.read_method()
    return peer


def secured(peer: Peer) -> Peer:
    peer.handshake()
    return peer


def asked_service(peer: Peer) -> Peer:
    peer.handshake()
    peer.request_service()
    peer.read_until(6)
    return peer


def prompted(peer: Peer) -> Peer:
    asked_service(peer)
    peer.send(b"\x32" + LOGIN + string(b"keyboard-interactive") + string(b"") * 2)
    peer.read_until(60)
    return peer


def dialled(gateway: MemoryGateway) -> Peer:
    """An engineer is logged in, and the target's TCP connection stands."""
    gate.log_in(gateway.connect())
    return gateway.target()


def accepted(peer: Peer) -> Peer:
    peer.handshake()
    peer.read_until(5)
    peer.send(b"\x06" + string(b"ssh-userauth"))
    peer.read_until(50)
    return peer


def waiting(gateway: MemoryGateway) -> Peer:
    client = gateway.connect()
    gate.log_in(client)
    gateway.target().handshake()
    return client


def session(gateway: MemoryGateway, channel: bool) -> tuple[Peer, Peer]:
    client = gateway.connect()
    gate.log_in(client)
    target = gateway.target()
    gate.let_in(target)
    client.read_until(52)
    if channel:
        client.send(gate.open_session(CLIENT_CHANNEL))
        target.read_until(90)
        target.send(gate.confirm(CLIENT_CHANNEL, TARGET_CHANNEL))
        client.read_until(91)
    return client, target


def rekeying(peer: Peer, done: bool = False) -> Peer:
    peer.send_kexinit()
    peer.read_kexinit()
    peer.settle()
    if done:
        if not peer.server:
            peer.send_method()
        peer.read_method()
    return peer


def asked(peer: Peer, channel: int = NO_CHANNEL) -> Scene:
    """A target whose KEXINIT is out, and the gateway's first message of the method."""
    return Scene(peer, channel, peer.read_until(30))


SCENES: dict[str, Callable[[MemoryGateway], Scene]] = {
    "engineer: identification sent": lambda g: Scene(hello(g.connect())),
    "engineer: KEXINIT sent": lambda g: Scene(offered(g.connect())),
    "engineer: before NEWKEYS": lambda g: Scene(agreed(g.connect())),
    "engineer: first after NEWKEYS": lambda g: Scene(secured(g.connect())),
    "engineer: userauth": lambda g: Scene(asked_service(g.connect())),
    "engineer: a question is open": lambda g: Scene(prompted(g.connect())),
    "engineer: waiting for the target": lambda g: Scene(waiting(g)),
    "engineer: in session, no channel": lambda g: Scene(session(g, False)[0]),
    "engineer: in session, on its channel": lambda g: Scene(session(g, True)[0], TARGET_CHANNEL),
    "engineer: rekey, KEXINIT sent": lambda g: Scene(rekeying(session(g, True)[0]), TARGET_CHANNEL),
    "engineer: rekey, before NEWKEYS": lambda g: Scene(rekeying(session(g, True)[0], True), TARGET_CHANNEL),
    "target: identification sent": lambda g: Scene(hello(dialled(g))),
    "target: KEXINIT sent": lambda g: asked(offered(dialled(g))),
    "target: before NEWKEYS": lambda g: Scene(agreed(dialled(g))),
    "target: first after NEWKEYS": lambda g: Scene(secured(dialled(g))),
    "target: login sent": lambda g: Scene(accepted(dialled(g))),
    "target: in session, no channel": lambda g: Scene(session(g, False)[1]),
    "target: in session, on its channel": lambda g: Scene(session(g, True)[1], CLIENT_CHANNEL),
    "target: rekey, KEXINIT sent": lambda g: asked(rekeying(session(g, True)[1]), CLIENT_CHANNEL),
    "target: rekey, before NEWKEYS": lambda g: Scene(rekeying(session(g, True)[1], True), CLIENT_CHANNEL),
}


# -- the written table -----------------------------------------------------------------------------------------


def numbers(text: str) -> set[int]:
    """`1-4 20` -> {1, 2, 3, 4, 20}."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def written(states: Iterable[str]) -> dict[str, tuple[set[int], set[int]]]:
    """State -> (numbers that are taken, numbers that are answered with UNIMPLEMENTED), as docs/security.md says."""
    names, table = set(states), {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[0] in names:
            table[cells[0]] = numbers(cells[1]), numbers(cells[2])
    return table


# -- the test --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryGateway]:
    yield from shared_gateway(tmp_path_factory.mktemp("matrix"))


def clear(gateway: MemoryGateway) -> None:
    """Everybody leaves; nothing may be left."""
    gateway.wind_down(3)
    for peer in gateway.peers:
        peer.hang_up()
    gateway.links.clear()
    gateway.wind_down(3)
    assert gateway.left_over() == {}
    gateway.peers.clear()


def answers(peer: Peer) -> list[bytes]:
    try:
        return peer.read_all()
    except Closed:
        return []


def verdict(scene: Scene, state: str, number: int) -> str:
    """What comes of one message: taken, unimplemented, refused, or left (the peer said goodbye)."""
    peer = scene.attacker
    if "before NEWKEYS" in state:
        peer.read_newkeys()  # the gateway's own went out before
    answers(peer)
    peer.send(scene.message(number))
    said = answers(peer)
    reason = peer.transport.close_reason
    if reason is None:
        return "unimplemented" if any(payload[0] == 3 for payload in said) else "taken"
    if reason.by is ClosedBy.PEER:
        return "left"
    if reason.code in (Disconnect.PROTOCOL_ERROR, Disconnect.KEY_EXCHANGE_FAILED):
        assert [payload for payload in said if payload[0] == 1], "it was not told why"
        return "refused"
    return "taken"  # ended for what the message says, in good order


def outcome(gateway: MemoryGateway, state: str, number: int) -> str:
    """The verdict; whoever is ended takes the other leg along, and nothing is left."""
    scene = SCENES[state](gateway)
    peer = scene.attacker
    before = list(gateway.peers)
    found = verdict(scene, state, number)
    if peer.transport.close_reason is not None:
        gateway.wind_down(3)
        assert all(leg.gone for leg in before if leg.transport.close_reason is not None)
        if "in session" in state or "rekey" in state or peer.server:
            assert all(leg.gone for leg in before), "the other leg was left open"
    clear(gateway)
    return found


def expected(table: dict[str, tuple[set[int], set[int]]], state: str, number: int) -> str:
    taken, unimplemented = table[state]
    if number == 1:
        return "left" if 1 in taken else "refused"
    return "taken" if number in taken else "unimplemented" if number in unimplemented else "refused"


def differences(try_one: Callable[[int], str], states: Iterable[str], state: str) -> dict[int, str]:
    """The numbers that are treated otherwise than written; nothing may stand in the log either."""
    table, wrong = written(states), {}
    with logged_failures() as failures:
        for number in range(256):
            found, wanted = try_one(number), expected(table, state, number)
            if found != wanted:
                wrong[number] = f"{found}, not {wanted}"
    assert failures == []
    return wrong


@pytest.mark.parametrize("state", SCENES)
def test_all_256_numbers(gateway: MemoryGateway, state: str) -> None:
    assert differences(lambda number: outcome(gateway, state, number), SCENES, state) == {}


def test_the_table_is_whole() -> None:
    assert set(written(SCENES)) == set(SCENES)
