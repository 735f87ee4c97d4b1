"""A store on the disk of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.recording.store import Store
from tests.unit.recording.disk import SOON


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "recordings", disk_floor_bytes=1, sync_seconds=SOON)
    yield made
    assert made.close()
