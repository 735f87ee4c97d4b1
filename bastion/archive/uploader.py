"""Uploads what waits in the spool, a few at a time (L2): what the process of `assembly.uploading` does.

Files and rows are looked at in one thread; uploads run in threads of their own, and say what came of them through
`done`. Invariants: memory does not grow with how long the bucket is away, but with what waits (200 bytes each); of a
fault that lasts the log has one line when it begins, one every TELL_EVERY, and one when it is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bastion.archive.report import Report
from bastion.archive.schedule import Schedule
from bastion.archive.spool import Held, Spool, Waiting
from bastion.archive.upload import Kept, Upload
from bastion.clock import Clock
from bastion.errors import StoreFault, StoreReason
from bastion.state.database import StateDown
from bastion.state.stored import Stored

LOOK_EVERY: Final = 5.0
"""Seconds between two looks into the spool, and so how late an upload begins."""

LOOK_SELDOM: Final = 30.0
"""The same while the store is away: nothing can go."""

LOOK_SHARE: Final = 20.0
"""A look takes at most a twentieth of the time: with a hundred thousand files it comes less often."""

REPORT_EVERY: Final = 10.0

TELL_EVERY: Final = 600.0

OVERDUE: Final = 120.0
"""Seconds after its deadline at which a request hangs where no timer reaches it; the process then starts again."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one."""

    held: Held
    kept: Kept | None
    fault: StoreFault | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the uploader is given: `upload` makes one, `start` runs one in a thread and brings back `Done`, `url` is
    what the index says of a key, `report` and `tell` hear how it goes."""

    upload: Callable[[Held], Upload]
    start: Callable[[Held, Upload], None]
    url: Callable[[str], str]
    report: Callable[[Report], None]
    tell: Callable[[str], None]


class Hangs(Exception):
    """A request does not come to its end: this process is to be started again."""


class Uploader:
    """One per process. Call `turn` again after as many seconds as it says, or when `done` was called."""

    def __init__(self, spool: Spool, schedule: Schedule, wiring: Wiring, clock: Clock, pid: int) -> None:
        self._spool, self._schedule, self._wiring = spool, schedule, wiring
        self._clock, self._pid = clock, pid
        self._waiting: list[Waiting] = []
        self._running: dict[str, tuple[Held, Upload]] = {}
        self._results: Counter[str] = Counter()
        self._sent = 0
        self._looked = False  # the last look saw the folder and the index
        self._look_at = self._report_at = clock.monotonic()
        self._told_at = 0.0
        self._own_told_at: float | None = None
        self._own_untold = 0

    def turn(self) -> float:
        """Look, begin what may begin, report; seconds until the next one. Raises Hangs."""
        self._check_overdue()
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look()
        self._begin()
        if self._clock.monotonic() >= self._report_at:
            self._report()
        now = self._clock.monotonic()
        soonest = min(self._look_at, self._report_at)
        if self._schedule.next:
            soonest = min(soonest, now + self._schedule.next)
        return max(0.05, soonest - now)

    @property
    def left(self) -> int | None:
        """Recordings that wait or are on their way, None while that cannot be seen."""
        return len(self._waiting) if self._looked else None

    @property
    def gone(self) -> int:
        """Recordings that this process has brought to the bucket."""
        return self._results[StoreReason.OK]

    @property
    def running(self) -> int:
        """Uploads that are on their way."""
        return len(self._running)

    def _look(self) -> None:
        began, self._looked = self._clock.monotonic(), False
        try:
            self._waiting = self._spool.waiting()
        except StateDown as down:
            self._failed("", StoreReason.STATE, f"the state store: {down.text}")
        except OSError as error:
            self._failed("", StoreReason.LOCAL_FILE, f"the folder of recordings: {error.strerror}")
        else:
            self._looked = True
            self._schedule.forget(frozenset(one.session for one in self._waiting))
            if self._schedule.reason in (StoreReason.STATE, StoreReason.LOCAL_FILE) and not self._waiting:
                self._recovered("")
        now = self._clock.monotonic()
        pause = LOOK_SELDOM if self._schedule.trouble else LOOK_EVERY
        self._look_at = now + max(pause, (now - began) * LOOK_SHARE)

    def _begin(self) -> None:
        room = self._schedule.at_once - len(self._running)
        for one in self._waiting if room > 0 else ():
            if room <= 0:
                break
            if one.session in self._running or not self._schedule.may(one.session):
                continue
            room -= self._take(one)
            if not self._schedule.at_once:
                break

    def _take(self, one: Waiting) -> int:
        try:
            held = self._spool.take(one)
        except StateDown as down:
            self._failed(one.session, StoreReason.STATE, f"the state store: {down.text}")
            return 0
        except OSError as error:
            self._failed(one.session, StoreReason.LOCAL_FILE, f"{one.path}: {error.strerror}")
            return 0
        if held is None:
            return 0
        job = self._wiring.upload(held)
        self._running[one.session] = held, job
        self._wiring.start(held, job)
        return 1

    def done(self, done: Done) -> None:
        """One upload has ended."""
        one = done.held.waiting
        self._running.pop(one.session, None)
        try:
            if done.kept is not None:
                self._uploaded(done.held, done.kept)
            elif done.fault is not None:
                self._failed(one.session, done.fault.reason, done.fault.text)
        finally:
            done.held.release()
        self._report_at = min(self._report_at, self._clock.monotonic() + 1.0)

    def _uploaded(self, held: Held, kept: Kept) -> None:
        one = held.waiting
        self._sent += kept.sent
        stored = Stored(one.session, self._wiring.url(kept.key), kept.version, kept.size, kept.sha256)
        try:
            gone = self._spool.stored(held, stored, self._clock.time())
        except StateDown as down:
            self._failed(one.session, StoreReason.STATE, f"the state store: {down.text}")
            return
        except OSError as error:
            self._failed(one.session, StoreReason.LOCAL_FILE, f"{one.path}: {error.strerror}")
            return
        if not gone:
            text = f"{one.path}: has changed since it was read, or its row is gone"
            self._failed(one.session, StoreReason.LOCAL_FILE, text)
            return
        self._results[StoreReason.OK] += 1
        self._waiting = [other for other in self._waiting if other.session != one.session]
        self._recovered(one.session)

    # -- what is said ------------------------------------------------------------------------------------

    def _failed(self, session: str, reason: StoreReason, text: str) -> None:
        self._results[reason] += 1
        now = self._clock.monotonic()
        before = self._schedule.trouble
        fell = self._schedule.failed(session, reason, text)
        if self._schedule.trouble == before and not fell and reason in _OWN_TOLD:
            self._tell_own(text, now)
        elif fell or now - self._told_at >= TELL_EVERY:
            self._told_at = now
            self._wiring.tell(f"recordings wait in the spool ({len(self._waiting)}): {text}")

    def _tell_own(self, text: str, now: float) -> None:
        """A fault of one recording; many have one line in a while, with their number."""
        if self._own_told_at is not None and now - self._own_told_at < TELL_EVERY:
            self._own_untold += 1
            return
        more = f" (and {self._own_untold} more such faults)" if self._own_untold else ""
        self._own_told_at, self._own_untold = now, 0
        self._wiring.tell(f"a recording cannot be uploaded: {text}{more}")

    def _recovered(self, session: str) -> None:
        if self._schedule.worked(session):
            self._wiring.tell(f"the store works again: {len(self._waiting)} recordings wait")

    def _report(self) -> None:
        self._report_at = self._clock.monotonic() + REPORT_EVERY
        self._wiring.report(
            Report(
                at=self._clock.time(),
                pid=self._pid,
                waiting=len(self._waiting),
                size=sum(one.size for one in self._waiting),
                oldest=min((one.ended_at for one in self._waiting), default=0.0),
                running=len(self._running),
                failing=self._schedule.failing,
                trouble=self._schedule.trouble,
                results={str(name): count for name, count in self._results.items()},
                sent=self._sent,
            )
        )

    def _check_overdue(self) -> None:
        for _, job in self._running.values():
            if job.deadline.overdue > OVERDUE:
                self._results[StoreReason.TIMEOUT] += 1
                self._report()
                raise Hangs


_OWN_TOLD: Final = frozenset((StoreReason.CHECKSUM, StoreReason.LOCAL_FILE))
