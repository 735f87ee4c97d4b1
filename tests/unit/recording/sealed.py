"""Recordings with signatures, and with data keys, for the tests of what proves and opens them."""

from __future__ import annotations

import io
from dataclasses import replace

from bastion.clock import FixedClock
from bastion.recording.format import HEAD_SIZE, PREAMBLE_SIZE, Head, parse_head
from bastion.recording.framing import checked
from bastion.recording.keys import Sealing
from bastion.recording.recorder import Recorder
from bastion.recording.unwrapping import DataKeys
from bastion.recording.verifying import KnownKey, Verdict, verify
from tests.unit.recording.samples import CLIENT, SESSION, SYNC, TARGET, full, header

NODE = replace(Sealing.alone(), node="gw1")
KNOWN = (KnownKey(NODE.signer.public),)


def with_keys() -> Sealing:
    """The node's, and data keys that are wrapped in nothing: `DataKeys.joined` unwraps them."""
    return replace(NODE, keys=DataKeys.new(("age1one", "age1two"), lambda both: both))


def recorder_of(sealing: Sealing, session: str = SESSION, sync: bytes = SYNC) -> tuple[Recorder, FixedClock]:
    clock = FixedClock()
    return Recorder(header(session), clock, full(input=True), sync, sealing), clock


def recorded(sealing: Sealing = NODE, bursts: int = 5, session: str = SESSION, sync: bytes = SYNC) -> bytes:
    """A whole file: output and input in turn, and a checkpoint on the way."""
    recorder, clock = recorder_of(sealing, session, sync)
    file = b"".join(recorder.take() or [])
    for number in range(bursts):
        recorder.data(1, TARGET, 0, b"output %d" % number)
        recorder.data(1, CLIENT, 0, b"typed %d" % number)
        clock.advance(4.0)
        file += b"".join(recorder.take() or [])
    return file + b"".join(recorder.finish("client_closed"))


def verdict(file: bytes, name: str = SESSION, live: bool = False) -> Verdict:
    return verify(io.BytesIO(file), name, KNOWN, live)


def blocks_of(file: bytes, sync: bytes = SYNC) -> list[tuple[int, Head]]:
    """Where each block of a good file begins, and its head."""
    at, found = PREAMBLE_SIZE, []
    while at < len(file):
        head = parse_head(file[at : at + HEAD_SIZE], sync)
        assert head is not None and checked(file[at : at + head.block_size], head) is not None
        found.append((at, head))
        at += head.block_size
    return found
