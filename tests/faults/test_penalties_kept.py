"""Who was blocked is blocked after a restart, however the gateway ended."""

from __future__ import annotations

import hashlib
import json
import signal

import pytest

from bastion.auth.penalty_records import Kept
from bastion.clock import SystemClock
from bastion.state.penalty_copy import FILE, key_of, write_penalties
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


def blocked(world: World) -> bool:
    return world.ssh("true").returncode != 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_stays_blocked(workers: int) -> None:
    with running(workers=workers) as world:
        assert not blocked(world)
        world.kill(signal.SIGTERM)
        state = world.recordings / "state"
        digest = hashlib.blake2b(b"127.0.0.1\0", digest_size=12, key=key_of(state)).hexdigest()
        write_penalties(state, [Kept(digest, "127.0.0.1", False, SystemClock().time() + 600, 3)])
        for number in (signal.SIGTERM, signal.SIGKILL):
            world.start()
            poll(lambda: blocked(world), 20.0, "it was forgotten")
            assert json.loads((state / FILE).read_text())[0][0] == digest
            world.kill(number)
