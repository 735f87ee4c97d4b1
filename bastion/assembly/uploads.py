"""The process that uploads recordings, as the gateway sees it (L4).

Invariant: its death costs uploads a moment, and what it reports is only counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from bastion.archive.report import Report, read_report
from bastion.assembly.companion import Companion, Start
from bastion.assembly.companion import program as program_of
from bastion.assembly.growth import Growth
from bastion.clock import Clock
from bastion.observe.families.recordings import (
    SPOOL_BYTES,
    SPOOL_OLDEST_SECONDS,
    SPOOL_RECORDINGS,
    UPLOAD_BYTES,
    UPLOADER_STARTS,
    UPLOADS,
)
from bastion.observe.meters import Meters


class Uploads:
    """One per gateway. `follow` says whether there is anything to upload to, at the start and at every reload."""

    def __init__(self, reactor: Any, clock: Clock, meters: Meters, start: Start) -> None:
        self._clock, self._meters = clock, meters
        self._companion = Companion(reactor, "uploads", start, self._said)
        self._companion.on_started, self._companion.on_stopped = self._started, self._over
        self._growth = Growth(meters)
        self._oldest = 0.0

    def follow(self, wanted: bool) -> None:
        """From now on, with the configuration as it is now: one that runs is started again."""
        self._companion.follow(wanted)

    def stop(self) -> Deferred[None]:
        """Upload nothing any more. Fires when the process is gone, within KILL_AFTER and a moment."""
        return self._companion.stop()

    def refresh(self) -> None:
        """The gauge that grows by itself."""
        age = self._clock.time() - self._oldest if self._oldest else 0.0
        self._meters.set(SPOOL_OLDEST_SECONDS, round(max(0.0, age)))

    def _started(self) -> None:
        self._growth.again()
        self._meters.add(UPLOADER_STARTS)

    def _said(self, line: bytes) -> None:
        report = read_report(line)
        if report is not None:
            self._reported(report)

    def _reported(self, report: Report) -> None:
        for result, count in report.results.items():
            self._growth.take(UPLOADS, count, result)
        self._growth.take(UPLOAD_BYTES, report.sent)
        self._meters.set(SPOOL_RECORDINGS, report.waiting)
        self._meters.set(SPOOL_BYTES, report.size)
        self._oldest = report.oldest
        self.refresh()

    def _over(self) -> None:
        self._oldest = 0.0
        for family in (SPOOL_RECORDINGS, SPOOL_BYTES, SPOOL_OLDEST_SECONDS):
            self._meters.set(family, 0)


def program(reactor: Any, config_file: Path) -> Start:
    """The program over a configuration."""
    return program_of(reactor, "bastion.assembly.uploading", config_file)
