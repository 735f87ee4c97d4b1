"""A log followed by detections, and what becomes of what they find (L4): kept, told to the gateway, posted. Blocks.

Each is done once, however often this process is killed. What was found is a row before anybody hears of it, and the row
says who is still to hear. The log itself acknowledges what the gateway was told: its line is read here like any other.
And what was learned is kept together with how far the log was read, so that a successor reads the same lines with the
same memory, finds the same findings, and sees that they are there.

While the store takes nothing the log is what waits: nothing is read beyond MOST_HELD findings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bastion.clock import Clock
from bastion.detect.detector import MOST_PEOPLE, Detector
from bastion.detect.findings import Finding
from bastion.detect.learned import FORMAT, Unfit, document_of, merged, person_of, rest_of, restore, take
from bastion.detect.lines import parsed, wanted
from bastion.detect.memory import number
from bastion.detect.posting import Poster
from bastion.detect.report import Report, Told
from bastion.errors import Detection
from bastion.observe.log_files import LogUnreadable
from bastion.observe.tail import Position, Resumed, Tail, resume
from bastion.state import findings as rows
from bastion.state.database import Database, StateDown
from bastion.state.findings import WAITING, Row
from bastion.state.learned import NODE, PERSON, Saved, Saving, learned, pack

SAVE_EVERY: Final = 60.0
"""Seconds between two times that what was learned is kept: what a successor reads again."""

MOST_TOUCHED: Final = 500
"""People of whom something was learned since: with more it is kept at once, so that one transaction, for which a
gateway with SQLite waits, takes a tenth of a second."""

LOOK_EVERY: Final = 10.0
"""Seconds between two looks at what others keep: mutes, and what other gateways have learned."""

SLACK: Final = 120.0
"""Seconds by which the clocks of gateways may differ until one overlooks what another has learned."""

SWEEP_EVERY: Final = 3600.0
TELL_AGAIN: Final = 60.0
"""Seconds after which a finding is told again whose line has not come."""

BEFORE_THE_START: Final = 3600.0
"""Seconds before the very first start of which it tells; what is older is learned from."""

REPORT_EVERY: Final = 5.0
POST_WITHIN: Final = 86400.0
"""Seconds: what waited for longer when the process starts is posted to nobody any more."""

MOST_HELD: Final = 1000
"""Findings that are not kept yet, or not written by the gateway yet: 2 MB."""

LINES_AT_ONCE: Final = 20_000
"""Between two looks at what else is to be done: half a second."""

LONGEST_TEXT: Final = 1024
DETECTION: Final = "detection"
NEVER: Final = float("-inf")
_KINDS: Final = frozenset(map(str, Detection))
_WANTED: Final = wanted((DETECTION,))


@dataclass(slots=True)
class _Owed:
    """What the store is to be told: findings, and what is settled of those that it has."""

    found: list[tuple[Row, tuple[Detection, ...]]] = field(default_factory=list)  # with `Finding.also`
    settled: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # way -> name and how it ended

    def settle(self, way: str, name: str, how: str) -> None:
        self.settled.setdefault(way, []).append((name, how))

    def __bool__(self) -> bool:
        return bool(self.found or self.settled)


class Lookout:
    """One per process. `turn` it again and again; `close` it before the process ends."""

    def __init__(
        self,
        database: Database,
        node: str,
        log: Path,
        detector: Detector,
        posters: Sequence[Poster],
        clock: Clock,
        say: Callable[[bytes], object],
    ) -> None:
        """`say` a line to the gateway. Reads what is kept. Raises StateDown, and OSError when there is no log."""
        self._database, self._node, self._clock, self._say = database, node, clock, say
        self._detector = detector
        self._posters = {poster.where.name: poster for poster in posters}
        self._revisions: dict[str, int] = {}
        self._own_revision = 0
        self._owed = _Owed()
        self._unwritten: dict[str, tuple[Told, float]] = {}  # name -> finding, and when it was told last
        self._skip, self._begin, self._last = 0.0, 0.0, 0.0
        self._saved, self._swept = NEVER, clock.monotonic()
        self._looked, self._reported = NEVER, NEVER
        self._said: tuple[str, dict[str, dict[str, int]]] = "", {}
        self._mutes, self._read_at = 0, 0.0
        self.trouble = self._unread = ""
        resumed = resume(log, self._restore())
        if not resumed.known:  # what was seen before the position was lost, or before anything was kept
            self._skip = self._last
        self._tail = Tail(log, resumed.offset)
        self._lines: Iterator[bytes] | None = self._all(resumed)
        self._take_up()

    # -- what was kept -----------------------------------------------------------------------------------

    def _restore(self) -> Position | None:
        """What was learned; and where to go on."""
        detector, position = self._detector, None
        began = []
        self._begin = self._clock.time() - BEFORE_THE_START
        for row in learned(self._database, NODE, FORMAT, rows.AT_ONCE):
            try:
                if row.name == self._node:
                    restore(detector, row.document)
                    position = _position(row.document.get("log"))
                    self._begin, self._last = 0.0, number(row.document.get("last"))
                began.append(number(row.document.get("began")))
            except (Unfit, AttributeError):
                continue
            finally:
                self._own_revision = row.revision if row.name == self._node else self._own_revision
        detector.began = min(filter(None, began), default=0.0)  # what others have watched counts here too
        for row in learned(self._database, PERSON, FORMAT, MOST_PEOPLE):
            self._revisions[row.name] = row.revision
            if self._own_revision or row.node != self._node:  # else of a first start that was not finished
                self._learn(row.name, row.document)
        return position

    def _learn(self, user: str, document: Any) -> None:
        try:
            take(self._detector, user, person_of(document))
        except Unfit:
            pass  # it is learned anew

    def _take_up(self) -> None:
        """What a predecessor has found and not told to everybody."""
        since = self._clock.time() - POST_WITHIN
        for way, poster in self._posters.items():
            for row in self._waiting(way, since):
                poster.put(_finding(row))
        self._take_up_unwritten()

    def _take_up_unwritten(self) -> None:
        for row in self._waiting("audited", 0.0):
            self._unwritten.setdefault(row.id, (_told(row), NEVER))

    def _waiting(self, way: str, since: float) -> Iterator[Row]:
        """Kinds that this version does not know wait for one that does."""
        found = rows.waiting(self._database, self._node, way, since, MOST_HELD)
        return (row for row in found if row.kind in _KINDS)

    # -- turns -------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """A piece of work. True when there is more to do at once."""
        at_end = failed = False
        try:
            self._look()
            at_end = self._read()
            self._take_settled()
            self._keep(at_end)
            self.trouble = self._unread
        except StateDown as error:
            self.trouble, failed = error.text, True
        if at_end:
            if not self._owed.found:
                self._read_at = self._clock.time()
            self._tell()  # behind the end of the log: what it says of them is known
        self._report()
        return not at_end and not failed

    def close(self) -> None:
        """Keep what can be kept."""
        try:
            self._take_settled()
            self._saved = NEVER
            self._keep(self._lines is None)
        except StateDown:
            pass  # a successor reads it again
        self._tail.close()

    def _all(self, resumed: Resumed) -> Iterator[bytes]:
        for behind in resumed.behind:
            try:
                yield from behind.lines()
            except LogUnreadable as error:
                self._unread = f"{behind.file}: cannot be read to its end: {error}"
        yield from self._tail.lines()

    def _read(self) -> bool:
        """Some lines; True at the end of the log."""
        if len(self._owed.found) >= MOST_HELD:
            return False
        if self._lines is None:
            self._lines = self._tail.lines()
        for count, line in enumerate(self._lines, 1):
            if _WANTED.search(line):
                self._take(line)
            if count >= LINES_AT_ONCE or len(self._owed.found) >= MOST_HELD:
                return False
        self._lines = None
        return True

    def _take(self, line: bytes) -> None:
        try:
            at, event = parsed(line)
        except ValueError:
            return  # torn
        if event.get("event") == DETECTION:
            self._written(str(event.get("finding")))
            return
        if at <= self._skip:
            return
        self._last = max(self._last, at)
        for one in self._detector.see(event, at):
            if at >= self._begin:
                self._owed.found.append((self._row(one), one.also))

    def _written(self, name: str) -> None:
        """The gateway has written that finding down."""
        self._unwritten.pop(name, None)
        self._owed.settle("audited", name, "written")

    def _row(self, one: Finding) -> Row:
        return Row(
            self._node, one.id, one.kind, one.level, one.at, _text(one.user), _text(one.target), _text(one.expected),
            _text(one.came), ",".join(map(_text, one.sessions)), self._clock.time(), audited=WAITING,
        )  # fmt: skip

    def _take_settled(self) -> None:
        for way, poster in self._posters.items():
            poster.cut_late()
            for name, result in poster.take_settled():
                self._owed.settle(way, name, result)

    # -- keeping -----------------------------------------------------------------------------------------

    def _keep(self, at_end: bool) -> None:
        """Write what was found and settled, and now and then what was learned. Raises StateDown."""
        now, since = self._clock.time(), self._clock.monotonic()
        due = since - self._saved >= SAVE_EVERY or len(self._detector.touched) >= MOST_TOUCHED
        position = self._tail.position if at_end and due else None
        if position and not self._own_revision:
            self._keep_first(now)
        sweep = since - self._swept >= SWEEP_EVERY
        if not (self._owed or position or sweep):
            return
        people = self._packed(sorted(self._detector.touched)) if position else {}
        rest = rest_of(self._detector) | {"log": _place(position), "last": self._last} if position else {}
        packed_rest = pack(rest)
        with self._database.write() as connection:
            mutes = rows.mutes_in(connection, now)
            found = rows.strangers(
                connection, self._node, [self._judged(row, also, mutes) for row, also in self._owed.found]
            )
            rows.add(connection, found)
            for way, pairs in self._owed.settled.items():
                for how, names in _by_how(pairs):
                    rows.settle(connection, self._node, way, names, how)
            saving = Saving(connection, FORMAT, self._node, now)
            saved = {user: self._save(saving, user, packed) for user, packed in people.items()}
            own = None
            if position:
                own = saving.put(NODE, self._node, self._own_revision, packed_rest, lambda _: rest)
            if sweep:
                rows.sweep(connection, self._node, now)
                saving.sweep()
        self._owed = _Owed()
        self._mutes = len(mutes)
        self._kept(found)
        if own is not None:
            self._own_revision, self._saved = own.revision, since
            self._saved_people(saved)
        if sweep:
            self._swept = since
            self._take_up_unwritten()

    def _keep_first(self, now: float) -> None:
        """Of a whole log that was read for the first time most people, in pieces: until all are there, none of them
        counts (`_restore`). Raises StateDown."""
        touched = sorted(self._detector.touched & self._detector.people.keys())
        for start in range(0, len(touched) - MOST_TOUCHED, MOST_TOUCHED):
            some = self._packed(touched[start : start + MOST_TOUCHED])
            with self._database.write() as connection:
                saving = Saving(connection, FORMAT, self._node, now)
                saved = {user: self._save(saving, user, packed) for user, packed in some.items()}
            self._saved_people(saved)

    def _judged(self, row: Row, also: Iterable[Detection], mutes: Sequence[rows.Mute]) -> Row:
        """With what is to become of it. What several detections have made an alert is muted where each of them is."""
        mute = rows.covering(mutes, row.kind, row.identity, row.target)
        if not all(rows.covering(mutes, kind, row.identity, "") for kind in also):
            mute = ""
        posted = row.level == "alert" and not mute
        ways = {way: WAITING for way in self._posters if posted}
        return replace(row, mute=mute, **ways)  # type: ignore[arg-type]

    def _kept(self, found: Iterable[Row]) -> None:
        """They are in the store: now everybody may hear of them."""
        for row in found:
            if len(self._unwritten) < MOST_HELD:
                self._unwritten[row.id] = _told(row), NEVER
            for way, poster in self._posters.items():
                if getattr(row, way) == WAITING:
                    poster.put(_finding(row))

    def _packed(self, users: Iterable[str]) -> Mapping[str, str]:
        people = self._detector.people
        return {user: pack(document_of(people[user])) for user in users if user in people}

    def _save(self, saving: Saving, user: str, packed: str) -> Saved:
        def merge(found: Any) -> Any:
            own = self._detector.people[user]
            try:
                return document_of(merged(own, person_of(found)))
            except Unfit:
                return document_of(own)

        return saving.put(PERSON, _text(user), self._revisions.get(user, 0), packed, merge)

    def _saved_people(self, saved: Mapping[str, Saved]) -> None:
        self._detector.touched.difference_update(saved)
        for user, one in saved.items():
            self._revisions[user] = one.revision
            if one.document is not None:
                self._learn(user, one.document)

    # -- others ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """At mutes, and at what other gateways have learned since. Raises StateDown."""
        since = self._clock.monotonic()
        if since - self._looked < LOOK_EVERY:
            return
        now, passed = self._clock.time(), min(since - self._looked, LOOK_EVERY + SLACK)
        self._mutes = len(rows.mutes(self._database, now))
        if not self._database.place.embedded:
            fresh = learned(
                self._database, PERSON, FORMAT, MOST_PEOPLE, now - passed - SLACK, but_of=self._node
            )
            for row in fresh:
                if self._revisions.get(row.name) != row.revision:
                    self._learn_of_other(row.name, row.document)
                    self._revisions[row.name] = row.revision
        self._looked = since

    def _learn_of_other(self, user: str, document: Any) -> None:
        """What another has written, with what was learned here and is not kept yet."""
        own = self._detector.people.get(user)
        if own is not None and user in self._detector.touched:
            try:
                self._detector.people[user] = merged(own, person_of(document))
            except Unfit:
                pass
        else:
            self._learn(user, document)

    # -- to the gateway ----------------------------------------------------------------------------------

    def _tell(self) -> None:
        now = self._clock.monotonic()
        for name, (told, at) in list(self._unwritten.items()):
            if now - at >= TELL_AGAIN:
                self._say(told.line())
                self._unwritten[name] = told, now

    def _report(self) -> None:
        """Now and then, and at once when something came of posts or there is other trouble."""
        now = self._clock.monotonic()
        faults = [f"{name}: {one.told.fault}" for name, one in self._posters.items() if one.told.fault]
        trouble = "; ".join(filter(None, [self.trouble, *faults]))
        posts = {name: one.counts() for name, one in self._posters.items()}
        if now - self._reported < REPORT_EVERY and (trouble, posts) == self._said:
            return
        self._reported, self._said = now, (trouble, posts)
        waiting = {name: one.waiting for name, one in self._posters.items()}
        report = Report(self._clock.time(), os.getpid(), self._read_at, self._mutes, waiting, posts, trouble)
        self._say(report.line())


def _text(value: str) -> str:
    """What databases and JSON take."""
    return value[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _finding(row: Row) -> Finding:
    sessions = tuple(filter(None, row.sessions.split(",")))
    return Finding(
        row.id,
        Detection(row.kind),
        row.level,
        row.at,
        row.identity,
        row.expected,
        row.came,
        sessions,
        row.target,
    )


def _told(row: Row) -> Told:
    one = _finding(row)
    return Told(
        one.id,
        one.kind,
        one.level,
        one.at,
        one.user,
        one.target,
        one.expected,
        one.came,
        one.sessions,
        row.mute,
    )


def _by_how(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    names: dict[str, list[str]] = {}
    for name, how in pairs:
        names.setdefault(how, []).append(name)
    yield from names.items()


def _place(position: Position | None) -> list[Any]:
    return [] if position is None else [position.first, position.offset]


def _position(value: Any) -> Position | None:
    match value:
        case [str(first), int(offset)] if offset >= 0:
            return Position(first, offset)
    return None
