"""A gateway in memory that must be left as it was, and a log that must stay empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.memory_gateway import MemoryGateway
from tests.support.reactor import logged_failures


@pytest.fixture
def nothing_in_the_log() -> Iterator[None]:
    with logged_failures() as failures:
        yield
    assert failures == []


@pytest.fixture
def gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_in_the_log: None
) -> Iterator[MemoryGateway]:
    """Afterwards everybody leaves: nothing may be left, and every recording has an end."""
    made = MemoryGateway(tmp_path, monkeypatch)
    yield made
    made.wind_down(3)
    for peer in made.peers:
        peer.hang_up()
    assert made.left_over() == {}
    assert {str(entry.state) for entry in made.gateway.store.sessions()} <= {"ended"}
    made.close()
