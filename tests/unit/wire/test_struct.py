"""Declarations: what is declared is read and written, strictly; and each message of the room is held to it."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Annotated, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, string, uint32
from bastion.wire.struct import (
    REST,
    Boolean,
    Kind,
    Message,
    Name,
    Rest,
    Struct,
    Uint32,
    counted,
    declared,
    octets,
    utf8,
)
from tests.support.declared import DECLARED
from tests.unit.wire.strategies import STRATEGIES

ANY = st.one_of(list(STRATEGIES.values()))


def endless(kind: type[Struct]) -> bool:
    """The last field reaches to the end, so that no byte is trailing."""
    return list(kind.KINDS.values())[-1:] == [REST]


# -- every message of the room


def test_every_declared_message_is_tested_here() -> None:
    assert set(STRATEGIES) == DECLARED
    assert len(DECLARED) > 40, "the walk finds them"


@pytest.mark.parametrize("kind", sorted(DECLARED, key=lambda kind: kind.__name__))
def test_a_declared_message_is_a_plain_value(kind: type[Struct]) -> None:
    """Frozen, without a dictionary, and each of its fields has a type on the wire."""
    assert [place.name for place in fields(kind)] == list(kind.KINDS)  # type: ignore[arg-type]
    assert vars(kind)["__slots__"] == tuple(kind.KINDS)
    assert "__setattr__" in vars(kind)
    assert "__dict__" not in dir(kind)


@given(ANY)
def test_there_and_back(message: Struct) -> None:
    payload = message.encode()
    if isinstance(message, Message):
        assert payload[0] == message.NUMBER
    assert type(message).parse(payload) == message
    assert copy.copy(message) == message == pickle.loads(pickle.dumps(message))


@given(ANY, st.data())
def test_a_truncated_message_is_an_error_or_has_a_shorter_rest(message: Struct, data: st.DataObject) -> None:
    payload = message.encode()
    if not payload:
        return
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    if not endless(type(message)):
        with pytest.raises(ProtocolError):
            type(message).parse(cut)
        return
    try:
        parsed = type(message).parse(cut)
    except ProtocolError:
        return
    assert parsed.encode() == cut


@given(ANY, st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_errors(message: Struct, more: bytes) -> None:
    payload = message.encode() + more
    if endless(type(message)):
        assert type(message).parse(payload).encode() == payload
    else:
        with pytest.raises(ProtocolError):
            type(message).parse(payload)


@given(st.sampled_from(sorted(DECLARED, key=lambda kind: kind.__name__)), st.binary(max_size=80))
def test_garbage_gives_protocol_errors_only(kind: type[Struct], garbage: bytes) -> None:
    head = bytes([kind.NUMBER]) if issubclass(kind, Message) else b""
    for payload in (garbage, head + garbage):
        try:
            message = kind.parse(payload)
        except ProtocolError:
            continue
        assert kind.parse(message.encode()) == message


@pytest.mark.parametrize(
    "kind",
    sorted((one for one in DECLARED if issubclass(one, Message)), key=lambda kind: kind.__name__),
)
def test_a_message_takes_no_other_number(kind: type[Message]) -> None:
    with pytest.raises(ProtocolError, match=r"^payload is no [A-Z]"):
        kind.parse(bytes([kind.NUMBER ^ 0x80]) + bytes(40))
    with pytest.raises(ProtocolError, match="truncated"):
        kind.parse(b"")


# -- declarations


@declared
class Pair(Struct):
    """Two numbers."""

    left: Uint32
    right: Uint32 = 7


@declared
class Sample(Message):
    """One of each."""

    NUMBER: ClassVar[int] = 200
    name: Name
    flag: Boolean
    short: Annotated[bytes, octets(3)]
    words: Annotated[str, utf8(4)]
    pairs: Annotated[tuple[Pair, ...], counted(Kind(Pair.read, Pair.encode), 2, "pairs")] = ()
    rest: Rest = b""


SAMPLE = Sample("n", True, b"abc", "é", (Pair(1), Pair(2, 3)), b"more")


def test_fields_stand_in_their_order_and_nothing_between_them() -> None:
    assert SAMPLE.encode() == bytes.fromhex(
        "c8 00000001 6e 01 00000003 616263 00000002 c3a9 00000002 00000001 00000007 00000002 00000003 6d6f7265"
    )
    assert Sample.parse(SAMPLE.encode()) == SAMPLE


def test_a_struct_is_read_where_the_reader_stands_and_what_follows_is_left() -> None:
    reader = Reader(b"\xff" + Pair(1, 2).encode() + b"tail", 1)
    assert Pair.read(reader) == Pair(1, 2)
    assert reader.rest() == b"tail"


def test_a_declared_message_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SAMPLE.name = "other"  # type: ignore[misc]


def test_limits_are_those_of_the_declaration() -> None:
    head = b"\xc8" + string("n") + b"\1"
    with pytest.raises(ProtocolError, match="string is longer than allowed"):
        Sample.parse(head + uint32(4) + b"abcd")
    with pytest.raises(ProtocolError, match="string is longer than allowed"):
        Sample.parse(head + string(b"abc") + string(b"12345"))
    with pytest.raises(ProtocolError, match="string is not UTF-8"):
        Sample.parse(head + string(b"abc") + string(b"\xff"))


@pytest.mark.parametrize("count", [3, 2**20, 2**32 - 1])
def test_a_count_is_the_peers_word_and_bounded_first(count: int) -> None:
    head = b"\xc8" + string("n") + b"\1" + string(b"") + string(b"")
    with pytest.raises(ProtocolError, match=r"^too many pairs$"):
        Sample.parse(head + uint32(count) + bytes(400))


def test_a_field_without_a_type_on_the_wire_is_found_when_it_is_declared() -> None:
    with pytest.raises(TypeError, match="type on the wire"):

        @declared
        class Careless(Struct):
            number: int
