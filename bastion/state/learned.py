"""What detections have learned, in the state store (L2): a row of each person, and of each gateway. Blocks.

Several gateways write the row of one person. Invariants: nobody writes over what they have not read: who finds another
revision merges, and tries again; what is read back is bounded before it is unpacked.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bastion.state.database import Database, StateDown
from bastion.state.schema import LEARNED

PERSON: Final = "person"
NODE: Final = "node"
"""Kinds."""

MOST_BYTES: Final = 16 << 20
"""Of one document as JSON. A person has 250 KB at the most, a gateway with 65,536 sessions 6 MB."""

MOST_OF: Final = {PERSON: 1 << 20, NODE: MOST_BYTES}
"""The same of each kind: what is read of a person is no more than four times what is written."""

MOST_READ: Final = 64 << 20
"""Bytes of all documents that are read at once, the newest first; a gateway that was stolen can write more, and reading
it would be the end of the process. 20,000 people are 50 MB."""

LONGEST_NAME: Final = 256
"""Characters; what has more is nobody."""

KEPT: Final = 400 * 86400.0
"""Seconds after which a row that nobody has written goes."""

TRIES: Final = 4
"""Of a row that others write at the same moment: it is there or not, and then it is ours."""


@dataclass(frozen=True, slots=True)
class Learned:
    """One row: how often it was written, by whom last and when (seconds since the epoch), and what it says."""

    name: str
    revision: int
    node: str
    saved_at: float
    document: Any


# Made once: making one takes ten times as long as writing a row.
_ROW: Final[dict[str, Any]] = {
    column.name: bindparam(f"b_{column.name}", type_=column.type) for column in LEARNED.c
}
_UPDATE: Final = (
    update(LEARNED)
    .where(
        LEARNED.c.kind == _ROW["kind"], LEARNED.c.name == _ROW["name"], LEARNED.c.revision == bindparam("was")
    )
    .values({name: bound for name, bound in _ROW.items() if name not in ("kind", "name")})
)
_DIALECTS: Final[dict[str, Any]] = {"sqlite": sqlite, "postgresql": postgresql}
_INSERT: Final = {
    name: dialect.insert(LEARNED)
    .values(_ROW)
    .on_conflict_do_nothing(index_elements=["kind", "name"])
    .returning(LEARNED.c.revision)
    for name, dialect in _DIALECTS.items()
}


def pack(document: Any) -> str:
    """As a row has it. Raises StateDown for what is too large."""
    data = json.dumps(document, separators=(",", ":")).encode("ascii")  # names may have lone surrogates
    if len(data) > MOST_BYTES:
        raise StateDown(f"what was learned has more than {MOST_BYTES} bytes", refused=True)
    return b64encode(zlib.compress(data, 1)).decode("ascii")


AT_ONCE: Final = 16
"""Rows that the driver holds while they are read."""


def unpack(packed: str, most: int = MOST_BYTES) -> Any:
    """`pack` read back; None for anything else."""
    data = _unpacked(packed, most)
    return None if data is None else _read(data)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _unpacked(packed: str, most: int) -> bytes | None:
    try:
        machine = zlib.decompressobj()
        data = machine.decompress(b64decode(packed, validate=True), most)
        return data if machine.eof else None
    except (ValueError, Error, zlib.error):
        return None


def learned(
    database: Database, kind: str, form: int, most: int, since: float = 0.0, but_of: str = ""
) -> list[Learned]:
    """Rows of that form, those that were written last if there are more, oldest first; those written since alone, and
    not those that `but_of` has written. What cannot be read, is too large, or beyond MOST_READ is left out. Raises
    StateDown."""
    most_each = MOST_OF.get(kind, MOST_BYTES)
    columns = (LEARNED.c[name] for name in ("name", "revision", "node", "saved_at", "packed"))
    query = select(*columns).where(
        LEARNED.c.kind == kind, LEARNED.c.form == form, LEARNED.c.saved_at >= since
    )
    query = query.where(
        func.length(LEARNED.c.name) <= LONGEST_NAME, func.length(LEARNED.c.node) <= LONGEST_NAME
    )
    query = query.where(func.length(LEARNED.c.packed) <= most_each * 4 // 3)
    if but_of:
        query = query.where(LEARNED.c.node != but_of)
    found, size = [], 0
    with database.read() as connection:
        newest = query.order_by(LEARNED.c.saved_at.desc(), LEARNED.c.name.desc()).limit(most)
        rows = connection.execution_options(yield_per=AT_ONCE).execute(newest)
        for name, revision, node, saved_at, packed in rows:
            data = _unpacked(packed, most_each)
            size += len(data or b"")
            if size > MOST_READ:
                break
            document = None if data is None else _read(data)
            if document is not None:
                found.append(Learned(name, revision, node, saved_at, document))
    return found[::-1]


@dataclass(frozen=True, slots=True)
class Saved:
    """The revision of a row now, and what it says where that was merged."""

    revision: int
    document: Any = None


@dataclass(frozen=True, slots=True)
class Saving:
    """One who saves: which form, as which gateway, at what time (seconds since the epoch)."""

    connection: Connection
    form: int
    node: str
    now: float

    def put(self, kind: str, name: str, revision: int, packed: str, merge: Callable[[Any], Any]) -> Saved:
        """Write a row that had this revision when it was read, 0 for none; where it has another by now, what `merge`
        makes of it. `packed` is made before, not while others wait for this transaction. Raises StateDown."""
        document: Any = None
        for _ in range(TRIES):
            if self._written(kind, name, revision, packed):
                return Saved(revision + 1, document)
            revision, found = self._now(kind, name)
            if found is not None:
                document = merge(found)
                packed = pack(document)
        raise StateDown(f"what was learned of a {kind} is written by too many at once")

    def _written(self, kind: str, name: str, revision: int, packed: str) -> bool:
        row = {"b_kind": kind, "b_name": name, "b_form": self.form, "b_revision": revision + 1}
        row |= {"b_node": self.node, "b_saved_at": self.now, "b_packed": packed}
        connection = self.connection
        if revision:
            return connection.execute(_UPDATE, {**row, "was": revision}).rowcount > 0
        return connection.execute(_INSERT[connection.dialect.name], row).first() is not None

    def _now(self, kind: str, name: str) -> tuple[int, Any]:
        """The revision that is there, and its document where it is of this form. Nobody else writes it now."""
        query = select(LEARNED.c.revision, LEARNED.c.form, LEARNED.c.packed).with_for_update()
        row = self.connection.execute(query.where(LEARNED.c.kind == kind, LEARNED.c.name == name)).first()
        if row is None:
            return 0, None
        return row.revision, unpack(row.packed) if row.form == self.form else None

    def sweep(self) -> None:
        """Rows that nobody has written for long."""
        connection = self.connection
        connection.execute(delete(LEARNED).where(LEARNED.c.saved_at < self.now - KEPT))
