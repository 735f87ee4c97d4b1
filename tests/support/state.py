"""State stores for tests: one that nobody has opened, which takes rows and keeps none; and what a database holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Table, select
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.observe.meters import Meters
from bastion.recording.listing import Recordings
from bastion.state.database import Database, Place
from bastion.state.store import StateStore

NOWHERE = Path("/nonexistent")


def closed_store() -> StateStore:
    """A store that is not open: what it is told to note is forgotten."""
    return StateStore(Clock(), FixedClock(), Meters(), Recordings(NOWHERE), Place(NOWHERE), "gw")


def rows(database: Database, table: Table) -> list[dict[str, Any]]:
    """All rows of a table, in the order of its key."""
    with database.read() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key))
        return [dict(row._mapping) for row in found]
