"""One key takes another's place: what `bastion keys rotate` and `retire` do to the files (L2). It blocks.

A key of ours goes through `begin` (the new one lies in FILE.next, the ledger says from when it signs), perhaps `switch`
(now), and `retire` (the new file takes the old one's name, the old key is gone); a login CA, of which only the public
half is here, through `begin_login` and `retire_login` (a line more, a line less).

Invariants: each step is one rename, and the ledger is written last, so whoever is interrupted runs the same command
again and it goes on where it was; between any two steps every key in force can be read, so a gateway may start or
reload at any moment; commands wait for each other at the ledger's folder. Nothing but ConfigError is raised, and what
`Desk.tell` raises.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bastion.ca.files import create_file, locked, replace_file, sync_folder, unwritable
from bastion.ca.keys import load_public_keys, read_text_lines
from bastion.ca.ledger import Entry, KeyName, Ledger, Standing, read_ledger, write_ledger
from bastion.ca.secrets import read_secret_file
from bastion.ca.slots import Slot, load_key
from bastion.errors import ConfigError, ProtocolError
from bastion.wire.keys import PrivateKey, PublicKey, parse_public_line

NEXT_MODE = 0o600
PUBLIC_MODE = 0o644


class Step(StrEnum):
    """What a change does."""

    BEGUN = "begun"
    SWITCHED = "switched"
    WITHDRAWN = "withdrawn"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Change:
    """A step that is about to be taken: `new` takes the place of `old`, both are trusted until `until`."""

    step: Step
    name: KeyName
    old: PublicKey
    new: PublicKey | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the ledger is, what time it is, and who does this: the same for every step. `tell` hears of a change before
    it is in force; what it raises leaves everything as it was."""

    ledger: Path
    now: float
    by: str
    tell: Callable[[Change], None]

    @contextmanager
    def open(self) -> Iterator[Ledger]:
        """The ledger, and nobody else at it. Raises ConfigError."""
        try:
            with locked(self.ledger.parent):
                yield read_ledger(self.ledger)
        except OSError as error:
            raise unwritable(Path(error.filename or self.ledger), error) from None

    def known(self, ledger: Ledger, name: KeyName, key: PublicKey) -> Ledger:
        """The ledger with `key` in it, as one that was there before. Raises ConfigError for one that may not be."""
        entry = ledger.find(key)
        if entry is None:
            return ledger.added(Entry(name, key, self.now, self.by, self.now))
        if entry.retired is not None or entry.name is not name:
            what = "was retired" if entry.retired is not None else f"is {entry.name}"
            raise ConfigError(os.fspath(self.ledger), 0, "", f"{key.fingerprint()} {what}", "a new key")
        return ledger


Make = Callable[[PublicKey], PrivateKey | PublicKey]
"""Makes a key of the same kind; of one in an agent, it has the public half of the new one."""


def begin(slot: Slot, desk: Desk, until: float, like: Make) -> Entry:
    """A new key is to take the place of the slot's at `until`; its entry, also when it was begun before."""
    with desk.open() as ledger:
        old = load_key(slot, slot.path).public
        ledger = desk.known(ledger, slot.name, old)
        begun = ledger.successor(slot.name, old)
        new = _next_key(slot, ledger, None if begun is None else begun.public, lambda: like(old))
        if begun is not None:
            return begun
        ledger = desk.known(ledger, slot.name, new).changed(new, active_from=until)
        desk.tell(Change(Step.BEGUN, slot.name, old, new, until))
        write_ledger(desk.ledger, ledger.changed(old, retire_after=until))
        return _entry(ledger, new)


def _next_key(
    slot: Slot, ledger: Ledger, begun: PublicKey | None, make: Callable[[], PrivateKey | PublicKey]
) -> PublicKey:
    """The key in FILE.next, made when there is none, and its public half beside it. Raises ConfigError, OSError."""
    if slot.next.exists():
        key = load_key(slot, slot.next).public
        entry = ledger.find(key)
        if entry is not None and entry.retired is not None:
            slot.next.unlink()  # one that was withdrawn, by somebody who was interrupted
            return _next_key(slot, ledger, begun, make)
    elif begun is not None:
        raise ConfigError(os.fspath(slot.next), 0, "", "is gone", f"the key to come, {begun.fingerprint()}")
    else:
        made = make()
        if isinstance(made, PublicKey):
            create_file(slot.next, (made.line(slot.path.name) + "\n").encode(), PUBLIC_MODE, like=slot.path)
            return made
        passphrase = (
            None if slot.passphrase_file is None else read_secret_file(slot.passphrase_file, "passphrase")
        )
        create_file(slot.next, made.openssh_bytes(passphrase), NEXT_MODE, like=slot.path)
        key = made.public
    if slot.agent is None:
        replace_file(_pub(slot.next), (key.line(slot.path.name) + "\n").encode(), PUBLIC_MODE)
    return key


def switch(slot: Slot, desk: Desk) -> Entry:
    """The new key signs from now on; its entry, also when it does already."""
    with desk.open() as ledger:
        old = load_key(slot, slot.path).public
        new = ledger.successor(slot.name, old)
        if new is None:
            raise ConfigError(os.fspath(slot.path), 0, "", "is not being rotated", "bastion keys rotate")
        if new.active_from > desk.now:
            desk.tell(Change(Step.SWITCHED, slot.name, old, new.public))
            ledger = ledger.changed(new.public, active_from=desk.now).changed(old, retire_after=desk.now)
            write_ledger(desk.ledger, ledger)
        return _entry(ledger, new.public)


