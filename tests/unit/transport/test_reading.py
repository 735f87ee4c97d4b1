"""Who keeps a connection from being read, and what outweighs them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from bastion.transport.reading import Reading
from tests.hostile.rawssh import PipeEnd


@pytest.fixture
def made() -> tuple[Any, PipeEnd, Clock]:
    clock, end = Clock(), PipeEnd()
    reading: Any = Reading(clock)
    reading.attach(end)
    return reading, end, clock


def test_it_is_read_while_it_is_wanted(made: Any) -> None:
    reading, end, _ = made
    assert reading.on and end.reading
    reading.want(False)
    assert not reading.on and not end.reading
    reading.want(True)
    assert reading.on and end.reading


def test_a_rest_ends_by_itself_and_the_later_one_counts(made: Any) -> None:
    reading, end, clock = made
    reading.rest(2)
    reading.rest(5)
    clock.advance(3)
    assert not end.reading
    clock.advance(2)
    assert end.reading
    reading.rest(0)
    assert end.reading and clock.getDelayedCalls() == []


def test_a_peer_in_a_key_exchange_is_read_whoever_does_not_want_it(made: Any) -> None:
    reading, end, _ = made
    reading.want(False)
    reading.rest(60)
    reading.peer_exchanges(True)
    assert end.reading
    reading.peer_exchanges(False)
    assert not end.reading


def test_what_is_held_outweighs_all(made: Any) -> None:
    reading, end, _ = made
    reading.peer_exchanges(True)
    reading.hold(True)
    reading.want(True)
    assert not end.reading
    reading.hold(False)
    assert end.reading


def test_the_time_that_it_is_read_is_counted_from_the_moment_that_is_told(made: Any) -> None:
    reading, _, clock = made
    reading.want(False)
    clock.advance(10)
    reading.watch(True)
    clock.advance(3)
    assert reading.seconds_read == 0
    reading.want(True)
    clock.advance(5)
    assert reading.seconds_read == 5
    reading.want(False)
    clock.advance(4)
    assert reading.seconds_read == 5
    reading.watch(False)
    reading.want(True)
    clock.advance(1)
    assert reading.seconds_read == 0


def test_nobody_is_asked_after_the_end(made: Any) -> None:
    reading, end, clock = made
    reading.rest(5)
    reading.detach()
    assert clock.getDelayedCalls() == []
    end.reading = True
    reading.want(False)
    reading.rest(5)
    assert end.reading and clock.getDelayedCalls() == []
