"""Tampering of every kind is found, and found where it is."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import EndReason
from bastion.recording.chain import Chain
from bastion.recording.format import (
    HEAD_SIZE,
    PREAMBLE_SIZE,
    BlockType,
    Totals,
    encode_head,
    encode_json,
    encode_preamble,
)
from bastion.recording.framing import checked, first_link, framed, next_link
from bastion.recording.keys import Sealing
from bastion.recording.sealing import seal
from bastion.recording.unwrapping import split_signed
from bastion.recording.verifying import KnownKey, State, verify
from tests.support.examples import examples
from tests.unit.recording.samples import SESSION, SYNC, TARGET
from tests.unit.recording.sealed import KNOWN, NODE, blocks_of, recorded, recorder_of, verdict, with_keys

BOTH = pytest.mark.parametrize("sealing", [NODE, with_keys()], ids=["clear", "encrypted"])


@BOTH
def test_what_was_written_is_good(sealing: Sealing) -> None:
    found = verdict(recorded(sealing))
    assert (found.state, found.good, found.bad_block, found.offset) == (State.WHOLE, True, None, None)
    assert (found.session_id, found.node, found.blocks) == (SESSION, "gw1", 13)
    assert found.signed_until == 12 and found.node_key == NODE.signer.public.fingerprint()


@BOTH
def test_every_changed_byte_is_found_in_its_block(sealing: Sealing) -> None:
    file = recorded(sealing, bursts=1)
    starts = [at for at, _ in blocks_of(file)]
    for place in range(0, len(file), 7 if sealing.keys else 1):
        changed = bytearray(file)
        changed[place] ^= 1 << place % 8
        found = verdict(bytes(changed))
        assert found.state in (State.BAD, State.CUT), (
            place
        )  # CUT: the last block's length, which ends the file
        if place >= PREAMBLE_SIZE:
            assert found.offset == max(at for at in starts if at <= place), place


@given(st.data())
@examples(20)
def test_a_changed_byte_of_a_large_file_is_found(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(LARGE) - 1))
    changed = bytearray(LARGE)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert not verdict(bytes(changed)).good


def _large() -> bytes:
    recorder, clock = recorder_of(NODE)
    file = b"".join(recorder.take() or [])
    for number in range(60):
        recorder.data(1, TARGET, 0, bytes([number]) * 9000)
        clock.advance(2.0)
        file += b"".join(recorder.take() or [])
    return file + b"".join(recorder.finish("client_closed"))


LARGE = _large()


@BOTH
def test_cut_off_at_every_block_it_has_no_end(sealing: Sealing) -> None:
    file = recorded(sealing)
    places = blocks_of(file)
    for index, (at, head) in enumerate(places):
        for size in (at, at + 9, at + HEAD_SIZE + 3, at + head.block_size - 1):
            found = verdict(file[:size])
            assert not found.good
            if index > (1 if sealing.keys else 0):
                assert (found.state, found.bad_block) == (State.CUT, head.sequence)
                assert "signed up to block" in found.text
                assert verdict(file[:size], live=True).state is State.LIVE


@BOTH
def test_dropped_swapped_and_repeated_blocks(sealing: Sealing) -> None:
    file = recorded(sealing)
    places = blocks_of(file)
    pieces = [file[at : at + head.block_size] for at, head in places]
    for index, (at, head) in enumerate(places):
        without = file[:PREAMBLE_SIZE] + b"".join(pieces[:index] + pieces[index + 1 :])
        twice = file[:PREAMBLE_SIZE] + b"".join(pieces[: index + 1] + pieces[index:])
        assert not verdict(without).good and not verdict(twice).good
        if 0 < index < len(places) - 1 and head.type is not BlockType.KEYS:
            assert (verdict(without).bad_block, verdict(without).offset) == (head.sequence, at)
            assert verdict(twice).offset == at + head.block_size
            other = pieces[index + 1]
            swapped = b"".join((*pieces[:index], other, pieces[index], *pieces[index + 2 :]))
            assert verdict(file[:PREAMBLE_SIZE] + swapped).bad_block == head.sequence


def renumbered(pieces: list[bytes]) -> bytes:
    """Blocks as somebody would forge them who can compute everything but signatures."""
    made, number = [], 0
    for piece in pieces:
        kind, length = piece[8], int.from_bytes(piece[12:16], "big")
        time_us, seen = int.from_bytes(piece[20:28], "big"), int.from_bytes(piece[28:36], "big")
        head = encode_head(
            SYNC, kind, piece[9], length, 0 if kind == BlockType.KEYS else number, time_us, seen
        )
        made += framed(head, (piece[HEAD_SIZE : HEAD_SIZE + length],), length)[0]
        number += kind != BlockType.KEYS
    return encode_preamble(SYNC) + b"".join(bytes(part) for part in made)


@BOTH
def test_forged_digests_and_numbers_fail_at_the_next_signature(sealing: Sealing) -> None:
    file = recorded(sealing)
    places = blocks_of(file)
    pieces = [file[at : at + head.block_size] for at, head in places]
    assert renumbered(pieces) == file
    signatures = [head.sequence for _, head in places if head.type in (BlockType.CHECKPOINT, BlockType.END)]
    for index, (_, head) in enumerate(places):
        if head.type not in (BlockType.EVENTS, BlockType.INPUT):
            continue
        found = verdict(renumbered(pieces[:index] + pieces[index + 1 :]))
        signed = min(number for number in signatures if number > head.sequence) - 1
        assert found.state is State.BAD and f"was signed at block {signed}" in found.text
        assert found.bad_block is not None and found.bad_block <= head.sequence
        altered = bytearray(pieces[index])
        altered[HEAD_SIZE + 20] ^= 1
        assert not verdict(renumbered([*pieces[:index], bytes(altered), *pieces[index + 1 :]])).good


def test_a_forged_end_behind_a_cut_is_nobodys() -> None:
    file = recorded()
    pieces = [file[at : at + head.block_size] for at, head in blocks_of(file)]
    found = verdict(renumbered([*pieces[:4], pieces[-1]]))
    assert found.state is State.BAD and found.bad_block == 1


def test_blocks_of_another_recording() -> None:
    file, other = recorded(), recorded(sync=b"othersyn")
    at = blocks_of(file)[3][0]
    foreign, head = blocks_of(other, b"othersyn")[3]
    piece = other[foreign : foreign + head.block_size]
    found = verdict(file[:at] + piece + file[at + head.block_size :])
    assert found.text == "a block of another recording stands here" and (found.bad_block, found.offset) == (
        3,
        at,
    )
    same_sync = recorded()  # even with the same sync bytes it is no link of this chain
    ours = [file[at : at + head.block_size] for at, head in blocks_of(file)]
    theirs = [same_sync[at : at + head.block_size] for at, head in blocks_of(same_sync)]
    assert not verdict(file[:PREAMBLE_SIZE] + b"".join((*ours[:5], *theirs[5:]))).good


def test_an_old_recording_under_a_new_name() -> None:
    found = verdict(recorded(), "zzzzzzzzzzzzzzzz")
    assert found.state is State.BAD and SESSION in found.text
    assert verdict(recorded(), "").good  # a file that says nothing by its name


def test_the_header_can_be_changed_by_nobody_but_the_node() -> None:
    file = recorded()
    at, head = blocks_of(file)[0]
    signature, document = split_signed(file[at + HEAD_SIZE : at + HEAD_SIZE + head.length])
    lied = document.replace(b'"alice"', b'"mallo"')
    assert lied != document
    block, _ = framed(file[at : at + HEAD_SIZE], (signature, lied), head.length)
    found = verdict(file[:at] + b"".join(map(bytes, block)) + file[at + head.block_size :])
    assert found.text == "the header is not what its node signed" and found.bad_block == 0


def test_a_key_that_is_not_known() -> None:
    found = verdict(recorded(Sealing.alone()))
    assert found.state is State.BAD and "a key that is not known" in found.text


def test_a_key_out_of_its_time() -> None:
    public, began = NODE.signer.public, 1_800_000_000.0
    file = io.BytesIO(recorded())
    assert verify(file, SESSION, [KnownKey(public, began, began + 1)]).good
    assert "after its node's key" in verify(file, SESSION, [KnownKey(public, 0.0, began - 1)]).text
    assert "before its node's key" in verify(file, SESSION, [KnownKey(public, began + 10)]).text


def test_bytes_behind_the_end() -> None:
    file = recorded()
    for more in (b"\0", b"more", file[PREAMBLE_SIZE : PREAMBLE_SIZE + 500]):
        found = verdict(file + more)
        assert (found.text, found.offset) == ("bytes stand behind the end block", len(file))


def test_zeros_as_after_a_power_loss_are_a_torn_tail() -> None:
    file = recorded()
    (_, _), (at, _) = blocks_of(file)[5:7]
    found = verdict(file[:at] + bytes(5000))
    assert found.state is State.CUT and (found.blocks, found.bad_block) == (6, 6)


def test_blocks_that_the_disk_refused_were_never_there() -> None:
    recorder, _ = recorder_of(NODE)
    file = b"".join(recorder.take() or [])
    recorder.data(1, TARGET, 0, b"kept")
    file += b"".join(recorder.take() or [])
    recorder.data(1, TARGET, 0, b"refused by the disk")
    recorder.take()
    recorder.rewind()
    refused = file + b"".join(recorder.finish(EndReason.RECORDER_FAILED))
    assert verdict(refused).good
    pieces = [refused[at : at + head.block_size] for at, head in blocks_of(refused)]
    assert not verdict(refused[:PREAMBLE_SIZE] + b"".join((pieces[0], pieces[2]))).good


@BOTH
def test_an_end_by_the_node(sealing: Sealing, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rec") / f"{SESSION}.rec"
    file = recorded(sealing)
    path.write_bytes(file[: blocks_of(file)[-1][0] - 7])  # and a torn block
    assert seal(path, "gateway_died", "the gateway's process died", NODE).problem == ""
    found = verdict(path.read_bytes())
    assert (found.state, found.good) == (State.INCOMPLETE, True) and "gateway_died" in found.text
    path.write_bytes(file[: blocks_of(file)[-1][0]])
    seal(path, "gateway_died", "the gateway's process died", Sealing.alone())
    assert "not known" in verdict(path.read_bytes()).text


def ended_by_node(file: bytes, sealing: Sealing = NODE, **changes: object) -> bytes:
    """The file with such an end as somebody can make who has a node's key: over blocks of his own, in his words."""
    places = blocks_of(file)
    link = first_link(file[:PREAMBLE_SIZE])
    for at, head in places:
        if head.type is not BlockType.KEYS:
            link = next_link(link, checked(file[at : at + head.block_size], head) or b"")
    last = places[-1][1]
    said: dict[str, object] = {"node_key": sealing.signer.public.line(), "signed_until": 0, **changes}
    totals = Totals(str(said.pop("reason", "gateway_died")), 1.0, 1, 1, 0, 0, 0, 0, 0, 0, True, "died")
    chain = Chain(SYNC)
    chain.resume(link, last.sequence + 1)
    document = encode_json({**totals.document(), **said})
    end = chain.signed(BlockType.END, last.time_us, last.seen, document, sealing.sign)
    return file + b"".join(map(bytes, end))


