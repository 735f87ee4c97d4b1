"""What is to become of a row, as a value: made by the gateway, written later by a thread, spooled as a line (L2).

Invariant: the changes of a row are applied in order, and all of them again from the first change the same: a row is
added once and then set, or put and dropped, never both. So a journal that was written and not yet forgotten when its
process died may be written again as a whole. Where several gateways put and drop the same row (`_LATER`), what is later
by its own time stays, whoever writes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Executable, bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite

from bastion.errors import BastionError
from bastion.state.schema import METADATA

Value = str | int | float | None

ADD: Final = "add"  # the row, unless it is there
PUT: Final = "put"  # the row, in the place of one of the same key
SET: Final = "set"  # these columns of the row of that key, if there is one
DROP: Final = "drop"  # the row of that key
_VERBS: Final = (ADD, PUT, SET, DROP)

Kind = tuple[str, str, tuple[str, ...]]
"""Verb, table and columns: what one statement is made for."""

_LATER: Final = {"locks": "made_at", "lock_ends": "made_at"}
"""Table -> the column by which a row that is put takes no later one's place, and one that is dropped was not later."""

LINE_MAX: Final = 64 * 1024
"""Bytes of one change as a line; a row with a long list of rules has two thousand."""

STATEMENTS: Final = 64
"""Kinds of changes whose statements are kept; there are a dozen."""


class BadChange(BastionError):
    """A line that is no change of this version."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one row. `values` has the key columns too."""

    verb: str
    table: str
    values: Mapping[str, Value]

    def line(self) -> bytes:
        """One line of JSON, with its newline. Raises BadChange for what no line may be."""
        try:
            line = orjson.dumps([self.verb, self.table, self.values]) + b"\n"
        except TypeError:  # a lone surrogate, an integer beyond 64 bits
            line = b""
        if not line or len(line) > LINE_MAX:
            raise BadChange("a change of state that cannot be spooled")
        return line


def read_line(line: bytes) -> Change:
    """`Change.line` read back. Raises BadChange for anything that this version would not have written."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise BadChange("not JSON") from None
    if not isinstance(document, list) or len(document) != 3:
        raise BadChange("not verb, table and values")
    verb, name, values = document
    if (
        verb not in _VERBS
        or not isinstance(name, str)
        or name not in METADATA.tables
        or not isinstance(values, dict)
    ):
        raise BadChange("an unknown table or verb")
    if not values.keys() <= _columns(name) or not values.keys() >= set(_keys(name)):
        raise BadChange(f"columns that {name} does not have, or no key")
    if not all(value is None or isinstance(value, str | int | float) for value in values.values()):
        raise BadChange("values that are no values of a column")
    return Change(verb, name, values)


def apply(connection: Connection, changes: Iterable[Change]) -> None:
    """Write `changes`: those of one row in order, those of one kind together."""
    for (verb, name, columns), rows in by_kind(changes):
        statement = _statement(connection.dialect.name, verb, name, columns)
        connection.execute(statement, [_bound(values) for values in rows])


def by_kind(changes: Iterable[Change]) -> list[tuple[Kind, list[Mapping[str, Value]]]]:
    """A change joins the last group of its kind, unless its row has been changed by a later group."""
    groups: list[tuple[Kind, list[Mapping[str, Value]]]] = []
    last_of_kind: dict[Kind, int] = {}
    last_of_row: dict[tuple[object, ...], int] = {}
    for change in changes:
        kind = change.verb, change.table, tuple(change.values)
        row = change.table, *(change.values[key] for key in _keys(change.table))
        place = last_of_kind.get(kind, -1)
        if place < last_of_row.get(row, 0):
            place = last_of_kind[kind] = len(groups)
            groups.append((kind, []))
        last_of_row[row] = place
        groups[place][1].append(change.values)
    return groups


def _bound(values: Mapping[str, Value]) -> dict[str, Value]:
    return {f"b_{name}": _clean(value) for name, value in values.items()}


def _clean(value: Value) -> Value:
    """PostgreSQL's text has no NUL."""
    return value.replace("\0", "") if isinstance(value, str) else value


@cache
def _keys(name: str) -> tuple[str, ...]:
    """Of a table, in the order of its primary key."""
    return tuple(column.name for column in METADATA.tables[name].primary_key)


@cache
def _columns(name: str) -> frozenset[str]:
    return frozenset(METADATA.tables[name].c.keys())


@lru_cache(maxsize=STATEMENTS)
def _statement(dialect_name: str, verb: str, name: str, columns: tuple[str, ...]) -> Executable:
    """Made once for each kind of change: making it takes longer than writing the row."""
    table = METADATA.tables[name]
    keys = _keys(name)
    bound: dict[str, Any] = {name: bindparam(f"b_{name}", type_=table.c[name].type) for name in columns}
    if verb in (ADD, PUT):
        dialect: Any = sqlite if dialect_name == "sqlite" else postgresql
        insert = dialect.insert(table).values(bound)
        others = {name: insert.excluded[name] for name in columns if name not in keys}
        if verb == ADD or not others:
            return insert.on_conflict_do_nothing(index_elements=keys)  # type: ignore[no-any-return]
        if name in _LATER:
            later = _LATER[name]
            not_later = table.c[later] <= insert.excluded[later]
            return insert.on_conflict_do_update(index_elements=keys, set_=others, where=not_later)  # type: ignore[no-any-return]
        return insert.on_conflict_do_update(index_elements=keys, set_=others)  # type: ignore[no-any-return]
    here = [table.c[name] == bound[name] for name in keys]
    if verb == DROP:
        later = _LATER.get(name, "")
        if later in bound:  # a line of the version before has none
            here.append(table.c[later] <= bound[later])
        return delete(table).where(*here)
    return update(table).where(*here).values({name: bound[name] for name in columns if name not in keys})
