"""What somebody who has proved nothing may send, and how long he may take."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from bastion.errors import ProtocolError
from bastion.transport.settings import (
    NOISE_BURST,
    NOISE_SIZE,
    PACKET_LIMIT_BEFORE_AUTH,
    PACKET_LIMIT_OF_TARGET,
)
from bastion.transport.states import Role
from bastion.transport.stranger import Stranger


def stranger(grace: float = 0, role: Role = Role.SERVER) -> tuple[Stranger, Clock, list[float]]:
    clock, late = Clock(), []
    made = Stranger(role, clock)
    made.start(grace, lambda: late.append(clock.seconds()))
    return made, clock, late


def test_who_takes_too_long_is_told_on_once() -> None:
    made, clock, late = stranger(60)
    clock.advance(59)
    assert late == []
    clock.advance(1)
    made.end_grace()
    clock.advance(600)
    assert late == [60]


def test_a_login_in_time_leaves_no_timer() -> None:
    made, clock, late = stranger(60)
    made.end_grace()
    made.end_grace()
    assert clock.getDelayedCalls() == [] and late == []


def test_without_a_grace_nothing_is_timed() -> None:
    assert stranger(0)[1].getDelayedCalls() == []


@pytest.mark.parametrize(
    ("role", "limit"), [(Role.SERVER, PACKET_LIMIT_BEFORE_AUTH), (Role.CLIENT, PACKET_LIMIT_OF_TARGET)]
)
def test_a_packet_has_its_limit(role: Role, limit: int) -> None:
    made = stranger(role=role)[0]
    made.check_size(limit)
    with pytest.raises(ProtocolError):
        made.check_size(limit + 1)


def test_noise_is_taken_in_small_pieces_and_one_a_second_beyond_the_first() -> None:
    made, clock, _ = stranger()
    for _ in range(NOISE_BURST):
        made.take_noise(NOISE_SIZE)
    clock.advance(1)
    made.take_noise(NOISE_SIZE)
    with pytest.raises(ProtocolError):
        made.take_noise(1)


def test_noise_that_is_long_ends_it_at_once() -> None:
    with pytest.raises(ProtocolError):
        stranger()[0].take_noise(NOISE_SIZE + 1)
