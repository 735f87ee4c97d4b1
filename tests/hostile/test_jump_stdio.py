"""Who is behind a channel of the jump door: what a client must have said, message by message, to be let in with `none`.

By hand, the gateway in memory. A process behind a listening socket can choose when it connects and from which port;
what the client itself says, and in which order, it cannot choose. With the real ssh:
`tests/interop/jump/test_jump_stdio.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bastion.wire.data import string, uint32
from tests.hostile.jump_peers import NO_MORE_SESSIONS, OPENSSH, Inner, Outer, open_tcpip
from tests.hostile.memory_gateway import MemoryGateway
from tests.unit.transport.parts import FAST

KEEPALIVE = b"\x50" + string(b"keepalive@openssh.com") + b"\0"
FORWARD = b"\x50" + string(b"tcpip-forward") + b"\0" + string(b"localhost") + uint32(0)
SESSION = b"\x5a" + string(b"session") + uint32(7) + uint32(1 << 20) + uint32(32768)
STDIO = open_tcpip(0)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, monkeypatch)
    yield made
    for peer in made.peers:
        peer.hang_up()
    made.close()


def let_in(gateway: MemoryGateway, said: Sequence[bytes]) -> bool:
    """Whether `none` opens the way to web1 on channel 0, when the client has said just this of itself."""
    outer = gateway.connect(kind=Outer, version=OPENSSH)
    assert isinstance(outer, Outer)
    outer.log_in()
    for payload in said:
        outer.send(payload)
    if SESSION in said:
        outer.read_until(91)
    inner = Inner(outer.granted(0), algorithms=FAST).handshake()
    inner.request_service()
    inner.read_until(6)
    inner.request_login(b"root")
    if gateway.links:  # it dials: the success waits for the target
        return True
    inner.read_until(51)
    return False


def test_the_open_first_and_then_no_more_sessions_is_the_engineer_s_own(gateway: MemoryGateway) -> None:
    assert let_in(gateway, [STDIO, NO_MORE_SESSIONS])


@pytest.mark.parametrize(
    "said",
    [
        [STDIO],  # a ControlMaster: `ssh -O cancel` freed number 0, and a local process took it
        [STDIO, KEEPALIVE],
        [NO_MORE_SESSIONS, STDIO],  # -N -L: a process that came from port 65535
        [KEEPALIVE, STDIO, NO_MORE_SESSIONS],
        [FORWARD, STDIO, NO_MORE_SESSIONS],
        [SESSION, STDIO, NO_MORE_SESSIONS],
        [open_tcpip(0, origin=(b"127.0.0.1", 65534)), NO_MORE_SESSIONS],
    ],
    ids=["master", "master, later", "-L", "keepalive before", "-R before", "session before", "another port"],
)
def test_everything_else_is_asked(gateway: MemoryGateway, said: Sequence[bytes]) -> None:
    assert not let_in(gateway, said)
