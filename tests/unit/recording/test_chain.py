"""The writer's side: numbers and nonces never come twice, keys are gone at the end."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import RecorderFailed
from bastion.recording import chain as chains
from bastion.recording.chain import Chain
from bastion.recording.format import BlockType
from bastion.recording.keys import Sealing
from bastion.recording.reader import Reader
from bastion.recording.unwrapping import DataKeys
from tests.support.examples import examples
from tests.unit.recording.samples import SESSION, SYNC, TARGET, header
from tests.unit.recording.sealed import NODE, blocks_of, recorded, recorder_of, with_keys

PLANTED = b"nobody may read this"


def begun(sealing: Sealing = NODE) -> Chain:
    chain = Chain(SYNC)
    chain.begin(header().document(), sealing)
    return chain


def test_blocks_are_numbered_and_each_is_a_link() -> None:
    chain, links = begun(), set[bytes]()
    for number in range(1, 4):
        links.add(chain.link)
        chain.events(BlockType.EVENTS, 0, 0, [b"x"], 1)
        assert chain.blocks == number + 1
    assert len(links | {chain.link}) == 4


def test_what_was_not_written_is_no_link_and_its_number_does_not_come_again() -> None:
    chain = begun(with_keys())
    chain.give()
    chain.events(BlockType.EVENTS, 0, 0, [b"written"], 7)
    chain.give()
    written = chain.link
    chain.events(BlockType.EVENTS, 0, 0, [b"refused"], 7)
    chain.give()
    chain.rewind()
    assert chain.link == written and chain.blocks == 3


def test_there_are_no_more_blocks_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MOST_BLOCKS", 3)
    chain = begun()
    chain.events(BlockType.EVENTS, 0, 0, [b"x"], 1)
    with pytest.raises(RecorderFailed, match="too many blocks"):
        chain.events(BlockType.EVENTS, 0, 0, [b"x"], 1)
    chain.checkpoint(0, 0, b"{}")
    chain.end(0, 0, b"{}")
    assert chain.blocks - 1 == 3  # the last number that there is


def test_an_encrypted_file_has_nothing_readable_of_what_passed() -> None:
    sealing = with_keys()
    recorder, _ = recorder_of(sealing)
    file = b"".join(recorder.take() or [])
    recorder.note("request_forwarded", 1, {"name": "exec", "command": PLANTED.decode()})
    recorder.data(1, TARGET, 0, PLANTED)
    recorder.injected(1, PLANTED)
    file += b"".join(recorder.take() or [])
    file += b"".join(recorder.finish("client_closed"))
    assert PLANTED not in file
    reader = Reader(io.BytesIO(file), SESSION, None, DataKeys.joined)
    assert sum(PLANTED in event.payload for event in reader) == 3


def test_no_two_blocks_are_encrypted_alike() -> None:
    recorder, _ = recorder_of(with_keys())
    file = b"".join(recorder.take() or [])
    for _ in range(20):
        recorder.data(1, TARGET, 0, b"the same again")
        file += b"".join(recorder.take() or [])
    bodies = [file[at + 40 : at + 40 + head.length] for at, head in blocks_of(file)[2:]]
    assert len(set(bodies)) == 20


@given(st.integers(0, 6))
@examples(5)
def test_the_same_bursts_have_as_many_blocks_with_keys_and_without(bursts: int) -> None:
    clear, sealed = blocks_of(recorded(bursts=bursts)), blocks_of(recorded(with_keys(), bursts=bursts))
    assert [head.type for _, head in clear] == [h.type for _, h in sealed if h.type is not BlockType.KEYS]


def test_the_keys_are_gone_at_the_end() -> None:
    chain = begun(with_keys())
    chain.end(0, 0, b"{}")
    with pytest.raises(AssertionError):
        chain.checkpoint(0, 0, b"{}")
