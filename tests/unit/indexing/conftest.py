"""An index to write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.indexing.store import IndexFile


@pytest.fixture
def file(tmp_path: Path) -> IndexFile:
    return IndexFile(tmp_path / "index" / "reading.db", make=True)
