"""A gateway that whatever is done to it does not break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.support.world import World

AWorld = TypeVar("AWorld", bound=World)


@contextmanager
def unbroken(world: AWorld) -> Iterator[AWorld]:
    """`world`, started; closed in the end, once its log has been looked at: nothing was raised that nobody expected."""
    try:
        world.start()
        yield world
        nothing_was_raised(world)
    finally:
        world.close()


def nothing_was_raised(world: World) -> None:
    """Nothing that nobody expected, so far."""
    log = world.log.read_text()
    assert not [word for word in ("Traceback", "Unhandled") if word in log], log[-3000:]
