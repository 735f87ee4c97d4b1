"""A reader in another language, written from docs/recording-format.md alone, reads and judges as ours does."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bastion.recording.format import Kind
from bastion.recording.keys import Sealing, raw_key
from bastion.recording.reader import Reader
from bastion.recording.sealing import seal
from bastion.recording.unwrapping import DataKeys
from tests.unit.recording.samples import SESSION, TARGET
from tests.unit.recording.sealed import NODE, blocks_of, recorded, recorder_of, verdict, with_keys

READER = Path(__file__).parents[1] / "readers" / "recording.mjs"
BOTH = pytest.mark.parametrize("sealing", [NODE, with_keys()], ids=["clear", "encrypted"])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
]


def second(path: Path, sealing: Sealing) -> list[Any]:
    keys = [] if sealing.keys is None else [sealing.keys.wrapped.hex()]
    words = ["node", str(READER), str(path), raw_key(NODE.signer.public).hex(), *keys]
    done = subprocess.run(words, capture_output=True, timeout=120, check=False)
    assert done.stderr == b"" and done.returncode in (0, 3)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode == 0) == (found[-1]["verdict"] in ("whole", "incomplete"))
    return found


def events(file: bytes) -> list[dict[str, Any]]:
    reader = Reader(io.BytesIO(file), SESSION, None, DataKeys.joined)
    return [
        {
            "kind": event.kind,
            "side": event.side,
            "stream": event.stream,
            "channel": event.channel,
            "time": event.time_us,
            "payload": base64.b64encode(event.payload).decode(),
        }
        for event in reader
    ]


def varied(sealing: Sealing) -> bytes:
    """Every kind of event, and payloads of sizes around those of BLAKE3's chunks."""
    recorder, clock = recorder_of(sealing)
    file = b"".join(recorder.take() or [])
    for size in (0, 1, 63, 64, 65, 900, 1024, 1025, 2048, 5000, 70_000):
        recorder.data(1, TARGET, size % 2, bytes(range(256)) * (size // 256) + bytes(size % 256))
        recorder.note("said", 1, {"text": "\u00e9"})
        recorder.injected(1, b"ours")
        clock.advance(1.3)
        file += b"".join(recorder.take() or [])
    return file + b"".join(recorder.finish("client_closed"))


@BOTH
@pytest.mark.parametrize("make", [recorded, varied])
def test_it_reads_what_we_read(sealing: Sealing, make: Any, tmp_path: Path) -> None:
    path = tmp_path / f"{SESSION}.rec"
    path.write_bytes(make(sealing))
    header, *rest = second(path, sealing)
    if sealing.keys is not None:
        assert rest.pop(0) == {"recipients": ["age1one", "age1two"]}
    *theirs, end, last = rest
    reader = Reader(io.BytesIO(path.read_bytes()), SESSION)
    assert header["header"]["seal"] == reader.header.extra["seal"] and last == {"verdict": "whole"}
    assert theirs == events(path.read_bytes()) and len(theirs) > 5
    list(reader)
    assert reader.totals is not None and end["end"] == reader.totals.document()
    assert {event["kind"] for event in theirs} <= set(Kind)


@BOTH
def test_it_finds_what_we_find(sealing: Sealing, tmp_path: Path) -> None:
    path = tmp_path / f"{SESSION}.rec"
    file = recorded(sealing, bursts=2)
    places = [at for at, _ in blocks_of(file)]
    broken = [file[:at] for at in places[1:]]
    broken += [file[:a] + file[b:] for a, b in pairwise(places[1:])]
    broken += [file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :] for at in range(0, len(file), 211)]
    broken += [file + b"x", b"", recorded(Sealing.alone())]
    for bad in broken:
        assert not verdict(bad).good
        path.write_bytes(bad)
        assert second(path, sealing)[-1]["verdict"] == "bad"


def test_it_takes_the_nodes_end(tmp_path: Path) -> None:
    path = tmp_path / f"{SESSION}.rec"
    file = recorded()
    path.write_bytes(file[: blocks_of(file)[-1][0]])
    seal(path, "worker_died", "the gateway's process died", NODE)
    assert second(path, NODE)[-1] == {"verdict": "incomplete"}
