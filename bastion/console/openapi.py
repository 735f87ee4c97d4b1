"""The document of the interface for programs (L4, pure but for its answer): OpenAPI 3.1, made of the table of routes
and of the types that stand in `shapes`.

Invariant: what is not in the table is not in the document, and all that is for programs is.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from bastion.console.admission import STATUS, TEXTS
from bastion.console.answers import JSON as JSON_TYPE
from bastion.console.answers import Answer, document
from bastion.console.desk import Call
from bastion.console.interface import INTERFACE, Endpoint
from bastion.console.routes import FORMS, ROUTES, SCOPES, Route
from bastion.console.shapes import JSON, SESSION, Refusal
from bastion.console.tokens import PATTERN

_PLAIN: Final[dict[Any, JSON]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}
_PARTS: Final[dict[str, JSON]] = {
    "session": {"type": "string", "pattern": SESSION, "maxLength": 27},
    "form": {"enum": list(FORMS)},
    "request": {"type": "string", "pattern": "^[a-z2-7]{10}$", "maxLength": 10},
}
_REFUSALS: Final = (400, 401, 403, 404, 405, 413, 421, 429, 500, 503)


async def api_document(call: Call) -> Answer:
    """The document."""
    return document(whole_document())


@cache
def whole_document() -> JSON:
    """All of it, as JSON."""
    shapes: JSON = {}
    paths: dict[str, JSON] = {}
    for route in ROUTES:
        if route.is_data:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, shapes)
    refusal = schema_of(Refusal, shapes)
    responses = {
        f"refused_{status}": {
            "description": "; ".join(text for reason, text in TEXTS.items() if STATUS[reason] == status),
            "content": {JSON_TYPE: {"schema": refusal}},
        }
        for status in _REFUSALS
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Review console of Bastion",
            "version": "1",
            "description": "What the pages of the console show and do, for programs; the same rights.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(shapes.items())),
            "responses": responses,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": PATTERN,
                    "description": f"An API token of the page /account, for some of: {', '.join(SCOPES)}.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-bastion",
                    "description": "Of a browser that has signed in; what changes something needs the field `token` of"
                    " its pages, too.",
                },
            },
        },
    }


def _operation(route: Route, shapes: JSON) -> JSON:
    endpoint = INTERFACE[route.name]
    roles = ", ".join(sorted(route.whose))
    made: JSON = {
        "operationId": f"{route.method.lower()}_{route.path.removeprefix('/api/v1/')}".translate(_PLAIN_NAME),
        "summary": endpoint.summary,
        "description": f"For: {roles}. Scope of a token: {_scope(route)}.",
        "parameters": _parameters(route, endpoint),
        "responses": {
            "200": {"description": endpoint.summary, "content": _content(endpoint, shapes)},
            **{str(status): {"$ref": f"#/components/responses/refused_{status}"} for status in _REFUSALS},
        },
    }
    if endpoint.form is not None:
        made["requestBody"] = {
            "required": bool(endpoint.needed),
            "content": {JSON_TYPE: {"schema": _body(endpoint)}},
        }
    return made


def _scope(route: Route) -> str:
    return "none, it is for people who have signed in" if route.in_person else route.scope or "any"


_PLAIN_NAME: Final = str.maketrans({"/": "_", ".": "_", "{": None, "}": None})


def _parameters(route: Route, endpoint: Endpoint) -> list[JSON]:
    parts = [
        {"name": name, "in": "path", "required": True, "schema": _PARTS[name]}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    return parts + [
        {"name": name, "in": "query", "schema": schema} for name, schema in (endpoint.query or {}).items()
    ]


def _body(endpoint: Endpoint) -> JSON:
    """Any field may be there once; all are text."""
    return {
        "type": "object",
        "properties": endpoint.form,
        "required": list(endpoint.needed),
        "additionalProperties": {"type": "string", "pattern": "^[ -~]*$"},
        "maxProperties": 32,
    }


def _content(endpoint: Endpoint, shapes: JSON) -> JSON:
    if endpoint.answer is None:
        return {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind, _ in FORMS.values()}
    return {JSON_TYPE: {"schema": schema_of(endpoint.answer, shapes)}}


def schema_of(kind: Any, shapes: JSON) -> JSON:
    """The JSON Schema of a type; those that have a name go into `shapes`, and what comes back leads there."""
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Annotated, NotRequired):
        schema = schema_of(inside[0], shapes)
        return {**schema, "pattern": inside[1]} if origin is Annotated else schema
    if origin is Literal:
        return {"enum": list(inside)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one, shapes) for one in inside]}
    if origin in (list, tuple):
        return {"type": "array", "items": schema_of(inside[0], shapes)}
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return {"type": "object", "additionalProperties": schema_of(inside[1], shapes)}
    return _named(kind, shapes)


def _named(kind: Any, shapes: JSON) -> JSON:
    name = kind.__name__
    if name not in shapes:
        shapes[name] = {}  # it may hold itself
        shapes[name] = _shape(kind, shapes)
    return {"$ref": f"#/components/schemas/{name}"}


def _shape(kind: Any, shapes: JSON) -> JSON:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [str(one) for one in kind]}
    hints = get_type_hints(kind, include_extras=True)
    if is_typeddict(kind):
        needed = sorted(name for name, hint in hints.items() if get_origin(hint) is not NotRequired)
    elif is_dataclass(kind):
        hints = {one.name: hints[one.name] for one in fields(kind)}
        needed = sorted(
            one.name for one in fields(kind) if not one.metadata.get("left_out") or one.default is MISSING
        )
    else:
        raise TypeError(f"no schema for {kind!r}")
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(kind) or "").split()),
        "properties": {name: schema_of(hint, shapes) for name, hint in hints.items()},
        "required": needed,
        "additionalProperties": False,
    }
