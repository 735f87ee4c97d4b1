"""The gateway's own host keys through a rotation."""

from __future__ import annotations

import math

from bastion.ca.front_keys import FrontKeys
from bastion.ca.slots import Staged
from bastion.clock import FixedClock
from bastion.transport.settings import TransportSettings
from bastion.wire.kexinit import FRONT
from bastion.wire.keys import PrivateKey

OLD, NEW = PrivateKey.generate_ed25519(), PrivateKey.generate_ed25519()


def test_both_are_told_until_the_new_one_proves_alone() -> None:
    clock = FixedClock()
    now = clock.time()
    front = FrontKeys(TransportSettings(FRONT), [Staged(OLD, NEW, now + 100)], clock)
    first = front.settings()
    assert first.host_key_of["ssh-ed25519"].blob == OLD.public.blob
    assert first.algorithms.host_keys == ("ssh-ed25519",)
    assert front.publics == (OLD.public, NEW.public)
    assert front.next_change() == now + 100
    clock.advance(99)
    assert front.settings() is first
    clock.advance(1)
    assert front.settings().host_key_of["ssh-ed25519"].blob == NEW.public.blob
    assert front.publics == (NEW.public,)
    assert front.next_change() == math.inf


def test_without_a_rotation_nothing_changes() -> None:
    front = FrontKeys(TransportSettings(FRONT), [Staged(OLD)], FixedClock())
    assert front.settings() is front.settings()
    assert (front.publics, front.next_change()) == ((OLD.public,), math.inf)
