"""The power goes, at every moment between two syncs: what was synced proves itself, and nothing claims more.

A real store writes, and each fsync and fdatasync is noted: with the size that the file had, or the names that the
folder had. A disk after a power loss has for each of those moments only what had been noted by then, and behind it
nothing, zeros or a part of what was written.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from bastion.cli.verify_ledger import facts_of, read_ledgers
from bastion.clock import FixedClock
from bastion.recording.booking import Books
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.recorder import Recorder
from bastion.recording.store import Store, new_session_id
from bastion.recording.verifying import KnownKey, State, Verdict, verify
from bastion.recording.writer import Writer
from tests.unit.recording.samples import TARGET, header, joined
from tests.unit.recording.sealed import NODE

STEPS = 40

FULL = RecordingPolicy(mode=Mode.FULL)
KNOWN = (KnownKey(NODE.signer.public),)


@dataclass
class Moment:
    """What is safe on the disk: bytes of files and names in folders by inode; and what is written of each file."""

    sizes: dict[int, int]
    names: dict[int, frozenset[str]]
    written: dict[int, int]


@dataclass
class Disk:
    """Notes what is synced. Files are only appended to, so that an earlier moment is a part of what is there now."""

    folder: Path
    sizes: dict[int, int] = field(default_factory=dict)
    names: dict[int, frozenset[str]] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)

    @contextmanager
    def noted(self) -> Iterator[None]:
        with mock.patch("os.fsync", self._sync), mock.patch("os.fdatasync", self._sync):
            yield

    def _sync(self, fd: int) -> None:
        found, place = os.fstat(fd), Path(f"/proc/self/fd/{fd}")
        if place.is_dir():
            self.names[found.st_ino] = frozenset(os.listdir(fd))
        else:
            self.sizes[found.st_ino] = found.st_size
        written = {one.stat().st_ino: one.stat().st_size for one in self.folder.rglob("*") if one.is_file()}
        self.moments.append(Moment(dict(self.sizes), dict(self.names), written))

    def after(self, moment: Moment, other: Path, tail: Callable[[bytes], bytes]) -> None:
        """Make `other` what the disk has when the power comes back; `tail` says what became of bytes not synced."""
        self._copy(moment, self.folder, other, tail)

    def _copy(self, moment: Moment, source: Path, target: Path, tail: Callable[[bytes], bytes]) -> None:
        target.mkdir()
        for name in moment.names.get(source.stat().st_ino, ()):
            one = source / name
            if one.is_dir():
                self._copy(moment, one, target / name, tail)
                continue
            inode = one.stat().st_ino
            safe = moment.sizes.get(inode, 0)
            data = one.read_bytes()[: moment.written.get(inode, 0)]
            (target / name).write_bytes(data[:safe] + tail(data[safe:]))


@dataclass
class Site:
    """A gateway's store, driven at random: the passes over its files are made here."""

    folder: Path
    dice: random.Random
    said: dict[str, list[bytes]] = field(default_factory=dict)
    open: dict[str, tuple[Recorder, Writer]] = field(default_factory=dict)

    def run(self) -> Disk:
        disk = Disk(self.folder)
        self.folder.mkdir()
        with disk.noted():
            store = store_of(self.folder)
            store._syncer._thread = threading.current_thread()  # which makes the passes
            for _ in range(STEPS):
                self.dice.choice((self.start, self.say, self.say, self.end, self.sweep, self.sweep))(store)
            assert disk.moments
            for recorder, writer in self.open.values():
                writer.close(recorder.finish("client_closed"), recorder.link)
            store._syncer._pass()
        return disk

    def start(self, store: Store) -> None:
        session = new_session_id()
        recorder, writer = store.start(header(session), FULL)
        self.open[session] = recorder, writer
        self.said[session] = []

    def say(self, store: Store) -> None:
        for session, (recorder, writer) in self.open.items():
            data = self.dice.randbytes(self.dice.randrange(1, 3000))
            recorder.data(1, TARGET, 0, data)
            writer.write(recorder.take())
            self.said[session].append(data)

    def end(self, store: Store) -> None:
        if self.open:
            recorder, writer = self.open.pop(self.dice.choice(list(self.open)))
            writer.close(recorder.finish("client_closed"), recorder.link)

    def sweep(self, store: Store) -> None:
        store._syncer._pass(whole=self.dice.random() < 0.5)

    def hold(self, store: Store, session: str, found: Verdict) -> None:
        """The next start ends it, and it has what its whole blocks had: one for the header, one for each burst."""
        assert found.state in (State.CUT, State.WHOLE), found
        sealed = store.seal(session, "gateway_died", "the power went")
        assert sealed is not None and sealed.problem == "", sealed
        bursts = found.blocks - (2 if found.state is State.WHOLE else 1)
        with store.open(session) as reader:
            assert joined(reader, 1, TARGET, 0) == b"".join(self.said[session][:bursts])


def store_of(folder: Path) -> Store:
    clock = FixedClock()
    return Store(
        folder, disk_floor_bytes=0, clock=clock, books=Books(folder, "gw1", clock), sealing=lambda: NODE
    )


def verdicts_of(folder: Path) -> dict[str, Verdict]:
    found = {}
    for path in folder.glob("*/*.rec"):
        with path.open("rb") as source:
            found[path.stem] = verify(source, path.stem, KNOWN)
    return found


def ledger_holds(folder: Path, verdicts: dict[str, Verdict]) -> None:
    account = read_ledgers(folder).account
    faults = [one for one in account.compare(facts_of(verdicts)) if one.fault != "unknown"]
    assert faults == []


def tails(dice: random.Random) -> dict[str, Callable[[bytes], bytes]]:
    return {
        "nothing": lambda data: b"",
        "zeros": lambda data: bytes(len(data)),
        "a part": lambda data: data[: dice.randrange(len(data) + 1)],
    }


@pytest.mark.parametrize("tail", ["nothing", "zeros", "a part"])
@pytest.mark.parametrize("seed", range(3))
def test_what_was_synced_is_there_and_nothing_claims_more(tmp_path: Path, seed: int, tail: str) -> None:
    dice = random.Random(seed)
    site = Site(tmp_path / "before", dice)
    disk = site.run()
    states: set[State] = set()
    for number, moment in enumerate(disk.moments):
        after = tmp_path / f"after{number}"
        disk.after(moment, after, tails(dice)[tail])
        first = verdicts_of(after)
        if tail != "zeros":  # in a ledger they are damage, which the next line puts aside
            ledger_holds(after, first)
        begun = {session for session, one in first.items() if one.began}
        store = store_of(after)
        for session in begun:
            site.hold(store, session, first[session])
        for path in after.glob("*/*.rec"):
            source = disk.folder / path.relative_to(after)
            safe = moment.sizes.get(source.stat().st_ino, 0)
            assert path.read_bytes().startswith(source.read_bytes()[:safe])
            assert path.stem in begun or safe == 0, first[path.stem]
        second = verdicts_of(after)
        for session in begun:
            whole = first[session].state is State.WHOLE
            assert second[session].state is (State.WHOLE if whole else State.INCOMPLETE), second[session]
            states.add(second[session].state)
        ledger_holds(after, second)
        ledgers = read_ledgers(after)
        assert not begun or ledgers.lines > 2 * len(begun) - 1
        assert {one.session for one in ledgers.account.compare(facts_of(second))} == second.keys() - begun
    assert states == {State.WHOLE, State.INCOMPLETE}
