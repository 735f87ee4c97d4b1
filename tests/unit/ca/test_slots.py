"""Which of two keys signs follows from the ledger and the clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.ca import slots
from bastion.ca.keys import write_private_key
from bastion.ca.ledger import Entry, KeyName, Ledger
from bastion.ca.slots import Slot, load_slot
from bastion.errors import ConfigError
from bastion.wire.keys import PrivateKey, Signer

OLD, NEW, OTHER = (PrivateKey.generate_ed25519() for _ in range(3))
NOW = 1_800_000_000.0
ROTATING = Ledger(
    (
        Entry(KeyName.UPSTREAM_CA, OLD.public, NOW, "root", NOW, retire_after=NOW + 100),
        Entry(KeyName.UPSTREAM_CA, NEW.public, NOW, "root", NOW + 100),
    )
)


@pytest.fixture
def slot(tmp_path: Path) -> Slot:
    write_private_key(tmp_path / "ca", OLD)
    return Slot(KeyName.UPSTREAM_CA, tmp_path / "ca", ("upstream_ca", "key"))


def test_a_key_of_which_the_ledger_knows_nothing_signs(slot: Slot) -> None:
    write_private_key(slot.next, NEW)
    staged = load_slot(slot, Ledger())
    assert (staged.at(NOW).public, staged.publics) == (OLD.public, (OLD.public,))


def test_the_new_one_signs_from_its_moment_on(slot: Slot) -> None:
    write_private_key(slot.next, NEW)
    staged = load_slot(slot, ROTATING)
    assert staged.publics == (OLD.public, NEW.public)
    assert [staged.at(NOW + second).public for second in (0, 99, 100, 101)] == [
        OLD.public,
        OLD.public,
        NEW.public,
        NEW.public,
    ]


def test_the_new_one_alone_is_what_a_retirement_that_was_cut_short_leaves(slot: Slot) -> None:
    write_private_key(slot.next, NEW)
    slot.next.replace(slot.path)
    assert load_slot(slot, ROTATING).publics == (NEW.public,)


def test_one_that_is_retired_while_it_is_read_is_read_again(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key was read, and then the new one took its name, before FILE.next was."""
    write_private_key(slot.next, NEW)
    read: list[Path] = []
    real = slots.load_key

    def retiring(one: Slot, path: Path) -> Signer:
        key = real(one, path) if read else OLD
        if not read:
            slot.next.replace(slot.path)
        read.append(path)
        return key

    (slot.path).write_bytes(OLD.openssh_bytes())
    monkeypatch.setattr(slots, "load_key", lambda one, path: retiring(one, path))
    assert load_slot(slot, ROTATING).publics == (NEW.public,)


def test_another_key_in_the_place_of_the_new_one_is_refused(slot: Slot) -> None:
    with pytest.raises(ConfigError, match=r"ca\.next: cannot be read"):
        load_slot(slot, ROTATING)
    write_private_key(slot.next, OTHER)
    with pytest.raises(ConfigError, match=r"the key that the ledger says is to come"):
        load_slot(slot, ROTATING)
