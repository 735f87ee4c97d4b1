"""Frozen dataclasses as JSON values, and back (pure).

What a field may hold is said by its annotation: str, int, float, bool, a StrEnum, another dataclass, `X | None`,
`tuple[X, ...]`, `Mapping[str, X]`, or `Any` for what is JSON already. Read back strictly: nothing is converted, a field
without a default must be there. What is unknown is a fault in a question (an old process must not do half of what it
was asked) and left out of an answer (of a newer process). Whoever answers may be another gateway, so what could not be
written as JSON again, or has no end, is a fault in either: half of a character, a number beyond MAX_NUMBER, more items
than the field's metadata say (`most`). A field whose metadata say `left_out` is not written while it
is at its default, so that a process of the version before can read what has nothing to say there. Of a list whose field
says `known_only` the items with a word that is not known here are left out, not the whole answer.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

MAX_TEXT: Final = 4096
"""Characters of one string in a question."""

MAX_NUMBER: Final = (1 << 53) - 1
"""Numbers are as far from 0 at most: sums of them are numbers still."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Unfit(ValueError):
    """A value is not what its field says. The text names the field and what may stand there, never the value."""


class Unknown(Unfit):
    """It is a word that this version does not know."""


def to_json(value: object) -> Any:
    """`value`, one of ours, as JSON."""
    if is_dataclass(value):
        held = ((place, getattr(value, place.name)) for place in fields(value))
        return {
            place.name: to_json(one)
            for place, one in held
            if not (place.metadata.get("left_out") and one == place.default)
        }
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, StrEnum):
        return str(value)
    return value


def from_json(kind: type[T], value: object, *, strict: bool) -> T:
    """The dataclass `kind` of an object that somebody sent. Raises Unfit."""
    return _dataclass(kind, value, kind.__name__, strict)


@cache
def _places(kind: Any) -> dict[str, tuple[Any, bool, int | None, bool]]:
    """Field -> its annotation, whether it must be there, how many items it may have, and whether those with words that
    are not known here are left out."""
    hints = get_type_hints(kind)
    return {
        place.name: (
            hints[place.name],
            place.default is MISSING and place.default_factory is MISSING,
            place.metadata.get("most"),
            bool(place.metadata.get("known_only")),
        )
        for place in fields(kind)
    }


def _dataclass(kind: type[T], value: object, name: str, strict: bool) -> T:
    if not isinstance(value, dict):
        raise Unfit(f"{name}: not an object")
    places = _places(cast(Any, kind))
    if strict and value.keys() - places.keys():
        raise Unfit(f"{name}: has a field that is not known here")
    made = {}
    for field, (hint, needed, most, known_only) in places.items():
        if field in value:
            if most is not None and isinstance(value[field], list) and len(value[field]) > most:
                raise Unfit(f"{name}.{field}: more than {most} of them")
            read = _known if known_only and isinstance(value[field], list) else _read
            made[field] = read(hint, value[field], f"{name}.{field}", strict)
        elif needed:
            raise Unfit(f"{name}.{field}: is missing")
    return kind(**made)


def _known(hint: Any, items: list[Any], name: str, strict: bool) -> Any:
    """The items of a list that this version knows the words of: another gateway may be a newer one."""
    kept = []
    for item in items:
        try:
            kept.append(_read(get_args(hint)[0], item, f"{name}[]", strict))
        except Unknown:
            continue
    return tuple(kept)


def _read(hint: Any, value: object, name: str, strict: bool) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        (inner,) = [one for one in get_args(hint) if one is not type(None)]
        return None if value is None else _read(inner, value, name, strict)
    if origin is tuple:
        if not isinstance(value, list):
            raise Unfit(f"{name}: not a list")
        inner = get_args(hint)[0]
        return tuple(_read(inner, item, f"{name}[]", strict) for item in value)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise Unfit(f"{name}: not an object")
        inner = get_args(hint)[1]
        return {key: _read(inner, item, f"{name}{{}}", strict) for key, item in value.items()}
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return _dataclass(hint, value, name, strict)
    return _plain(hint, value, name, strict)


def _plain(hint: Any, value: object, name: str, strict: bool) -> Any:
    if isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:  # nor is NaN
        raise Unfit(f"{name}: too large a number")
    if hint is float and type(value) is int:
        return float(value)
    if issubclass(hint, StrEnum):
        if isinstance(value, str) and value in {str(one) for one in hint}:
            return hint(value)
        made: type[Unfit] = Unknown if isinstance(value, str) else Unfit
        raise made(f"{name}: not one of {', '.join(hint)}")
    if type(value) is not hint:
        raise Unfit(f"{name}: not {_WORDS[hint]}")
    if isinstance(value, str):
        if strict and len(value) > MAX_TEXT:
            raise Unfit(f"{name}: longer than {MAX_TEXT} characters")
        if _SURROGATE.search(value):  # JSON can write it, and nothing that it is passed on to
            raise Unfit(f"{name}: holds half of a character")
    return value


_WORDS: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
