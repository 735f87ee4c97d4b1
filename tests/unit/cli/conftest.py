"""A folder with three recordings, one of them without an end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, SECOND, START, THIRD, header, record


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    store = Store(folder, disk_floor_bytes=0, sync_seconds=0.05)
    record(store, header(FIRST, "alice", "web1"))
    record(store, header(SECOND, "bob", "web2", START + 60))
    record(store, header(THIRD, "al\x1b]0;x\x07ce", "db1", START + 86400), end=False)
    yield folder
    assert store.close()
