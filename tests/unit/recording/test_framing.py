"""Blocks of both formats: what was framed is let through, anything else is not."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.format import HEAD_SIZE, BlockType, Suite, encode_head, parse_head
from bastion.recording.framing import (
    CHAIN_FOOT_SIZE,
    JOIN_BELOW,
    began_of,
    checked,
    closed,
    first_link,
    framed,
    key_commitment,
    next_link,
    plain_block,
)
from tests.unit.recording.samples import SYNC
from tests.unit.recording.sealed import NODE, recorded, verdict


@given(st.lists(st.binary(max_size=3000), max_size=5), st.integers(1, 2), st.data())
def test_a_block_is_let_through_and_a_changed_one_is_not(
    parts: list[bytes], suite: int, data: st.DataObject
) -> None:
    size = sum(map(len, parts))
    head = encode_head(SYNC, BlockType.EVENTS, suite, size, 7, 8, 9)
    buffers, digest = framed(head, parts, size)
    assert len(buffers) == (1 if size < JOIN_BELOW else 2)
    block = b"".join(map(bytes, buffers))
    in_place = bytearray(head + b"".join(parts) + bytes(CHAIN_FOOT_SIZE))
    assert closed(in_place) == digest and in_place == block
    found = parse_head(block[:HEAD_SIZE], SYNC)
    assert found is not None and found.block_size == len(block)
    assert (found.type, found.suite, found.length, found.sequence) == (BlockType.EVENTS, suite, size, 7)
    assert checked(memoryview(block), found) == checked(block, found) == digest
    assert block[HEAD_SIZE : HEAD_SIZE + size] == b"".join(parts)
    place = data.draw(st.integers(0, len(block) - 1))
    changed = bytearray(block)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert checked(bytes(changed), found) is None
    assert checked(block[:-1], found) is None


@given(st.binary(max_size=2000), st.integers(0, 1999))
def test_a_block_of_format_1(payload: bytes, place: int) -> None:
    block = plain_block(SYNC, BlockType.EVENTS, 1 << 32, 5, 6, [payload])
    head = parse_head(block[:HEAD_SIZE], SYNC)
    assert head is not None and head.suite is Suite.CRC32 and head.sequence == 0
    assert head.fits(1) and not head.fits(2) and checked(block, head) == b""
    changed = bytearray(block)
    changed[place % len(block)] ^= 4
    assert checked(bytes(changed), head) is None


def test_the_chain_depends_on_every_block_and_their_order() -> None:
    one, two = bytes(32), bytes([1]) * 32
    start = first_link(b"preamble")
    links = {start, next_link(start, one), next_link(start, two), first_link(b"another")}
    links |= {next_link(next_link(start, one), two), next_link(next_link(start, two), one)}
    assert len(links) == 6 and all(len(link) == 32 for link in links)
    assert key_commitment(one) != key_commitment(two) and one.hex() not in key_commitment(one)


def test_the_chain_behind_the_header_is_what_the_ledger_was_told() -> None:
    file = recorded(NODE)
    assert began_of(io.BytesIO(file)).hex() == verdict(file).began != ""
    for at in (3, 30, 200):
        changed = file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]
        assert began_of(io.BytesIO(changed)) == b""
    assert began_of(io.BytesIO(file[:100])) == began_of(io.BytesIO(b"")) == b""
    assert began_of(io.BytesIO(file[:-1])) != b""  # it reads no further
