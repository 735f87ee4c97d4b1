"""The world that the conversations in `sessions/` and the tools in `tools/` share, through every door."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.doors import DOORS, Door, opened_doors, shared_world
from tests.support.world import World


@pytest.fixture(scope="package")
def open_world() -> Iterator[World]:
    """A world in which alice may do everything on web1, and everything is kept."""
    world = shared_world()
    try:
        yield world.start()
        assert "Traceback" not in world.log.read_text()
    finally:
        world.close()


@pytest.fixture(scope="package")
def doors(open_world: World) -> dict[str, Door]:
    return opened_doors(open_world)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    """The same test through each door."""
    found: Door = doors[request.param]
    return found
