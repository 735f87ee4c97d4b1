"""Messages as declarations: a field is written down once, with its type on the wire, and both ways follow from it.

    @declared
    class WindowAdjust(Message):
        NUMBER: ClassVar[int] = numbers.MSG_CHANNEL_WINDOW_ADJUST
        recipient: Uint32
        size: Uint32

Invariant: fields stand on the wire in the order of their declaration, and nothing stands between or behind them;
`parse` consumes every byte or raises `ProtocolError`, and `parse(m.encode()) == m`. What a class declares is worked
out once, when it is made; a message costs one call for each field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, dataclass_transform, get_type_hints

from bastion.errors import ProtocolError
from bastion.wire.data import STRING_LIMIT, Reader, boolean, byte, namelist, string, uint32
from bastion.wire.numbers import name_of

Value = TypeVar("Value")
Declared = TypeVar("Declared", bound="Struct")


@dataclass(frozen=True, slots=True)
class Kind(Generic[Value]):
    """One type on the wire: `read` takes a value and its bytes from a reader, or raises; `write` gives the bytes."""

    read: Callable[[Reader], Value]
    write: Callable[[Value], bytes]


def octets(limit: int = STRING_LIMIT) -> Kind[bytes]:
    """A string of at most `limit` bytes, as it is."""
    return Kind(lambda reader: reader.string(limit), string)


def utf8(limit: int) -> Kind[str]:
    """A string of at most `limit` bytes of UTF-8."""
    return Kind(lambda reader: reader.text(limit), string)


def counted(kind: Kind[Value], limit: int, what: str) -> Kind[tuple[Value, ...]]:
    """A number, then so many of `kind`. It is the peer's word: no more than `limit` are begun to be read."""

    def read(reader: Reader) -> tuple[Value, ...]:
        count = reader.uint32()
        if count > limit:
            raise ProtocolError(f"too many {what}")
        return tuple(kind.read(reader) for _ in range(count))

    return Kind(read, lambda values: uint32(len(values)) + b"".join(map(kind.write, values)))


UINT32 = Kind(Reader.uint32, uint32)
BOOLEAN = Kind(Reader.boolean, boolean)
REST = Kind(Reader.rest, bytes)

Uint32 = Annotated[int, UINT32]
Boolean = Annotated[bool, BOOLEAN]
Name = Annotated[str, Kind(Reader.name, string)]
Names = Annotated[tuple[str, ...], Kind(Reader.namelist, namelist)]
String = Annotated[bytes, Kind(Reader.string, string)]
Rest = Annotated[bytes, REST]
"""What follows the other fields, to the end: the fields of another declaration."""


class Struct:
    """Fields one behind the other. Make it with `declared`."""

    __slots__ = ()

    KINDS: ClassVar[Mapping[str, Kind[Any]]] = MappingProxyType({})
    """Field -> its type, in their order."""

    _head: ClassVar[bytes] = b""
    _reads: ClassVar[tuple[Callable[[Reader], Any], ...]] = ()
    _writes: ClassVar[tuple[tuple[Callable[[Any], Any], Callable[[Any], bytes]], ...]] = ()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """The fields from where `reader` stands; what follows them is left. Raises `ProtocolError`."""
        return cls(*[read(reader) for read in cls._reads])

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """The fields, and nothing behind them. Raises `ProtocolError`."""
        return read_whole(cls, Reader(payload))

    def encode(self) -> bytes:
        return self._head + b"".join([write(value(self)) for value, write in self._writes])


class Message(Struct):
    """A struct behind its message number: a whole payload."""

    __slots__ = ()

    NUMBER: ClassVar[int]

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """The message in `payload`, which must be of this number. Raises `ProtocolError`."""
        reader = Reader(payload)
        if reader.byte() != cls.NUMBER:
            raise ProtocolError(f"payload is no {name_of(cls.NUMBER)}")
        return read_whole(cls, reader)


def read_whole(kind: type[Declared], reader: Reader) -> Declared:
    """The fields of `kind` from where `reader` stands, and nothing behind them. Raises `ProtocolError`."""
    found = kind.read(reader)
    reader.end()
    return found


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def declared(kind: type[Declared]) -> type[Declared]:
    """Make `kind` a frozen dataclass with slots that reads and writes what it declares.

    TypeError, when the module is imported, for a field that says nothing of its type on the wire.
    """
    made = dataclass(frozen=True, slots=True)(kind)
    hints = get_type_hints(made, include_extras=True)
    kinds = {place.name: _kind_of(hints[place.name]) for place in fields(made)}  # type: ignore[arg-type]
    made.KINDS = MappingProxyType(kinds)
    made._head = byte(made.NUMBER) if issubclass(made, Message) else b""
    made._reads = tuple(one.read for one in kinds.values())
    made._writes = tuple((attrgetter(name), one.write) for name, one in kinds.items())
    return made


def _kind_of(hint: Any) -> Kind[Any]:
    for one in getattr(hint, "__metadata__", ()):
        if isinstance(one, Kind):
            return one
    raise TypeError(f"{hint!r} says nothing of a type on the wire")
