"""A database of its own for each test, with the schema in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.state.database import Database, Place
from bastion.state.schema_version import check_schema


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state")


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    made = Database(place)
    check_schema(made)
    yield made
    made.close()
