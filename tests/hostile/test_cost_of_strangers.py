"""What strangers cost stays within bounds (how many may wait: tests/faults/test_login_limits.py).

The figures of a quiet machine stand in docs/security.md. They are times, so this runs in `make soak`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile import cost_of_strangers as cost
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.soak,
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing()),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cost.running() as made:
        yield made


CPU_BOUNDS = {
    "TCP connection, closed at once": 5,
    "key exchange, curve25519, ed25519 host key": 10,
    "both exchanges a stranger gets, group18": 150,
    "20 key queries": 50,
}
MEMORY_BOUNDS = {"key exchange done": 40, "... and 60 KB of a packet that never ends": 110}


@pytest.mark.parametrize("name", CPU_BOUNDS)
def test_cpu_of_an_attempt(world: World, name: str) -> None:
    cpu, _ = cost.cost_of_attempts(world, name, 10)
    assert cpu < CPU_BOUNDS[name]


@pytest.mark.parametrize("name", MEMORY_BOUNDS)
def test_memory_of_a_connection_that_is_held(world: World, name: str) -> None:
    assert cost.memory_held(world, name, 200) < MEMORY_BOUNDS[name]