def retire(slot: Slot, desk: Desk) -> Entry:
    """The old key is gone for good: its file is the new one's. The entry of the old one."""
    with desk.open() as ledger:
        current = load_key(slot, slot.path).public
        new = ledger.successor(slot.name, current)
        if new is None:
            new, old = ledger.find(current), _interrupted(slot, ledger, current)
        else:
            if new.standing(desk.now) is Standing.INCOMING:
                problem = f"{new.public.fingerprint()} does not sign yet: the overlap has not ended"
                raise ConfigError(os.fspath(slot.next), 0, "", problem, "bastion keys rotate --switch, first")
            if load_key(slot, slot.next).public != new.public:
                raise ConfigError(
                    os.fspath(slot.next), 0, "", "is not the key that the ledger says is to come"
                )
            old = _entry(ledger, current)
        assert new is not None
        desk.tell(Change(Step.RETIRED, slot.name, old.public, new.public))
        if old.public == current:  # else somebody was interrupted after this
            os.replace(slot.next, slot.path)
            sync_folder(slot.path.parent)
        _rename_public(slot, new.public)
        ledger = ledger.changed(old.public, retired=desk.now)
        write_ledger(desk.ledger, ledger)
        return _entry(ledger, old.public)


def _interrupted(slot: Slot, ledger: Ledger, current: PublicKey) -> Entry:
    """The one that goes, when its file is gone already. Raises ConfigError when none does."""
    kind = current.type if slot.name is KeyName.HOST_KEYS else ""
    going = [entry for entry in ledger.kept(slot.name, kind) if entry.retire_after is not None]
    if not going:
        problem = "no other key takes its place"
        raise ConfigError(os.fspath(slot.path), 0, "", problem, "bastion keys rotate, first")
    return going[0]


def _rename_public(slot: Slot, key: PublicKey) -> None:
    if _pub(slot.path).exists() or _pub(slot.next).exists():
        replace_file(_pub(slot.path), (key.line(slot.path.name) + "\n").encode(), PUBLIC_MODE)
    with suppress(FileNotFoundError):
        _pub(slot.next).unlink()


def withdraw(slot: Slot, desk: Desk) -> Entry:
    """The rotation is given up: the new key is retired before it ever signed. Its entry."""
    with desk.open() as ledger:
        old = load_key(slot, slot.path).public
        new = ledger.successor(slot.name, old)
        if new is None or new.active_from <= desk.now:
            problem = "no key is to come that could be withdrawn"
            raise ConfigError(os.fspath(slot.path), 0, "", problem, "bastion keys list")
        desk.tell(Change(Step.WITHDRAWN, slot.name, old, new.public))
        ledger = ledger.changed(new.public, retired=desk.now).changed(old, retire_after=None)
        write_ledger(desk.ledger, ledger)
        for path in (slot.next, _pub(slot.next)):
            with suppress(FileNotFoundError):
                path.unlink()
        return _entry(ledger, new.public)


# -- login CAs ----------------------------------------------------------------------------------------------------


def begin_login(slot: Slot, desk: Desk, old: PublicKey, new: PublicKey, until: float) -> Entry:
    """Certificates of `new` count from the next reload on, those of `old` too until it is retired, after `until`."""
    with desk.open() as ledger:
        ledger = desk.known(desk.known(ledger, slot.name, old), slot.name, new)
        desk.tell(Change(Step.BEGUN, slot.name, old, new, until))
        if new not in load_public_keys(slot.path):
            lines = [line for line in read_text_lines(slot.path) if line.strip()]
            replace_file(slot.path, ("\n".join([*lines, new.line()]) + "\n").encode(), PUBLIC_MODE)
        ledger = ledger.changed(old, retire_after=until)
        write_ledger(desk.ledger, ledger)
        return _entry(ledger, new)


def retire_login(slot: Slot, desk: Desk, old: PublicKey) -> Entry:
    """Certificates of `old` count no more from the next reload on; its entry."""
    with desk.open() as ledger:
        ledger = desk.known(ledger, slot.name, old)
        lines = read_text_lines(slot.path)
        kept = [line for line in lines if _key_of(line) != old]
        if not any(_key_of(line) for line in kept):
            problem = "would hold no key: nobody's certificate would count"
            raise ConfigError(os.fspath(slot.path), 0, "", problem, "take the file out of login_ca.files")
        desk.tell(Change(Step.RETIRED, slot.name, old))
        if kept != lines:
            replace_file(slot.path, "\n".join(kept).encode(), PUBLIC_MODE)
        ledger = ledger.changed(old, retired=desk.now)
        write_ledger(desk.ledger, ledger)
        return _entry(ledger, old)


def _key_of(line: str) -> PublicKey | None:
    try:
        return parse_public_line(line)[0]
    except ProtocolError:
        return None


def _entry(ledger: Ledger, key: PublicKey) -> Entry:
    found = ledger.find(key)
    assert found is not None
    return found


def _pub(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")