def test_an_end_by_the_node_says_truly_how_far_the_recording_signed() -> None:
    file = recorded()
    signed = [head.sequence for _, head in blocks_of(file) if head.type is BlockType.CHECKPOINT]
    cut = file[: blocks_of(file)[-1][0]]
    honest = verdict(ended_by_node(cut, signed_until=signed[-1]))
    assert honest.good and f"its own signatures end with block {signed[-1]}" in honest.text
    forged, _ = framed(
        encode_head(SYNC, BlockType.EVENTS, 1, 4, len(blocks_of(cut)), 40_000_000, 99), (b"more",), 4
    )
    lied = verdict(ended_by_node(cut + b"".join(map(bytes, forged)), signed_until=len(blocks_of(cut))))
    assert not lied.good and f"it was block {signed[-1]}" in lied.text


def test_an_end_by_the_node_excuses_no_missing_block() -> None:
    file = recorded()
    places = blocks_of(file)
    signed = [head.sequence for _, head in places if head.type is BlockType.CHECKPOINT][-1]
    assert places[signed + 1][1].type is not BlockType.END
    without = file[: places[signed + 1][0]] + file[places[signed + 2][0] : places[-1][0]]
    found = verdict(ended_by_node(without, signed_until=signed, reason=EndReason.RECORDER_FAILED))
    assert not found.good and found.bad_block == signed + 1 and "missing" in found.text


