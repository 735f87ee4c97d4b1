"""Nothing crosses that is not in an event: random conversations, and each way by itself that was once open.

Every field of every message that came out at the other side is found in the recording, read back
(`tests/support/unseen.py`); `tests/fuzz` plays the same conversations guided by coverage.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.sides import Side
from bastion.wire.data import string, uint32
from tests.support.examples import examples
from tests.support.unseen import Play, Script, examine, play


@examples(150)
@given(st.binary(min_size=20, max_size=500))
def test_what_crosses_is_in_the_recording(script: bytes) -> None:
    play(script)


@pytest.mark.slow
def test_long_conversations() -> None:
    """From a fixed seed, so that the figure is the same everywhere: the scripts get somewhere."""
    random = Random(4254)
    assert sum(play(random.randbytes(2000)) for _ in range(40)) > 1000


SECRET = b"words that nobody will ever find again"
OPEN = b"\x5a" + string("session") + uint32(0) + uint32(1 << 20) + uint32(32768)
CONFIRM = b"\x5b" + uint32(0) + uint32(0) + uint32(1 << 20) + uint32(32768)
SESSION = [(Side.CLIENT, OPEN), (Side.TARGET, CONFIRM)]
AGENT = (Side.CLIENT, b"\x62" + uint32(0) + string("auth-agent-req@openssh.com") + b"\0")
DIRECT = string("localhost") + uint32(80) + string("::1") + uint32(9)


def request(name: str, body: bytes, want_reply: bytes = b"\0") -> bytes:
    return b"\x62" + uint32(0) + string(name) + want_reply + body


SIZES = uint32(80) + uint32(24) + uint32(0) * 2
WAYS = {
    "keepalive answered with a body": [
        (Side.CLIENT, b"\x50" + string("keepalive@openssh.com") + b"\1"),
        (Side.TARGET, b"\x51" + SECRET),
    ],
    "confirmation with a body": [(Side.CLIENT, OPEN), (Side.TARGET, CONFIRM + SECRET)],
    "confirmation with a body, of the client": [
        *SESSION,
        AGENT,
        (
            Side.TARGET,
            OPEN.replace(string("session"), string("auth-agent@openssh.com"))[:-12] + uint32(7) * 3,
        ),
        (Side.CLIENT, b"\x5b" + uint32(7) + uint32(9) + uint32(9) * 2 + SECRET),
    ],
    "terminal modes behind their end": [
        *SESSION,
        (Side.CLIENT, request("pty-req", string("xterm") + SIZES + string(b"\xa0" + SECRET))),
    ],
    "terminal modes": [
        *SESSION,
        (Side.CLIENT, request("pty-req", string("xterm") + SIZES + string(b"\1word\2more\0"))),
    ],
    "pixels of a window": [*SESSION, (Side.CLIENT, request("window-change", uint32(1) * 2 + b"wordmore"))],
    "language of exit-signal": [
        *SESSION,
        (Side.TARGET, request("exit-signal", string("HUP") + b"\0" + string("") + string(SECRET))),
    ],
    "language of a refused open": [
        (Side.CLIENT, OPEN),
        (Side.TARGET, b"\x5c" + uint32(0) + uint32(2) + string("no") + string(SECRET)),
    ],
    "reserved field of direct-streamlocal": [
        (
            Side.CLIENT,
            b"\x5a"
            + string("direct-streamlocal@openssh.com")
            + uint32(0) * 2
            + uint32(1)
            + string("/run/x")
            + string(SECRET)
            + b"more",
        ),
    ],
    "a boolean that is a letter": [*SESSION, (Side.CLIENT, request("shell", b"", want_reply=b"S"))],
    "a cookie": [
        *SESSION,
        (Side.CLIENT, request("x11-req", b"\0" + string("MIT") + string(SECRET.hex()) + uint32(0))),
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_that_were_open(way: str) -> None:
    """Each is refused, emptied or recorded."""
    game = Play(Script(b""))
    try:
        for side, payload in WAYS[way]:
            game.say(side, payload)
    except Exception as error:
        assert type(error).__name__ == "LegError"
    examine(game)
