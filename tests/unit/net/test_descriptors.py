"""Out of file descriptors: known from other failures, and the limit as high as it goes."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectBindError

from bastion.errors import RecorderFailed, RecorderReason, UpstreamReason
from bastion.net.descriptors import none_left, raise_limit
from bastion.recording.store import Store
from tests.unit.net.test_connect import World
from tests.unit.recording.samples import header


@pytest.fixture
def none() -> Iterator[None]:
    """No descriptor is left: the limit of this process is where it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(spare, soft), hard))
    taken: list[int] = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError as error:
        assert error.errno == errno.EMFILE
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in (*taken, spare):
        os.close(fd)


def test_none_is_left(none: None) -> None:
    assert none_left()


def test_some_are() -> None:
    assert not none_left()


def test_a_dial_without_a_descriptor_is_no_missing_route(monkeypatch: Any) -> None:
    world = World(monkeypatch)  # type: ignore[no-untyped-call]
    world.nameResolver.answer("10.0.0.5", "10.0.0.6")  # type: ignore[no-untyped-call]
    world.breaks(ConnectBindError(errno.EMFILE, "Too many open files"))  # type: ignore[no-untyped-call]
    ((reason, text),) = world.failed
    assert reason is UpstreamReason.NO_DESCRIPTOR and "out of file descriptors" in text
    assert len(world.connectors) == 1, "no other address is tried"


def test_a_name_that_cannot_be_looked_up_for_want_of_one_is_no_unknown_name(
    monkeypatch: Any, none: None
) -> None:
    world = World(monkeypatch)  # type: ignore[no-untyped-call]
    world.nameResolver.answer()  # type: ignore[no-untyped-call]
    ((reason, _),) = world.failed
    assert reason is UpstreamReason.NO_DESCRIPTOR


def test_a_recording_without_a_descriptor(tmp_path: Path, none: None) -> None:
    store = Store(tmp_path)
    with pytest.raises(RecorderFailed) as caught:
        store.create(header())
    assert caught.value.reason is RecorderReason.NO_DESCRIPTOR


def test_the_soft_limit_becomes_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is no hard limit here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