def test_a_retired_key_ends_no_later_recording() -> None:
    old = Sealing.alone()
    file = recorded()
    cut = io.BytesIO(ended_by_node(file[: blocks_of(file)[2][0]], old))
    began = 1_800_000_000.0
    for key, good in (
        (KnownKey(old.signer.public, 0.0, began - 5), False),
        (KnownKey(old.signer.public, began + 5), True),
    ):
        assert verify(cut, SESSION, [*KNOWN, key]).good is good


def test_a_file_without_its_keys_cannot_be_opened_and_says_so() -> None:
    file = recorded(with_keys())
    at, head = blocks_of(file)[1]
    assert head.type is BlockType.KEYS
    found = verdict(file[:at] + file[at + head.block_size :])
    assert "keys is missing" in found.text
    document = encode_json({"recipients": ["age1three"], "wrapped": "00" * 200})
    block, _ = framed(
        encode_head(SYNC, BlockType.KEYS, 1, len(document), 0, 0, 0), (document,), len(document)
    )
    again = file[:at] + b"".join(map(bytes, block)) + file[at + head.block_size :]
    assert verdict(again).good  # wrapped for others: nothing else has changed


def test_the_older_format_proves_nothing() -> None:
    found = verify(io.BytesIO(encode_preamble(SYNC, version=1) + b"x" * 100), "", KNOWN)
    assert found.state is State.UNSIGNED and not found.good


@given(st.binary(max_size=300))
@examples(30)
def test_garbage_raises_nothing(data: bytes) -> None:
    assert not verdict(data).good
    assert not verdict(encode_preamble(SYNC) + data).good
    assert not verdict(LARGE[: blocks_of(LARGE)[1][0]] + data).good
