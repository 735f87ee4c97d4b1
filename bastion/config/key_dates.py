"""How old the gateway's keys are, for its metrics (L2): by the ledger of keys, or else by their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bastion.ca.ledger import KeyName, Ledger, read_ledger
from bastion.ca.slots import Slot
from bastion.config.key_slots import ledger_path, login_slots, signing_slots
from bastion.config.sections import Sections


@dataclass(frozen=True, slots=True)
class KeyDates:
    """Of what is used under one name, in seconds since 1970, 0 for never: when the oldest key was `made`, and when the
    overlap of a rotation ends and a key `retires`."""

    made: int = 0
    retires: int = 0


def key_dates(config: Sections) -> Mapping[KeyName, KeyDates]:
    """Every name, used or not. Reads the ledger. Raises ConfigErrors, ConfigError."""
    ledger = read_ledger(ledger_path(config))
    slots = [*signing_slots(config), *login_slots(config)]
    return {name: _dates(ledger, name, [slot for slot in slots if slot.name is name]) for name in KeyName}


def certificate_end(path: Path) -> int:
    """When the first certificate (PEM) of that file ends; 0 when it cannot be read. Blocks."""
    from cryptography import x509  # 3 MB, where there is a certificate to look at

    try:
        (first, *_) = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return 0
    return round(first.not_valid_after_utc.timestamp())


def _dates(ledger: Ledger, name: KeyName, slots: Iterable[Slot]) -> KeyDates:
    """A retired key is not in use; one that nobody wrote down is as old as its file."""
    kept = ledger.kept(name)
    made = [entry.made for entry in kept] or [moment for slot in slots if (moment := _written(slot))]
    retires = [entry.overlap_ends for entry in kept if entry.overlap_ends is not None]
    return KeyDates(round(min(made, default=0)), round(min(retires, default=0)))


def _written(slot: Slot) -> float:
    try:
        return slot.path.stat().st_mtime
    except OSError:
        return 0.0
