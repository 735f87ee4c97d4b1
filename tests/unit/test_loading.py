"""While modules are loaded nothing is collected; what is there then is walked no more, and what comes later is."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from bastion.loading import loading


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_loaded_is_never_walked_and_what_comes_later_is() -> None:
    with loading():
        assert not gc.isenabled()
        early: list[object] = [[]]
    late: list[object] = [[]]
    assert gc.isenabled() and gc.get_freeze_count() > 0
    walked = set(map(id, gc.get_objects()))
    assert id(early) not in walked and id(late) in walked


def test_a_module_that_fails_leaves_collections_as_they_were() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
