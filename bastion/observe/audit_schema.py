"""The audit log's lines as a JSON Schema (L2, pure): made from the events, so that it cannot say anything else.

Draft 2020-12, without anything that draft 7 does not have. Each event is a definition of its own, and a line is one of
them. It is of this version: another one may write fields that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from bastion.observe.events import EVENTS, AuditEvent, Facts
from bastion.observe.events.base import ABOUT, explained, names_of

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_FIXED: Final[Mapping[str, Schema]] = {
    "ts": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
    "event": {"type": "string"},
    "session": {"type": "string", "pattern": "^[a-z2-7]{16}$"},
    "ref": {"type": "string"},
    **{name: {"type": "string"} for name in ABOUT},
    "chain": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    "seq": {"type": "integer", "minimum": 0},
    "prev": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}

_PLAIN: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    bytes: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
}


def schema() -> Schema:
    """The whole of it."""
    return {
        "$schema": DRAFT,
        "title": "A line of Bastion's audit log",
        "type": "object",
        "required": ["ts", "event"],
        "oneOf": [{"$ref": f"#/definitions/{name_of(one.event, one.what)}"} for one in EVENTS],
        "definitions": {name_of(one.event, one.what): definition(one) for one in EVENTS},
    }


def name_of(event: str, what: str = "") -> str:
    """What the definition of a line with this `event` and `what` is called."""
    return f"{event}.{what}" if what else event


def definition(event: type[AuditEvent]) -> Schema:
    """One event."""
    own: Schema = {"what": {"const": event.what}} if event.what else {}
    hints, told = get_type_hints(event, include_extras=True), explained(event)
    for name in names_of(event):
        kind = hints[name]
        if Facts in (kind, *get_args(kind)):
            own |= {fact: _of(of) for fact, of in get_type_hints(Facts).items()}
        else:
            own[name] = _of(kind) | ({"description": told[name]} if told[name] else {})
    required = ["ts", "event", *(["what"] if event.what else []), *_always(event, hints)]
    return {
        "description": " ".join((event.__doc__ or "").split()),
        "type": "object",
        "required": required,
        "properties": {**_FIXED, "event": {"const": event.event}, **own},
        "additionalProperties": False,
    }


def _always(event: type[AuditEvent], hints: Mapping[str, Any]) -> list[str]:
    """Fields that no line is without: numbers, flags and lists. An empty text is left out."""
    return [
        one.name
        for one in fields(event)  # type: ignore[arg-type]
        if one.default is MISSING and _of(hints[one.name]).get("type") not in (None, "string")
        if NoneType not in get_args(_bare(hints[one.name]))
    ]


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _of(kind: Any) -> Schema:
    """What a value of that type is in a line."""
    kind = _bare(kind)
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": "string", "enum": [one.value for one in kind]}
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kinds = [one for one in inner if one is not NoneType]
        return _of(kinds[0]) if len(kinds) == 1 else {"anyOf": [_of(one) for one in kinds]}
    if origin in (list, tuple):
        return {"type": "array", "items": _of(inner[0])}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1])}
    return {}
