"""The bytes of a file: blocks, events, header and totals, read as strictly as they are written."""

from __future__ import annotations

import struct
import zlib
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording import format as fmt
from bastion.recording.format import BlockType, FormatError, Gap, Header, Totals
from bastion.recording.framing import CRC_FOOT, plain_block
from tests.unit.recording.samples import SESSION, SYNC, header


def test_a_length_beyond_the_limit_is_not_believed() -> None:
    head = fmt.HEAD.pack(SYNC, 2, 0, 0, fmt.MAX_BLOCK + 1, 1, 0, 0)
    head += struct.pack(">I", fmt.crc32(head))
    assert fmt.parse_head(head, SYNC) is None
    with pytest.raises(ValueError, match="too long"):
        fmt.encode_head(SYNC, BlockType.EVENTS, 1, fmt.MAX_BLOCK + 1, 1, 0, 0)


@given(st.lists(st.binary(max_size=3000), max_size=5))
def test_the_check_of_a_block_is_the_crc32_that_everybody_has(payload: list[bytes]) -> None:
    block = plain_block(SYNC, BlockType.EVENTS, 1, 2, 3, payload)
    assert struct.unpack_from(">I", block, fmt.HEAD.size)[0] == zlib.crc32(block[: fmt.HEAD.size])
    body, foot = block[: -CRC_FOOT.size], block[-CRC_FOOT.size :]
    assert CRC_FOOT.unpack(foot) == (zlib.crc32(body), len(block))


@given(st.binary(max_size=120))
def test_events_of_a_block_are_read_strictly(payload: bytes) -> None:
    try:
        events = list(fmt.split_events(payload, 5))
    except FormatError:
        return
    assert sum(16 + len(event.payload) for event in events) == len(payload)


def test_header_and_totals_survive_and_keep_what_they_do_not_know() -> None:
    original = header(extra={"ticket": "OPS-7"}, certificate_serial=2**63, input=True)
    document = fmt.parse_json(fmt.encode_json(original.document()))
    assert Header.from_document(document) == original
    assert original.ref == SESSION[:6] and "break_glass_why" not in document
    emergency = header(break_glass_why="INC-7")
    assert Header.from_document(emergency.document()) == emergency
    assert emergency.document()["break_glass_why"] == "INC-7"
    totals = Totals("killed", 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    assert Totals.from_document(fmt.parse_json(fmt.encode_json(totals.document()))) == totals


def test_totals_of_the_first_files_had_no_count_of_opaque_channels() -> None:
    document = Totals("killed", 1.5, 2, 3, 4, 5, 6, 7, 8).document()
    del document["opaque"]
    assert Totals.from_document(document).opaque == 0
    del document["skipped"]
    with pytest.raises(FormatError):
        Totals.from_document(document)


@pytest.mark.parametrize(
    "change",
    [
        {"port": "22"},
        {"port": True},
        {"rules": "web"},
        {"rules": [1]},
        {"session_id": "../../../etc/pwd"},
        {"input": 1},
    ],
)
def test_header_fields_of_the_wrong_type_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        Header.from_document({**header().document(), **change})


def test_header_without_a_required_field_is_refused() -> None:
    document = header().document()
    del document["target"]
    with pytest.raises(FormatError):
        Header.from_document(document)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_metadata_that_is_no_object_gives_one_error(payload: bytes) -> None:
    with pytest.raises(FormatError):
        fmt.parse_json(payload)


def test_gap_record_is_read_strictly() -> None:
    gap = Gap(True, 5, 2, 10, 20)
    assert Gap.parse(gap.encode()) == gap
    for payload in (b"", gap.encode() + b"x", b"\x02" + gap.encode()[1:]):
        with pytest.raises(FormatError):
            Gap.parse(payload)


def test_session_ids_are_the_only_file_names() -> None:
    assert fmt.is_session_id(SESSION)
    for text in (
        "",
        "abc",
        SESSION.upper(),
        SESSION + "a",
        "abcdefghijklmno1",
        "../defghijklmnop",
        SESSION + "\n",
    ):
        assert not fmt.is_session_id(text)


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.text(max_size=8) | st.integers() | st.booleans() | st.none() | st.lists(st.text(max_size=4)),
        max_size=4,
    )
)
def test_json_is_ascii_and_the_same_whoever_writes_it(document: dict[str, object]) -> None:
    with mock.patch("orjson.dumps", side_effect=TypeError):
        slow = fmt.encode_json(document)
    quick = fmt.encode_json(document)
    assert quick == slow and quick.isascii() and fmt.parse_json(quick) == document
