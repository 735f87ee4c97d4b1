"""Certificates that were issued, in the state store (L2): kept before anybody has them. Everything here blocks.

Invariants: what hangs on a person hangs on the immutable id, never on a name; a key that was certified for one is
certified for no other, as long as it is remembered; nobody has more than `MOST_VALID` that could be used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from sqlalchemy import Connection, delete, func, select

from bastion.auth.factors import CODE
from bastion.errors import IssueReason, Refused
from bastion.state.database import Database
from bastion.state.schema import CERTIFICATES, TOTP

MOST_VALID: Final = 100
"""Of one person at a time: a fleet of ten machines that each renew ten times a day."""

REMEMBERED: Final = 90 * 86400.0
"""Seconds after its end for which one is listed, and its key is known as its owner's. The audit log has it for ever."""

LIST_MAX: Final = 10_000
"""Rows of a listing."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate. Times are seconds since the epoch; `ca` and `fingerprint` are SHA256:..., `factors` have
    commas."""

    ca: str
    serial: int
    uid: str
    name: str
    key_id: str
    fingerprint: str
    factors: str
    proved_at: float
    issued_at: float
    ends_at: float
    source: str
    node: str

    @property
    def lock(self) -> str:
        """What `bastion lock certificate` calls it."""
        return f"{self.serial}@{self.ca}"


_COLUMNS: Final = tuple(CERTIFICATES.c[field.name] for field in fields(Issued))


def keep(database: Database, issued: Issued) -> None:
    """Keep it. Raises Refused: KEY_OF_ANOTHER, TOO_MANY_VALID, CHAIN_MISSING for a second factor that was taken away
    since the login; and StateDown."""
    table = CERTIFICATES
    with database.write() as connection:
        _check_second_factor(connection, issued)
        connection.execute(delete(table).where(table.c.ends_at < issued.issued_at - REMEMBERED))
        others = (table.c.fingerprint == issued.fingerprint, table.c.uid != issued.uid)
        if connection.execute(select(table.c.serial).where(*others).limit(1)).first() is not None:
            raise Refused(IssueReason.KEY_OF_ANOTHER, "that key was certified for somebody else")
        valid = (table.c.uid == issued.uid, table.c.ends_at > issued.issued_at)
        count = connection.execute(select(func.count()).select_from(table).where(*valid)).scalar_one()
        if count >= MOST_VALID:
            text = f"you have {count} certificates that are valid, and no more are issued"
            raise Refused(IssueReason.TOO_MANY_VALID, text)
        connection.execute(table.insert().values({name: getattr(issued, name) for name in issued.__slots__}))


def _check_second_factor(connection: Connection, issued: Issued) -> None:
    """What the code was of must still be there, and no other have come in its place."""
    if CODE not in issued.factors.split(","):
        return
    made_at = connection.execute(select(TOTP.c.made_at).where(TOTP.c.uid == issued.uid)).scalar()
    if made_at is None or made_at > issued.proved_at + 1:  # which is in whole seconds
        raise Refused(IssueReason.CHAIN_MISSING, "your second factor was taken away since you logged in")


def listed(database: Database, name: str = "", uid: str = "", ends_after: float = 0.0) -> list[Issued]:
    """Those that end later, the newest first: of that name, of that id, or everybody's. Raises StateDown."""
    table = CERTIFICATES
    query = select(*_COLUMNS).where(table.c.ends_at > ends_after)
    if name:
        query = query.where(table.c.name == name)
    if uid:
        query = query.where(table.c.uid == uid)
    with database.read() as connection:
        rows = connection.execute(query.order_by(table.c.issued_at.desc(), table.c.serial).limit(LIST_MAX))
        return [Issued(*row) for row in rows]
