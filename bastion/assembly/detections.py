"""The process that detects, as the gateway sees it (L4): what it says is written into the audit log and counted.

Of a gateway of several processes the supervisor has it. Invariant: one finding is one line and one count, however often
it is told: it is told again until the process has read its line.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred

from bastion.assembly.companion import Companion, Start
from bastion.assembly.companion import program as program_of
from bastion.assembly.growth import Growth
from bastion.clock import Clock
from bastion.config.sections import Sections
from bastion.detect.report import Report, Told, read_line
from bastion.observe.audit import AuditLog, timestamp
from bastion.observe.events import About
from bastion.observe.events.detections import Detected
from bastion.observe.families.detections import (
    DETECTION_MUTES,
    DETECTOR_BEHIND_SECONDS,
    DETECTOR_STARTS,
    FINDING_POSTS,
    FINDINGS,
    FINDINGS_WAITING,
    WAYS,
)
from bastion.observe.meters import Meters

REMEMBERED: Final = 4096
"""Names of findings that were told: more than the process has unwritten at any time."""


class Detections:
    """One per gateway. `follow` says with which configuration it runs, as a digest, "" of none."""

    def __init__(self, reactor: Any, clock: Clock, meters: Meters, audit: AuditLog, start: Start) -> None:
        self._clock, self._meters, self._audit = clock, meters, audit
        self._companion = Companion(reactor, "detects", start, self._said)
        self._companion.on_started, self._companion.on_stopped = self._started, self._over
        self._digest = ""
        self._growth = Growth(meters)
        self._since = 0.0  # until then everything was read: the gauge is its age, 0 of none
        self._told: dict[str, bool] = {}  # name -> is its line written, the one told last stands last

    def follow(self, digest: str) -> None:
        """From now on: one that runs goes on when it is the same."""
        if digest != self._digest:
            self._digest = digest
            self._companion.follow(bool(digest))
            if digest:  # whether it can be started or not
                self._since = self._since or self._clock.time()

    def stop(self) -> Deferred[None]:
        """Detect nothing any more. Fires when the process is gone, within KILL_AFTER and a moment."""
        self._digest = ""
        return self._companion.stop()

    def refresh(self) -> None:
        """The gauge that grows by itself."""
        behind = self._clock.time() - self._since if self._since else 0.0
        self._meters.set(DETECTOR_BEHIND_SECONDS, round(max(0.0, behind)))

    def _started(self) -> None:
        self._growth.again()
        self._meters.add(DETECTOR_STARTS)

    def _said(self, line: bytes) -> None:
        match read_line(line):
            case Told() as told:
                self._found(told)
            case Report() as report:
                self._reported(report)

    def _found(self, told: Told) -> None:
        written = self._told.pop(told.id, None)
        if written is None:
            self._meters.add(FINDINGS, told.kind, "muted" if told.mute else told.level)
        if not written:
            self._audit.note(
                Detected(
                    finding=told.id,
                    kind=told.kind,
                    level=told.level,
                    seen_at=timestamp(told.at),
                    expected=told.expected,
                    came=told.came,
                    sessions=told.sessions,
                    muted=told.mute,
                ),
                About(user=told.user, target=told.target),
            )
        self._told[told.id] = bool(written) or not self._audit.failing
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]

    def _reported(self, report: Report) -> None:
        for way, results in report.posts.items():
            for result, count in results.items():
                self._growth.take(FINDING_POSTS, count, way, result)
        for way in WAYS:
            self._meters.set(FINDINGS_WAITING, report.waiting.get(way, 0), way)
        self._meters.set(DETECTION_MUTES, report.mutes)
        self._since = max(self._since, report.read_at)
        self.refresh()

    def _over(self) -> None:
        self._since = 0.0
        self._meters.set(DETECTOR_BEHIND_SECONDS, 0)
        for way in WAYS:
            self._meters.set(FINDINGS_WAITING, 0, way)


def digest_of(config: Sections) -> str:
    """One word for how it detects, and where; "" when it does not."""
    if not config.detections.run:
        return ""
    wanted = config.detections
    databases = [_stamp(file) for file in (wanted.geoip, wanted.asn)]
    parts = wanted, databases, config.audit.file, config.recording.directory, config.state
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _stamp(file: Path | None) -> tuple[int, int] | None:
    """Another one when somebody has put another database in its place."""
    try:
        status = None if file is None else file.stat()
    except OSError:
        status = None
    return None if status is None else (status.st_ino, status.st_mtime_ns)


def program(reactor: Any, config_file: Path) -> Start:
    """The program over a configuration."""
    return program_of(reactor, "bastion.assembly.detecting", config_file)
