"""How a first key exchange ended, as one word and as the fields of one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bastion.doors.handshakes import COUNTED_ONLY, MOST_NAMES, line_of, result_of
from bastion.errors import HandshakeResult
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.wire.kexinit import Mismatch
from bastion.wire.numbers import Disconnect

GONE = CloseReason(ClosedBy.NETWORK)
NO_METHOD = CloseReason(ClosedBy.US, Disconnect.KEY_EXCHANGE_FAILED, "no common cipher")


def transport(received: int = 100, version: bytes = b"SSH-2.0-x", done: int = 0, *missing: Mismatch) -> Any:
    keys = SimpleNamespace(count=done, peer_version=version, mismatches=tuple(missing))
    return SimpleNamespace(keys=keys, bytes_received=received)


@pytest.mark.parametrize(
    ("made", "reason", "result"),
    [
        (transport(done=1), GONE, HandshakeResult.OK),
        (transport(0, b""), GONE, HandshakeResult.SILENT),
        (transport(10, b""), GONE, HandshakeResult.NO_VERSION),
        (transport(100, b"SSH-2.0-x", 0, Mismatch("cipher", ("a",))), NO_METHOD, HandshakeResult.NO_COMMON),
        (transport(100, b"SSH-2.0-x", 0, Mismatch("cipher", ("a",))), GONE, HandshakeResult.FAILED),
        (transport(), NO_METHOD, HandshakeResult.FAILED),
    ],
    ids=["done", "nothing", "no version", "nothing common", "it left first", "another reason"],
)
def test_each_end_has_its_word(made: Any, reason: CloseReason, result: HandshakeResult) -> None:
    assert result_of(made, reason) is result


def test_who_only_looks_at_the_port_is_no_line() -> None:
    assert HandshakeResult.SILENT in COUNTED_ONLY and HandshakeResult.NO_COMMON not in COUNTED_ONLY


def test_a_line_shows_both_offers_where_nothing_is_common() -> None:
    long = tuple(f"cipher{number}" for number in range(MOST_NAMES + 3))
    made = transport(100, b"SSH-2.0-old\x1b[2J", 0, Mismatch("cipher", long, ours=("aes256-ctr",)))
    line = line_of(made, HandshakeResult.NO_COMMON, NO_METHOD, "web1")
    assert (line.target, line.by, line.text) == ("web1", ClosedBy.US, "no common cipher")
    assert line.software == "SSH-2.0-old\\x1b[2J"
    assert line.nothing_common is not None
    (found,) = line.nothing_common
    assert (found["list"], found["gateway"]) == ("cipher", ["aes256-ctr"])
    assert found["client"] == [*long[:MOST_NAMES], "and 3 more"]


def test_any_other_failure_has_no_offers() -> None:
    assert line_of(transport(), HandshakeResult.FAILED, GONE).nothing_common is None
