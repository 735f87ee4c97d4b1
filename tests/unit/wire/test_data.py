"""The reader and the writers: every type there and back, and nothing but ProtocolError for garbage."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import data as d
from bastion.wire.data import Reader
from tests.unit.wire.strategies import NAMES

READS: list[Callable[[Reader], object]] = [
    Reader.byte,
    Reader.boolean,
    Reader.uint32,
    Reader.uint64,
    Reader.string,
    Reader.text,
    Reader.name,
    Reader.namelist,
    Reader.mpint,
    lambda reader: reader.fixed(16),
    Reader.rest,
    Reader.end,
]


@given(
    st.integers(0, 255),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=99),
    st.text(max_size=99),
)
def test_plain_types_there_and_back(
    one: int, yes: bool, four: int, eight: int, raw: bytes, text: str
) -> None:
    whole = (
        d.byte(one) + d.boolean(yes) + d.uint32(four) + d.uint64(eight) + d.string(raw) + d.string(text) + raw
    )
    for source in whole, memoryview(whole):
        reader = Reader(source)
        assert reader.byte() == one
        assert reader.boolean() is yes
        assert reader.uint32() == four
        assert reader.uint64() == eight
        assert reader.string() == raw
        assert reader.text() == text
        assert reader.remaining == len(raw)
        assert reader.position == len(whole) - len(raw)
        assert reader.rest() == raw
        reader.end()


@given(st.lists(NAMES, max_size=9))
def test_name_lists_there_and_back(names: list[str]) -> None:
    reader = Reader(d.namelist(names))
    assert reader.namelist() == tuple(names)
    reader.end()


@given(st.integers(-(2**600), 2**600))
def test_mpints_there_and_back(value: int) -> None:
    reader = Reader(d.mpint(value))
    assert reader.mpint() == value
    reader.end()


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00000000"),
        (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
        (0x80, "000000020080"),
        (-0x1234, "00000002edcc"),
        (-0xDEADBEEF, "00000005ff21524111"),
    ],
)
def test_the_mpints_of_rfc_4251(value: int, encoded: str) -> None:
    assert d.mpint(value).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).mpint() == value


@pytest.mark.parametrize("raw", ["00", "0001", "ff80", "ffff", "0000"])
def test_mpints_with_unnecessary_bytes_are_refused(raw: str) -> None:
    with pytest.raises(ProtocolError, match="leading"):
        Reader(d.string(bytes.fromhex(raw))).mpint()


@given(st.binary(max_size=64), st.lists(st.sampled_from(READS), max_size=8))
def test_garbage_gives_protocol_errors_only(raw: bytes, reads: list[Callable[[Reader], object]]) -> None:
    reader = Reader(raw)
    try:
        for read in reads:
            read(reader)
    except ProtocolError:
        pass
    assert 0 <= reader.remaining <= len(raw)


@pytest.mark.parametrize("read", [Reader.string, Reader.text, Reader.name, Reader.namelist, Reader.mpint])
@pytest.mark.parametrize("raw", ["ffffffff616263", "00000004616263", "000000", ""])
def test_truncated_strings_are_refused(read: Callable[[Reader], object], raw: str) -> None:
    """Conch's getNS returns b"abc" for the first (docs/security.md, C19)."""
    with pytest.raises(ProtocolError):
        read(Reader(bytes.fromhex(raw)))


def test_a_length_is_checked_before_anything_is_allocated() -> None:
    with pytest.raises(ProtocolError, match="longer than allowed"):
        Reader(d.uint32(5) + b"12345").string(4)
    with pytest.raises(ProtocolError, match="longer than allowed"):
        Reader(d.uint32(d.STRING_LIMIT + 1)).string()


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_text_is_utf_8(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="UTF-8"):
        Reader(d.string(raw)).text()


@pytest.mark.parametrize("raw", [b"", b"a,b", b"a b", b"a\x00", b"\xc3\xa9", b"a\n", b"a" * 65])
def test_names_are_short_printable_ascii(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reader(d.string(raw)).name()


@pytest.mark.parametrize("raw", [b",", b"a,", b",a", b"a,,b", b"a, b", b"a\x00,b", b"\xff"])
def test_name_lists_hold_no_empty_or_unprintable_name(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reader(d.string(raw)).namelist()


def test_trailing_bytes_are_refused() -> None:
    reader = Reader(b"\x01\x02")
    reader.byte()
    with pytest.raises(ProtocolError, match="trailing"):
        reader.end()


def test_a_reader_cannot_begin_behind_its_data() -> None:
    assert Reader(b"abc", 3).remaining == 0
    with pytest.raises(ProtocolError):
        Reader(b"abc", 4)
